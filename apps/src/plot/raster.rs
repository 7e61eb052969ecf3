//! A scene as PNG, anti-aliased, on white.

use std::path::Path;

use ab_glyph::OutlineCurve;
use image::RgbImage;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke as SkStroke, StrokeDash,
    Transform,
};

use super::scene::{Anchor, Ink, Scene, Shape, Stroke, Text};
use crate::draw::font::Font;
use crate::draw::palette::Rgb;

/// Pixels of the picture for a pixel of the scene: sharp on dense screens and in papers.
const DENSITY: f32 = 2.0;
/// Largest side of a picture.
const MAX_SIDE: f32 = 16_000.0;

/// Draws the scene at twice its size.
pub fn render(scene: &Scene) -> RgbImage {
    let side = |s: f32| (s * DENSITY).clamp(1.0, MAX_SIDE).round() as u32;
    let (width, height) = (side(scene.width), side(scene.height));
    let Some(mut pixmap) = Pixmap::new(width, height) else {
        return RgbImage::new(1, 1);
    };
    pixmap.fill(Color::WHITE);
    let font = Font::new();
    for shape in &scene.shapes {
        match shape {
            Shape::Line { points, stroke } => line(&mut pixmap, points, stroke),
            Shape::Rect { frame: [x, y, w, h], ink, .. } => {
                // A bar of no length is nothing to fill, and tiny-skia would warn of it.
                if let Some(rect) = Rect::from_xywh(*x, *y, *w, *h).filter(|_| *w > 0.0 && *h > 0.0) {
                    let paint = paint(*ink, 1.0);
                    pixmap.fill_rect(rect, &paint, Transform::from_scale(DENSITY, DENSITY), None);
                }
            }
            Shape::Text(t) => text(&mut pixmap, &font, t),
        }
    }
    // The surface is opaque throughout, so premultiplied and straight values are the same.
    RgbImage::from_fn(width, height, |x, y| {
        let i = 4 * (y as usize * width as usize + x as usize);
        let p = &pixmap.data()[i..i + 3];
        image::Rgb([p[0], p[1], p[2]])
    })
}

/// Draws the scene into a PNG file.
pub fn write_png(scene: &Scene, path: &Path) -> image::ImageResult<()> {
    render(scene).save_with_format(path, image::ImageFormat::Png)
}

fn paint(ink: Ink, opacity: f32) -> Paint<'static> {
    let [r, g, b]: Rgb = match ink {
        Ink::Text => [28, 30, 33],
        Ink::Muted => [96, 102, 110],
        Ink::Grid => [222, 225, 230],
        Ink::Surface => [255, 255, 255],
        Ink::Fixed(rgb) => rgb,
    };
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint.anti_alias = true;
    paint
}

fn line(pixmap: &mut Pixmap, points: &[(f32, f32)], stroke: &Stroke) {
    let Some((first, rest)) = points.split_first() else { return };
    let mut path = PathBuilder::new();
    path.move_to(first.0, first.1);
    for (x, y) in rest {
        path.line_to(*x, *y);
    }
    if rest.is_empty() {
        // A lone point shows as a dot: a line of no length has round ends.
        path.line_to(first.0 + 0.01, first.1);
    }
    let Some(path) = path.finish() else { return };
    let style = SkStroke {
        width: stroke.width,
        line_cap: LineCap::Round,
        line_join: LineJoin::Round,
        dash: stroke.dash.and_then(|d| StrokeDash::new(d.to_vec(), 0.0)),
        ..Default::default()
    };
    let scale = Transform::from_scale(DENSITY, DENSITY);
    pixmap.stroke_path(&path, &paint(stroke.ink, stroke.opacity), &style, scale, None);
}

fn text(pixmap: &mut Pixmap, font: &Font, t: &Text) {
    let mut path = PathBuilder::new();
    let mut pen = None;
    for curve in font.outlines(&t.text, t.size) {
        let (start, end) = match &curve {
            OutlineCurve::Line(a, b) => (*a, *b),
            OutlineCurve::Quad(a, _, c) => (*a, *c),
            OutlineCurve::Cubic(a, _, _, d) => (*a, *d),
        };
        if pen != Some(start) {
            path.move_to(start.x, start.y);
        }
        match curve {
            OutlineCurve::Line(_, b) => path.line_to(b.x, b.y),
            OutlineCurve::Quad(_, b, c) => path.quad_to(b.x, b.y, c.x, c.y),
            OutlineCurve::Cubic(_, b, c, d) => path.cubic_to(b.x, b.y, c.x, c.y, d.x, d.y),
        }
        pen = Some(end);
    }
    let Some(path) = path.finish() else { return };
    let shift = match t.anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -0.5 * font.width(&t.text, t.size),
        Anchor::End => -font.width(&t.text, t.size),
    };
    let transform = Transform::from_translate(shift, 0.0)
        .post_concat(Transform::from_rotate(t.rotate))
        .post_translate(t.at.0, t.at.1)
        .post_scale(DENSITY, DENSITY);
    pixmap.fill_path(&path, &paint(t.ink, 1.0), FillRule::Winding, transform, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_land_where_they_were_put() {
        let mut scene = Scene::new("", 40.0, 20.0);
        scene.rect([0.0, 0.0, 10.0, 10.0], Ink::Fixed([200, 0, 0]));
        scene.line([(20.0, 15.0), (40.0, 15.0)], Stroke::solid(Ink::Fixed([0, 0, 200]), 2.0));
        let picture = render(&scene);
        assert_eq!(picture.dimensions(), (80, 40));
        assert_eq!(picture.get_pixel(19, 19).0, [200, 0, 0]);
        assert_eq!(picture.get_pixel(21, 21).0, [255, 255, 255]);
        assert_eq!(picture.get_pixel(60, 30).0, [0, 0, 200]);
    }

    #[test]
    fn anchored_text_lies_on_its_side_of_the_point() {
        let columns = |anchor| -> Vec<u32> {
            let mut scene = Scene::new("", 100.0, 20.0);
            scene.text((50.0, 15.0), "HHHH", 12.0, Ink::Text, anchor);
            render(&scene).enumerate_pixels().filter(|p| p.2.0[0] < 128).map(|p| p.0).collect()
        };
        assert!(columns(Anchor::Start).iter().all(|x| *x >= 100));
        assert!(columns(Anchor::End).iter().all(|x| *x <= 100));
        let middle = columns(Anchor::Middle);
        assert!(middle.iter().any(|x| *x < 90) && middle.iter().any(|x| *x > 110));
    }

    #[test]
    fn odd_scenes_do_not_panic() {
        let mut scene = Scene::new("", 0.0, 5.0);
        scene.rect([0.0, 0.0, -3.0, f32::NAN], Ink::Grid);
        scene.text((1e9, -1e9), "", 0.0, Ink::Text, Anchor::Middle);
        scene.line([(1.0, 1.0)], Stroke::solid(Ink::Text, 1.0));
        assert_eq!(render(&scene).dimensions(), (1, 10));
    }
}
