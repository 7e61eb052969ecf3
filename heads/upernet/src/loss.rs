//! The loss of segmentation: cross entropy at the size of the labels, of the head and, at a lower weight, of the
//! auxiliary head.

use kat_backbone::ops::resize::Interpolation;
use kat_backbone::ops::softmax_cross_entropy::{Normalizer, OhemSampler, Options, Targets};
use kat_backbone::{Device, Error, Graph, Tensor, ops};

use super::Scores;
use crate::checks::same_length;

/// The label of pixels that do not count.
pub const IGNORE: u8 = 255;

/// Settings of the loss.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SegmentLoss {
    /// A factor for each class; none where absent.
    pub class_weights: Option<Vec<f32>>,
    /// Where only hard pixels are to count: which. The auxiliary head counts all.
    pub ohem: Option<OhemSampler>,
    /// Factor of the auxiliary head's loss.
    pub auxiliary_weight: f32,
}

/// The loss of each head, a scalar each.
pub struct SegmentLosses<D: Device> {
    /// Of the head.
    pub decoded: Tensor<D>,
    /// Of the auxiliary head, times its factor.
    pub auxiliary: Option<Tensor<D>>,
}

impl<D: Device> SegmentLosses<D> {
    /// Their sum.
    ///
    /// # Errors
    /// None for losses as [`SegmentLoss::parts`] makes them.
    pub fn total(&self, graph: &mut Graph<D>) -> Result<Tensor<D>, Error> {
        match &self.auxiliary {
            Some(auxiliary) => ops::add(graph, &self.decoded, auxiliary),
            None => Ok(self.decoded.clone()),
        }
    }
}

impl SegmentLoss {
    /// The loss, a scalar: the sum of [`SegmentLoss::parts`].
    ///
    /// # Errors
    /// As [`SegmentLoss::parts`].
    pub fn forward<D: Device>(
        &self,
        graph: &mut Graph<D>,
        scores: &Scores<D>,
        labels: &[u8],
        size: [usize; 2],
    ) -> Result<Tensor<D>, Error> {
        self.parts(graph, scores, labels, size)?.total(graph)
    }

    /// The loss of each head, a scalar: the sum over the pixels that count, divided by the number of all pixels, as mmsegmentation
    /// has it. Scores are brought to the size of the labels first.
    ///
    /// # Shapes
    /// `labels` (B, height, width), row-major: class indices, or [`IGNORE`].
    ///
    /// # Errors
    /// Labels of another number, or above the classes.
    pub fn parts<D: Device>(
        &self,
        graph: &mut Graph<D>,
        scores: &Scores<D>,
        labels: &[u8],
        [height, width]: [usize; 2],
    ) -> Result<SegmentLosses<D>, Error> {
        let [batch, _, _, _] = scores.decoded.axes("segmentation loss", "scores (B, K, H, W)")?;
        same_length("label pixels", labels.len(), batch * height * width)?;
        let classes = labels.iter().map(|&label| u32::from(label)).collect();
        let targets = Targets::Hard { classes, ignore: Some(IGNORE.into()) };
        let mut options = Options {
            class_weights: self.class_weights.clone(),
            normalizer: Normalizer::All,
            ..Options::default()
        };
        let mut auxiliary = None;
        if let Some(map) = &scores.auxiliary {
            let map = ops::resize(graph, map, [height, width], Interpolation::Bilinear)?;
            let loss = ops::softmax_cross_entropy(graph, &map, &targets, &options)?;
            auxiliary = Some(ops::scale(graph, &loss, self.auxiliary_weight)?);
        }
        let map = ops::resize(graph, &scores.decoded, [height, width], Interpolation::Bilinear)?;
        if let Some(sampler) = &self.ohem {
            options.position_weights = Some(sampler.sample(&map, &targets)?);
        }
        Ok(SegmentLosses { decoded: ops::softmax_cross_entropy(graph, &map, &targets, &options)?, auxiliary })
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::Cpu;

    use super::*;

    fn scores(auxiliary: bool) -> Scores<Cpu> {
        // Two classes at 1 × 2 pixels: log-odds 0 and ln 3 for class 1.
        let map = |values: [f32; 4]| {
            let map = Tensor::from_vec(&Cpu::default(), values.to_vec(), [1, 2, 1, 2]).unwrap();
            map.parameter().unwrap()
        };
        let decoded = map([0.0, 0.0, 0.0, 3f32.ln()]);
        Scores { decoded, auxiliary: auxiliary.then(|| map([0.0; 4])) }
    }

    fn loss(loss: &SegmentLoss, auxiliary: bool, labels: &[u8]) -> Result<f64, Error> {
        let mut graph = Graph::recording();
        let value = loss.forward(&mut graph, &scores(auxiliary), labels, [1, 2])?;
        Ok(f64::from(value.scalar()?))
    }

    #[test]
    fn worked_by_hand() {
        let ln = |x: f64| x.ln();
        let plain = SegmentLoss { auxiliary_weight: 0.4, ..SegmentLoss::default() };
        let close =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        close(loss(&plain, false, &[0, 1]).unwrap(), (ln(2.0) + ln(4.0 / 3.0)) / 2.0);
        close(loss(&plain, true, &[0, 1]).unwrap(), (ln(2.0) + ln(4.0 / 3.0)) / 2.0 + 0.4 * ln(2.0));
        // An ignored pixel still counts in the divisor.
        close(loss(&plain, false, &[IGNORE, 1]).unwrap(), ln(4.0 / 3.0) / 2.0);
        close(loss(&plain, true, &[IGNORE, IGNORE]).unwrap(), 0.0);
        let weighted = SegmentLoss { class_weights: Some(vec![1.0, 5.0]), ..plain.clone() };
        close(loss(&weighted, false, &[0, 1]).unwrap(), (ln(2.0) + 5.0 * ln(4.0 / 3.0)) / 2.0);
        let ohem = Some(OhemSampler { threshold: Some(0.6), min_kept: 0 });
        let hard = SegmentLoss { ohem, ..plain };
        // p = 1/2 is hard, p = 3/4 is not; the auxiliary head counts both.
        close(loss(&hard, true, &[0, 1]).unwrap(), ln(2.0) / 2.0 + 0.4 * ln(2.0));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let plain = SegmentLoss::default();
        assert!(loss(&plain, false, &[0]).unwrap_err().to_string().contains("found 1 entries, expected 2"));
        assert!(loss(&plain, false, &[0, 2]).unwrap_err().to_string().contains("target 2 at position 1"));
    }
}
