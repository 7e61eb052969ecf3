//! The losses of the box and mask heads, normalized as detectron2's: cross entropy as the mean over all regions drawn,
//! (smooth) L1 of the objects' deltas divided by the number of all regions drawn, binary cross entropy as the mean over
//! the mask pixels of the object's class. Where processes have a part of the batch each, "all" is over all of them.

use kat_backbone::ops::elementwise_loss::Goal;
use kat_backbone::ops::softmax_cross_entropy::{Normalizer, Options, Targets as ClassTargets};
use kat_backbone::{Device, Graph, Tensor, ops};

use crate::error::{HeadError, same_length};
use crate::structures::Targets;
use crate::{BoxCoder, RoiTargets};
use crate::{BoxRegression, RegionPredictions};

/// The two parts of the box head's loss, scalars.
#[derive(Clone, Debug)]
pub struct RoiLoss<D: Device> {
    /// What it is.
    pub classes: Tensor<D>,
    /// Box offsets.
    pub boxes: Tensor<D>,
}

/// What the losses are means over, in the whole batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchCounts {
    /// Regions drawn.
    pub regions: f64,
    /// Those of them that stand for an object.
    pub objects: f64,
    /// Images with such an object whose masks are not annotated.
    pub unmasked: f64,
}

impl BatchCounts {
    /// Counts the regions drawn of this process's images, and adds those of the others.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn of<D: Device>(graph: &Graph<D>, drawn: &[(RoiTargets, &Targets)]) -> Result<Self, HeadError> {
        let sum = |count: &dyn Fn(&RoiTargets, &Targets) -> usize| {
            drawn.iter().map(|(rois, targets)| count(rois, targets)).sum::<usize>() as f64
        };
        let mut counts = [
            sum(&|rois, _| rois.boxes.len()),
            sum(&|rois, _| rois.foreground),
            sum(&|rois, targets| usize::from(rois.foreground > 0 && targets.masks().is_none())),
        ];
        graph.sum_over_batch(&mut counts)?;
        let [regions, objects, unmasked] = counts;
        Ok(Self { regions, objects, unmasked })
    }
}

/// How boxes are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxLossConfig {
    /// Boxes of a region.
    pub regression: BoxRegression,
    /// Where the loss turns from squares to absolute values.
    pub smooth_l1_beta: f32,
}

/// The box head's loss over the regions drawn of all images, listed image after image as in `drawn`.
///
/// # Errors
/// Predictions of another number of regions.
pub fn box_loss<D: Device>(
    graph: &mut Graph<D>,
    predictions: &RegionPredictions<D>,
    drawn: &[(RoiTargets, &Targets)],
    counts: &BatchCounts,
    config: BoxLossConfig,
) -> Result<RoiLoss<D>, HeadError> {
    let [regions, columns] = predictions.scores.axes("box loss", "scores (R, K + 1)")?;
    let classes: Vec<u32> = drawn.iter().flat_map(|(rois, _)| rois.classes.iter().copied()).collect();
    same_length("regions drawn", classes.len(), regions)?;
    let boxes_each = match config.regression {
        BoxRegression::PerClass => columns - 1,
        BoxRegression::Agnostic => 1,
    };
    let (mut rows, mut goals, mut first) = (Vec::new(), Vec::new(), 0);
    for (rois, targets) in drawn {
        let gt_boxes = rois.gt_boxes(targets);
        for (i, gt_box) in gt_boxes.as_slice().iter().enumerate() {
            let row = (first + i) * boxes_each;
            rows.push(if boxes_each == 1 { row } else { row + rois.classes[i] as usize });
            goals.extend(BoxCoder::BOX_HEAD.encode(rois.boxes.as_slice()[i], *gt_box)?);
        }
        first += rois.classes.len();
    }
    let targets = ClassTargets::hard(classes);
    let normalizer = Normalizer::Value(counts.regions as f32);
    let options = Options { normalizer, ..Options::default() };
    let classes = ops::softmax_cross_entropy(graph, &predictions.scores, &targets, &options)?;
    let boxes = if rows.is_empty() {
        Tensor::zeros(predictions.deltas.device(), [])?
    } else {
        let each = predictions.deltas.reshape([regions * boxes_each, 4])?;
        let picked = ops::gather_rows(graph, &each, &rows)?;
        ops::smooth_l1(graph, &picked, Goal::sum(goals, counts.regions as f32), config.smooth_l1_beta)?
    };
    Ok(RoiLoss { classes, boxes })
}

