//! The learned rational functions of every layer, drawn beside what they started as.
//!
//! F(x) = P(x) / Q(x), P = a0 + a1 x + …, Q = 1 + |b1||x| + |b2||x|² + … (each term's absolute value, as the
//! published kernels compute it) or 1 + |b1 x + b2 x² + …| (as the paper has it).

use kat_backbone::init::fit::evaluate;
use kat_backbone::ops::rational::Denominator;
use ndarray::ArrayView2;
use plotters::prelude::{
    ChartBuilder, DashedLineSeries, DrawingBackend, LabelAreaPosition, LineSeries, PathElement, TRANSPARENT,
};
use plotters::style::text_anchor::{HPos, VPos};

use super::pen::{Area, Drawn, Ink, Pen, Tip};
use super::range::{Spread, covering, label};
use super::{Drawing, Plot, PlotError};
use crate::draw::palette::class_color;
use crate::report::html::visible;

/// Range of x drawn: the range that the initial coefficients were fitted on.
const RANGE: f64 = 3.0;
const POINTS: usize = 121;

/// One rational function.
#[derive(Debug, Clone, PartialEq)]
pub struct Rational {
    /// a0, a1, …
    pub numerator: Vec<f32>,
    /// b1, b2, …
    pub denominator: Vec<f32>,
    /// Which denominator.
    pub form: Denominator,
}

impl Rational {
    /// Value at x.
    pub fn at(&self, x: f64) -> f64 {
        evaluate((&self.numerator, &self.denominator, self.form), x)
    }
}

/// The functions of one activation of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct RationalLayer {
    /// "blocks.3.mlp.act1".
    pub name: String,
    /// One for each group of channels.
    pub groups: Vec<Rational>,
    /// What they started as: one for each group, or one that all did; none where that is not known.
    pub initial: Vec<Rational>,
}

/// Functions from coefficient tables as checkpoints have them: (1 or G, degree + 1) and (G or 1, degree). None where the row counts
/// do not fit together.
pub fn rows(
    numerators: ArrayView2<'_, f32>,
    denominators: ArrayView2<'_, f32>,
    form: Denominator,
) -> Option<Vec<Rational>> {
    let groups = numerators.nrows().max(denominators.nrows());
    let row = |rows: ArrayView2<'_, f32>, g: usize| match rows.nrows() {
        1 => Some(rows.row(0).to_vec()),
        n if n == groups => Some(rows.row(g).to_vec()),
        _ => None,
    };
    let function =
        |g| Some(Rational { numerator: row(numerators, g)?, denominator: row(denominators, g)?, form });
    (0..groups).map(function).collect()
}

impl RationalLayer {
    /// Largest distance of a group from its initial function over the drawn range; 0 where that is not known.
    pub fn moved(&self) -> f64 {
        let apart = |(g, function): (usize, &Rational)| {
            let start = self.initial.get(g).or(self.initial.first())?;
            Some(xs().map(|x| (function.at(x) - start.at(x)).abs()).fold(0.0, f64::max))
        };
        self.groups.iter().enumerate().filter_map(apart).fold(0.0, f64::max)
    }

    /// The initial functions, those that are the same once.
    fn starts(&self) -> impl Iterator<Item = &Rational> {
        let before = |i: usize| &self.initial[..i];
        self.initial.iter().enumerate().filter(move |(i, f)| !before(*i).contains(f)).map(|(_, f)| f)
    }
}

/// Small panels, one for each layer, `columns` beside each other; groups in color, the start dashed.
///
/// # Errors
/// None on the backends that there are.
pub fn rational_panels(layers: &[RationalLayer], columns: usize) -> Result<Plot, PlotError> {
    Plot::of(Panels { layers: layers.to_vec(), columns: columns.clamp(1, layers.len().max(1)) })
}

/// Size of a panel in pixels.
const PANEL: (u32, u32) = (210, 170);
const TOP: u32 = 54;
/// Dash and gap in pixels.
const DASH: (f32, f32) = (4.0, 3.0);

struct Panels {
    layers: Vec<RationalLayer>,
    columns: usize,
}

impl Drawing for Panels {
    fn title(&self) -> &str {
        "Learned rational functions"
    }

