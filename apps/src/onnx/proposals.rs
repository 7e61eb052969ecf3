//! The region proposal network as ONNX operators: of each level the best anchors, decoded, clipped and suppressed; of all
//! levels the best.

use kat_mask_rcnn::{AnchorGenerator, MaskRcnnConfig};

use super::boxes::{Clip, count_at_most, decode, places, suppress, top};
use super::graph::{GraphBuilder, Value};
use super::layers::conv;
use super::pyramid::Level;
use super::weights::Weights;

/// Proposals (R, 4) of one image.
///
/// # Errors
/// A weight that is not there, or anchors that cannot be.
pub fn proposals(
    graph: &mut GraphBuilder,
    levels: &[Level],
    weights: &Weights,
    config: &MaskRcnnConfig,
    clip: &Clip,
) -> anyhow::Result<Value> {
    let limits = &config.proposals_test;
    let anchors = AnchorGenerator::new(config.anchors.clone())?;
    let each = anchors.per_position() as i64;
    let (mut all_boxes, mut all_scores) = (Vec::new(), Vec::new());
    for (index, level) in levels.iter().enumerate() {
        let mut x = level.map.clone();
        for i in 0..config.rpn_convs {
            let name = if config.rpn_convs == 1 { "conv".to_owned() } else { format!("conv.conv{i}") };
            x = conv(graph, &x, &weights.at(name), 1, 1)?;
            x = graph.unary("Relu", &x);
        }
        let logits = conv(graph, &x, &weights.at("objectness_logits"), 1, 0)?;
        let deltas = conv(graph, &x, &weights.at("anchor_deltas"), 1, 0)?;
        // in the order of anchors: row, column, anchor
        let logits = graph.transpose(&logits, &[0, 2, 3, 1]);
        let logits = graph.reshape(&logits, &[-1]);
        let (rows, columns) = (level.size.height, level.size.width);
        let deltas = graph.reshape(&deltas, &[each, 4, rows as i64, columns as i64]);
        let deltas = graph.transpose(&deltas, &[2, 3, 0, 1]);
        let deltas = graph.reshape(&deltas, &[-1, 4]);
        let boxes = anchors.level(index, rows, columns)?;
        let count = graph.ints(&[limits.pre_nms.min(boxes.len()) as i64]);
        let (scores, best) = top(graph, &logits, &count);
        let references = graph.floats(&format!("anchors_{index}"), &[boxes.len(), 4], || {
            boxes.as_slice().as_flattened().to_vec()
        });
        let (references, deltas) = (graph.gather(&references, &best, 0), graph.gather(&deltas, &best, 0));
        let boxes = decode(graph, &references, &deltas, [1.0; 4]);
        let boxes = clip.apply(graph, &boxes);
        let large = clip.has_sides(graph, &boxes, limits.min_side);
        let large = places(graph, &large);
        let (boxes, scores) = (graph.gather(&boxes, &large, 0), graph.gather(&scores, &large, 0));
        let (listed, ranked) = (graph.reshape(&boxes, &[1, -1, 4]), graph.reshape(&scores, &[1, 1, -1]));
        let kept = suppress(graph, &listed, &ranked, limits.pre_nms, limits.nms_threshold, None);
        let kept = graph.pick(&kept, 1, 2);
        all_boxes.push(graph.gather(&boxes, &kept, 0));
        all_scores.push(graph.gather(&scores, &kept, 0));
    }
    let (boxes, scores) = (graph.concat(&all_boxes, 0), graph.concat(&all_scores, 0));
    let count = count_at_most(graph, &scores, limits.post_nms);
    let (_, best) = top(graph, &scores, &count);
    Ok(graph.gather(&boxes, &best, 0))
}
