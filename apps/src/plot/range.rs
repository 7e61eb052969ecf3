//! Ranges of axes, and what ticks say.

use std::ops::Range;

/// How values are spread along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly.
    Linear,
    /// By powers of ten; values at or below 0 are not shown.
    Log,
}

/// A range that covers all finite `values`, widened to round numbers.
pub fn covering(values: impl IntoIterator<Item = f64>, spread: Spread) -> Range<f64> {
    let usable = |v: &f64| v.is_finite() && (spread == Spread::Linear || *v > 0.0);
    let values = values.into_iter().filter(usable);
    let (mut low, mut high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        (low, high) = (if spread == Spread::Log { 0.1 } else { 0.0 }, 1.0);
    }
    if spread == Spread::Log {
        // At least one decade, so that there are two ticks.
        let (a, b) = (low.log10().floor(), high.log10().ceil());
        return 10f64.powf(a)..10f64.powf(if b > a { b } else { a + 1.0 });
    }
    if high - low < 1e-12 * high.abs().max(1e-300) {
        let pad = if high == 0.0 { 1.0 } else { high.abs() * 0.1 };
        (low, high) = (low - pad, high + pad);
    }
    let step = round_step((high - low) / 5.0);
    (low / step).floor() * step..(high / step).ceil() * step
}

/// 1, 2 or 5 times a power of ten, the smallest not below `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = rough / power;
    power * [1.0, 2.0, 5.0].into_iter().find(|f| factor <= f * (1.0 + 1e-9)).unwrap_or(10.0)
}

/// A number as a tick says it: short, and without an exponent where it can be read without one.
pub fn label(value: f64) -> String {
    let size = value.abs();
    if size < 1e-300 {
        "0".into()
    } else if size >= 1e6 {
        trimmed(value / 1e6) + "M"
    } else if size >= 1e4 {
        trimmed(value / 1e3) + "k"
    } else if size < 1e-3 {
        let exponent = (size.log10() + 1e-9).floor();
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
    fn ranges_end_on_round_numbers_or_decades() {
        assert_eq!(covering([0.13, 2.31, f64::NAN], Spread::Linear), 0.0..2.5);
        let log = covering([0.02, 30.0, -1.0], Spread::Log);
        assert!((log.start - 0.01).abs() < 1e-12 && (log.end - 100.0).abs() < 1e-9);
    }

    #[test]
    fn empty_and_constant_data_have_a_range() {
        for values in [vec![], vec![3.0], vec![0.0, 0.0], vec![f64::INFINITY]] {
            for spread in [Spread::Linear, Spread::Log] {
                let range = covering(values.clone(), spread);
                assert!(range.start < range.end, "{values:?} {spread:?}: {range:?}");
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
