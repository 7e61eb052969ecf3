//! Line charts: loss, rate, accuracy over the steps; precision over recall; anything of that kind.

use super::axis::{Axis, Spread, label};
use super::scene::{Anchor, Ink, Scene, Stroke};
use crate::draw::font::Font;
use crate::draw::palette::{Rgb, class_colour};

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// (x, y), x ascending; values that are not finite leave gaps.
    pub points: Vec<(f64, f64)>,
    /// Drawn faint with its moving average on top, for noisy values such as the loss of a batch.
    pub smooth: bool,
}

impl Series {
    /// A curve drawn as it is.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.into(), points, smooth: false }
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
    /// Width and height in pixels.
    pub size: (f32, f32),
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
            size: (480.0, 300.0),
        }
    }

    /// The chart as shapes.
    pub fn scene(&self) -> Scene {
        let (width, height) = self.size;
        let mut scene = Scene::new(&self.title, width, height);
        let font = Font::new();
        let legend = if self.series.len() > 1 { 20.0 } else { 0.0 };
        let values = |pick: fn(&(f64, f64)) -> f64| {
            self.series.iter().flat_map(move |s| s.points.iter().map(pick)).filter(|v| v.is_finite())
        };
        let y = match self.y_range {
            Some((low, high)) => Axis::exact(low, high),
            None => Axis::covering(values(|p| p.1), self.spread),
        };
        let (x_low, x_high) =
            values(|p| p.0).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let x = if x_low < x_high {
            Axis::exact(x_low, x_high)
        } else {
            Axis::covering(values(|p| p.0), Spread::Linear)
        };
        let y_ticks = y.ticks(5);
        let widest = y_ticks.iter().map(|t| font.width(&label(*t), 11.0)).fold(0.0, f32::max);
        let area =
            Area { left: widest + 14.0, top: 34.0 + legend, right: width - 14.0, bottom: height - 42.0 };

        scene.text((area.left, 18.0), &self.title, 14.0, Ink::Text, Anchor::Start);
        for tick in y_ticks {
            let at = area.y(y.position(tick));
            scene.line([(area.left, at), (area.right, at)], Stroke::solid(Ink::Grid, 1.0));
            scene.text((area.left - 7.0, at + 4.0), label(tick), 11.0, Ink::Muted, Anchor::End);
        }
        for tick in x.ticks(((area.right - area.left) / 80.0) as usize) {
            let at = area.x(x.position(tick));
            scene.text((at, area.bottom + 16.0), label(tick), 11.0, Ink::Muted, Anchor::Middle);
        }
        scene.line([(area.left, area.bottom), (area.right, area.bottom)], Stroke::solid(Ink::Muted, 1.0));
        let middle = (area.left + area.right) / 2.0;
        scene.text((middle, height - 8.0), &self.x, 11.0, Ink::Muted, Anchor::Middle);

        let mut pen = area.left;
        for (i, series) in self.series.iter().enumerate() {
            let colour = class_colour(i);
            self.curve(&mut scene, series, colour, |(px, py)| {
                (area.x(x.position(px)), area.y(y.position(py)))
            });
            if legend > 0.0 && pen < area.right {
                let stroke = Stroke::solid(Ink::Fixed(colour), 3.0);
                scene.line([(pen + 2.0, 36.0), (pen + 16.0, 36.0)], stroke);
                let name = font.fit(&series.name, 11.0, area.right - pen - 22.0);
                let advance = font.width(&name, 11.0) + 38.0;
                scene.text((pen + 22.0, 40.0), name, 11.0, Ink::Text, Anchor::Start);
                pen += advance;
            }
        }
        scene
    }

    fn curve(
        &self,
        scene: &mut Scene,
        series: &Series,
        colour: Rgb,
        place: impl Fn((f64, f64)) -> (f32, f32),
    ) {
        let solid = Stroke::solid(Ink::Fixed(colour), 2.0);
        let clipped = |p: (f32, f32)| (p.0, p.1.clamp(-1e4, 1e4));
        if series.smooth && series.points.len() > 20 {
            let faint = Stroke { width: 1.0, opacity: 0.3, ..solid };
            scene.line(series.points.iter().map(|p| clipped(place(*p))), faint);
            scene.line(smoothed(&series.points).into_iter().map(|p| clipped(place(p))), solid);
        } else {
            // Two points make no trend.
            if series.points.len() > 2 {
                scene.line(series.points.iter().map(|p| clipped(place(*p))), solid);
            }
            if series.points.len() <= 12 {
                for p in &series.points {
                    let (px, py) = place(*p);
                    scene.line([(px, py)], Stroke::solid(Ink::Fixed(colour), 6.0));
                }
            }
        }
    }
}

/// The plotting area within a chart.
struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

impl Area {
    fn x(&self, position: f64) -> f32 {
        self.left + (self.right - self.left) * position as f32
    }

    fn y(&self, position: f64) -> f32 {
        self.bottom - (self.bottom - self.top) * position as f32
    }
}

/// Moving average over a twentieth of the curve: at each point the value there of the straight line that fits its
/// neighbours best. In the middle of the curve that is their mean; at the ends, where neighbours are on one side only, it
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Shape;

    #[test]
    fn curves_stay_inside_the_chart() {
        let points = (0..200).map(|i| (f64::from(i), 5.0 / f64::from(1 + i))).collect();
        let val = vec![(99.0, 0.1), (199.0, f64::NAN)];
        let chart =
            LineChart::new("Loss", "step", vec![Series::noisy("train", points), Series::new("val", val)]);
        let scene = chart.scene();
        for shape in &scene.shapes {
            if let Shape::Line { points, .. } = shape {
                assert!(points.iter().all(|(x, y)| (0.0..=480.0).contains(x) && (0.0..=300.0).contains(y)));
            }
        }
        let says = |text: &str| scene.shapes.iter().any(|s| matches!(s, Shape::Text(t) if t.text == text));
        assert!(says("Loss") && says("step") && says("train") && says("val"));
    }

    #[test]
    fn charts_without_data_are_empty_axes() {
        for series in [vec![], vec![Series::new("a", vec![])], vec![Series::new("a", vec![(1.0, f64::NAN)])]]
        {
            assert!(!LineChart::new("t", "x", series).scene().shapes.is_empty());
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
        // A value that is missing leaves a gap only where all its neighbours are missing too.
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
            let scene = LineChart::new("t", "x", vec![Series::new("val", points)]).scene();
            let coloured = |s: &&Shape| {
                matches!(s, Shape::Line { points, stroke }
                    if points.len() > 1 && stroke.ink == Ink::Fixed(class_colour(0)))
            };
            scene.shapes.iter().filter(coloured).count()
        };
        assert_eq!((lines(1), lines(2), lines(3)), (0, 0, 1));
    }
}
