//! Axes: where ticks go, what they say, and how values become positions.

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly.
    Linear,
    /// By powers of ten; values at or below 0 are not shown.
    Log,
}

/// An axis over a range of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    spread: Spread,
}

impl Axis {
    /// An axis that covers all finite `values`, widened to round numbers.
    pub fn covering(values: impl IntoIterator<Item = f64>, spread: Spread) -> Self {
        let usable = |v: &f64| v.is_finite() && (spread == Spread::Linear || *v > 0.0);
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.into_iter().filter(usable) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            (low, high) = (if spread == Spread::Log { 0.1 } else { 0.0 }, 1.0);
        }
        if spread == Spread::Log {
            // At least one decade, so that there are two ticks.
            let (a, b) = (low.log10().floor(), high.log10().ceil());
            return Axis { low: 10f64.powf(a), high: 10f64.powf(if b > a { b } else { a + 1.0 }), spread };
        }
        if high - low < 1e-12 * high.abs().max(1e-300) {
            let pad = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
            (low, high) = (low - pad, high + pad);
        }
        let step = nice_step((high - low) / 5.0);
        Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, spread }
    }

    /// An axis over exactly this range.
    pub fn exact(low: f64, high: f64) -> Self {
        Axis { low, high, spread: Spread::Linear }
    }

    /// Position of a value: 0 at the low end, 1 at the high end; NaN for a value that cannot be shown.
    pub fn position(&self, value: f64) -> f64 {
        match self.spread {
            Spread::Linear => (value - self.low) / (self.high - self.low),
            Spread::Log if value > 0.0 => (value / self.low).log10() / (self.high / self.low).log10(),
            Spread::Log => f64::NAN,
        }
    }

    /// Values to mark, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        match self.spread {
            Spread::Linear => {
                let step = nice_step((self.high - self.low) / count.max(1) as f64);
                let first = (self.low / step - 1e-9).ceil() as i64;
                let last = (self.high / step + 1e-9).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Spread::Log => {
                let (a, b) = (self.low.log10().round() as i32, self.high.log10().round() as i32);
                let every = ((b - a) as usize).div_ceil(count.max(1)).max(1);
                (a..=b).step_by(every).map(|e| 10f64.powi(e)).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, the smallest not below `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    power * [1.0, 2.0, 5.0].into_iter().find(|f| factor <= f * (1.0 + 1e-9)).unwrap_or(10.0)
}

/// A number as a tick says it: short, and without an exponent where it can be read without one.
pub fn label(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if size >= 1e6 {
        trimmed(value / 1e6) + "M"
    } else if size >= 1e4 {
        trimmed(value / 1e3) + "k"
    } else if size < 1e-3 {
        let exponent = size.log10().floor();
        format!("{}e{}", trimmed(value / 10f64.powf(exponent)), exponent)
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_on_round_numbers() {
        let axis = Axis::covering([0.13, 2.31, f64::NAN], Spread::Linear);
        assert_eq!(axis.ticks(5), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        assert_eq!(axis.position(0.0), 0.0);
        assert_eq!(axis.position(2.5), 1.0);
    }

    #[test]
    fn log_axes_go_by_decades() {
        let axis = Axis::covering([0.02, 30.0, -1.0], Spread::Log);
        let ticks = axis.ticks(5);
        assert_eq!(ticks.len(), 5);
        assert!((ticks[0] - 0.01).abs() < 1e-12 && (ticks[4] - 100.0).abs() < 1e-9);
        assert!((axis.position(1.0) - 0.5).abs() < 1e-12);
        assert!(axis.position(0.0).is_nan());
    }

    #[test]
    fn empty_and_constant_data_have_an_axis() {
        for values in [vec![], vec![3.0], vec![0.0, 0.0], vec![f64::INFINITY]] {
            for spread in [Spread::Linear, Spread::Log] {
                let axis = Axis::covering(values.clone(), spread);
                let ticks = axis.ticks(5);
                assert!((2..20).contains(&ticks.len()), "{values:?} {spread:?}: {ticks:?}");
            }
        }
    }

    #[test]
    fn labels_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (-3.0, "-3"),
            (1500.0, "1500"),
            (25_000.0, "25k"),
            (2.5e6, "2.5M"),
            (2e-4, "2e-4"),
            (1e-9, "1e-9"),
        ] {
            assert_eq!(label(value), text);
        }
    }
}
