//! What all plots are drawn with: inks, text, and one scale for every length.

use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::{
    Color as _, DrawingArea, DrawingAreaErrorKind, DrawingBackend, FontFamily, IntoFont as _, RGBColor,
    ShapeStyle, Text, TextStyle,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform, register_font as register};

use crate::draw::font::DEJAVU_SANS;
use crate::draw::palette::Rgb;
use crate::report::html::visible;

/// Where to draw.
pub(super) type Area<B> = DrawingArea<B, Shift>;
/// What drawing gives.
pub(super) type Drawn<T, B> = Result<T, DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Makes the font that the program carries known to plotters, which then asks the system for none.
pub(super) fn register_font() -> Result<(), &'static str> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| register("sans-serif", FontStyle::Normal, DEJAVU_SANS).is_ok());
    if *done { Ok(()) } else { Err("its font cannot be read") }
}

/// A color that follows the reader's light or dark theme, or a fixed one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ink {
    /// Text.
    Text,
    /// Secondary text and axes.
    Muted,
    /// Grid lines and frames.
    Grid,
    /// The background.
    Surface,
    /// The same in every theme.
    Fixed(Rgb),
}

impl Ink {
    /// The color in the light theme. No fixed color is exactly one of these.
    pub(super) fn rgb(self) -> Rgb {
        match self {
            Self::Text => [28, 30, 33],
            Self::Muted => [96, 102, 110],
            Self::Grid => [222, 225, 230],
            Self::Surface => [255, 255, 254],
            Self::Fixed(rgb) => rgb,
        }
    }

    pub(super) fn color(self) -> RGBColor {
        let [r, g, b] = self.rgb();
        RGBColor(r, g, b)
    }
}

/// Text that is shown where the pointer rests on an area.
pub(super) struct Tip {
    /// Left, top, width, height, scaled.
    pub(super) frame: [i32; 4],
    pub(super) text: String,
}

/// Pixels of the backend for a CSS pixel. plotters counts in whole pixels, so plots are drawn larger than shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pen {
    pub(super) scale: u32,
}

impl Pen {
    /// Quarters of a CSS pixel.
    pub(super) const FINEST: Self = Self { scale: 4 };

    pub(super) fn scaled(self, (width, height): (u32, u32)) -> (u32, u32) {
        (width * self.scale, height * self.scale)
    }

    /// A length in CSS pixels as the backend has it.
    pub(super) fn px(self, length: f32) -> i32 {
        (length * self.scale as f32).round() as i32
    }

    /// A point in CSS pixels as the backend has it.
    pub(super) fn at(self, x: f32, y: f32) -> (i32, i32) {
        (self.px(x), self.px(y))
    }

    /// A line `width` CSS pixels wide.
    pub(super) fn stroke(self, ink: Ink, width: f32, opacity: f64) -> ShapeStyle {
        ink.color().mix(opacity).stroke_width(self.px(width).max(1) as u32)
    }

    /// Text of `size` CSS pixels an em, which plotters makes 1.24 of the size asked for.
    pub(super) fn text(self, size: f32, ink: Ink, h: HPos, v: VPos) -> TextStyle<'static> {
        let size = f64::from(size) * 1.24 * f64::from(self.scale);
        let font = (FontFamily::SansSerif, size).into_font();
        font.color(&ink.color()).pos(Pos::new(h, v))
    }

    /// Draws text with its reference point at `at`, in CSS pixels.
    pub(super) fn write<B: DrawingBackend>(
        self,
        area: &Area<B>,
        (x, y): (f32, f32),
        text: &str,
        style: TextStyle<'_>,
    ) -> Drawn<(), B> {
        area.draw(&Text::new(visible(text), self.at(x, y), style))
    }
}

/// The style, read from below to above.
pub(super) fn upwards(style: TextStyle<'static>) -> TextStyle<'static> {
    style.transform(FontTransform::Rotate270)
}
