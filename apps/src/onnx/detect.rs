//! A detector: one image on its canvas → boxes, scores, classes and a mask on a small grid for each.
//!
//! # Shapes
//! R proposals, N detections, K classes; boxes (…, 4) as x0, y0, x1, y1 in pixels of the canvas.

use kat_backbone::Cpu;
use kat_images::transform::normalize::Normalize;
use kat_mask_rcnn::{BoxRegression, MaskRcnn, MaskRcnnConfig};

use super::boxes::{Clip, count_at_most, decode, suppress, top};
use super::encoder::Encoder;
use super::graph::{Axis, GraphBuilder, Value};
use super::layers::{conv, conv_transpose, linear};
use super::pixels::{Input, planes};
use super::proposals::proposals;
use super::proto::{Attribute, ElementType};
use super::pyramid::{Level, normed_conv, pyramid};
use super::weights::Weights;

/// Factors of the box head's deltas.
const BOX_HEAD: [f32; 4] = [10.0, 10.0, 5.0, 5.0];
/// Side of a region pooled for its box.
const BOX_BINS: i64 = 7;
/// As that, of masks.
const MASK_BINS: i64 = 14;

/// The graph of `model`, whose weights are `weights`; one image at a time, of the size of the model's canvas.
///
/// # Errors
/// Parts that have no ONNX operator.
pub fn detector(
    model: &MaskRcnn<Cpu>,
    weights: &Weights,
    input: Input,
    normalize: &Normalize,
) -> anyhow::Result<GraphBuilder> {
    let config = model.config();
    let size = config.backbone.image_size;
    let encoder = Encoder::new(&model.backbone.net, weights.at("backbone.net"), size)?;
    let mut builder = GraphBuilder::new("detect");
    let graph = &mut builder;
    let image = planes(graph, input, size, Axis::Fixed(1), normalize);
    let meaning = "height and width of the image on the canvas, at whose top left it lies";
    let extent = graph.input("image_size", ElementType::Float, &[Axis::Fixed(2)], meaning);
    let clip = Clip::new(graph, &extent);
    let last = config.backbone.depth - 1;
    let map = encoder.feature_maps(graph, &image, &[last])?.remove(0);
    let levels = pyramid(graph, &map, encoder.grid(), &weights.at("backbone"), config.patch())?;
    let proposed = proposals(graph, &levels, &weights.at("proposal_generator.rpn_head"), config, &clip)?;
    let found = detections(graph, &levels, &proposed, &weights.at("roi_heads"), config, &clip)?;
    let count = Axis::Named("detections");
    graph.output(
        &found.boxes,
        "boxes",
        ElementType::Float,
        &[count, Axis::Fixed(4)],
        "x0, y0, x1, y1 in pixels of the canvas",
    );
    graph.output(&found.scores, "scores", ElementType::Float, &[count], "probabilities, falling");
    graph.output(&found.labels, "labels", ElementType::Int64, &[count], "classes");
    if config.masks {
        let masks = masks(graph, &levels, &found, &weights.at("roi_heads.mask_head"), config)?;
        let side = Axis::Fixed(2 * MASK_BINS as usize);
        let meaning = "the probability of \"inside\" on a grid over each box";
        graph.output(&masks, "masks", ElementType::Float, &[count, side, side], meaning);
    }
    Ok(builder)
}

struct Found {
    boxes: Value,
    scores: Value,
    labels: Value,
}

fn detections(
    graph: &mut GraphBuilder,
    levels: &[Level],
    proposed: &Value,
    weights: &Weights,
    config: &MaskRcnnConfig,
    clip: &Clip,
) -> anyhow::Result<Found> {
    let classes = config.classes as i64;
    let pooled = pool(graph, levels, proposed, BOX_BINS, config);
    let features = box_head(graph, &pooled, &weights.at("box_head"), config)?;
    let predictor = weights.at("box_predictor");
    let logits = linear(graph, &features, &predictor.at("cls_score"), None)?;
    let shares = graph.node("Softmax", &[&logits], vec![Attribute::int("axis", -1)]);
    let scores = graph.slice(&shares, 1, 0, classes);
    let deltas = linear(graph, &features, &predictor.at("bbox_pred"), None)?;
    let each = match config.box_regression {
        BoxRegression::PerClass => classes,
        BoxRegression::Agnostic => 1,
    };
    let deltas = graph.reshape(&deltas, &[-1, each, 4]);
    let regions = graph.reshape(proposed, &[-1, 1, 4]);
    let decoded = decode(graph, &regions, &deltas, BOX_HEAD);
    let decoded = clip.apply(graph, &decoded);
    // (R, classes or 1): a box without area has no score
    let area = clip.has_sides(graph, &decoded, 0.0);
    let area = graph.cast(&area, ElementType::Float);
    let scores = graph.binary("Mul", &scores, &area);
    // suppression by class: with a box for each class, the classes are the operator's images
    let boxes = graph.transpose(&decoded, &[1, 0, 2]);
    let scores = graph.transpose(&scores, &[1, 0]);
    let (grouped, class_column) = match config.box_regression {
        BoxRegression::PerClass => (graph.reshape(&scores, &[classes, 1, -1]), 0),
        BoxRegression::Agnostic => (graph.reshape(&scores, &[1, classes, -1]), 1),
    };
    let d = &config.detections;
    let kept = suppress(graph, &boxes, &grouped, d.max_detections, d.nms_threshold, Some(d.score_threshold));
    let column = |graph: &mut GraphBuilder, index: i64| {
        let index = graph.ints(&[index]);
        graph.gather(&kept, &index, 1)
    };
    let (class, group, region) = (column(graph, class_column), column(graph, 0), column(graph, 2));
    let of_class = graph.concat(&[class.clone(), region.clone()], 1);
    let of_group = graph.concat(&[group, region], 1);
    let scores = graph.binary("GatherND", &scores, &of_class);
    let boxes = graph.binary("GatherND", &boxes, &of_group);
    let labels = graph.reshape(&class, &[-1]);
    let count = count_at_most(graph, &scores, d.max_detections);
    let (scores, order) = top(graph, &scores, &count);
    Ok(Found { boxes: graph.gather(&boxes, &order, 0), scores, labels: graph.gather(&labels, &order, 0) })
}

