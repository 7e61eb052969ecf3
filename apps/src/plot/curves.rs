//! Line charts: loss, rate, accuracy over the steps; precision over recall; anything of that kind.

use std::ops::Range;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, DrawingBackend, IntoLogRange as _, LabelAreaPosition, LineSeries,
    PathElement, Ranged, ShapeStyle, TRANSPARENT,
};
use plotters::style::text_anchor::{HPos, VPos};

use super::pen::{Area, Drawn, Ink, Pen, Tip};
use super::range::{Spread, covering, label};
use super::{Drawing, Plot, PlotError};
use crate::draw::font::Font;
use crate::draw::palette::class_color;
use crate::report::html::visible;

/// Most points of a curve that are drawn one by one.
const FEW: usize = 24;
/// Where the first line of the legend lies, in CSS pixels from the top.
const LEGEND: f32 = 37.0;
/// From one line of the legend to the next.
const LEGEND_LINE: f32 = 16.0;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// (x, y), x ascending; values that are not finite leave gaps.
    pub points: Vec<(f64, f64)>,
    /// Drawn faint with its moving average on top, for noisy values such as the loss of a batch.
    pub smooth: bool,
    /// Whether its points are marked where there are few.
    pub marked: bool,
}

impl Series {
    /// A curve drawn as it is.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.into(), points, smooth: false, marked: true }
    }

    /// A line that nothing was measured on.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { marked: false, ..Series::new(name, points) }
    }

    /// A noisy curve, drawn with its moving average.
    pub fn noisy(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { smooth: true, ..Series::new(name, points) }
    }
}

/// A chart of curves over one pair of axes.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// Heading.
    pub title: String,
    /// What x is.
    pub x: String,
    /// The curves.
    pub series: Vec<Series>,
    /// How y is spread.
    pub spread: Spread,
    /// Range of y where it should not follow the data.
    pub y_range: Option<(f64, f64)>,
    /// Whether the legend says the values at both ends of each curve.
    pub ends: bool,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

impl LineChart {
    /// A chart of the usual size with a linear y axis.
    pub fn new(title: impl Into<String>, x: impl Into<String>, series: Vec<Series>) -> Self {
        LineChart {
            title: title.into(),
            x: x.into(),
            series,
            spread: Spread::Linear,
            y_range: None,
            ends: false,
            size: (480, 300),
        }
    }

    /// Draws the chart.
    ///
    /// # Errors
    /// None on the backends that there are.
    pub fn plot(&self) -> Result<Plot, PlotError> {
        Plot::of(self.clone())
    }

    fn values(&self, pick: fn(&(f64, f64)) -> f64) -> impl Iterator<Item = f64> {
        self.series.iter().flat_map(move |s| s.points.iter().map(pick)).filter(|v| v.is_finite())
    }

    /// The range of x, which ends where the data end.
    fn x_range(&self) -> Range<f64> {
        let ends =
            self.values(|p| p.0).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if ends.0 < ends.1 { ends.0..ends.1 } else { covering(self.values(|p| p.0), Spread::Linear) }
    }

    /// What the legend says, each with its place: line by line from `left` on. A single curve needs a legend only where it says
    /// values.
    fn entries(&self, left: f32) -> Vec<(f32, f32, String)> {
        if self.series.len() < 2 && !self.ends {
            return Vec::new();
        }
        let (font, right, mut x, mut y) = (Font::new(), self.size.0 as f32 - 14.0, left, LEGEND);
        let mut entries = Vec::new();
        for series in &self.series {
            let mut name = visible(&series.name);
            let mut known = series.points.iter().map(|p| p.1).filter(|v| v.is_finite());
            if let (true, Some(first)) = (self.ends, known.next()) {
                let last = known.next_back();
                name += &format!("  {}", brief(first));
                last.into_iter().for_each(|last| name += &format!(" → {}", brief(last)));
            }
            let name = font.fit(&name, 11.0, right - left - 22.0);
            let width = font.width(&name, 11.0) + 22.0;
            if x > left && x + width > right {
                (x, y) = (left, y + LEGEND_LINE);
            }
            entries.push((x, y, name));
            x += width + 16.0;
        }
        entries
    }