    fn size(&self) -> (u32, u32) {
        let rows = self.layers.len().div_ceil(self.columns) as u32;
        ((PANEL.0 * self.columns as u32).max(420), TOP + PANEL.1 * rows)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<Vec<Tip>, B> {
        let text = |size, ink| pen.text(size, ink, HPos::Left, VPos::Center);
        pen.write(area, (8.0, 14.0), self.title(), text(14.0, Ink::Text))?;
        if self.layers.iter().any(|layer| !layer.initial.is_empty()) {
            for dash in 0..3 {
                let x = 8.0 + dash as f32 * (DASH.0 + DASH.1);
                let stroke = pen.stroke(Ink::Muted, 1.5, 1.0);
                area.draw(&PathElement::new([pen.at(x, 34.0), pen.at(x + DASH.0, 34.0)], stroke))?;
            }
            pen.write(area, (36.0, 34.0), "at the start", text(11.0, Ink::Muted))?;
        }
        let solid = pen.stroke(Ink::Fixed(class_color(0)), 1.5, 1.0);
        area.draw(&PathElement::new([pen.at(130.0, 34.0), pen.at(152.0, 34.0)], solid))?;
        pen.write(area, (158.0, 34.0), "learned, one curve for each group", text(11.0, Ink::Muted))?;
        for (i, layer) in self.layers.iter().enumerate() {
            let (column, row) = ((i % self.columns) as u32, (i / self.columns) as u32);
            let corner = pen.at((column * PANEL.0) as f32, (TOP + row * PANEL.1) as f32);
            let size = pen.scaled(PANEL);
            panel(&area.clone().shrink(corner, size), pen, layer)?;
        }
        Ok(Vec::new())
    }
}

fn xs() -> impl Iterator<Item = f64> {
    (0..POINTS).map(|i| RANGE * (2.0 * i as f64 / (POINTS - 1) as f64 - 1.0))
}

fn panel<B: DrawingBackend>(area: &Area<B>, pen: Pen, layer: &RationalLayer) -> Drawn<(), B> {
    let all = layer.groups.iter().chain(&layer.initial);
    let y = covering(all.flat_map(|f| xs().map(|x| f.at(x).clamp(-1e6, 1e6))), Spread::Linear);
    let name = pen.text(11.0, Ink::Text, HPos::Left, VPos::Center);
    pen.write(area, (34.0, 11.0), &visible(&layer.name), name)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(pen.px(22.0))
        .margin_right(pen.px(12.0))
        .set_label_area_size(LabelAreaPosition::Left, pen.px(34.0))
        .set_label_area_size(LabelAreaPosition::Bottom, pen.px(26.0))
        .build_cartesian_2d(-RANGE..RANGE, y)?;
    chart
        .configure_mesh()
        .axis_style(TRANSPARENT)
        .max_light_lines(0)
        .bold_line_style(pen.stroke(Ink::Grid, 1.0, 1.0))
        .x_labels(4)
        .y_labels(5)
        .x_label_formatter(&|v| label(*v))
        .y_label_formatter(&|v| label(*v))
        .label_style(pen.text(9.5, Ink::Muted, HPos::Center, VPos::Center))
        .set_all_tick_mark_size(pen.px(2.5))
        .draw()?;
    let points = |f: &Rational| {
        let points: Vec<(f64, f64)> = xs().map(|x| (x, f.at(x))).filter(|p| p.1.is_finite()).collect();
        points
    };
    for (g, function) in layer.groups.iter().enumerate() {
        let stroke = pen.stroke(Ink::Fixed(class_color(g)), 1.5, 0.85);
        chart.draw_series(LineSeries::new(points(function), stroke))?;
    }
    let (dash, gap) = (pen.px(DASH.0), pen.px(DASH.1));
    let stroke = pen.stroke(Ink::Muted, 1.5, 1.0);
    for start in layer.starts() {
        chart.draw_series(DashedLineSeries::new(points(start), dash, gap, stroke))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn identity() -> Rational {
        Rational {
            numerator: vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
            denominator: vec![0.0; 4],
            form: Denominator::Kernel,
        }
    }

    #[test]
    fn values_use_each_terms_absolute_value() {
        assert_eq!(identity().at(-1.5), -1.5);
        let (numerator, denominator) = (vec![1.0, 2.0, 3.0], vec![-0.5, 0.25]);
        let f = Rational { numerator, denominator, form: Denominator::Kernel };
        // P(-2) = 1 - 4 + 12, Q(-2) = 1 + 0.5·2 + 0.25·4, or 1 + |0.5·2 + 0.25·4| as -0.5·-2 is positive.
        assert!((f.at(-2.0) - 9.0 / 3.0).abs() < 1e-12);
        let paper = Rational { form: Denominator::Paper, ..f };
        // Q(2) = 1 + |-0.5·2 + 0.25·4|.
        assert!((paper.at(-2.0) - 3.0).abs() < 1e-12 && (paper.at(2.0) - 17.0).abs() < 1e-12);
    }

    #[test]
    fn one_numerator_serves_all_groups() {
        let form = Denominator::Kernel;
        let groups = rows(array![[0.0, 2.0]].view(), Array2::zeros((8, 4)).view(), form).unwrap();
        let mut layer = RationalLayer { name: "a".into(), groups, initial: vec![identity()] };
        assert_eq!(layer.groups.len(), 8);
        assert!((layer.moved() - 3.0).abs() < 1e-9);
        // each group has a start of its own, and what is the same is drawn once
        layer.initial = layer.groups.clone();
        layer.initial[3] = identity();
        assert!((layer.moved() - 3.0).abs() < 1e-9);
        assert_eq!(layer.starts().count(), 2);
        layer.initial.clear();
        assert_eq!(layer.moved(), 0.0);
        assert!(rows(array![[0.0], [1.0]].view(), Array2::zeros((3, 1)).view(), form).is_none());
    }

    #[test]
    fn panels_fill_a_grid_and_bear_broken_coefficients() {
        let broken = Rational {
            numerator: vec![f32::NAN; 6],
            denominator: vec![f32::INFINITY; 4],
            form: Denominator::Kernel,
        };
        let layer = RationalLayer { name: "a".into(), groups: vec![broken], initial: vec![identity()] };
        let plot = rational_panels(&vec![layer; 5], 4).unwrap();
        assert_eq!(plot.image().unwrap().dimensions(), (2 * 840, 2 * (54 + 2 * 170)));
        assert!(rational_panels(&[], 4).unwrap().image().unwrap().height() > 0);
    }
}
