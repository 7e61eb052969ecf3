//! Boxes with names on a picture.

use image::{Rgb as Pixel, RgbImage};

use super::font::Font;
use super::palette::{Rgb, text_on};

/// A box and what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// [x0, y0, x1, y1] in pixels of the picture.
    pub bbox: [f32; 4],
    /// Colour of the frame and of the label's background.
    pub colour: Rgb,
    /// "person 98 %"; empty for a frame alone.
    pub label: String,
}

/// Draws boxes in the order given (so the most certain comes last, on top), then all labels over all frames. A
/// label moves along its box where another already lies, and always stays inside the picture.
pub fn draw_boxes(picture: &mut RgbImage, boxes: &[LabelledBox]) {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return;
    }
    let font = Font::new();
    let px = Font::size_for(width, height);
    let line = (px / 7.0).clamp(2.0, 6.0).round() as i64;
    for b in boxes {
        frame(picture, b.bbox, line, b.colour);
    }
    let mut taken: Vec<[f32; 4]> = Vec::new();
    // The most certain labels choose their place first.
    let mut placed: Vec<(&LabelledBox, String, [f32; 4])> = Vec::new();
    for b in boxes.iter().rev().filter(|b| !b.label.is_empty() && b.bbox.iter().all(|v| v.is_finite())) {
        let text = font.fit(&b.label, px, width as f32 - px);
        let size = (font.width(&text, px) + 0.5 * px, font.line_height(px));
        let at = place(b.bbox, size, (width as f32, height as f32), &taken);
        let area = [at.0, at.1, at.0 + size.0, at.1 + size.1];
        taken.push(area);
        placed.push((b, text, area));
    }
    for (b, text, area) in placed.iter().rev() {
        fill(picture, *area, b.colour);
        font.draw(picture, (area[0] + 0.25 * px, area[1]), text, px, text_on(b.colour));
    }
}

/// Top left corner for a label of this size: above the box, inside at its top, below it, or inside at its
/// bottom, whichever is first free of other labels; above (or inside) where none is.
fn place(bbox: [f32; 4], size: (f32, f32), picture: (f32, f32), taken: &[[f32; 4]]) -> (f32, f32) {
    let [x0, y0, _, y1] = bbox;
    let clamp = |x: f32, y: f32| {
        (x.clamp(0.0, (picture.0 - size.0).max(0.0)), y.clamp(0.0, (picture.1 - size.1).max(0.0)))
    };
    let free = |(x, y): (f32, f32)| {
        taken.iter().all(|t| x >= t[2] || x + size.0 <= t[0] || y >= t[3] || y + size.1 <= t[1])
    };
    let candidates = [y0 - size.1, y0, y1, y1 - size.1].map(|y| clamp(x0, y));
    candidates.into_iter().find(|c| free(*c)).unwrap_or(candidates[0])
}

/// A frame whose outer edge is the box.
fn frame(picture: &mut RgbImage, [x0, y0, x1, y1]: [f32; 4], line: i64, colour: Rgb) {
    if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) {
        return;
    }
    let t = line as f32;
    fill(picture, [x0, y0, x1, y0 + t], colour);
    fill(picture, [x0, y1 - t, x1, y1], colour);
    fill(picture, [x0, y0, x0 + t, y1], colour);
    fill(picture, [x1 - t, y0, x1, y1], colour);
}

/// Fills a rectangle, cut to the picture; one that is thinner than a pixel still fills one.
fn fill(picture: &mut RgbImage, [x0, y0, x1, y1]: [f32; 4], colour: Rgb) {
    let span = |a: f32, b: f32, limit: u32| {
        let start = a.round().clamp(0.0, limit as f32) as u32;
        let end = b.round().clamp(0.0, limit as f32) as u32;
        start..end.max((start + 1).min(limit))
    };
    for y in span(y0, y1, picture.height()) {
        for x in span(x0, x1, picture.width()) {
            picture.put_pixel(x, y, Pixel(colour));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(bbox: [f32; 4], label: &str) -> LabelledBox {
        LabelledBox { bbox, colour: [200, 30, 30], label: label.into() }
    }

    #[test]
    fn frames_lie_on_the_box_and_leave_its_inside() {
        let mut picture = RgbImage::new(200, 100);
        draw_boxes(&mut picture, &[boxed([20.0, 40.0, 120.0, 90.0], "")]);
        for at in [(20, 40), (119, 89), (70, 40), (20, 60)] {
            assert_eq!(picture.get_pixel(at.0, at.1).0, [200, 30, 30], "{at:?}");
        }
        for at in [(70, 60), (19, 40), (120, 60), (70, 90)] {
            assert_eq!(picture.get_pixel(at.0, at.1).0, [0, 0, 0], "{at:?}");
        }
    }

    #[test]
    fn labels_avoid_each_other_and_the_edge() {
        let picture = (400.0, 300.0);
        let first = place([10.0, 5.0, 100.0, 80.0], (60.0, 20.0), picture, &[]);
        assert_eq!(first, (10.0, 0.0));
        let taken = [[10.0, 0.0, 70.0, 20.0]];
        assert_eq!(place([10.0, 5.0, 100.0, 80.0], (60.0, 20.0), picture, &taken), (10.0, 80.0));
        assert_eq!(place([390.0, 290.0, 399.0, 299.0], (60.0, 20.0), picture, &[]), (340.0, 270.0));
    }

    #[test]
    fn no_box_is_too_odd() {
        let mut picture = RgbImage::new(32, 32);
        let odd = [
            boxed([-1e9, -1e9, 1e9, 1e9], "a label much longer than the picture is wide"),
            boxed([f32::NAN, 0.0, 1.0, 1.0], "nan"),
            boxed([5.0, 5.0, 5.0, 5.0], "point"),
            boxed([900.0, 900.0, 950.0, 950.0], "outside"),
        ];
        draw_boxes(&mut picture, &odd);
        draw_boxes(&mut RgbImage::new(0, 0), &odd);
        assert_eq!(picture.dimensions(), (32, 32));
    }
}
