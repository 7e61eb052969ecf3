//! Masks and label maps laid over a picture.

use image::{GrayImage, RgbImage};

use super::palette::{Rgb, blend};

/// Opacity at which both the picture and the colour can be seen.
pub const OPACITY: f32 = 0.45;

/// Lays a mask (0 outside) over the picture: blended inside, full colour along its outline. A mask of another
/// size is stretched over the picture.
pub fn draw_mask(picture: &mut RgbImage, mask: &GrayImage, colour: Rgb) {
    let (width, height) = picture.dimensions();
    if mask.width() == 0 || mask.height() == 0 {
        return;
    }
    let inside = |x: i64, y: i64| {
        let within = (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
        within && nearest(mask, (x as u32, y as u32), (width, height)) != 0
    };
    let reach = outline_width(width, height);
    for y in 0..i64::from(height) {
        for x in 0..i64::from(width) {
            if !inside(x, y) {
                continue;
            }
            let edge = (1..=reach)
                .any(|d| !(inside(x - d, y) && inside(x + d, y) && inside(x, y - d) && inside(x, y + d)));
            let pixel = picture.get_pixel_mut(x as u32, y as u32);
            pixel.0 = if edge { colour } else { blend(pixel.0, colour, OPACITY) };
        }
    }
}

/// Lays a label map over the picture, each class in its colour; labels without a colour leave the picture as it
/// is. Borders between labels are drawn darker.
pub fn draw_labels(picture: &mut RgbImage, labels: &GrayImage, colour: impl Fn(u8) -> Option<Rgb>) {
    let size = picture.dimensions();
    if labels.width() == 0 || labels.height() == 0 {
        return;
    }
    let table: Vec<Option<Rgb>> = (0..=255).map(colour).collect();
    let reach = (outline_width(size.0, size.1) as u32 / 2).max(1);
    for y in 0..size.1 {
        for x in 0..size.0 {
            let label = nearest(labels, (x, y), size);
            let Some(colour) = table[usize::from(label)] else { continue };
            let right = nearest(labels, ((x + reach).min(size.0 - 1), y), size);
            let below = nearest(labels, (x, (y + reach).min(size.1 - 1)), size);
            let pixel = picture.get_pixel_mut(x, y);
            pixel.0 = if right != label || below != label {
                blend(colour, [0, 0, 0], 0.35)
            } else {
                blend(pixel.0, colour, OPACITY + 0.1)
            };
        }
    }
}

#[inline]
fn nearest(map: &GrayImage, (x, y): (u32, u32), (width, height): (u32, u32)) -> u8 {
    if (width, height) == map.dimensions() {
        return map.get_pixel(x, y).0[0];
    }
    let scale = |v: u32, from: u32, to: u32| (u64::from(v) * u64::from(to) / u64::from(from)) as u32;
    map.get_pixel(scale(x, width, map.width()), scale(y, height, map.height())).0[0]
}

fn outline_width(width: u32, height: u32) -> i64 {
    i64::from((width.max(height) / 400).clamp(1, 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_blend_inside_and_are_solid_on_the_outline() {
        let mut picture = RgbImage::from_pixel(20, 20, image::Rgb([100, 100, 100]));
        let mask = GrayImage::from_fn(20, 20, |x, y| {
            image::Luma([if (5..15).contains(&x) && (5..15).contains(&y) { 255 } else { 0 }])
        });
        draw_mask(&mut picture, &mask, [200, 0, 0]);
        assert_eq!(picture.get_pixel(5, 9).0, [200, 0, 0]);
        assert_eq!(picture.get_pixel(14, 14).0, [200, 0, 0]);
        assert_eq!(picture.get_pixel(10, 10).0, blend([100; 3], [200, 0, 0], OPACITY));
        assert_eq!(picture.get_pixel(4, 9).0, [100; 3]);
    }

    #[test]
    fn small_masks_are_stretched_and_empty_ones_ignored() {
        let mut picture = RgbImage::new(64, 64);
        draw_mask(&mut picture, &GrayImage::from_pixel(2, 2, image::Luma([1])), [0, 0, 250]);
        assert!(picture.pixels().all(|p| p.0[2] > 100));
        draw_mask(&mut picture, &GrayImage::new(0, 0), [0, 0, 250]);
    }

    #[test]
    fn labels_without_a_colour_show_the_picture() {
        let mut picture = RgbImage::from_pixel(10, 10, image::Rgb([80, 80, 80]));
        let labels = GrayImage::from_fn(10, 10, |x, _| image::Luma([if x < 5 { 3 } else { 255 }]));
        draw_labels(&mut picture, &labels, |l| (l == 3).then_some([0, 200, 0]));
        assert_eq!(picture.get_pixel(8, 5).0, [80, 80, 80]);
        assert_eq!(picture.get_pixel(4, 5).0, blend([0, 200, 0], [0, 0, 0], 0.35));
        assert!(picture.get_pixel(1, 5).0[1] > 130);
    }
}
