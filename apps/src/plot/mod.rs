//! Plots, drawn by plotters: SVG inside the report, which follows the reader's light or dark theme, and PNG beside it.

pub mod bars;
pub mod confusion;
pub mod curves;
mod pen;
pub mod range;
pub mod rationals;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use image::imageops::thumbnail;
use plotters::prelude::{BitMapBackend, DrawingBackend, IntoDrawingArea, SVGBackend, WHITE};

use crate::report::html::escape;
use pen::{Area, Drawn, Ink, Pen, Tip};

/// Longest side in pixels of the bitmap that a plot is drawn on.
const LONGEST: u32 = 16_000;

/// A plot that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw \"{title}\": {reason}")]
pub struct PlotError {
    title: String,
    reason: String,
}

/// A finished plot.
#[derive(Clone)]
pub struct Plot {
    svg: String,
    /// Draws it as a bitmap, which takes longer than the rest and is not always wanted.
    bitmap: Arc<dyn Fn() -> Result<RgbImage, PlotError> + Send + Sync>,
}

impl std::fmt::Debug for Plot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plot").field("svg", &self.svg).finish_non_exhaustive()
    }
}

/// Something to draw, the same on every backend.
trait Drawing {
    /// What it shows, for readers who cannot see it.
    fn title(&self) -> &str;

    /// Width and height in CSS pixels.
    fn size(&self) -> (u32, u32);

    /// Draws it; returns what is shown where the pointer rests.
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<Vec<Tip>, B>;
}

impl Plot {
    /// Draws it as SVG.
    fn of(drawing: impl Drawing + Send + Sync + 'static) -> Result<Self, PlotError> {
        let failed = |reason: String| PlotError { title: drawing.title().to_owned(), reason };
        pen::register_font().map_err(|reason| failed(reason.to_owned()))?;
        let (mut svg, pen) = (String::new(), Pen::FINEST);
        let area = SVGBackend::with_string(&mut svg, pen.scaled(drawing.size())).into_drawing_area();
        let tips = drawing.draw(&area, pen).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
        drop(area);
        let svg = for_page(&svg, &drawing, pen, &tips);
        Ok(Self { svg, bitmap: Arc::new(move || Self::bitmap(&drawing)) })
    }

    fn bitmap(drawing: &impl Drawing) -> Result<RgbImage, PlotError> {
        let failed = |reason: String| PlotError { title: drawing.title().to_owned(), reason };
        let (width, height) = drawing.size();
        let pen = Pen { scale: (LONGEST / width.max(height).max(1)).clamp(1, Pen::FINEST.scale) };
        let (columns, rows) = pen.scaled((width, height));
        let mut pixels = vec![255; 3 * columns as usize * rows as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, (columns, rows)).into_drawing_area();
        area.fill(&WHITE).map_err(|e| failed(e.to_string()))?;
        drawing.draw(&area, pen).map_err(|e| failed(e.to_string()))?;
        area.present().map_err(|e| failed(e.to_string()))?;
        drop(area);
        let image = RgbImage::from_raw(columns, rows, pixels).unwrap_or_default();
        // plotters draws without anti-aliasing in places: half the size smooths it, and is still twice the page's.
        Ok(if pen.scale > 1 { thumbnail(&image, columns / 2, rows / 2) } else { image })
    }

    /// The plot as an `<svg>` element whose colors are those of the page around it.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The plot on white.
    ///
    /// # Errors
    /// None on the backends that there are.
    pub fn image(&self) -> Result<RgbImage, PlotError> {
        (self.bitmap)()
    }

    /// Writes the plot as PNG.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write_png(&self, path: &Path) -> anyhow::Result<()> {
        Ok(kat_images::encode::save_png(&self.image()?, path)?)
    }
}

/// plotters' SVG as a part of a page: a head of the page's size, the page's colors and font, and the tips.
fn for_page(svg: &str, drawing: &impl Drawing, pen: Pen, tips: &[Tip]) -> String {
    let (width, height) = drawing.size();
    let (columns, rows) = pen.scaled((width, height));
    let mut out = format!(
        "<svg viewBox=\"0 0 {columns} {rows}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        escape(drawing.title())
    );
    let body = svg.split_once(">\n").map_or(svg, |(_, body)| body);
    let mut body = body.replace(" font-family=\"sans-serif\"", "").replace(" opacity=\"1\"", "");
    for (ink, variable) in
        [(Ink::Text, "text"), (Ink::Muted, "muted"), (Ink::Grid, "grid"), (Ink::Surface, "surface")]
    {
        let [r, g, b] = ink.rgb();
        body = body.replace(&format!("\"#{r:02X}{g:02X}{b:02X}\""), &format!("\"var(--{variable})\""));
    }
    out.push_str(body.trim_end().strip_suffix("</svg>").unwrap_or(&body));
    for Tip { frame: [x, y, w, h], text } in tips {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill-opacity=\"0\"><title>{}</title></rect>",
            escape(text)
        );
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::bars::{Bar, bars};

    #[test]
    fn names_cannot_break_out_of_the_page_and_colors_follow_it() {
        let bar = Bar { name: "<b>&'\u{1b}".into(), value: Some(0.5), color: [255, 0, 16] };
        let plot = bars("\"><script>", &[bar]).unwrap();
        let svg = plot.svg();
        assert!(svg.contains("aria-label=\"&quot;&gt;&lt;script&gt;\""), "{svg}");
        assert!(svg.contains("<title>&lt;b&gt;&amp;&#39;\u{fffd}: 0.5000</title></rect>"), "{svg}");
        assert!(!svg.contains("<b>") && !svg.contains('\u{1b}') && !svg.contains("http"), "{svg}");
        assert!(
            svg.contains("fill=\"#FF0010\"") && svg.contains("var(--text)") && svg.contains("var(--grid)")
        );
        assert_eq!(svg.matches("<svg").count() + svg.matches("</svg>").count(), 2);
        assert_eq!(plot.image().unwrap().width(), 2 * 560);
    }
}
