//! Horizontal bars with a name and a value each: IoU or AP by class.

use plotters::prelude::{
    ChartBuilder, Color as _, DrawingBackend, EmptyElement, LabelAreaPosition, Rectangle, TRANSPARENT, Text,
};
use plotters::style::text_anchor::{HPos, VPos};

use super::pen::{Area, Drawn, Ink, Pen, Tip};
use super::range::label;
use super::{Drawing, Plot, PlotError};
use crate::draw::font::Font;
use crate::draw::palette::Rgb;
use crate::report::html::visible;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Its value in [0, 1], or none where there is nothing to measure.
    pub value: Option<f64>,
    /// Its color.
    pub color: Rgb,
}

/// Bars for values in [0, 1], below each other in the order given.
///
/// # Errors
/// None on the backends that there are.
pub fn bars(title: &str, bars: &[Bar]) -> Result<Plot, PlotError> {
    Plot::of(BarChart { title: title.to_owned(), bars: bars.to_vec() })
}

const WIDTH: f32 = 560.0;
const ROW: f32 = 20.0;
const TOP: f32 = 48.0;
const BELOW: f32 = 6.0;
/// Right of the longest bar, for its value.
const RIGHT: f32 = 56.0;

struct BarChart {
    title: String,
    bars: Vec<Bar>,
}

impl Drawing for BarChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn size(&self) -> (u32, u32) {
        (WIDTH as u32, (TOP + ROW * self.bars.len() as f32 + BELOW) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<Vec<Tip>, B> {
        let font = Font::new();
        let names: Vec<String> = self.bars.iter().map(|b| font.fit(&visible(&b.name), 12.0, 200.0)).collect();
        let left = names.iter().map(|n| font.width(n, 12.0)).fold(40.0, f32::max) + 22.0;
        pen.write(area, (8.0, 14.0), &self.title, pen.text(14.0, Ink::Text, HPos::Left, VPos::Center))?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(pen.px(24.0))
            .margin_right(pen.px(RIGHT))
            .margin_bottom(pen.px(BELOW))
            .set_label_area_size(LabelAreaPosition::Top, pen.px(TOP - 24.0))
            .set_label_area_size(LabelAreaPosition::Left, pen.px(left))
            .build_cartesian_2d(0.0..1.0, self.bars.len().max(1) as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .axis_style(TRANSPARENT)
            .y_labels(0)
            .x_labels(5)
            .x_max_light_lines(0)
            .bold_line_style(pen.stroke(Ink::Grid, 1.0, 1.0))
            .x_label_formatter(&|v| label(*v))
            .label_style(pen.text(11.0, Ink::Muted, HPos::Center, VPos::Bottom))
            .set_all_tick_mark_size(pen.px(4.0))
            .draw()?;
        let name_style = pen.text(12.0, Ink::Text, HPos::Right, VPos::Center);
        let value_style = |ink| pen.text(11.0, ink, HPos::Left, VPos::Center);
        let mut tips = Vec::new();
        for (i, (bar, name)) in self.bars.iter().zip(names).enumerate() {
            let (y, middle) = (i as f64, i as f64 + 0.5);
            let named = Text::new(name, pen.at(-8.0, 0.0), name_style.clone());
            let value = bar.value.filter(|v| v.is_finite());
            let length = value.unwrap_or(0.0).clamp(0.0, 1.0);
            let (said, ink) = match value {
                Some(value) => (format!("{:.1} %", 100.0 * value), Ink::Text),
                None => ("not present".to_owned(), Ink::Muted),
            };
            let said = Text::new(said, pen.at(6.0, 0.0), value_style(ink));
            if let Some(value) = value {
                let corners = [(0.0, y + 0.1), (length, y + 0.85)];
                chart.draw_series([Rectangle::new(corners, Ink::Fixed(bar.color).color().filled())])?;
                let [a, b] = corners.map(|corner| chart.backend_coord(&corner));
                let text = format!("{}: {value:.4}", bar.name);
                tips.push(Tip { frame: [a.0, a.1, b.0 - a.0, b.1 - a.1], text });
            }
            chart.draw_series([EmptyElement::at((0.0, middle)) + named])?;
            chart.draw_series([EmptyElement::at((length, middle)) + said])?;
        }
        Ok(tips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_proportional_and_absent_classes_are_said() {
        let bar = |name: &str, value| Bar { name: name.into(), value, color: [1, 2, 3] };
        let all = [bar("a", Some(1.0)), bar("b", Some(0.25)), bar("c", None), bar("d", Some(f64::NAN))];
        let plot = bars("IoU", &all).unwrap();
        let rects = plot.svg().split("<rect ").skip(1).filter(|rect| rect.contains("fill=\"#010203\""));
        let lengths: Vec<f64> = rects
            .map(|rect| rect.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(lengths.len(), 2);
        assert!((lengths[0] - 4.0 * lengths[1]).abs() <= 4.0, "{lengths:?}");
        assert_eq!(plot.svg().matches("not present").count(), 2);
    }
}
