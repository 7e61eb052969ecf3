//! Small pictures for the report: the most confident mistakes, examples beside ground truth.

use base64::Engine;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{ImageResult, RgbImage};

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
    /// The picture.
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

/// The picture as a `data:` address, at most `side` pixels a side; small ones are enlarged in whole steps so
/// that their pixels stay square.
pub fn data_uri(picture: &RgbImage, side: u32) -> ImageResult<String> {
    let (w, h) = picture.dimensions();
    let longest = w.max(h).max(1);
    let scaled = if longest > side {
        let to = |s: u32| (u64::from(s) * u64::from(side) / u64::from(longest)).max(1) as u32;
        resize(picture, to(w), to(h), FilterType::Triangle)
    } else {
        let factor = (side / longest).max(1);
        resize(picture, w * factor, h * factor, FilterType::Nearest)
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 88).encode_image(&scaled)?;
    Ok(format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes)))
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

    #[test]
    fn pictures_are_scaled_to_the_side() {
        for (w, h, expected) in
            [(32, 16, (128, 64)), (1000, 500, (128, 64)), (128, 1, (128, 1)), (5000, 1, (128, 1))]
        {
            let uri = data_uri(&RgbImage::new(w, h), 128).unwrap();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(uri.strip_prefix("data:image/jpeg;base64,").unwrap())
                .unwrap();
            let decoded = image::load_from_memory(&bytes).unwrap();
            assert_eq!((decoded.width(), decoded.height()), expected);
        }
    }
}
