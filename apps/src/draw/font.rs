//! Text without the system's fonts: DejaVu Sans, carried in the binary (licence: assets/DejaVuSans.LICENSE).

use ab_glyph::{Font as _, FontRef, OutlineCurve, Point, PxScale, ScaleFont as _, point};
use image::RgbImage;

use super::palette::{Rgb, blend};

const DEJAVU_SANS: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");

/// The embedded font.
#[derive(Debug, Clone)]
pub struct Font(FontRef<'static>);

impl Default for Font {
    fn default() -> Self {
        Font::new()
    }
}

impl Font {
    /// Parses the font's tables; cheap, but worth keeping for many texts.
    pub fn new() -> Self {
        match FontRef::try_from_slice(DEJAVU_SANS) {
            Ok(font) => Font(font),
            Err(_) => unreachable!("the font is part of the binary and a test parses it"),
        }
    }

    /// A size in pixels that reads well on a picture of this size, seen whole.
    pub fn size_for(width: u32, height: u32) -> f32 {
        (width.max(height) as f32 / 48.0).clamp(12.0, 64.0)
    }

    /// Advance of `text` at the size `px` (pixels an em).
    pub fn width(&self, text: &str, px: f32) -> f32 {
        let font = self.0.as_scaled(self.scale(px));
        let mut last = None;
        text.chars().fold(0.0, |x, c| {
            let id = font.glyph_id(c);
            let kern = last.replace(id).map_or(0.0, |l| font.kern(l, id));
            x + kern + font.h_advance(id)
        })
    }

    /// Height of a line at the size `px`.
    pub fn line_height(&self, px: f32) -> f32 {
        self.0.as_scaled(self.scale(px)).height()
    }

    /// Distance from the top of a line to its base line at the size `px`.
    pub fn ascent(&self, px: f32) -> f32 {
        self.0.as_scaled(self.scale(px)).ascent()
    }

    /// `text`, or as much of it as fits in `max_width` with an ellipsis at its end.
    pub fn fit(&self, text: &str, px: f32, max_width: f32) -> String {
        if self.width(text, px) <= max_width {
            return text.to_owned();
        }
        let mut kept: String = text.to_owned();
        while kept.pop().is_some() {
            let candidate = format!("{}…", kept.trim_end());
            if self.width(&candidate, px) <= max_width {
                return candidate;
            }
        }
        String::new()
    }

    /// Draws `text` with the top left corner of its line at (x, y); what lies outside the picture is cut off.
    pub fn draw(&self, picture: &mut RgbImage, (x, y): (f32, f32), text: &str, px: f32, colour: Rgb) {
        let (width, height) = (picture.width() as i64, picture.height() as i64);
        self.layout(text, px, (x, y + self.ascent(px)), |id, scale, at| {
            let Some(outlined) = self.0.outline_glyph(id.with_scale_and_position(scale, at)) else { return };
            let bounds = outlined.px_bounds();
            outlined.draw(|gx, gy, coverage| {
                let (px, py) = (bounds.min.x as i64 + i64::from(gx), bounds.min.y as i64 + i64::from(gy));
                if (0..width).contains(&px) && (0..height).contains(&py) {
                    let pixel = picture.get_pixel_mut(px as u32, py as u32);
                    pixel.0 = blend(pixel.0, colour, coverage.min(1.0));
                }
            });
        });
    }

    /// The outlines of `text` with its base line starting at the origin, as curves in pixels, y down.
    pub fn outlines(&self, text: &str, px: f32) -> Vec<OutlineCurve> {
        let mut curves = Vec::new();
        self.layout(text, px, (0.0, 0.0), |id, scale, at| {
            let Some(outline) = self.0.outline(id) else { return };
            let factor = self.0.as_scaled(scale);
            let (h, v) = (factor.h_scale_factor(), factor.v_scale_factor());
            let place = |p: Point| point(at.x + p.x * h, at.y - p.y * v);
            curves.extend(outline.curves.into_iter().map(|curve| match curve {
                OutlineCurve::Line(a, b) => OutlineCurve::Line(place(a), place(b)),
                OutlineCurve::Quad(a, b, c) => OutlineCurve::Quad(place(a), place(b), place(c)),
                OutlineCurve::Cubic(a, b, c, d) => {
                    OutlineCurve::Cubic(place(a), place(b), place(c), place(d))
                }
            }));
        });
        curves
    }

    fn layout(
        &self,
        text: &str,
        px: f32,
        origin: (f32, f32),
        mut glyph: impl FnMut(ab_glyph::GlyphId, PxScale, Point),
    ) {
        let scale = self.scale(px);
        let font = self.0.as_scaled(scale);
        let (mut x, mut last) = (origin.0, None);
        for c in text.chars() {
            let id = font.glyph_id(c);
            x += last.replace(id).map_or(0.0, |l| font.kern(l, id));
            glyph(id, scale, point(x, origin.1));
            x += font.h_advance(id);
        }
    }

    /// ab_glyph scales by line height, people by the em.
    fn scale(&self, px: f32) -> PxScale {
        let em = self.0.units_per_em().unwrap_or(2048.0);
        PxScale::from(px * self.0.height_unscaled() / em)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_grow_with_text_and_size() {
        let font = Font::new();
        assert!(font.width("ab", 20.0) > font.width("a", 20.0));
        assert!((font.width("kat", 40.0) - 2.0 * font.width("kat", 20.0)).abs() < 1e-3);
        // DejaVu Sans: the digits are 1303 of 2048 units wide.
        assert!((font.width("0", 100.0) - 100.0 * 1303.0 / 2048.0).abs() < 0.1);
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        let font = Font::new();
        let cut = font.fit("American Staffordshire terrier", 12.0, 80.0);
        assert!(cut.ends_with('…') && cut.starts_with("Amer") && font.width(&cut, 12.0) <= 80.0, "{cut}");
        assert_eq!(font.fit("cat", 12.0, 80.0), "cat");
        assert_eq!(font.fit("cat", 12.0, 1.0), "");
    }

    #[test]
    fn drawing_leaves_ink_within_the_line_and_never_panics_outside() {
        let font = Font::new();
        let mut picture = RgbImage::new(60, 30);
        font.draw(&mut picture, (4.0, 5.0), "Ag", 16.0, [255, 255, 255]);
        let inked: Vec<u32> = picture.enumerate_pixels().filter(|p| p.2.0[0] > 100).map(|p| p.1).collect();
        assert!(inked.len() > 40);
        assert!(inked.iter().all(|y| (5..5 + font.line_height(16.0) as u32 + 1).contains(y)));
        font.draw(&mut picture, (-500.0, 1e6), "far away", 16.0, [255, 0, 0]);
        font.draw(&mut picture, (50.0, 20.0), "half out", 16.0, [255, 0, 0]);
    }
}
