//! The learned rational functions of every layer, drawn beside what they started as.
//!
//! F(x) = P(x) / Q(x), P = a0 + a1 x + …, Q = 1 + |b1||x| + |b2||x|² + … (each term's absolute value, as the
//! published kernels compute it).

use super::axis::{Axis, Spread, label};
use super::scene::{Anchor, Ink, Scene, Stroke};
use crate::draw::palette::class_colour;

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
}

impl Rational {
    /// Value at x.
    pub fn at(&self, x: f64) -> f64 {
        let p = self.numerator.iter().rev().fold(0.0, |sum, a| sum * x + f64::from(*a));
        let q = self.denominator.iter().rev().fold(0.0, |sum, b| (sum + f64::from(b.abs())) * x.abs());
        p / (1.0 + q)
    }
}

/// The functions of one activation of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct RationalLayer {
    /// "blocks.3.mlp.act1".
    pub name: String,
    /// One for each group of channels.
    pub groups: Vec<Rational>,
    /// What all of them started as.
    pub initial: Rational,
}

impl RationalLayer {
    /// From coefficient tables as checkpoints have them: (1 or G, degree + 1) and (G, degree), row-major, given
    /// as rows. None where the row counts do not fit together.
    pub fn new(
        name: impl Into<String>,
        numerators: &[Vec<f32>],
        denominators: &[Vec<f32>],
        initial: Rational,
    ) -> Option<Self> {
        let groups = numerators.len().max(denominators.len());
        let row = |rows: &[Vec<f32>], g: usize| match rows.len() {
            1 => Some(rows[0].clone()),
            n if n == groups => Some(rows[g].clone()),
            _ => None,
        };
        let groups = (0..groups)
            .map(|g| Some(Rational { numerator: row(numerators, g)?, denominator: row(denominators, g)? }))
            .collect::<Option<Vec<_>>>()?;
        Some(RationalLayer { name: name.into(), groups, initial })
    }

    /// Largest distance of a group from the initial function over the drawn range.
    pub fn moved(&self) -> f64 {
        let apart = |g: &Rational| xs().map(|x| (g.at(x) - self.initial.at(x)).abs()).fold(0.0, f64::max);
        self.groups.iter().map(apart).fold(0.0, f64::max)
    }
}

/// Small panels, one for each layer, `columns` beside each other; groups in colour, the start dashed.
pub fn rational_panels(layers: &[RationalLayer], columns: usize) -> Scene {
    const WIDTH: f32 = 210.0;
    const HEIGHT: f32 = 170.0;
    const TOP: f32 = 54.0;
    let columns = columns.clamp(1, layers.len().max(1));
    let rows = layers.len().div_ceil(columns);
    let width = (WIDTH * columns as f32).max(420.0);
    let mut scene = Scene::new("Learned rational functions", width, TOP + HEIGHT * rows as f32);
    scene.text((8.0, 18.0), "Learned rational functions", 14.0, Ink::Text, Anchor::Start);
    let dashed = Stroke { dash: Some([4.0, 3.0]), ..Stroke::solid(Ink::Muted, 1.5) };
    scene.line([(8.0, 34.0), (30.0, 34.0)], dashed);
    scene.text((36.0, 38.0), "at the start", 11.0, Ink::Muted, Anchor::Start);
    let solid = Stroke::solid(Ink::Fixed(class_colour(0)), 1.5);
    scene.line([(130.0, 34.0), (152.0, 34.0)], solid);
    scene.text((158.0, 38.0), "learned, one curve for each group", 11.0, Ink::Muted, Anchor::Start);
    for (i, layer) in layers.iter().enumerate() {
        let at = ((i % columns) as f32 * WIDTH, TOP + (i / columns) as f32 * HEIGHT);
        scene.place(panel(layer, WIDTH, HEIGHT), at);
    }
    scene
}

fn xs() -> impl Iterator<Item = f64> {
    (0..POINTS).map(|i| RANGE * (2.0 * i as f64 / (POINTS - 1) as f64 - 1.0))
}

fn panel(layer: &RationalLayer, width: f32, height: f32) -> Scene {
    let mut scene = Scene::new(&layer.name, width, height);
    let (left, right, top, bottom) = (34.0, width - 12.0, 22.0, height - 26.0);
    let all = layer.groups.iter().chain([&layer.initial]);
    let y = Axis::covering(all.flat_map(|f| xs().map(|x| f.at(x).clamp(-1e6, 1e6))), Spread::Linear);
    let x = Axis::exact(-RANGE, RANGE);
    let px = |v: f64| left + (right - left) * x.position(v) as f32;
    let py = |v: f64| bottom - (bottom - top) * y.position(v) as f32;
    scene.text((left, 14.0), &layer.name, 11.0, Ink::Text, Anchor::Start);
    for tick in y.ticks(4) {
        scene.line([(left, py(tick)), (right, py(tick))], Stroke::solid(Ink::Grid, 1.0));
        scene.text((left - 5.0, py(tick) + 3.5), label(tick), 9.5, Ink::Muted, Anchor::End);
    }
    for tick in [-3.0, 0.0, 3.0] {
        scene.line([(px(tick), top), (px(tick), bottom)], Stroke::solid(Ink::Grid, 1.0));
        scene.text((px(tick), bottom + 13.0), label(tick), 9.5, Ink::Muted, Anchor::Middle);
    }
    for (g, function) in layer.groups.iter().enumerate() {
        let stroke = Stroke { opacity: 0.85, ..Stroke::solid(Ink::Fixed(class_colour(g)), 1.5) };
        scene.line(xs().map(|v| (px(v), py(function.at(v)))), stroke);
    }
    let dashed = Stroke { dash: Some([4.0, 3.0]), ..Stroke::solid(Ink::Muted, 1.5) };
    scene.line(xs().map(|v| (px(v), py(layer.initial.at(v)))), dashed);
    scene
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Rational {
        Rational { numerator: vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0], denominator: vec![0.0; 4] }
    }

    #[test]
    fn values_use_each_terms_absolute_value() {
        assert_eq!(identity().at(-1.5), -1.5);
        let f = Rational { numerator: vec![1.0, 2.0, 3.0], denominator: vec![-0.5, 0.25] };
        // P(-2) = 1 - 4 + 12, Q(-2) = 1 + 0.5·2 + 0.25·4.
        assert!((f.at(-2.0) - 9.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn one_numerator_serves_all_groups() {
        let layer = RationalLayer::new("a", &[vec![0.0, 2.0]], &vec![vec![0.0; 4]; 8], identity()).unwrap();
        assert_eq!(layer.groups.len(), 8);
        assert!((layer.moved() - 3.0).abs() < 1e-9);
        assert!(RationalLayer::new("a", &[vec![0.0], vec![1.0]], &vec![vec![0.0]; 3], identity()).is_none());
    }

    #[test]
    fn panels_fill_a_grid_and_bear_broken_coefficients() {
        let broken = Rational { numerator: vec![f32::NAN; 6], denominator: vec![f32::INFINITY; 4] };
        let layer = RationalLayer { name: "a".into(), groups: vec![broken], initial: identity() };
        let scene = rational_panels(&vec![layer; 5], 4);
        assert_eq!((scene.width, scene.height), (840.0, 54.0 + 2.0 * 170.0));
        assert!(rational_panels(&[], 4).height > 0.0);
    }
}
