//! What the network takes: planes that are normalized already, pixels that the graph normalizes, or images of any size that
//! the graph resizes too.

use clap::ValueEnum;
use kat_backbone::Size;
use kat_images::transform::normalize::Normalize;

use super::graph::{Axis, GraphBuilder, Value};
use super::proto::{Attribute, ElementType};

/// The input of an exported network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Input {
    /// float32 (batch, 3, height, width), normalized by mean and deviation
    #[default]
    Planes,
    /// uint8 RGB (batch, height, width, 3) of the network's size; the graph normalizes
    Pixels,
    /// uint8 RGB (1, height, width, 3) of any size; the graph resizes, crops and normalizes (classify)
    Image,
}

/// The name of the batch's axis.
pub const BATCH: Axis<'static> = Axis::Named("batch");

/// The input "image" of `size`, normalized by the graph where it has to be: (batch, 3, H, W).
pub fn planes(
    graph: &mut GraphBuilder,
    input: Input,
    size: Size,
    batch: Axis<'_>,
    normalize: &Normalize,
) -> Value {
    let (height, width) = (Axis::Fixed(size.height), Axis::Fixed(size.width));
    match input {
        Input::Planes => {
            let meaning = "normalized RGB: (level / 255 - mean) / std; mean and std are in the metadata";
            graph.input("image", ElementType::Float, &[batch, Axis::Fixed(3), height, width], meaning)
        }
        Input::Pixels | Input::Image => {
            let axes = [batch, height, width, Axis::Fixed(3)];
            let pixels = graph.input("image", ElementType::Uint8, &axes, "RGB levels from 0 to 255");
            let turned = graph.transpose(&pixels, &[0, 3, 1, 2]);
            normalized(graph, &turned, normalize)
        }
    }
}

/// The middle of an image of any size whose short side is brought to `short` pixels, bicubic with antialias as Pillow does:
/// (1, 3, side, side), normalized.
pub fn center_of_any_image(
    graph: &mut GraphBuilder,
    short: u32,
    side: usize,
    normalize: &Normalize,
) -> Value {
    let axes = [Axis::Fixed(1), Axis::Named("height"), Axis::Named("width"), Axis::Fixed(3)];
    let pixels =
        graph.input("image", ElementType::Uint8, &axes, "an image of any size, RGB levels from 0 to 255");
    let turned = graph.transpose(&pixels, &[0, 3, 1, 2]);
    let sides = graph.node("Shape", &[&turned], vec![Attribute::int("start", 2), Attribute::int("end", 4)]);
    let least = reduce_min(graph, &sides);
    let factor = graph.ints(&[i64::from(short)]);
    let scaled = graph.binary("Mul", &sides, &factor);
    // whole-number division rounds down, as the long side is
    let sides = graph.binary("Div", &scaled, &least);
    let none = Value::none();
    let attributes = vec![
        Attribute::text("mode", "cubic"),
        Attribute::float("cubic_coeff_a", -0.5),
        Attribute::int("antialias", 1),
        Attribute::int("exclude_outside", 1),
        Attribute::text("coordinate_transformation_mode", "half_pixel"),
        Attribute::ints("axes", &[2, 3]),
    ];
    let resized = graph.node("Resize", &[&turned, &none, &none, &sides], attributes);
    // the middle: half the rest, halves to the even neighbour
    let (sizes, wanted) = (graph.cast(&sides, ElementType::Float), graph.scalar(side as f32));
    let rest = graph.binary("Sub", &sizes, &wanted);
    let half = graph.scalar(0.5);
    let start = graph.binary("Mul", &rest, &half);
    let start = graph.unary("Round", &start);
    let start = graph.cast(&start, ElementType::Int64);
    let length = graph.ints(&[side as i64]);
    let end = graph.binary("Add", &start, &length);
    let axes = graph.ints(&[2, 3]);
    let middle = graph.node("Slice", &[&resized, &start, &end, &axes], Vec::new());
    let fixed = graph.reshape(&middle, &[1, 3, side as i64, side as i64]);
    normalized(graph, &fixed, normalize)
}

fn reduce_min(graph: &mut GraphBuilder, x: &Value) -> Value {
    let axis = graph.ints(&[0]);
    graph.node("ReduceMin", &[x, &axis], vec![Attribute::int("keepdims", 1)])
}

/// uint8 planes to the network's numbers.
fn normalized(graph: &mut GraphBuilder, planes: &Value, normalize: &Normalize) -> Value {
    let Normalize { mean, std } = *normalize;
    let levels = graph.cast(planes, ElementType::Float);
    let scale = graph.floats("pixel_scale", &[3, 1, 1], || std.map(|std| 1.0 / (255.0 * std)).to_vec());
    let shift = graph.floats("pixel_shift", &[3, 1, 1], || (0..3).map(|c| -mean[c] / std[c]).collect());
    let scaled = graph.binary("Mul", &levels, &scale);
    graph.binary("Add", &scaled, &shift)
}
