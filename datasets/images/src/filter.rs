//! How values between pixels are found, of images and of maps.

use serde::{Deserialize, Serialize};

/// A filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The pixel whose area holds the point.
    Nearest,
    /// A triangle, widened when shrinking.
    Bilinear,
    /// Keys' cubic with a = -0.5, widened when shrinking.
    Bicubic,
}

impl Filter {
    /// Half its width in pixels.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// Its value at a distance from the middle.
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 1.0,
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x, -0.5),
        }
    }

    /// The most pixels that one output pixel is made of when `from` pixels become `to`.
    pub fn most_taps(self, from: usize, to: usize) -> usize {
        let widening = (from as f64 / to as f64).max(1.0);
        (self.support() * widening).ceil() as usize * 2 + 1
    }

    /// The input pixels that output pixel `index` is the weighted mean of when `from` pixels become `to` (both at least 1),
    /// with antialiasing: the filter is widened by the scale when shrinking, what falls outside is left out and the rest
    /// sums to 1. Returns the first pixel; `weights` receives one weight for it and each of the next ones.
    pub fn taps(self, from: usize, to: usize, index: usize, weights: &mut Vec<f64>) -> usize {
        let scale = from as f64 / to as f64;
        let center = (index as f64 + 0.5) * scale;
        weights.clear();
        if self == Self::Nearest {
            weights.push(1.0);
            return (center as usize).min(from - 1);
        }
        let widening = scale.max(1.0);
        let support = self.support() * widening;
        let first = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(from).max(first + 1);
        weights.extend((first..end).map(|x| self.value((x as f64 - center + 0.5) * (1.0 / widening))));
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        first
    }
}

/// Keys' cubic convolution kernel.
pub fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        let mut weights = Vec::new();
        // a triangle of support 2 on four pixels: output 0 covers pixels 0..3 with 0.75, 0.75, 0.25 of 1.75
        assert_eq!(Filter::Bilinear.taps(4, 2, 0, &mut weights), 0);
        let expected = [0.75 / 1.75, 0.75 / 1.75, 0.25 / 1.75];
        assert!(weights.iter().zip(expected).all(|(w, e)| (w - e).abs() < 1e-15), "{weights:?}");
        assert_eq!((Filter::Nearest.taps(5, 2, 1, &mut weights), &weights[..]), (3, &[1.0][..]));
        for (from, to) in [(1, 9), (9, 1), (7, 7), (5, 13)] {
            for index in 0..to {
                let first = Filter::Bicubic.taps(from, to, index, &mut weights);
                assert!(weights.len() <= Filter::Bicubic.most_taps(from, to));
                assert!(first + weights.len() <= from && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }
}
