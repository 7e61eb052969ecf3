//! Branches as one op against their parts in f32.

use crate::config::Size;
use crate::init::{Activation, Order};
use crate::nn::{AttentionConfig, Block, BlockConfig, Builder, MixerConfig, MixerKind, Module as _, Sharing};
use crate::ops::branch::BranchKernel as _;
use crate::ops::rational::Denominator;
use crate::tensor::Backend as _;
use crate::{Cpu, Graph, Precision, Tensor};

/// A factor is rounded to 8 bits, a product of two off by about 1.6e-3; a gradient passes through up to eight products and the
/// roundings between them. The parts one by one in bfloat16 are as far off.
const TOLERANCE: f64 = 2e-2;

struct Case {
    name: &'static str,
    kind: MixerKind,
    activation: Activation,
    form: Denominator,
    groups: usize,
    window: Option<usize>,
    relative: bool,
    layer_scale: Option<f32>,
    drop_path: f32,
    /// Images and the grid of their tokens.
    size: (usize, Size),
}

const PLAIN: Case = Case {
    name: "plain",
    kind: MixerKind::GrKan,
    activation: Activation::Gelu,
    form: Denominator::Kernel,
    groups: 4,
    window: None,
    relative: false,
    layer_scale: None,
    drop_path: 0.0,
    size: (2, Size { height: 5, width: 9 }),
};

fn cases() -> [Case; 7] {
    [
        PLAIN,
        Case { name: "whole panels, narrow groups", groups: 8, size: (1, Size::new(8, 8)), ..PLAIN },
        Case { name: "MLP", kind: MixerKind::Mlp, size: (3, Size::new(3, 5)), ..PLAIN },
        Case { name: "the paper's denominator", form: Denominator::Paper, ..PLAIN },
        Case { name: "LayerScale", layer_scale: Some(0.7), ..PLAIN },
        Case { name: "drop path", drop_path: 0.4, size: (6, Size::new(3, 3)), ..PLAIN },
        Case { name: "windows", window: Some(4), relative: true, size: (2, Size::new(6, 10)), ..PLAIN },
    ]
}

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// The output and the gradients at the input and at every parameter, by name.
fn outcome(device: &Cpu, case: &Case) -> Vec<(String, Vec<f32>)> {
    const DIM: usize = 64;
    let (samples, grid) = case.size;
    let config = BlockConfig {
        attention: AttentionConfig {
            dim: DIM,
            heads: 2,
            qkv_bias: true,
            mimetic: false,
            window: case.window,
            relative_grid: case.relative.then_some(grid),
        },
        mixer: MixerConfig {
            kind: case.kind,
            hidden: 2 * DIM,
            groups: case.groups,
            numerator: Sharing::Shared,
            denominator: Sharing::PerGroup,
            denominator_form: case.form,
            order: Order::default(),
            act1: Activation::Identity,
            act2: case.activation,
            activation: case.activation,
            learnable: None,
            kan_basis: 4,
            preserve_variance: true,
            dropout: 0.0,
        },
        drop_path: case.drop_path,
        layer_scale: case.layer_scale,
        norm_eps: 1e-6,
    };
    let mut block = Block::new(&Builder::new(device, 3), &config).unwrap();
    // parameters that start as 0 or 1 would hide what is wrong about them
    let mut seed = 0;
    let moved = block.visit_mut("", &mut |_, _, tensor| {
        seed += 1;
        let moved = tensor.to_vec().into_iter().zip(values(tensor.numel(), seed)).map(|(x, d)| x + 0.05 * d);
        tensor.set(moved.collect())
    });
    moved.unwrap();
    let x = Tensor::from_vec(device, values(samples * grid.area() * DIM, 50), [samples, grid.area(), DIM]);
    let x = x.unwrap().parameter().unwrap();
    let mut graph = Graph::training(11);
    let y = block.forward(&mut graph, &x, grid).unwrap();
    let slopes = device.upload_buf(values(y.numel(), 60)).unwrap();
    let mut gradients = graph.backward_from(&y, slopes).unwrap();
    let mut found =
        vec![("y".to_owned(), y.to_vec()), ("x".to_owned(), gradients.take_host(&x).unwrap().unwrap())];
    block.for_each(|name, _, tensor| {
        found.push((name.to_owned(), gradients.take_host(tensor).unwrap().unwrap_or_default()));
    });
    found
}

#[test]
fn a_block_agrees_with_its_parts_in_f32() {
    let device = Cpu::with_precision(Precision::Bf16).unwrap();
    assert!(device.has_branches() && !Cpu::default().has_branches());
    for case in cases() {
        let expected = outcome(&Cpu::default(), &case);
        for ((name, found), (_, expected)) in outcome(&device, &case).iter().zip(&expected) {
            assert_eq!(found.len(), expected.len(), "{}: {name}", case.name);
            let exact: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
            let error = crate::ops::check::relative_error(found, &exact);
            // a key's bias moves all logits of a query alike: its gradient is 0 but for rounding
            let key = name.ends_with("qkv.bias");
            // and the slope of the paper's |polynomial| turns where rounding takes it over 0
            let tolerance = if key || case.form == Denominator::Paper { 3.0 * TOLERANCE } else { TOLERANCE };
            assert!(error <= tolerance, "{}: {name} is {error:.1e} off", case.name);
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let device = Cpu::with_precision(Precision::Bf16).unwrap();
    for case in cases() {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| outcome(&device, &case))
        };
        let one = on(1);
        for threads in 2..=3 {
            for ((name, a), (_, b)) in one.iter().zip(on(threads)) {
                let same = a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}: {name} on {threads} threads", case.name);
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_in_its_image() {
    let device = Cpu::with_precision(Precision::Bf16).unwrap();
    let config = crate::KatConfig {
        image_size: Size::square(16),
        patch_size: Size::square(4),
        dim: 64,
        depth: 1,
        heads: 2,
        groups: 4,
        classes: 0,
        ..crate::KatConfig::default()
    };
    let model = crate::Kat::new(&device, &config, 1).unwrap();
    let mut image = values(2 * 3 * 16 * 16, 1);
    image[3] = f32::NAN;
    let image = Tensor::from_vec(&device, image, [2, 3, 16, 16]).unwrap();
    let tokens = model.tokens(&mut Graph::inference(), &image).unwrap().to_vec();
    let (first, second) = tokens.split_at(tokens.len() / 2);
    assert!(first.iter().all(|x| x.is_nan()) && second.iter().all(|x| x.is_finite()));
}