    /// Axes, grid and curves in an area under the headings.
    fn body<B, Y>(&self, area: &Area<B>, pen: Pen, left: f32, (low, y): (f64, Y)) -> Drawn<(), B>
    where
        B: DrawingBackend,
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin_right(pen.px(14.0))
            .set_label_area_size(LabelAreaPosition::Left, pen.px(left))
            .set_label_area_size(LabelAreaPosition::Bottom, pen.px(40.0))
            .build_cartesian_2d(self.x_range(), y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(pen.stroke(Ink::Grid, 1.0, 1.0))
            .axis_style(TRANSPARENT)
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|v| label(*v))
            .y_label_formatter(&|v| label(*v))
            .label_style(pen.text(11.0, Ink::Muted, HPos::Center, VPos::Center))
            .set_all_tick_mark_size(pen.px(3.0))
            .x_desc(visible(&self.x))
            .axis_desc_style(pen.text(11.0, Ink::Muted, HPos::Center, VPos::Center))
            .draw()?;
        let x = self.x_range();
        let axis = [(x.start, low), (x.end, low)];
        chart.draw_series([PathElement::new(axis, pen.stroke(Ink::Muted, 1.0, 1.0))])?;
        let shown = |p: &(f64, f64)| {
            p.0.is_finite() && p.1.is_finite() && (self.spread == Spread::Linear || p.1 > 0.0)
        };
        for (i, series) in self.series.iter().enumerate() {
            let ink = Ink::Fixed(class_color(i));
            let mut line = |points: &[(f64, f64)], stroke: ShapeStyle| -> Drawn<(), B> {
                for run in points.chunk_by(|a, b| shown(a) == shown(b)).filter(|run| shown(&run[0])) {
                    chart.draw_series(LineSeries::new(run.iter().copied(), stroke))?;
                }
                Ok(())
            };
            let averages = (series.smooth && series.points.len() > 20).then(|| smoothed(&series.points));
            let drawn = averages.as_ref().unwrap_or(&series.points);
            if averages.is_some() {
                line(&series.points, pen.stroke(ink, 1.0, 0.3))?;
            }
            // Two points make no trend.
            if drawn.len() > 2 {
                line(drawn, pen.stroke(ink, 2.0, 1.0))?;
            }
            // Every point where there are few, else where the curve begins and ends.
            let mut dots: Vec<&(f64, f64)> = drawn.iter().filter(|p| series.marked && shown(p)).collect();
            if dots.len() > FEW {
                dots = vec![dots[0], dots[dots.len() - 1]];
            }
            let dot = |p: &(f64, f64)| Circle::new(*p, pen.px(3.0), ink.color().filled());
            chart.draw_series(dots.into_iter().map(dot))?;
        }
        Ok(())
    }
}

impl Drawing for LineChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn size(&self) -> (u32, u32) {
        self.size
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<Vec<Tip>, B> {
        let y = match self.y_range {
            Some((low, high)) => low..high,
            None => covering(self.values(|p| p.1), self.spread),
        };
        let font = Font::new();
        // The longest label is that of an end or of a step between: as long as with one digit more.
        let widest = [y.start, y.end, (y.end - y.start) / 5.0].map(|v| font.width(&label(v), 11.0));
        let left = widest.into_iter().fold(24.0, f32::max) + 14.0;
        pen.write(area, (left, 14.0), &self.title, pen.text(14.0, Ink::Text, HPos::Left, VPos::Center))?;
        let entries = self.entries(left);
        for (i, (x, y, name)) in entries.iter().enumerate() {
            let stroke = pen.stroke(Ink::Fixed(class_color(i)), 3.0, 1.0);
            area.draw(&PathElement::new([pen.at(x + 2.0, *y), pen.at(x + 16.0, *y)], stroke))?;
            pen.write(area, (x + 22.0, *y), name, pen.text(11.0, Ink::Text, HPos::Left, VPos::Center))?;
        }
        let top = entries.last().map_or(34.0, |(_, y, _)| y + 17.0);
        let (_, below) = area.split_vertically(pen.px(top));
        match self.spread {
            Spread::Linear => self.body(&below, pen, left, (y.start, y))?,
            Spread::Log => self.body(&below, pen, left, (y.start, y.log_scale()))?,
        }
        Ok(Vec::new())
    }
}

/// A value in a legend: three digits that matter, where a tick would say more or less.
fn brief(value: f64) -> String {
    match value.abs() {
        size if (1e-3..1e4).contains(&size) => {
            let digits = (2 - size.log10().floor() as i32).max(0) as usize;
            format!("{value:.digits$}")
        }
        _ => label(value),
    }
}

/// Moving average over a twentieth of the curve: at each point the value there of the straight line that fits its
/// neighbors best. In the middle of the curve that is their mean; at the ends, where neighbors are on one side only, it
/// neither lags nor stops short.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const LEAST: usize = 3;
    let half = (points.len() / 40).max(LEAST);
    (0..points.len())
        .map(|i| {
            let window = i.saturating_sub(half)..(i + half + 1).min(points.len());
            let near = window.filter(|k| points[*k].1.is_finite());
            let near: Vec<(f64, f64)> = near.map(|k| (k as f64 - i as f64, points[k].1)).collect();
            (points[i].0, line_at_zero(&near))
        })
        .collect()
}

