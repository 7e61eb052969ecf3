//! The RPN's loss: binary cross entropy of the sampled anchors and L1 of the deltas of those on an object, each a sum
//! divided by (anchors sampled of an image × images), as detectron2 has it.

use kat_backbone::ops::elementwise_loss::Goal;
use kat_backbone::{Device, Graph, Tensor, ops};
use rand::Rng;

use crate::RpnMaps;
use crate::error::{HeadError, same_length};
use crate::structures::Targets;
use crate::{LevelLayout, RpnSampling, RpnTargets, assign_anchors};
use kat_images::Boxes;

/// The two parts, scalars.
#[derive(Clone, Debug)]
pub struct RpnLoss<D: Device> {
    /// Object or not.
    pub objectness: Tensor<D>,
    /// Box offsets.
    pub boxes: Tensor<D>,
}

/// Values to take from the maps of one level, and what they should be.
#[derive(Default)]
struct Picked {
    logits: Vec<usize>,
    labels: Vec<f32>,
    deltas: Vec<usize>,
    goals: Vec<f32>,
}

impl Picked {
    /// Adds the drawn anchors of image `image` that lie in this level, whose first anchor is number `first`.
    fn add(&mut self, image: usize, layout: &LevelLayout, first: usize, drawn: &RpnTargets) {
        let range = first..first + layout.len();
        let logit = |k: usize| image * layout.len() + layout.logit(k - first);
        for (k, goal) in drawn.foreground.iter().zip(&drawn.deltas).filter(|(k, _)| range.contains(k)) {
            self.logits.push(logit(*k));
            self.labels.push(1.0);
            for (c, goal) in goal.iter().enumerate() {
                self.deltas.push(4 * image * layout.len() + layout.delta(k - first, c));
                self.goals.push(*goal);
            }
        }
        for k in drawn.background.iter().filter(|k| range.contains(k)) {
            self.logits.push(logit(*k));
            self.labels.push(0.0);
        }
    }
}

/// Draws anchors for each image of the batch, by a generator of its own, and compares their predictions with its
/// annotation.
///
/// # Errors
/// Maps that do not fit the anchors or the number of images.
pub fn rpn_loss<D: Device>(
    graph: &mut Graph<D>,
    maps: &RpnMaps<D>,
    anchors: &[Boxes],
    targets: &[Targets],
    sampling: &RpnSampling,
    rngs: &mut [impl Rng],
) -> Result<RpnLoss<D>, HeadError> {
    let layouts = maps.layouts()?;
    same_length("anchors of the levels", anchors.len(), layouts.len())?;
    let all: Vec<[f32; 4]> = anchors.iter().flat_map(|level| level.as_slice().iter().copied()).collect();
    let mut levels: Vec<Picked> = layouts.iter().map(|_| Picked::default()).collect();
    same_length("random generators of the batch", rngs.len(), targets.len())?;
    for (image, (targets, rng)) in targets.iter().zip(rngs).enumerate() {
        let drawn = assign_anchors(&all, targets, sampling, rng)?;
        let mut first = 0;
        for (level, layout) in levels.iter_mut().zip(&layouts) {
            level.add(image, layout, first, &drawn);
            first += layout.len();
        }
    }
    let mut sampled = [(sampling.number * targets.len()) as f64];
    graph.sum_over_batch(&mut sampled)?;
    let normalizer = sampled[0].max(1.0) as f32;
    let (mut logits, mut deltas) = (Vec::new(), Vec::new());
    for (level, (logit_map, delta_map)) in levels.iter().zip(maps.logits.iter().zip(&maps.deltas)) {
        logits.extend(take(graph, logit_map, &level.logits)?);
        deltas.extend(take(graph, delta_map, &level.deltas)?);
    }
    let labels = levels.iter().flat_map(|level| level.labels.iter().copied()).collect();
    let goals = levels.iter().flat_map(|level| level.goals.iter().copied()).collect();
    let device = maps.logits[0].device();
    let logits = join(graph, device, &logits)?;
    let deltas = join(graph, device, &deltas)?;
    Ok(RpnLoss {
        objectness: ops::binary_cross_entropy(graph, &logits, Goal::sum(labels, normalizer))?,
        boxes: ops::smooth_l1(graph, &deltas, Goal::sum(goals, normalizer), 0.0)?,
    })
}

