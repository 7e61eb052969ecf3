//! Drawing on pictures: boxes, masks, heat maps, legends and text.

pub mod boxes;
pub mod font;
pub mod heat;
pub mod legend;
pub mod masks;
pub mod palette;

use image::RgbImage;
use image::imageops::{FilterType, resize};

/// Smallest longer side on which labels can be read.
const LEGIBLE_SIDE: u32 = 480;

/// The picture, enlarged by a whole factor where it is too small to write on, and that factor: boxes and masks
/// are multiplied by it before they are drawn.
pub fn legible(picture: &RgbImage) -> (RgbImage, u32) {
    let (w, h) = picture.dimensions();
    let factor = LEGIBLE_SIDE.div_ceil(w.max(h).max(1)).max(1);
    if factor == 1 {
        return (picture.clone(), 1);
    }
    (resize(picture, w * factor, h * factor, FilterType::Nearest), factor)
}

/// Two pictures side by side with a caption above each: ground truth and prediction. A picture narrower than its
/// caption gets a margin.
pub fn side_by_side(left: (&str, &RgbImage), right: (&str, &RgbImage)) -> RgbImage {
    let font = font::Font::new();
    let (width, height) = (left.1.width() + right.1.width(), left.1.height().max(right.1.height()));
    let px = font::Font::size_for(width / 2, height);
    let band = (font.line_height(px) * 1.3).ceil() as u32;
    let gap = 6;
    let column = |(caption, picture): (&str, &RgbImage)| {
        picture.width().max(font.width(caption, px).ceil() as u32 + 6)
    };
    let width = column(left) + column(right) + gap;
    let mut out = RgbImage::from_pixel(width, height + band, image::Rgb([255, 255, 255]));
    let mut x = 0;
    for (caption, picture) in [left, right] {
        image::imageops::replace(&mut out, picture, i64::from(x), i64::from(band));
        font.draw(&mut out, (x as f32 + 3.0, 0.12 * band as f32), caption, px, [28, 30, 33]);
        x += column((caption, picture)) + gap;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_are_enlarged_in_whole_steps() {
        assert_eq!(legible(&RgbImage::new(1000, 10)).1, 1);
        let (big, factor) = legible(&RgbImage::new(64, 32));
        assert_eq!((big.dimensions(), factor), ((512, 256), 8));
        assert_eq!(legible(&RgbImage::new(1, 1)).0.dimensions(), (480, 480));
    }

    #[test]
    fn pairs_keep_both_pictures_whole() {
        let red = RgbImage::from_pixel(30, 20, image::Rgb([200, 0, 0]));
        let blue = RgbImage::from_pixel(20, 40, image::Rgb([0, 0, 200]));
        let pair = side_by_side(("truth", &red), ("predicted", &blue));
        let count = |c: [u8; 3]| pair.pixels().filter(|p| p.0 == c).count();
        assert_eq!((count([200, 0, 0]), count([0, 0, 200])), (600, 800));
        // Captions are whole also over pictures of a few pixels.
        let (thin, font) = (RgbImage::new(3, 400), font::Font::new());
        let px = font::Font::size_for(3, 400);
        let both = font.width("ground truth", px) + font.width("predicted", px);
        assert!(side_by_side(("ground truth", &thin), ("predicted", &thin)).width() as f32 > both);
    }
}
