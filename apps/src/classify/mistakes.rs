//! The most confident mistakes of an evaluation.

use image::RgbImage;

/// A mistake worth looking at.
#[derive(Debug, Clone)]
pub struct Mistake {
    /// The sample's name.
    pub id: String,
    /// Name of the true class.
    pub truth: String,
    /// Name of the predicted class.
    pub predicted: String,
    /// Probability given to it.
    pub probability: f32,
    /// The image.
    pub image: RgbImage,
}

/// Keeps the most confident mistakes of any number seen.
#[derive(Debug, Default)]
pub struct MistakeKeeper {
    capacity: usize,
    /// Most confident first.
    kept: Vec<Mistake>,
}

impl MistakeKeeper {
    /// Keeps at most `capacity`.
    pub fn new(capacity: usize) -> Self {
        MistakeKeeper { capacity, kept: Vec::new() }
    }

    /// Offers a mistake made with this probability; `make` is called only if it is to be kept.
    pub fn offer(&mut self, probability: f32, make: impl FnOnce() -> Mistake) {
        let at = self.kept.partition_point(|m| m.probability >= probability);
        if at < self.capacity && !probability.is_nan() {
            self.kept.insert(at, make());
            self.kept.truncate(self.capacity);
        }
    }

    /// The kept mistakes, most confident first.
    pub fn into_sorted(self) -> Vec<Mistake> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(probability: f32) -> Mistake {
        let (truth, predicted) = ("a".into(), "b".into());
        Mistake { id: format!("{probability}"), truth, predicted, probability, image: RgbImage::new(2, 2) }
    }

    #[test]
    fn the_most_confident_are_kept_in_order() {
        let mut keeper = MistakeKeeper::new(3);
        for p in [0.2, 0.9, 0.4, f32::NAN, 0.8, 0.1] {
            keeper.offer(p, || mistake(p));
        }
        keeper.offer(0.05, || panic!("too unsure to be kept"));
        let kept: Vec<f32> = keeper.into_sorted().iter().map(|m| m.probability).collect();
        assert_eq!(kept, [0.9, 0.8, 0.4]);
        MistakeKeeper::new(0).offer(1.0, || panic!("there is no room"));
    }
}
