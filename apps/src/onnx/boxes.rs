//! Arithmetic of boxes as ONNX operators: decoding, clipping, suppression, the best of a list.

use super::graph::{GraphBuilder, Value};
use super::proto::{Attribute, ElementType};

/// The greatest log scale that a delta means, as in `BoxCoder`: ln(1000 / 16).
const MAX_LOG_SCALE: f32 = 4.135_166_6;

/// Clips boxes to an image whose size is known when the network runs.
#[derive(Debug)]
pub struct Clip {
    /// (4): width, height, width, height.
    greatest: Value,
}

impl Clip {
    /// To an image of `extent`, (2): height and width.
    pub fn new(graph: &mut GraphBuilder, extent: &Value) -> Self {
        let order = graph.ints(&[1, 0, 1, 0]);
        Self { greatest: graph.gather(extent, &order, 0) }
    }

    /// (…, 4) → (…, 4).
    pub fn apply(&self, graph: &mut GraphBuilder, boxes: &Value) -> Value {
        let zero = graph.scalar(0.0);
        let boxes = graph.binary("Max", boxes, &zero);
        graph.binary("Min", &boxes, &self.greatest)
    }

    /// Whether both sides are greater than `least`: (…, 4) → (…), truth values.
    pub fn has_sides(&self, graph: &mut GraphBuilder, boxes: &Value, least: f32) -> Value {
        let [x0, y0, x1, y1] = corners(graph, boxes);
        let least = graph.scalar(least);
        let (width, height) = (graph.binary("Sub", &x1, &x0), graph.binary("Sub", &y1, &y0));
        let (wide, high) =
            (graph.binary("Greater", &width, &least), graph.binary("Greater", &height, &least));
        graph.binary("And", &wide, &high)
    }
}

/// The four numbers of (…, 4), each (…).
fn corners(graph: &mut GraphBuilder, boxes: &Value) -> [Value; 4] {
    [0, 1, 2, 3].map(|corner| graph.pick(boxes, -1, corner))
}

/// The boxes that `deltas` (…, 4), divided by `factors`, lead to from `references` (…, 4).
pub fn decode(graph: &mut GraphBuilder, references: &Value, deltas: &Value, factors: [f32; 4]) -> Value {
    let [x0, y0, x1, y1] = corners(graph, references);
    let deltas = corners(graph, deltas);
    let half = graph.scalar(0.5);
    let mut low = Vec::new();
    let mut high = Vec::new();
    for (axis, (start, end)) in [(x0, x1), (y0, y1)].into_iter().enumerate() {
        let side = graph.binary("Sub", &end, &start);
        let middle = graph.binary("Mul", &side, &half);
        let middle = graph.binary("Add", &start, &middle);
        let scaled = |graph: &mut GraphBuilder, at: usize| {
            let factor = graph.scalar(factors[at]);
            graph.binary("Div", &deltas[at], &factor)
        };
        let shift = scaled(graph, axis);
        let shift = graph.binary("Mul", &shift, &side);
        let middle = graph.binary("Add", &shift, &middle);
        let grow = scaled(graph, axis + 2);
        let limit = graph.scalar(MAX_LOG_SCALE);
        let grow = graph.binary("Min", &grow, &limit);
        let grow = graph.unary("Exp", &grow);
        let side = graph.binary("Mul", &grow, &side);
        let reach = graph.binary("Mul", &side, &half);
        low.push(graph.binary("Sub", &middle, &reach));
        high.push(graph.binary("Add", &middle, &reach));
    }
    let last = graph.ints(&[-1]);
    let parts: Vec<Value> =
        low.iter().chain(&high).map(|corner| graph.binary("Unsqueeze", corner, &last)).collect();
    graph.concat(&parts, -1)
}

/// Of boxes (images, n, 4) with scores (images, classes, n), those that no better one of their class overlaps by more than
/// `iou`: (kept, 3), image, class and index.
pub fn suppress(
    graph: &mut GraphBuilder,
    boxes: &Value,
    scores: &Value,
    most: usize,
    iou: f64,
    least_score: Option<f32>,
) -> Value {
    let (most, iou) =
        (graph.ints(&[most as i64]), graph.floats(&format!("iou_{iou}"), &[1], || vec![iou as f32]));
    let mut inputs = vec![boxes.clone(), scores.clone(), most, iou];
    if let Some(score) = least_score {
        inputs.push(graph.floats(&format!("least_score_{score}"), &[1], || vec![score]));
    }
    graph.node("NonMaxSuppression", &inputs.iter().collect::<Vec<_>>(), Vec::new())
}

/// The length of a list, (1), or `most` where it is longer.
pub fn count_at_most(graph: &mut GraphBuilder, list: &Value, most: usize) -> Value {
    let most = graph.ints(&[most as i64]);
    let count = graph.unary("Shape", list);
    graph.binary("Min", &count, &most)
}

/// The `count` greatest of a list, falling, and where they were.
pub fn top(graph: &mut GraphBuilder, list: &Value, count: &Value) -> (Value, Value) {
    let attributes = vec![Attribute::int("axis", 0)];
    let [values, places] = graph.split("TopK", &[list, count], attributes);
    (values, places)
}

/// The places of a list of truth values that are true.
pub fn places(graph: &mut GraphBuilder, truths: &Value) -> Value {
    let numbers = graph.cast(truths, ElementType::Int64);
    let places = graph.unary("NonZero", &numbers);
    graph.reshape(&places, &[-1])
}
