//! Images in rows, each with a line beneath: a batch as training sees it.

use image::imageops::{FilterType, replace, resize};
use image::{Rgb, RgbImage};

use crate::draw::font::Font;

/// Space between tiles in pixels.
const GAP: u32 = 6;

/// The tiles in `columns`, each at most `side` pixels a side, on white.
pub fn mosaic(tiles: &[(RgbImage, String)], side: u32, columns: u32) -> RgbImage {
    let font = Font::new();
    let px = 13.0;
    let captioned = tiles.iter().any(|(_, caption)| !caption.is_empty());
    let band = if captioned { font.line_height(px).ceil() as u32 + 4 } else { 0 };
    let columns = columns.clamp(1, tiles.len().max(1) as u32);
    let rows = (tiles.len() as u32).div_ceil(columns);
    let (across, down) = (side + GAP, side + band + GAP);
    let mut out =
        RgbImage::from_pixel(across * columns - GAP, (down * rows).max(GAP + 1) - GAP, Rgb([255; 3]));
    for (i, (image, caption)) in tiles.iter().enumerate() {
        let (x, y) = (i as u32 % columns * across, i as u32 / columns * down);
        let longest = image.width().max(image.height()).max(1);
        let to = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
        let filter = if longest > side { FilterType::Triangle } else { FilterType::Nearest };
        let tile = resize(image, to(image.width()), to(image.height()), filter);
        replace(&mut out, &tile, i64::from(x), i64::from(y));
        let text = font.fit(caption, px, side as f32);
        font.draw(&mut out, (x as f32, (y + side + 1) as f32), &text, px, [28, 30, 33]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_has_its_place() {
        let tile = |i: u8| (RgbImage::from_pixel(20, 10, Rgb([i, 0, 200])), "caption".to_owned());
        let out = mosaic(&(0..5).map(tile).collect::<Vec<_>>(), 40, 3);
        assert_eq!(out.width(), 3 * 40 + 2 * GAP);
        for i in 0..5 {
            assert_eq!(out.pixels().filter(|p| p.0 == [i, 0, 200]).count(), 40 * 20, "{i}");
        }
        assert!(mosaic(&[], 40, 3).width() > 0);
        assert_eq!(mosaic(&[(RgbImage::new(0, 0), String::new())], 8, 4).dimensions(), (8, 8));
    }
}
