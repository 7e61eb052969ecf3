//! ViTDet's simple feature pyramid as ONNX operators.

use kat_backbone::Size;
use kat_backbone::init::Activation;
use kat_backbone::nn::LAYER_NORM_EPS;

use super::graph::{GraphBuilder, Value};
use super::layers::{activation, channel_norm, conv, conv_transpose};
use super::proto::Attribute;
use super::weights::Weights;

/// A level.
#[derive(Debug, Clone)]
pub struct Level {
    /// (1, C, rows, columns).
    pub map: Value,
    /// Rows and columns.
    pub size: Size,
    /// Pixels a step.
    pub stride: usize,
}

/// The five levels of the last block's `map` (1, E, grid), finest first.
///
/// # Errors
/// A weight that is not there.
pub fn pyramid(
    graph: &mut GraphBuilder,
    map: &Value,
    grid: Size,
    weights: &Weights,
    patch: usize,
) -> anyhow::Result<Vec<Level>> {
    let finest = patch.ilog2() as usize - 2;
    let mut levels: Vec<Level> = Vec::new();
    for index in 0..4 {
        let level = weights.at(format!("simfp_{}", finest + index));
        let (x, size, steps) = match index {
            0 => {
                let x = conv_transpose(graph, map, &level.at(0), 2)?;
                let x = channel_norm(graph, &x, &level.at(1), LAYER_NORM_EPS)?;
                let x = activation(graph, &x, Activation::Gelu)?;
                let x = conv_transpose(graph, &x, &level.at(3), 2)?;
                (x, Size::new(4 * grid.height, 4 * grid.width), 4)
            }
            1 => {
                let x = conv_transpose(graph, map, &level.at(0), 2)?;
                (x, Size::new(2 * grid.height, 2 * grid.width), 1)
            }
            2 => (map.clone(), grid, 0),
            _ => {
                let (x, size) = halve(graph, map, grid, 2);
                (x, size, 1)
            }
        };
        let x = normed_conv(graph, &x, &level.at(steps))?;
        let map = normed_conv(graph, &x, &level.at(steps + 1))?;
        levels.push(Level { map, size, stride: patch * (1 << index) / 4 });
    }
    let last = &levels[3];
    let (map, size) = halve(graph, &last.map, last.size, 1);
    levels.push(Level { map, size, stride: 4 * patch });
    Ok(levels)
}

/// Every second pixel, the greatest of `kernel` × `kernel`; a side of one pixel stays.
fn halve(graph: &mut GraphBuilder, map: &Value, size: Size, kernel: usize) -> (Value, Size) {
    let kernel = Size::new(kernel.min(size.height), kernel.min(size.width));
    let attributes = vec![
        Attribute::ints("kernel_shape", &[kernel.height as i64, kernel.width as i64]),
        Attribute::ints("strides", &[2, 2]),
    ];
    let side = |side: usize, kernel: usize| (side - kernel) / 2 + 1;
    let halved = Size::new(side(size.height, kernel.height), side(size.width, kernel.width));
    (graph.node("MaxPool", &[map], attributes), halved)
}

/// A convolution of one output pixel for each input pixel, and the norm over its channels.
///
/// # Errors
/// A weight that is not there.
pub fn normed_conv(graph: &mut GraphBuilder, x: &Value, weights: &Weights) -> anyhow::Result<Value> {
    let kernel = weights.get("weight")?.shape.last().copied().unwrap_or(1);
    let x = conv(graph, x, weights, 1, kernel as i64 / 2)?;
    channel_norm(graph, &x, &weights.at("norm"), LAYER_NORM_EPS)
}