/// The mask head's loss: `logits` (F, K, side, side) of the F foreground regions of `drawn`, image after image. `None`
/// where an object is annotated without a mask.
///
/// # Errors
/// Logits of another number of regions.
pub fn mask_loss<D: Device>(
    graph: &mut Graph<D>,
    logits: &Tensor<D>,
    drawn: &[(RoiTargets, &Targets)],
    counts: &BatchCounts,
) -> Result<Option<Tensor<D>>, HeadError> {
    let [regions, classes, side, width] = logits.axes("mask loss", "logits (F, K, side, side)")?;
    same_length("columns of a mask", width, side)?;
    let (mut rows, mut goals) = (Vec::new(), Vec::with_capacity(regions * side * side));
    for (rois, targets) in drawn {
        if rois.foreground == 0 {
            continue;
        }
        let Some(masks) = rois.masks(targets, side) else { return Ok(None) };
        goals.extend(masks.into_iter().map(f32::from));
        for class in &rois.classes[..rois.foreground] {
            rows.push(rows.len() * classes + *class as usize);
        }
    }
    same_length("masks drawn", rows.len(), regions)?;
    let each = logits.reshape([regions * classes, side * side])?;
    let picked = ops::gather_rows(graph, &each, &rows)?;
    let pixels = (counts.objects * (side * side) as f64) as f32;
    Ok(Some(ops::binary_cross_entropy(graph, &picked, Goal::sum(goals, pixels))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::Cpu;
    use kat_images::{Boxes, Mask, Polygon, Size};

    fn case() -> (RoiTargets, Targets) {
        let square = |x: f32| vec![[x, 0.0], [x + 8.0, 0.0], [x + 8.0, 8.0], [x, 8.0]];
        let targets = Targets::new(
            Size::new(32, 32),
            vec![[0., 0., 8., 8.], [16., 0., 24., 8.]].into(),
            vec![1, 0],
            Some(vec![
                Mask::Polygon(Polygon::new(vec![square(0.0)]).unwrap()),
                Mask::Polygon(Polygon::new(vec![square(16.0)]).unwrap()),
            ]),
            vec![false; 2],
        )
        .unwrap();
        // the second region lies 4 pixels to the left of its object
        let rois = RoiTargets {
            boxes: Boxes::from(vec![[0., 0., 8., 8.], [12., 0., 20., 8.], [24., 24., 30., 30.]]),
            foreground: 2,
            classes: vec![1, 0, 2],
            gt: vec![0, 1],
        };
        (rois, targets)
    }

    #[test]
    fn boxes_by_hand() {
        let dev = Cpu::default();
        let (rois, targets) = case();
        let tensor =
            |v: Vec<f32>, shape: [usize; 2]| Tensor::from_vec(&dev, v, shape).unwrap().parameter().unwrap();
        let scores = tensor(vec![0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0], [3, 3]);
        let mut deltas = vec![0.5; 24];
        deltas[4..8].copy_from_slice(&[0.1, 0.2, -0.3, 0.0]); // region 0, class 1: should be 0
        deltas[8..12].copy_from_slice(&[5.0, 0.0, 0.0, 1.0]); // region 1, class 0: should be (10 · 4/8, 0, 0, 0)
        let predictions = RegionPredictions { scores, deltas: tensor(deltas, [3, 8]) };
        let mut graph = Graph::recording();
        let drawn = [(rois, &targets)];
        let counts = BatchCounts::of(&graph, &drawn).unwrap();
        assert_eq!(counts, BatchCounts { regions: 3.0, objects: 2.0, unmasked: 0.0 });
        let config = |regression| BoxLossConfig { regression, smooth_l1_beta: 0.0 };
        let loss =
            box_loss(&mut graph, &predictions, &drawn, &counts, config(BoxRegression::PerClass)).unwrap();
        let e = std::f64::consts::E;
        let entropy = ((2.0 + e) / e).ln() + ((2.0 + e * e) / (e * e)).ln() + 3f64.ln();
        assert!((f64::from(loss.classes.scalar().unwrap()) - entropy / 3.0).abs() < 1e-6);
        assert!((loss.boxes.scalar().unwrap() - 1.6 / 3.0).abs() < 1e-6);
        let mut gradients = graph.backward(&loss.boxes).unwrap();
        let slopes = gradients.take_host(&predictions.deltas).unwrap().unwrap();
        let third = 1.0 / 3.0;
        assert_eq!(slopes[4..12], [third, third, -third, 0.0, 0.0, 0.0, 0.0, third]);
        assert!(slopes[..4].iter().chain(&slopes[12..]).all(|v| *v == 0.0));
        let agnostic = RegionPredictions { deltas: tensor(vec![1.0; 12], [3, 4]), ..predictions };
        let loss =
            box_loss(&mut Graph::inference(), &agnostic, &drawn, &counts, config(BoxRegression::Agnostic))
                .unwrap();
        assert!((loss.boxes.scalar().unwrap() - (4.0 + 4.0 + 3.0) / 3.0).abs() < 1e-6);
    }

    #[test]
    fn masks_by_hand() {
        let dev = Cpu::default();
        let (rois, targets) = case();
        // the first mask fills its region, the second the right half
        let mut values = vec![9.0; 2 * 2 * 16];
        values[16..32].fill(1.0); // region 0, class 1
        values[32..48].fill(-1.0); // region 1, class 0
        let logits = Tensor::from_vec(&dev, values, [2, 2, 4, 4]).unwrap();
        let graph = &mut Graph::inference();
        let drawn = [(rois.clone(), &targets)];
        let counts = BatchCounts::of(graph, &drawn).unwrap();
        let loss = mask_loss(graph, &logits, &drawn, &counts).unwrap().unwrap();
        let softplus = |x: f64| x.exp().ln_1p();
        let expected = (16.0 * softplus(-1.0) + 8.0 * softplus(1.0) + 8.0 * softplus(-1.0)) / 32.0;
        assert!((f64::from(loss.scalar().unwrap()) - expected).abs() < 1e-6, "{loss:?}");
        let boxes = targets.boxes().clone();
        let without = Targets::new(targets.image(), boxes, vec![1, 0], None, vec![false; 2]).unwrap();
        let drawn = [(rois, &without)];
        assert_eq!(BatchCounts::of(graph, &drawn).unwrap().unmasked, 1.0);
        assert!(mask_loss(graph, &logits, &drawn, &counts).unwrap().is_none());
    }
}
