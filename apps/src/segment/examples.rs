//! Held-out images that are worth a look.

use image::{GrayImage, RgbImage};

use super::held_out::Seen;

/// A held-out image to show.
pub struct Example {
    /// Its name.
    pub id: String,
    /// Share of its labelled pixels that are right.
    pub right: f64,
    /// The image.
    pub image: RgbImage,
    /// Class indices as annotated.
    pub labels: GrayImage,
    /// Class indices as predicted.
    pub predicted: GrayImage,
}

impl Example {
    fn of(seen: &Seen<'_>) -> Self {
        let pairs = seen.labels.as_raw().iter().zip(seen.predicted.as_raw()).filter(|(l, _)| **l != 255);
        let (right, all) = pairs.fold((0, 0), |(r, n), (l, p)| (r + u64::from(l == p), n + 1));
        Self {
            id: seen.sample.id.clone(),
            right: right as f64 / f64::from(all.max(1)),
            image: seen.sample.image.clone(),
            labels: seen.labels.clone(),
            predicted: seen.predicted.clone(),
        }
    }
}

/// Keeps some of any number of images: half of them the worst, half the first ones as they come.
pub(super) struct Kept {
    capacity: usize,
    first: Vec<Example>,
    /// The worst of the others, the worst first.
    worst: Vec<Example>,
}

impl Kept {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, first: Vec::new(), worst: Vec::new() }
    }

    pub(super) fn offer(&mut self, seen: &Seen<'_>) {
        let half = self.capacity.div_ceil(2);
        if half == 0 {
            return;
        }
        let example = Example::of(seen);
        if self.first.len() < half {
            self.first.push(example);
            return;
        }
        let at = self.worst.partition_point(|other| other.right <= example.right);
        if at < half {
            self.worst.insert(at, example);
            self.worst.truncate(half);
        }
    }

    /// The worst first.
    pub(super) fn into_sorted(self) -> Vec<Example> {
        let mut all = self.worst;
        all.extend(self.first);
        all.sort_by(|a, b| a.right.total_cmp(&b.right));
        all.truncate(self.capacity);
        all
    }
}
