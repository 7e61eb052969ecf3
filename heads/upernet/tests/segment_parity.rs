//! The whole head of segmentation, neck and auxiliary head included, against plain f64 loops: scores, loss, and the
//! gradient at every tensor, on random weights and with the batch's own statistics.

mod plain;

use std::collections::BTreeMap;

use kat_backbone::checkpoint::model::{assign, export};
use kat_backbone::checkpoint::{HostTensor, TensorMap};
use kat_backbone::nn::{Builder, Kind, Module};
use kat_backbone::ops::batch_norm::Options;
use kat_backbone::{Cpu, Graph, Tensor, module};
use kat_upernet::{FcnHead, Halving, MultiLevelNeck, Scores, SegmentLoss, UperConfig, UperHead};
use plain::{Map, Weights, add, concat, conv, conv_norm_act, cross_entropy, pool, resize};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const GRIDS: [usize; 2] = [1, 2];
const CLASS_WEIGHTS: [f64; 3] = [1.0, 0.5, 2.0];
/// Size of the label maps; that of the maps is 3 × 4.
const SIZE: [usize; 2] = [11, 15];
const CHANNELS: usize = 3;

/// Neck and heads as one module.
#[derive(Clone)]
struct Heads<D: kat_backbone::Device> {
    neck: MultiLevelNeck<D>,
    decode_head: UperHead<D>,
    auxiliary_head: FcnHead<D>,
}

module!(Heads { neck, decode_head, auxiliary_head });

fn heads(rng: &mut ChaCha8Rng) -> Heads<Cpu> {
    let builder = Builder::new(&Cpu::default(), 0);
    let (norm, classes) = (Options::default(), CLASS_WEIGHTS.len());
    let config = UperConfig {
        inputs: vec![CHANNELS; 4],
        channels: 4,
        pool_grids: GRIDS.to_vec(),
        dropout: 0.0,
        classes,
    };
    let mut heads = Heads {
        neck: MultiLevelNeck::new(&builder.at("neck"), CHANNELS, Halving::ToSize).unwrap(),
        decode_head: UperHead::new(&builder.at("decode_head"), &config, &norm).unwrap(),
        auxiliary_head: FcnHead::new(&builder.at("auxiliary_head"), [CHANNELS, 5, classes], 0.0, &norm)
            .unwrap(),
    };
    // First values are too regular: biases of 0 and factors of 1 would hide a term that is left out.
    let mut random = TensorMap::default();
    for (name, tensor) in export(&heads).tensors {
        let spread = if name.ends_with("bn.weight") { 0.7..1.3 } else { -0.6..0.6 };
        let data = tensor.data.iter().map(|_| rng.random_range(spread.clone())).collect();
        random.insert(name, HostTensor { shape: tensor.shape, data });
    }
    assign(&mut heads, &random).unwrap();
    heads
}

struct Found {
    decoded: Vec<f32>,
    auxiliary: Vec<f32>,
    loss: f64,
    /// By name; the inputs are "input.0" to "input.3".
    gradients: BTreeMap<String, Vec<f32>>,
}

fn run(heads: &Heads<Cpu>, inputs: &[Map], labels: &[u8]) -> Found {
    let maps: Vec<_> = inputs
        .iter()
        .map(|map| {
            let values = map.data.iter().map(|v| *v as f32).collect();
            Tensor::from_vec(&Cpu::default(), values, map.shape).unwrap().parameter().unwrap()
        })
        .collect();
    let mut graph = Graph::training(0);
    let scaled = heads.neck.forward(&mut graph, &maps).unwrap();
    let auxiliary = heads.auxiliary_head.forward(&mut graph, &scaled[3]).unwrap();
    let decoded = heads.decode_head.forward(&mut graph, &scaled).unwrap();
    let scores = Scores { decoded: decoded.clone(), auxiliary: Some(auxiliary.clone()) };
    let loss = SegmentLoss {
        class_weights: Some(CLASS_WEIGHTS.map(|w| w as f32).to_vec()),
        ohem: None,
        auxiliary_weight: 0.4,
    };
    let loss = loss.forward(&mut graph, &scores, labels, SIZE).unwrap();
    let mut taken = graph.backward(&loss).unwrap();
    let mut gradients = BTreeMap::new();
    for (i, map) in maps.iter().enumerate() {
        gradients.insert(format!("input.{i}"), taken.take_host(map).unwrap().unwrap());
    }
    heads.for_each(|name, kind, tensor| {
        if kind == Kind::Parameter {
            gradients.insert(name.to_owned(), taken.take_host(tensor).unwrap().unwrap());
        }
    });
    Found {
        decoded: decoded.to_vec(),
        auxiliary: auxiliary.to_vec(),
        loss: f64::from(loss.scalar().unwrap()),
        gradients,
    }
}

