//! Times on GPU 0: the group rational beside a copy, and training steps of KAT-T, S and B.

#[cfg(feature = "cuda")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    gpu::run()
}

#[cfg(not(feature = "cuda"))]
fn main() {
    eprintln!("built without the feature cuda");
    std::process::exit(2);
}

#[cfg(feature = "cuda")]
mod gpu {
    use kat_backbone::ops::adamw::AdamWConfig;
    use kat_backbone::ops::rational::{Geometry, RationalKernel as _};
    use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
    use kat_backbone::ops::{self, add::AddKernel as _};
    use kat_backbone::optim::{AdamW, GradientSet, ParameterOptions};
    use kat_backbone::watch::{Clip, Watch};
    use kat_backbone::{Backend as _, Cuda, Error, Graph, Kat, KatConfig, Precision, Tensor, variants};
    use std::time::Instant;

    /// Seconds of one call, the mean of `rounds` after a few that do not count.
    fn seconds(
        device: &Cuda,
        rounds: u32,
        mut call: impl FnMut() -> Result<(), Error>,
    ) -> Result<f64, Error> {
        for _ in 0..3 {
            call()?;
        }
        device.synchronize()?;
        let start = Instant::now();
        for _ in 0..rounds {
            call()?;
        }
        device.synchronize()?;
        Ok(start.elapsed().as_secs_f64() / f64::from(rounds))
    }

    pub(super) fn run() -> Result<(), Box<dyn std::error::Error>> {
        for precision in [Precision::F32, Precision::Bf16] {
            rational(&Cuda::open(0, precision)?, precision)?;
        }
        for name in ["kat_tiny_patch16_224", "kat_small_patch16_224", "kat_base_patch16_224"] {
            for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
                train(&Cuda::open(0, precision)?, precision, name)?;
            }
        }
        Ok(())
    }

    /// The tensors of FlashKAT's paper: 1024 × 197 × 768, 8 groups. Bytes are those that must be moved: forward x and
    /// y, backward x, dy and dx; a copy moves two.
    fn rational(device: &Cuda, precision: Precision) -> Result<(), Error> {
        let (shape, count) = ([1024, 197, 768], 1024 * 197 * 768);
        let size = if precision == Precision::Bf16 { 2.0 } else { 4.0 };
        let values = Tensor::from_vec(device, (0..count).map(wave).collect(), shape)?;
        // Under mixed precision a layer's output is what a rational reads.
        let (ones, zeros) = (vec![1.0; 768], vec![0.0; 768]);
        let (scale, shift) =
            (Tensor::from_vec(device, ones, [768])?, Tensor::from_vec(device, zeros, [768])?);
        let x = ops::layer_norm(&mut Graph::inference(), &values, &scale, &shift, 1e-6)?;
        drop(values);
        let a = Tensor::from_vec(device, (0..6).map(wave).collect(), [1, 6])?;
        let b = Tensor::from_vec(device, (0..32).map(wave).collect(), [8, 4])?;
        let geometry = Geometry {
            channels: 768,
            groups: 8,
            numerator_groups: 1,
            numerator_len: 6,
            denominator_groups: 8,
            denominator_len: 4,
        };
        let copy = seconds(device, 20, || device.duplicate(x.view()).map(drop))?;
        let forward = seconds(device, 20, || {
            device.rational_forward(x.view(), a.view(), b.view(), &geometry).map(drop)
        })?;
        let mut dy = Some(device.duplicate(x.view())?);
        let backward = seconds(device, 20, || {
            let slope = dy.take().map_or_else(|| device.duplicate(x.view()), Ok)?;
            let made = device.rational_backward(x.view(), a.view(), b.view(), slope, &geometry)?;
            dy = Some(made.dx);
            Ok(())
        })?;
        let rate = |time: f64, passes: f64| passes * size * count as f64 / time / 1e9;
        for (name, time, passes) in
            [("copy", copy, 2.0), ("rational forward", forward, 2.0), ("rational backward", backward, 3.0)]
        {
            let (rate, share) = (rate(time, passes), rate(time, passes) / rate(copy, 2.0));
            println!(
                "{precision:?} {name:<20} {:8.3} ms {rate:7.0} GB/s, {:3.0} % of the copy's rate",
                1e3 * time,
                100.0 * share
            );
        }
        Ok(())
    }

    /// Whole training steps: batch from the host, forward, backward, norm, AdamW.
    fn train(device: &Cuda, precision: Precision, name: &str) -> Result<(), Box<dyn std::error::Error>> {
        const BATCH: usize = 128;
        let config = KatConfig { mimetic: false, drop_path: 0.1, ..variants::named(name)?.config };
        let mut model = Kat::new(device, &config, 0)?;
        let mut optimizer = AdamW::new(&model, AdamWConfig::default(), |_, _| ParameterOptions {
            lr_scale: 1.0,
            weight_decay: 0.05,
        })?;
        let mut watch = Watch::new(device)?;
        let pixels: Vec<f32> = (0..BATCH * 3 * 224 * 224).map(wave).collect();
        let targets = Targets::hard((0..BATCH as u32).collect());
        let time = seconds(device, 20, || {
            let images = Tensor::from_slice(device, &pixels, [BATCH, 3, 224, 224])?;
            let mut graph = Graph::training(1);
            let logits = model.forward(&mut graph, &images)?;
            let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1))?;
            watch.loss(&loss, 0)?;
            let gradients = GradientSet::take(&model, graph.backward(&loss)?)?;
            watch.gradients(&gradients, Clip::NONE, 0)?;
            optimizer.step(&mut model, &gradients, 1e-4, &watch)
        })?;
        println!("{name} {precision:?}, training, batch {BATCH}: {:.0} images/s", BATCH as f64 / time);
        Ok(())
    }

    fn wave(i: usize) -> f32 {
        (i as f32 * 0.37).sin()
    }
}
