//! Boxes with names on an image.

use image::{Rgb as Pixel, RgbImage};
use imageproc::drawing::draw_filled_rect_mut;
use imageproc::rect::Rect;

use super::font::Font;
use super::palette::{Rgb, text_on};

/// A box and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// [x0, y0, x1, y1] in pixels of the image.
    pub bbox: [f32; 4],
    /// Color of the frame and of the label's background.
    pub color: Rgb,
    /// "person 98 %"; empty for a frame alone.
    pub label: String,
}

/// Draws boxes in the order given (so the most certain comes last, on top), then all labels over all frames. A
/// label moves along its box where another already lies, always stays inside the image, and is left out where there is no room.
pub fn draw_boxes(image: &mut RgbImage, boxes: &[LabelledBox]) {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return;
    }
    let font = Font::new();
    let px = Font::size_for(width, height);
    let line = (px / 7.0).clamp(2.0, 6.0).round() as i64;
    for b in boxes {
        frame(image, b.bbox, line, b.color);
    }
    let mut taken: Vec<[f32; 4]> = Vec::new();
    // The most certain labels choose their place first.
    let mut placed: Vec<(&LabelledBox, String, [f32; 4])> = Vec::new();
    for b in boxes.iter().rev().filter(|b| !b.label.is_empty() && b.bbox.iter().all(|v| v.is_finite())) {
        let text = font.fit(&b.label, px, width as f32 - px);
        let size = (font.width(&text, px) + 0.5 * px, font.line_height(px));
        let Some(at) = place(b.bbox, size, (width as f32, height as f32), &taken) else { continue };
        let area = [at.0, at.1, at.0 + size.0, at.1 + size.1];
        taken.push(area);
        placed.push((b, text, area));
    }
    for (b, text, area) in placed.iter().rev() {
        fill(image, *area, b.color);
        font.draw(image, (area[0] + 0.25 * px, area[1]), text, px, text_on(b.color));
    }
}

/// Top left corner for a label of this size: above the box, inside at its top, below it, or inside at its bottom, at its left
/// or its right, whichever is first free of other labels; else the nearest free place above or below; none where the image
/// is full of labels.
fn place(bbox: [f32; 4], size: (f32, f32), image: (f32, f32), taken: &[[f32; 4]]) -> Option<(f32, f32)> {
    let [x0, y0, x1, y1] = bbox;
    let clamp = |x: f32, y: f32| {
        (x.clamp(0.0, (image.0 - size.0).max(0.0)), y.clamp(0.0, (image.1 - size.1).max(0.0)))
    };
    let free = |(x, y): (f32, f32)| {
        taken.iter().all(|t| x >= t[2] || x + size.0 <= t[0] || y >= t[3] || y + size.1 <= t[1])
    };
    let beside = [x0, x1 - size.0].into_iter();
    let candidates = beside.flat_map(|x| [y0 - size.1, y0, y1, y1 - size.1].map(|y| (x, y)));
    let rows = (image.1 / size.1.max(1.0)).ceil() as i32;
    let farther =
        (1..=rows).flat_map(|n| [y1 + n as f32 * size.1, y0 - (n + 1) as f32 * size.1].map(|y| (x0, y)));
    candidates.chain(farther).map(|(x, y)| clamp(x, y)).find(|c| free(*c))
}

/// A frame whose outer edge is the box.
fn frame(image: &mut RgbImage, [x0, y0, x1, y1]: [f32; 4], line: i64, color: Rgb) {
    if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) {
        return;
    }
    let t = line as f32;
    fill(image, [x0, y0, x1, y0 + t], color);
    fill(image, [x0, y1 - t, x1, y1], color);
    fill(image, [x0, y0, x0 + t, y1], color);
    fill(image, [x1 - t, y0, x1, y1], color);
}

/// Fills a rectangle, cut to the image; one that is thinner than a pixel still fills one.
fn fill(image: &mut RgbImage, [x0, y0, x1, y1]: [f32; 4], color: Rgb) {
    let span = |a: f32, b: f32, limit: u32| {
        let start = a.round().clamp(0.0, limit as f32) as u32;
        let end = b.round().clamp(0.0, limit as f32) as u32;
        (start, end.max((start + 1).min(limit)) - start)
    };
    let ((x, width), (y, height)) = (span(x0, x1, image.width()), span(y0, y1, image.height()));
    if width > 0 && height > 0 {
        let place = Rect::at(x as i32, y as i32).of_size(width, height);
        draw_filled_rect_mut(image, place, Pixel(color));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(bbox: [f32; 4], label: &str) -> LabelledBox {
        LabelledBox { bbox, color: [200, 30, 30], label: label.into() }
    }

    #[test]
    fn frames_lie_on_the_box_and_leave_its_inside() {
        let mut image = RgbImage::new(200, 100);
        draw_boxes(&mut image, &[boxed([20.0, 40.0, 120.0, 90.0], "")]);
        for at in [(20, 40), (119, 89), (70, 40), (20, 60)] {
            assert_eq!(image.get_pixel(at.0, at.1).0, [200, 30, 30], "{at:?}");
        }
        for at in [(70, 60), (19, 40), (120, 60), (70, 90)] {
            assert_eq!(image.get_pixel(at.0, at.1).0, [0, 0, 0], "{at:?}");
        }
    }

    #[test]
    fn labels_avoid_each_other_and_the_edge() {
        let image = (400.0, 300.0);
        let first = place([10.0, 5.0, 100.0, 80.0], (60.0, 20.0), image, &[]);
        assert_eq!(first, Some((10.0, 0.0)));
        let taken = [[10.0, 0.0, 70.0, 20.0]];
        assert_eq!(place([10.0, 5.0, 100.0, 80.0], (60.0, 20.0), image, &taken), Some((10.0, 80.0)));
        assert_eq!(place([390.0, 290.0, 399.0, 299.0], (60.0, 20.0), image, &[]), Some((340.0, 270.0)));
    }

    #[test]
    fn no_label_covers_another_and_where_there_is_no_room_there_is_none() {
        let (size, image) = ((60.0, 20.0), (200.0, 100.0));
        let mut taken: Vec<[f32; 4]> = Vec::new();
        for _ in 0..40 {
            let Some((x, y)) = place([70.0, 40.0, 130.0, 60.0], size, image, &taken) else { continue };
            let area = [x, y, x + size.0, y + size.1];
            assert!(area[0] >= 0.0 && area[1] >= 0.0 && area[2] <= image.0 && area[3] <= image.1);
            let apart =
                |t: &[f32; 4]| area[0] >= t[2] || area[2] <= t[0] || area[1] >= t[3] || area[3] <= t[1];
            assert!(taken.iter().all(apart), "{area:?} {taken:?}");
            taken.push(area);
        }
        assert_eq!(taken.len(), 5, "a column of them fits");
    }

    #[test]
    fn no_box_is_too_odd() {
        let mut image = RgbImage::new(32, 32);
        let odd = [
            boxed([-1e9, -1e9, 1e9, 1e9], "a label much longer than the image is wide"),
            boxed([f32::NAN, 0.0, 1.0, 1.0], "nan"),
            boxed([5.0, 5.0, 5.0, 5.0], "point"),
            boxed([900.0, 900.0, 950.0, 950.0], "outside"),
        ];
        draw_boxes(&mut image, &odd);
        draw_boxes(&mut RgbImage::new(0, 0), &odd);
        assert_eq!(image.dimensions(), (32, 32));
    }
}
