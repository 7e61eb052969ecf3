//! Text without the system's fonts: DejaVu Sans, carried in the binary (license: assets/DejaVuSans.LICENSE).

use ab_glyph::{Font as _, FontRef, PxScale, ScaleFont as _};
use image::RgbImage;
use imageproc::drawing::draw_text_mut;

use super::palette::Rgb;

/// The font file.
pub const DEJAVU_SANS: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");

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

    /// A size in pixels that reads well on an image of this size, seen whole.
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

    /// Draws `text` with the top left corner of its line at (x, y); what lies outside the image is cut off.
    pub fn draw(&self, image: &mut RgbImage, (x, y): (f32, f32), text: &str, px: f32, color: Rgb) {
        // As far as an image may reach: text farther off is not seen.
        let place = |v: f32| v.round().clamp(-65_536.0, 65_536.0) as i32;
        draw_text_mut(image, image::Rgb(color), place(x), place(y), self.scale(px), &self.0, text);
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
        let mut image = RgbImage::new(60, 30);
        font.draw(&mut image, (4.0, 5.0), "Ag", 16.0, [255, 255, 255]);
        let inked: Vec<u32> = image.enumerate_pixels().filter(|p| p.2.0[0] > 100).map(|p| p.1).collect();
        assert!(inked.len() > 40);
        assert!(inked.iter().all(|y| (5..5 + font.line_height(16.0) as u32 + 1).contains(y)));
        font.draw(&mut image, (-500.0, 1e6), "far away", 16.0, [255, 0, 0]);
        font.draw(&mut image, (50.0, 20.0), "half out", 16.0, [255, 0, 0]);
    }
}
