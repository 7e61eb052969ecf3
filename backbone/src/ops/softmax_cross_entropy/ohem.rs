//! Online hard example mining for segmentation: only positions that the model finds hard count.

use super::{Geometry, OP, Options, Targets, softmax_cross_entropy_each};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Graph;
use crate::tensor::Tensor;

/// Which positions are hard, as mmsegmentation's OHEMPixelSampler decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OhemSampler {
    /// Positions whose true class has a probability below this are hard; `None` takes the `min_kept` positions
    /// of highest loss for each image instead.
    pub threshold: Option<f32>,
    /// Positions to keep at least, for each image of the batch on average.
    pub min_kept: usize,
}

impl OhemSampler {
    /// 1 for positions that are kept and 0 for others: the `position_weights` of the loss. Not recorded, as
    /// the choice has no gradient.
    ///
    /// With a threshold τ, positions with p < max(τ, q) are kept, q the probability of rank B · min_kept.
    ///
    /// # Errors
    /// Inputs whose shapes or settings do not fit; the device refuses.
    pub fn sample<D: Device>(&self, logits: &Tensor<D>, targets: &Targets) -> Result<Vec<f32>> {
        let Targets::Hard { classes, ignore } = targets else {
            return Err(Error::config(OP, "hard examples are chosen by hard targets, soft ones were given"));
        };
        let losses =
            softmax_cross_entropy_each(&mut Graph::inference(), logits, targets, &Options::default())?;
        let losses = losses.to_vec();
        let kept = self.min_kept.saturating_mul(Geometry::of(logits.shape())?.outer);
        let mut valid: Vec<usize> = (0..classes.len()).filter(|i| Some(classes[*i]) != *ignore).collect();
        let mut weights = vec![0.0; losses.len()];
        if valid.is_empty() {
            return Ok(weights);
        }
        match self.threshold {
            Some(threshold) => {
                let rank = kept.min(valid.len() - 1);
                let hardest_first = |a: &usize, b: &usize| losses[*b].total_cmp(&losses[*a]);
                let (_, ranked, _) = valid.select_nth_unstable_by(rank, hardest_first);
                let limit = (-losses[*ranked]).exp().max(threshold);
                valid.iter().filter(|i| (-losses[**i]).exp() < limit).for_each(|i| weights[*i] = 1.0);
            }
            None => {
                // ties are broken by position, so that the choice is the same everywhere
                valid.sort_unstable_by(|a, b| losses[*b].total_cmp(&losses[*a]).then(a.cmp(b)));
                valid.iter().take(kept).for_each(|i| weights[*i] = 1.0);
            }
        }
        Ok(weights)
    }
}
