//! A segmentor: image → scores and the best class of each pixel.

use kat_backbone::{Cpu, Size};
use kat_images::transform::normalize::Normalize;
use kat_upernet::{NeckKind, SCALES, Segmentor};

use super::encoder::Encoder;
use super::graph::{Axis, GraphBuilder, Value};
use super::layers::{channel_norm, conv, conv_norm_act, resize};
use super::pixels::{BATCH, Input, planes};
use super::proto::{Attribute, ElementType};
use super::weights::Weights;

/// A map and its size, which the graph does not tell.
#[derive(Debug, Clone)]
struct Map {
    value: Value,
    size: [usize; 2],
}

/// The graph of `model`, whose weights are `weights`, for images of `size`.
///
/// # Errors
/// A size of no whole patches; parts that have no ONNX operator.
pub fn segmentor(
    model: &Segmentor<Cpu>,
    weights: &Weights,
    (input, size): (Input, Size),
    normalize: &Normalize,
) -> anyhow::Result<GraphBuilder> {
    let config = model.config();
    let encoder = Encoder::new(&model.backbone, weights.at("backbone"), size)?;
    let mut builder = GraphBuilder::new("segment");
    let graph = &mut builder;
    let image = planes(graph, input, size, BATCH, normalize);
    let mut maps = encoder.feature_maps(graph, &image, &config.blocks)?;
    let norm = weights.at("backbone.norm");
    if let Some(last) = maps.last_mut().filter(|_| norm.exists()) {
        *last = channel_norm(graph, last, &norm, config.backbone.norm_eps)?;
    }
    let grid = [encoder.grid().height, encoder.grid().width];
    let maps: Vec<Map> = maps.into_iter().map(|value| Map { value, size: grid }).collect();
    let maps = match config.neck {
        NeckKind::Plain => maps,
        kind => neck(graph, maps, &weights.at("neck"), kind)?,
    };
    let scores = decode(graph, &maps, &weights.at("decode_head"), &config.pool_grids)?;
    let logits = resize(graph, &scores, [size.height, size.width]);
    let attributes = vec![Attribute::int("axis", 1), Attribute::int("keepdims", 0)];
    let labels = graph.node("ArgMax", &[&logits], attributes);
    let (height, width) = (Axis::Fixed(size.height), Axis::Fixed(size.width));
    let axes = [BATCH, Axis::Fixed(config.classes), height, width];
    graph.output(&logits, "logits", ElementType::Float, &axes, "scores of each class at each pixel");
    let meaning = "the class of each pixel";
    graph.output(&labels, "labels", ElementType::Int64, &[BATCH, height, width], meaning);
    Ok(builder)
}

/// Four scales of four maps at the patch grid.
fn neck(
    graph: &mut GraphBuilder,
    maps: Vec<Map>,
    weights: &Weights,
    kind: NeckKind,
) -> anyhow::Result<Vec<Map>> {
    let mut scaled = Vec::new();
    for (i, (map, scale)) in maps.iter().zip(SCALES).enumerate() {
        let mut value = conv(graph, &map.value, &weights.at("lateral_convs").at(i).at("conv"), 1, 0)?;
        if scale < 1.0 && kind == NeckKind::MultiLevelByTwo {
            for (axis, side) in (2..).zip(map.size).filter(|(_, side)| side % 2 == 1 && *side > 1) {
                value = graph.slice(&value, axis, 0, side as i64 - 1);
            }
        }
        let size = map.size.map(|side| ((side as f64 * scale) as usize).max(1));
        if scale != 1.0 {
            value = resize(graph, &value, size);
        }
        let value = conv(graph, &value, &weights.at("convs").at(i).at("conv"), 1, 1)?;
        scaled.push(Map { value, size });
    }
    Ok(scaled)
}

/// UperNet: scores at the size of the finest map.
fn decode(
    graph: &mut GraphBuilder,
    maps: &[Map],
    weights: &Weights,
    grids: &[usize],
) -> anyhow::Result<Value> {
    let Some((coarsest, finer)) = maps.split_last() else { anyhow::bail!("no map to decode") };
    let mut parts = vec![coarsest.value.clone()];
    for (i, grid) in grids.iter().enumerate() {
        let pooled = adaptive_average_pool(graph, coarsest, *grid);
        let pooled = conv_norm_act(graph, &pooled, &weights.at("psp_modules").at(i).at(1))?;
        parts.push(resize(graph, &pooled, coarsest.size));
    }
    let pooled = graph.concat(&parts, 1);
    let pooled = conv_norm_act(graph, &pooled, &weights.at("bottleneck"))?;
    let mut above = Map { value: pooled, size: coarsest.size };
    let mut levels = vec![above.clone()];
    for (i, map) in finer.iter().enumerate().rev() {
        let own = conv_norm_act(graph, &map.value, &weights.at("lateral_convs").at(i))?;
        let from_above = resized(graph, &above, map.size);
        above = Map { value: graph.binary("Add", &own, &from_above), size: map.size };
        levels.push(above.clone());
    }
    levels.reverse();
    let finest = levels[0].size;
    let mut fused = Vec::new();
    for (i, level) in levels.iter().enumerate() {
        let value = match i < finer.len() {
            true => conv_norm_act(graph, &level.value, &weights.at("fpn_convs").at(i))?,
            false => level.value.clone(),
        };
        fused.push(resized(graph, &Map { value, size: level.size }, finest));
    }
    let fused = graph.concat(&fused, 1);
    let fused = conv_norm_act(graph, &fused, &weights.at("fpn_bottleneck"))?;
    conv(graph, &fused, &weights.at("conv_seg"), 1, 0)
}

fn resized(graph: &mut GraphBuilder, map: &Map, size: [usize; 2]) -> Value {
    if map.size == size { map.value.clone() } else { resize(graph, &map.value, size) }
}

/// The averages over `grid` × `grid` parts, which may overlap, as two matrix products.
fn adaptive_average_pool(graph: &mut GraphBuilder, map: &Map, grid: usize) -> Value {
    let averages = |size: usize| -> Vec<f32> {
        let mut rows = vec![0.0; grid * size];
        for (i, row) in rows.chunks_exact_mut(size).enumerate() {
            let part = i * size / grid..((i + 1) * size).div_ceil(grid);
            let share = 1.0 / part.len() as f32;
            row[part].fill(share);
        }
        rows
    };
    let [height, width] = map.size;
    let by_row = graph.floats(&format!("average_{grid}_of_{height}"), &[grid, height], || averages(height));
    let by_column = graph.floats(&format!("average_{grid}_of_{width}_columns"), &[width, grid], || {
        let rows = averages(width);
        (0..width * grid).map(|i| rows[i % grid * width + i / grid]).collect()
    });
    let columns = graph.binary("MatMul", &map.value, &by_column);
    graph.binary("MatMul", &by_row, &columns)
}