/// (R, C, 7, 7) → (R, hidden).
fn box_head(
    graph: &mut GraphBuilder,
    pooled: &Value,
    weights: &Weights,
    config: &MaskRcnnConfig,
) -> anyhow::Result<Value> {
    let mut x = pooled.clone();
    for conv in (1..).map(|i| weights.at(format!("conv{i}"))).take_while(Weights::exists) {
        x = normed_conv(graph, &x, &conv)?;
        x = graph.unary("Relu", &x);
    }
    x = graph.reshape(&x, &[-1, config.channels as i64 * BOX_BINS * BOX_BINS]);
    for layer in (1..).map(|i| weights.at(format!("fc{i}"))).take_while(Weights::exists) {
        x = linear(graph, &x, &layer, None)?;
        x = graph.unary("Relu", &x);
    }
    Ok(x)
}

/// The mask of each detection's class, (N, 28, 28).
fn masks(
    graph: &mut GraphBuilder,
    levels: &[Level],
    found: &Found,
    weights: &Weights,
    config: &MaskRcnnConfig,
) -> anyhow::Result<Value> {
    let mut x = pool(graph, levels, &found.boxes, MASK_BINS, config);
    for conv in (1..).map(|i| weights.at(format!("mask_fcn{i}"))).take_while(Weights::exists) {
        x = normed_conv(graph, &x, &conv)?;
        x = graph.unary("Relu", &x);
    }
    x = conv_transpose(graph, &x, &weights.at("deconv"), 2)?;
    x = graph.unary("Relu", &x);
    let logits = conv(graph, &x, &weights.at("predictor"), 1, 0)?;
    let own = graph.reshape(&found.labels, &[-1, 1]);
    let own = graph.node("GatherND", &[&logits, &own], vec![Attribute::int("batch_dims", 1)]);
    Ok(graph.unary("Sigmoid", &own))
}

/// RoIAlign to `bins` × `bins`, each region from the level that fits its size, in the order of `regions` (R, 4).
fn pool(
    graph: &mut GraphBuilder,
    levels: &[Level],
    regions: &Value,
    bins: i64,
    config: &MaskRcnnConfig,
) -> Value {
    let rule = config.roi_levels();
    let side = region_side(graph, regions);
    let (canonical, little) = (graph.scalar(rule.canonical_size), graph.scalar(1e-8));
    let side = graph.binary("Div", &side, &canonical);
    let side = graph.binary("Add", &side, &little);
    let (mut pooled, mut members) = (Vec::new(), Vec::new());
    let count = (rule.max_level - rule.min_level + 1) as usize;
    // the position of a region's level: how many of the powers of two between levels its side reaches
    let mut position: Option<Value> = None;
    for power in rule.min_level + 1..=rule.max_level {
        let least = graph.scalar(((power - rule.canonical_level) as f32).exp2());
        let reaches = graph.binary("GreaterOrEqual", &side, &least);
        let reaches = graph.cast(&reaches, ElementType::Int64);
        position = Some(match position {
            Some(sum) => graph.binary("Add", &sum, &reaches),
            None => reaches,
        });
    }
    let zero = graph.int(0);
    for (index, level) in levels.iter().take(count).enumerate() {
        let at = graph.int(index as i64);
        let is_here = match &position {
            Some(position) => graph.binary("Equal", position, &at),
            None => graph.binary("GreaterOrEqual", &side, &little),
        };
        let here = graph.unary("NonZero", &is_here);
        let here = graph.reshape(&here, &[-1]);
        let own = graph.gather(regions, &here, 0);
        let image = graph.binary("Mul", &here, &zero);
        let attributes = vec![
            Attribute::text("coordinate_transformation_mode", "half_pixel"),
            Attribute::text("mode", "avg"),
            Attribute::int("output_height", bins),
            Attribute::int("output_width", bins),
            Attribute::int("sampling_ratio", 0),
            Attribute::float("spatial_scale", 1.0 / level.stride as f32),
        ];
        pooled.push(graph.node("RoiAlign", &[&level.map, &own, &image], attributes));
        members.push(here);
    }
    let (pooled, members) = (graph.concat(&pooled, 0), graph.concat(&members, 0));
    // where each region lies in the order of levels: the places of 0, 1, 2 … in the list of members
    let all = graph.unary("Shape", &members);
    let attributes =
        vec![Attribute::int("axis", 0), Attribute::int("largest", 0), Attribute::int("sorted", 1)];
    let [_, places] = graph.split("TopK", &[&members, &all], attributes);
    graph.gather(&pooled, &places, 0)
}

/// √area of regions (R, 4): (R).
fn region_side(graph: &mut GraphBuilder, regions: &Value) -> Value {
    let [x0, y0, x1, y1] = [0, 1, 2, 3].map(|corner| graph.pick(regions, 1, corner));
    let (width, height) = (graph.binary("Sub", &x1, &x0), graph.binary("Sub", &y1, &y0));
    let area = graph.binary("Mul", &width, &height);
    graph.unary("Sqrt", &area)
}
