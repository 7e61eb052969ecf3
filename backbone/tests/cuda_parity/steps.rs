//! Whole training steps.

use super::*;

/// The loss of a small KAT and every parameter's gradient.
fn model<D: Device>(device: &D, config: &KatConfig) -> Result<Vec<Vec<f32>>> {
    let model = Kat::new(device, config, 3)?;
    let images = Tensor::from_vec(device, random(2 * 3 * 32 * 32, 1), [2, 3, 32, 32])?;
    let mut graph = Graph::training(5);
    let logits = model.forward(&mut graph, &images)?;
    let mut results = vec![logits.to_vec()];
    let targets = Targets::hard(vec![3, 7]);
    let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1))?;
    let mut gradients = graph.backward(&loss)?;
    for parameter in &model.parameters() {
        results.push(gradients.take_host(parameter)?.unwrap_or_default());
    }
    Ok(results)
}

#[test]
fn a_training_step_of_kat() {
    let Some(gpu) = gpu() else { return };
    let named = variants::named("kat_tiny_patch16_224").unwrap().config;
    let config = KatConfig { image_size: Size::square(32), depth: 2, classes: 10, ..named };
    compare("kat", [model(&gpu, &config), model(&gpu, &config)], model(&Cpu::default(), &config));
}

/// Weights, their averages, the first moments, losses and norms after three steps of training; then a loss that is no
/// number, after which nothing may change.
fn optimize<D: Device>(device: &D, config: &KatConfig) -> Result<Vec<Vec<f32>>> {
    let mut model = Kat::new(device, config, 3)?;
    let mut average = model.clone();
    // An eps that keeps gradients of nothing but rounding (the keys' bias) from steps of full length.
    let adamw = AdamWConfig { betas: [0.9, 0.95], eps: 1e-3 };
    let mut optimizer = AdamW::new(&model, adamw, |_, rank| ParameterOptions {
        lr_scale: if rank > 1 { 1.0 } else { 0.5 },
        weight_decay: if rank > 1 { 0.05 } else { 0.0 },
        in_norm: rank > 1,
    })?;
    let mut watch = StepMonitor::new(device)?;
    let mut step = |number: u64, factor: f32, results: &mut Vec<Vec<f32>>| -> Result<()> {
        let images = random(2 * 3 * 32 * 32, number).iter().map(|v| v * factor).collect();
        let images = Tensor::from_vec(device, images, [2, 3, 32, 32])?;
        let mut graph = Graph::training(number);
        let logits = model.forward(&mut graph, &images)?;
        let loss =
            ops::softmax_cross_entropy(&mut graph, &logits, &Targets::hard(vec![3, 7]), &Options::default())?;
        watch.loss(&loss, number)?;
        let gradients = GradientSet::take(&model, graph.backward(&loss)?)?;
        optimizer.watch(&mut watch, &gradients, Clip { mean: 0.5, max_norm: 0.2 }, number)?;
        optimizer.step(&mut model, &gradients, 1e-3, &watch)?;
        average_weights(&mut average, &model, 0.9)?;
        let seen = watch.take()?;
        match seen.failure {
            Some(failure) => assert!(failure.what == "loss" && failure.step == 3, "{failure:?}"),
            None => results.push(vec![seen.loss as f32, seen.norm as f32]),
        }
        Ok(())
    };
    let mut results = Vec::new();
    for number in 0..3 {
        step(number, 1.0, &mut results)?;
    }
    step(3, f32::NAN, &mut results)?;
    assert_eq!(results.len(), 3, "the last loss is no number");
    results.extend(model.parameters().iter().chain(&average.parameters()).map(Tensor::to_vec));
    Ok(results)
}

#[test]
fn three_steps_of_training() {
    let Some(gpu) = gpu() else { return };
    let named = variants::named("kat_tiny_patch16_224").unwrap().config;
    let config = KatConfig { image_size: Size::square(32), depth: 1, classes: 10, ..named };
    let cpu = optimize(&Cpu::default(), &config);
    compare("optimizer", [optimize(&gpu, &config), optimize(&gpu, &config)], cpu);
}

/// A model on a GPU with all that trains it.
struct Training {
    gpu: Cuda,
    model: Kat<Cuda>,
    optimizer: AdamW<Cuda>,
    watch: StepMonitor<Cuda>,
}

