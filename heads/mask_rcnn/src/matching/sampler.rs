//! A random part of the candidates for a loss, with a share kept for objects.

use rand::Rng;
use rand::seq::index;

use crate::MatchLabel;

/// Indices drawn, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sampled {
    /// Foreground candidates.
    pub foreground: Vec<usize>,
    /// Background candidates.
    pub background: Vec<usize>,
}

impl Sampled {
    /// Number of candidates drawn.
    pub fn len(&self) -> usize {
        self.foreground.len() + self.background.len()
    }

    /// Whether none was drawn.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Draws up to `number` candidates without repetition: foreground up to `foreground_share` of `number` (rounded
/// down), the rest background. Where background is short the sample is smaller; it is not filled with foreground.
/// The same generator state gives the same sample on every machine.
pub fn sample_labels(
    labels: &[MatchLabel],
    number: usize,
    foreground_share: f64,
    rng: &mut impl Rng,
) -> Sampled {
    let of = |label| (0..labels.len()).filter(|&i| labels[i] == label).collect::<Vec<_>>();
    let (foreground, background) = (of(MatchLabel::Foreground), of(MatchLabel::Background));
    let limit = (number as f64 * foreground_share.clamp(0.0, 1.0)) as usize;
    let n = foreground.len().min(limit);
    let foreground = draw(foreground, n, rng);
    let background = draw(background, number - n, rng);
    Sampled { foreground, background }
}

/// `number` of `from`, or all of them, ascending.
fn draw(from: Vec<usize>, number: usize, rng: &mut impl Rng) -> Vec<usize> {
    if from.len() <= number {
        return from;
    }
    let mut drawn: Vec<usize> = index::sample(rng, from.len(), number).iter().map(|i| from[i]).collect();
    drawn.sort_unstable();
    drawn
}

#[cfg(test)]
mod tests {
    use super::MatchLabel::{Background, Foreground, Ignored};
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn labels(foreground: usize, background: usize, ignored: usize) -> Vec<MatchLabel> {
        let mut all = vec![Foreground; foreground];
        all.resize(foreground + background, Background);
        all.resize(foreground + background + ignored, Ignored);
        all
    }

    #[test]
    fn shares_by_hand() {
        for (have, number, share, expected) in [
            ((300, 5000), 256, 0.5, (128, 128)),
            ((10, 5000), 256, 0.5, (10, 246)),
            ((300, 20), 512, 0.25, (128, 20)),
            ((0, 0), 256, 0.5, (0, 0)),
            ((5, 5), 3, 0.5, (1, 2)),
        ] {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let labels = labels(have.0, have.1, 50);
            let sample = sample_labels(&labels, number, share, &mut rng);
            assert_eq!((sample.foreground.len(), sample.background.len()), expected);
            assert!(sample.foreground.iter().all(|&i| labels[i] == Foreground));
            assert!(sample.background.iter().all(|&i| labels[i] == Background));
            assert!(sample.background.is_sorted_by(|a, b| a < b), "ascending, none twice");
        }
    }

    #[test]
    fn same_seed_same_sample() {
        let labels = labels(40, 4000, 0);
        let draw = |seed| sample_labels(&labels, 64, 0.5, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(9), draw(9));
        assert_ne!(draw(9), draw(10));
    }
}