/// Scores of both heads and the loss.
fn reference(weights: &Weights, inputs: &[Map], labels: &[u8]) -> (Map, Map, f64) {
    let scaled: Vec<Map> = (inputs.iter().zip([4.0, 2.0, 1.0, 0.5]).enumerate())
        .map(|(i, (map, scale))| {
            let map = conv(map, weights, &format!("neck.lateral_convs.{i}.conv"));
            let side = |side: usize| (side as f64 * scale) as usize;
            let map = resize(&map, [side(map.shape[2]), side(map.shape[3])]);
            conv(&map, weights, &format!("neck.convs.{i}.conv"))
        })
        .collect();
    let layer = |map: &Map, name: &str| conv_norm_act(map, weights, &format!("decode_head.{name}"));
    let size = |map: &Map| [map.shape[2], map.shape[3]];

    let mut parts = vec![scaled[3].clone()];
    for (i, grid) in GRIDS.into_iter().enumerate() {
        let pooled = layer(&pool(&scaled[3], grid), &format!("psp_modules.{i}.1"));
        parts.push(resize(&pooled, size(&scaled[3])));
    }
    let top = layer(&concat(&parts), "bottleneck");
    let l2 = layer(&scaled[2], "lateral_convs.2");
    let l2 = add(&l2, &resize(&top, size(&l2)));
    let l1 = layer(&scaled[1], "lateral_convs.1");
    let l1 = add(&l1, &resize(&l2, size(&l1)));
    let l0 = layer(&scaled[0], "lateral_convs.0");
    let l0 = add(&l0, &resize(&l1, size(&l0)));
    let finest = size(&l0);
    let fused = concat(&[
        layer(&l0, "fpn_convs.0"),
        resize(&layer(&l1, "fpn_convs.1"), finest),
        resize(&layer(&l2, "fpn_convs.2"), finest),
        resize(&top, finest),
    ]);
    let decoded = conv(&layer(&fused, "fpn_bottleneck"), weights, "decode_head.conv_seg");
    let hidden = conv_norm_act(&scaled[3], weights, "auxiliary_head.convs.0");
    let auxiliary = conv(&hidden, weights, "auxiliary_head.conv_seg");
    let loss = |map: &Map| cross_entropy(&resize(map, SIZE), labels, &CLASS_WEIGHTS);
    let total = loss(&decoded) + 0.4 * loss(&auxiliary);
    (decoded, auxiliary, total)
}

fn assert_close(what: &str, found: &[f32], expected: &[f64], floor: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = expected.iter().map(|e| e * e).sum::<f64>().sqrt();
    let error = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).powi(2)).sum::<f64>().sqrt();
    assert!(error <= 1e-4 * norm + floor, "{what}: off by {error:.2e} of {norm:.2e}");
}

#[test]
fn scores_loss_and_gradients_are_those_of_plain_loops() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let heads = heads(&mut rng);
    let inputs: Vec<Map> = (0..4)
        .map(|_| {
            let values: Vec<f32> = (0..2 * CHANNELS * 12).map(|_| rng.random_range(-1.0..1.0)).collect();
            let data = values.into_iter().map(f64::from).collect();
            Map { shape: [2, CHANNELS, 3, 4], data }
        })
        .collect();
    let labels: Vec<u8> = (0..2 * SIZE[0] * SIZE[1])
        .map(|_| match rng.random_range(0..4u8) {
            3 => 255,
            class => class,
        })
        .collect();
    let weights: Weights = (export(&heads).tensors.into_iter())
        .map(|(name, t)| (name, (t.shape, t.data.into_iter().map(f64::from).collect())))
        .collect();

    let found = run(&heads, &inputs, &labels);
    let (decoded, auxiliary, loss) = reference(&weights, &inputs, &labels);
    assert_close("scores", &found.decoded, &decoded.data, 0.0);
    assert_close("auxiliary scores", &found.auxiliary, &auxiliary.data, 0.0);
    assert!((found.loss - loss).abs() <= 1e-5 * loss, "{} is not {loss}", found.loss);

    // Central differences of the reference, at every third value of each tensor.
    const STEP: f64 = 1e-6;
    let square: f64 = found.gradients.values().flatten().map(|g| f64::from(*g).powi(2)).sum();
    // Some gradients are 0 in truth: a batch norm takes out what shifts its whole input.
    let floor = 1e-6 * square.sqrt();
    for (name, gradient) in &found.gradients {
        let (mut sampled, mut expected) = (Vec::new(), Vec::new());
        for at in (0..gradient.len()).step_by(3) {
            let side = |offset: f64| match name.strip_prefix("input.") {
                Some(number) => {
                    let mut inputs = inputs.clone();
                    inputs[number.parse::<usize>().unwrap()].data[at] += offset;
                    reference(&weights, &inputs, &labels).2
                }
                None => {
                    let mut weights = weights.clone();
                    weights.get_mut(name).unwrap().1[at] += offset;
                    reference(&weights, &inputs, &labels).2
                }
            };
            sampled.push(gradient[at]);
            expected.push((side(STEP) - side(-STEP)) / (2.0 * STEP));
        }
        assert_close(name, &sampled, &expected, floor);
    }
}
