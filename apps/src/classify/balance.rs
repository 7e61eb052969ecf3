//! Images of rare classes shown more often: the list that an epoch goes through has the larger classes once and repeats the
//! others.

use std::sync::Arc;

use kat_images::loader::{BoxError, Source};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The images of an epoch, by index. Of a class of n images, the largest having m, there are m · (n / m)^(1 - share) in it:
/// with a share of 0 each once, with 1 equally many of each class, with 0.5 as the root of n. The same list whatever the
/// seed.
pub fn balanced(classes: &[u32], share: f64) -> Vec<usize> {
    let count = classes.iter().max().map_or(0, |most| *most as usize + 1);
    let mut members = vec![Vec::new(); count];
    classes.iter().enumerate().for_each(|(image, class)| members[*class as usize].push(image));
    let largest = members.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut list = Vec::new();
    for mut members in members.into_iter().filter(|members| !members.is_empty()) {
        let n = members.len() as f64;
        let wanted = (largest * (n / largest).powf(1.0 - share)).round().max(n) as usize;
        // which images are shown once more than others
        members.shuffle(&mut rng);
        list.extend(members.iter().cycle().take(wanted));
    }
    list
}

/// A source of which an epoch goes through a list of samples.
pub struct Listed<S> {
    /// The samples.
    pub source: Arc<S>,
    /// Which of them, in what order.
    pub list: Vec<usize>,
}

impl<S: Source> Source for Listed<S> {
    type Item = S::Item;

    fn len(&self) -> usize {
        self.list.len()
    }

    fn name(&self, index: usize) -> String {
        self.source.name(self.list[index])
    }

    fn load(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<S::Item, BoxError> {
        self.source.load(self.list[index], rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_is_there_and_rare_classes_are_repeated() {
        // 16 of class 0, one of class 1, four of class 3, none of class 2
        let classes: Vec<u32> = [vec![0; 16], vec![1], vec![3; 4]].concat();
        let counts = |share| {
            let list = balanced(&classes, share);
            assert!((0..classes.len()).all(|image| list.contains(&image)));
            [0, 1, 3].map(|class| list.iter().filter(|image| classes[**image] == class).count())
        };
        assert_eq!(counts(0.0), [16, 1, 4]);
        assert_eq!(counts(1.0), [16, 16, 16]);
        assert_eq!(counts(0.5), [16, 4, 8]);
        assert_eq!(balanced(&classes, 1.0), balanced(&classes, 1.0));
        assert!(balanced(&[], 1.0).is_empty());
    }
}