/// The values at `indices`, nothing where there are none.
fn take<D: Device>(
    graph: &mut Graph<D>,
    map: &Tensor<D>,
    indices: &[usize],
) -> Result<Option<Tensor<D>>, HeadError> {
    if indices.is_empty() {
        return Ok(None);
    }
    let flat = map.reshape([map.numel()])?;
    Ok(Some(ops::gather_rows(graph, &flat, indices)?))
}

fn join<D: Device>(graph: &mut Graph<D>, device: &D, parts: &[Tensor<D>]) -> Result<Tensor<D>, HeadError> {
    if parts.is_empty() {
        return Ok(Tensor::zeros(device, [0])?);
    }
    Ok(ops::concat(graph, &parts.iter().collect::<Vec<_>>(), 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::Cpu;
    use kat_images::Size;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn by_hand() {
        // two images, one level of 1 × 2 positions with one anchor each: [0, 0, 8, 8] and [8, 0, 16, 8]
        let dev = Cpu::default();
        let tensor = |v: Vec<f32>, shape| Tensor::from_vec(&dev, v, shape).unwrap().parameter().unwrap();
        let logits = tensor(vec![0.0, 1.0, -1.0, 2.0], [2, 1, 1, 2]);
        let deltas = tensor((0..16).map(|i| i as f32 / 4.0).collect(), [2, 4, 1, 2]);
        let maps = RpnMaps { logits: vec![logits.clone()], deltas: vec![deltas.clone()] };
        let anchors = [Boxes::from(vec![[0., 0., 8., 8.], [8., 0., 16., 8.]])];
        let size = Size::new(8, 16);
        let object = Targets::new(size, vec![[8., 0., 16., 8.]].into(), vec![0], None, vec![false]).unwrap();
        let sampling = RpnSampling { number: 4, ..RpnSampling::default() };
        let mut graph = Graph::recording();
        let mut rngs = [ChaCha8Rng::seed_from_u64(0), ChaCha8Rng::seed_from_u64(1)];
        let loss =
            rpn_loss(&mut graph, &maps, &anchors, &[object, Targets::none(size)], &sampling, &mut rngs)
                .unwrap();
        // image 0: anchor 1 is the object (deltas 0), anchor 0 background; image 1: both background
        let softplus = |x: f64| x.exp().ln_1p();
        let expected = (softplus(-1.0) + softplus(0.0) + softplus(-1.0) + softplus(2.0)) / 8.0;
        assert!((f64::from(loss.objectness.scalar().unwrap()) - expected).abs() < 1e-6);
        // deltas of image 0 at the second position: 1/4, 3/4, 5/4, 7/4
        assert_eq!(loss.boxes.scalar().unwrap(), 4.0 / 8.0);
        let total = ops::add(&mut graph, &loss.objectness, &loss.boxes).unwrap();
        let mut gradients = graph.backward(&total).unwrap();
        let slopes = gradients.take_host(&deltas).unwrap().unwrap();
        let expected: Vec<f32> = (0..16).map(|i| if i < 8 && i % 2 == 1 { 0.125 } else { 0.0 }).collect();
        assert_eq!(slopes, expected);
        let slopes = gradients.take_host(&logits).unwrap().unwrap();
        let logistic = |x: f32| 1.0 / (1.0 + (-x).exp());
        for (found, expected) in
            slopes.iter().zip([logistic(0.0), logistic(1.0) - 1.0, logistic(-1.0), logistic(2.0)])
        {
            assert!((found - expected / 8.0).abs() < 1e-6);
        }
    }
}
