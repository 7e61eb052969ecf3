//! A dfdx program with a KAT as its backbone: dfdx's linear layer, loss and optimizer train a head on the features, and what
//! its backward pass leaves at them goes on into the backbone, which the suite's optimizer trains.
//!
//! The features become a dfdx tensor, and their gradient comes back, without a copy. The features are traced `leaky`: other
//! traces keep the gradients of the head's parameters alone.
//!
//! cargo run --release -p kat-backbone --example dfdx_head

use dfdx::optim::{Sgd, SgdConfig};
use dfdx::prelude::{
    AsArray as _, Backward as _, DeviceBuildExt as _, Module as _, Optimizer as _, Rank2, TensorFrom as _,
    Trace as _, cross_entropy_with_logits_loss,
};
use kat_backbone::nn::Module as _;
use kat_backbone::optim::{AdamW, AdamWConfig, GradientSet, ParameterOptions};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::tensor::dfdx::take_gradient;
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Size, Tensor, ops};

const BATCH: usize = 6;
const CLASSES: usize = 3;
const WIDTH: usize = 32;
const STEPS: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Cpu::default();
    let config = KatConfig {
        image_size: Size::square(32),
        patch_size: Size::square(8),
        dim: WIDTH,
        depth: 2,
        heads: 2,
        classes: 0,
        ..KatConfig::default()
    };
    let mut backbone = Kat::new(&device, &config, 0)?;
    println!("backbone: {} parameters", backbone.parameter_count());
    let options = |_: &str, _| ParameterOptions::default();
    let mut optimizer = AdamW::new(&backbone, AdamWConfig::default(), options)?;
    let mut watch = StepMonitor::new(&device)?;

    let mut head = device.as_dfdx().build_module::<dfdx::nn::builders::Linear<WIDTH, CLASSES>, f32>();
    let mut sgd = Sgd::new(&head, SgdConfig { lr: 0.1, ..SgdConfig::default() });

    let (images, targets) = samples(&device)?;
    let mut losses = Vec::new();
    for step in 0..STEPS {
        // ours: images to features
        let mut graph = Graph::training(step);
        let tokens = backbone.tokens(&mut graph, &images)?;
        let features = ops::mean_tokens(&mut graph, &tokens)?;

        // dfdx: features to a loss, and back to the features
        let x = features.to_dfdx(Rank2::<BATCH, WIDTH>::default())?;
        let logits = head.forward(x.leaky_trace());
        let loss = cross_entropy_with_logits_loss(logits, device.as_dfdx().tensor(targets));
        losses.push(loss.array());
        let mut gradients = loss.backward();
        let at_features = take_gradient(&mut gradients, &x)?;
        sgd.update(&mut head, &gradients).map_err(|error| format!("{error:?}"))?;

        // ours: on to the backbone's parameters
        let ours = GradientSet::take(&backbone, graph.backward_from(&features, at_features)?)?;
        watch.gradients(&ours, Clip::NONE, step)?;
        optimizer.step(&mut backbone, &ours, 1e-3, &watch)?;
        println!("step {step}: loss {:.4}", losses[losses.len() - 1]);
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    match last < 0.5 * first {
        true => Ok(()),
        false => Err(format!("the loss went from {first} to {last} only").into()),
    }
}

/// Images of stripes along one of three directions, and their classes as distributions.
fn samples(device: &Cpu) -> kat_backbone::Result<(Tensor, [[f32; CLASSES]; BATCH])> {
    let mut values = Vec::new();
    let mut targets = [[0.0; CLASSES]; BATCH];
    for (i, target) in targets.iter_mut().enumerate() {
        let class = i % CLASSES;
        target[class] = 1.0;
        for at in 0..3 * 32 * 32 {
            let (y, x) = (at / 32 % 32, at % 32);
            let along = [y, x, x + y][class] + i;
            values.push(if along / 4 % 2 == 0 { 1.0 } else { -1.0 });
        }
    }
    Ok((Tensor::from_vec(device, values, [BATCH, 3, 32, 32])?, targets))
}