/// The value at 0 of the line of least squares through these points; NaN where there are none.
fn line_at_zero(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (above, below) =
        points.iter().fold((0.0, 0.0), |(a, b), p| (a + (p.0 - x) * (p.1 - y), b + (p.0 - x).powi(2)));
    match points.len() {
        0 => f64::NAN,
        _ if below == 0.0 => y,
        _ => y - x * above / below,
    }
}

/// The points of the curves of a plot, for tests: those of polylines of more than two, in pixels of the backend.
#[cfg(test)]
pub(crate) fn polylines(svg: &str) -> Vec<Vec<(f64, f64)>> {
    let points =
        svg.split("<polyline").skip(1).filter_map(|line| line.split("points=\"").nth(1)?.split('"').next());
    let number = |text: &str| text.parse::<f64>().unwrap();
    points
        .map(|text| {
            let pairs = text.split_whitespace().map(|pair| pair.split_once(',').unwrap());
            pairs.map(|(x, y)| (number(x), number(y))).collect::<Vec<_>>()
        })
        .filter(|points| points.len() > 2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_stay_inside_the_chart() {
        let points = (0..200).map(|i| (f64::from(i), 5.0 / f64::from(1 + i))).collect();
        let val = vec![(99.0, 0.1), (199.0, f64::NAN)];
        let chart =
            LineChart::new("Loss", "step", vec![Series::noisy("train", points), Series::new("val", val)]);
        let plot = chart.plot().unwrap();
        let (width, height) = Pen::FINEST.scaled(chart.size);
        let curves = polylines(plot.svg());
        assert_eq!(curves.len(), 2);
        for (x, y) in curves.into_iter().flatten() {
            assert!((0.0..=f64::from(width)).contains(&x) && (0.0..=f64::from(height)).contains(&y));
        }
        let says = |text: &str| plot.svg().contains(&format!(">\n{text}\n</text>"));
        assert!(says("Loss") && says("step") && says("train") && says("val"), "{}", plot.svg());
    }

    #[test]
    fn charts_without_data_are_empty_axes() {
        for series in [vec![], vec![Series::new("a", vec![])], vec![Series::new("a", vec![(1.0, f64::NAN)])]]
        {
            for spread in [Spread::Linear, Spread::Log] {
                let chart = LineChart { spread, ..LineChart::new("t", "x", series.clone()) };
                assert!(chart.plot().unwrap().svg().contains("var(--grid)"));
            }
        }
    }

    #[test]
    fn averages_keep_lines_straight_and_ends_in_place() {
        let line: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        let average = smoothed(&line);
        assert_eq!(average.len(), line.len());
        for (a, b) in average.iter().zip(&line) {
            assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-9);
        }
        // A value that is missing leaves a gap only where all its neighbors are missing too.
        let mut holes = line.clone();
        holes[0].1 = f64::NAN;
        holes[50..70].iter_mut().for_each(|p| p.1 = f64::NAN);
        let average = smoothed(&holes);
        assert!(average[0].1.abs() < 1e-9 && average[60].1.is_nan());
    }

    #[test]
    fn two_evaluations_are_two_points_and_no_line() {
        let lines = |count: u32| {
            let points = (0..count).map(|i| (f64::from(i), f64::from(i))).collect();
            let plot = LineChart::new("t", "x", vec![Series::new("val", points)]).plot().unwrap();
            (polylines(plot.svg()).len(), plot.svg().matches("<circle").count())
        };
        assert_eq!((lines(1), lines(2), lines(3)), ((0, 1), (0, 2), (1, 3)));
        // of many, both ends
        assert_eq!((lines(24), lines(25)), ((1, 24), (1, 2)));
    }

    #[test]
    fn the_legend_names_every_curve_and_says_both_ends() {
        let series =
            (0..6).map(|i| Series::new(format!("part number {i}"), vec![(0.0, 12.345), (9.0, 0.0678)]));
        let chart = LineChart { ends: true, ..LineChart::new("t", "x", series.collect()) };
        let svg = chart.plot().unwrap().svg().to_owned();
        for i in 0..6 {
            assert!(svg.contains(&format!("\npart number {i}  12.3 → 0.0678\n")), "{i}: {svg}");
        }
        let inside = |(x, y, name): &(f32, f32, String)| {
            *y < 120.0 && x + 22.0 + Font::new().width(name, 11.0) <= chart.size.0 as f32
        };
        assert!(chart.entries(30.0).iter().all(inside));
        assert_eq!([0.5, 123.4, 2e-5, 54321.0, 0.0].map(brief), ["0.500", "123", "2e-5", "54.321k", "0"]);
    }
}