impl Training {
    fn new(gpu: Cuda, config: &KatConfig) -> Self {
        let model = Kat::new(&gpu, config, 3).unwrap();
        let options =
            |_: &str, _: usize| ParameterOptions { weight_decay: 0.05, ..ParameterOptions::default() };
        let optimizer = AdamW::new(&model, AdamWConfig::default(), options).unwrap();
        let watch = StepMonitor::new(&gpu).unwrap();
        Self { gpu, model, optimizer, watch }
    }

    /// A step on `batch` images of `pixels`.
    fn step(&mut self, pixels: &[f32], batch: usize, targets: &Targets, clip: Clip) {
        let Size { height, width } = self.model.config().image_size;
        let images = Tensor::from_slice(&self.gpu, pixels, [batch, 3, height, width]).unwrap();
        let mut graph = Graph::training(1);
        let logits = self.model.forward(&mut graph, &images).unwrap();
        let loss = ops::softmax_cross_entropy(&mut graph, &logits, targets, &Options::smoothed(0.1)).unwrap();
        self.watch.loss(&loss, 0).unwrap();
        let gradients = GradientSet::take(&self.model, graph.backward(&loss).unwrap()).unwrap();
        self.watch.gradients(&gradients, clip, 0).unwrap();
        self.optimizer.step(&mut self.model, &gradients, 1e-3, &self.watch).unwrap();
    }
}

#[test]
fn a_training_step_waits_for_nothing() {
    for precision in [Precision::F32, Precision::Bf16] {
        let Some(gpu) = gpu_in(precision) else { return };
        let named = variants::named("kat_tiny_patch16_224").unwrap().config;
        let config =
            KatConfig { image_size: Size::square(32), depth: 1, classes: 10, drop_path: 0.2, ..named };
        let mut training = Training::new(gpu.clone(), &config);
        let pixels = random(4 * 3 * 32 * 32, 1);
        let before = gpu.waits();
        training.step(&pixels, 4, &Targets::Soft(vec![0.1; 40]), Clip { mean: 1.0, max_norm: 1.0 });
        assert_eq!(gpu.waits(), before);
        assert!(training.watch.read().loss > 0.0 && gpu.waits() > before);
    }
}

/// What a step of KAT-S in mixed precision asks of the GPU, after the first: launches do not depend on sizes.
#[test]
fn launches_of_a_training_step() {
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    let named = variants::named("kat_small_patch16_224").unwrap().config;
    let config =
        KatConfig { image_size: Size::square(128), classes: 10, drop_path: 0.1, mimetic: false, ..named };
    let mut training = Training::new(gpu.clone(), &config);
    let pixels = random(3 * 128 * 128, 1);
    training.step(&pixels, 1, &Targets::hard(vec![3]), Clip::NONE);
    let before = gpu.work();
    training.step(&pixels, 1, &Targets::hard(vec![3]), Clip::NONE);
    let after = gpu.work();
    let (launches, products) = (after.launches - before.launches, after.products - before.products);
    println!(
        "KAT-S, a step of 65 tokens: {launches} launches over {:.1} MB, {products} products over {:.1} MB",
        (after.bytes - before.bytes) as f64 / 1e6,
        (after.product_bytes - before.product_bytes) as f64 / 1e6,
    );
    // patch embedding, four a block, head: forward, and two backward but for the first's input
    assert_eq!(products, 3 * 50 - 1);
    assert!(launches <= 200, "{launches} launches");
}

#[test]
fn a_training_step_in_mixed_precision() {
    let named = variants::named("kat_tiny_patch16_224").unwrap().config;
    let config = KatConfig { image_size: Size::square(32), depth: 2, classes: 10, ..named };
    let cpu = || model(&Cpu::default(), &config);
    // A factor loses 2^-11 of itself in TF32, twice that where it is cut off and not rounded; 2^-9 in bfloat16. Gradients
    // pass some 16 products and, in bfloat16, as many roundings between them: √32 · 2 · 2^-11 = 5.5e-3 and √32 · 2^-9 =
    // 1.1e-2 of a typical value. The gradients at a rational's coefficients add values of both signs that nearly cancel, and
    // lose up to four times as much of the greatest (4.5e-2 on an H100).
    for (precision, bound) in [(Precision::Tf32, 1e-2), (Precision::Bf16, 5e-2)] {
        let Some(gpu) = gpu_in(precision) else { return };
        compare_within(bound, "kat", [model(&gpu, &config), model(&gpu, &config)], cpu());
    }
}
