//! Times on GPU 0, each line as soon as it is known.
//!
//! usage: cuda_bench rational [PRECISION]
//!        cuda_bench train|forward [MODEL [PRECISION [BATCH [STEPS]]]]
//!   MODEL      a named model, as kat_small_patch16_224
//!   PRECISION  f32, tf32 or bf16
//! Without arguments: the rational, then training and forward passes of KAT-T, S and B, batch 128 and 256, in each
//! precision.

#[cfg(feature = "cuda")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    gpu::run(&std::env::args().skip(1).collect::<Vec<_>>())
}

#[cfg(not(feature = "cuda"))]
fn main() {
    eprintln!("built without the feature cuda");
    std::process::exit(2);
}

#[cfg(feature = "cuda")]
mod gpu {
    use kat_backbone::ops::adamw::AdamWConfig;
    use kat_backbone::ops::rational::{Denominator, Geometry, RationalKernel as _};
    use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
    use kat_backbone::ops::{self, add::AddKernel as _};
    use kat_backbone::optim::{AdamW, GradientSet, ParameterOptions};
    use kat_backbone::step_monitor::{Clip, StepMonitor};
    use kat_backbone::{Backend as _, Cuda, Error, Graph, Kat, KatConfig, Precision, Tensor, variants};
    use std::time::Instant;

    /// Steps before the clock: memory, cuBLAS's choices and the card's clocks settle.
    const WARM_UP: usize = 10;

    type Failure = Box<dyn std::error::Error>;

    pub(super) fn run(arguments: &[String]) -> Result<(), Failure> {
        let mut words = arguments.iter().map(String::as_str);
        let Some(what) = words.next() else {
            for precision in [Precision::F32, Precision::Bf16] {
                rational(precision)?;
            }
            for model in ["kat_tiny_patch16_224", "kat_small_patch16_224", "kat_base_patch16_224"] {
                for precision in [Precision::Bf16, Precision::Tf32, Precision::F32] {
                    for batch in [128, 256] {
                        train(model, precision, batch, 20)?;
                        forward(model, precision, batch, 20)?;
                    }
                }
            }
            return Ok(());
        };
        if what == "rational" {
            return Ok(rational(precision(words.next().unwrap_or("bf16"))?)?);
        }
        let model = words.next().unwrap_or("kat_small_patch16_224");
        let precision = precision(words.next().unwrap_or("bf16"))?;
        let batch = words.next().unwrap_or("128").parse()?;
        let steps = words.next().unwrap_or("30").parse()?;
        match what {
            "train" => train(model, precision, batch, steps),
            "forward" => forward(model, precision, batch, steps),
            _ => Err(format!("{what}: expected rational, train or forward").into()),
        }
    }

    fn precision(name: &str) -> Result<Precision, Failure> {
        match name {
            "f32" => Ok(Precision::F32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(format!("precision {name}: expected f32, tf32 or bf16").into()),
        }
    }

    /// Milliseconds of a call: the median by the GPU's clock, the fastest and the slowest, and what the host took to ask
    /// for it.
    struct Times {
        median: f64,
        fastest: f64,
        slowest: f64,
        host: f64,
    }

    impl Times {
        fn of(
            device: &Cuda,
            rounds: usize,
            mut call: impl FnMut() -> Result<(), Error>,
        ) -> Result<Self, Error> {
            for _ in 0..WARM_UP.min(rounds) {
                call()?;
            }
            device.synchronize()?;
            let start = Instant::now();
            let mut moments = vec![device.moment()?];
            for _ in 0..rounds {
                call()?;
                moments.push(device.moment()?);
            }
            let host = 1e3 * start.elapsed().as_secs_f64() / rounds as f64;
            let mut times = moments
                .windows(2)
                .map(|pair| pair[1].milliseconds_since(&pair[0]))
                .collect::<Result<Vec<_>, _>>()?;
            times.sort_by(f64::total_cmp);
            Ok(Self { median: times[rounds / 2], fastest: times[0], slowest: times[rounds - 1], host })
        }
    }

    /// The tensors of FlashKAT's paper: 1024 × 197 × 768, 8 groups. Bytes are those that must be moved: forward x and
    /// y, backward x, dy and dx; a copy moves two.
    fn rational(precision: Precision) -> Result<(), Error> {
        let device = &Cuda::open(0, precision)?;
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
            form: Denominator::Kernel,
        };
        let copy = Times::of(device, 20, || device.duplicate(x.view()).map(drop))?;
        let forward = Times::of(device, 20, || {
            device.rational_forward(x.view(), a.view(), b.view(), &geometry).map(drop)
        })?;
        let mut dy = Some(device.duplicate(x.view())?);
        let backward = Times::of(device, 20, || {
            let slope = dy.take().map_or_else(|| device.duplicate(x.view()), Ok)?;
            let made = device.rational_backward(x.view(), a.view(), b.view(), slope, &geometry)?;
            dy = Some(made.dx);
            Ok(())
        })?;
        let rate = |time: &Times, passes: f64| passes * size * count as f64 / time.median / 1e6;
        for (name, time, passes) in
            [("copy", &copy, 2.0), ("rational forward", &forward, 2.0), ("rational backward", &backward, 3.0)]
        {
            let (rate, share) = (rate(time, passes), rate(time, passes) / rate(&copy, 2.0));
            println!(
                "{precision:?} {name:<20} {:8.3} ms {rate:7.0} GB/s, {:3.0} % of the copy's rate",
                time.median,
                100.0 * share
            );
        }
        Ok(())
    }

    fn report(model: &str, precision: Precision, what: &str, batch: usize, time: &Times) {
        let Times { median, fastest, slowest, host } = time;
        println!(
            "{model} {precision:?} {what} batch {batch}: {median:.2} ms ({fastest:.2} to {slowest:.2}), host {host:.2} ms, \
             {:.0} images/s",
            1e3 * batch as f64 / median
        );
    }

    fn config(model: &str) -> Result<KatConfig, Error> {
        Ok(KatConfig { mimetic: false, drop_path: 0.1, ..variants::named(model)?.config })
    }

    /// Whole training steps: batch from the host, forward, backward, norm, AdamW.
    fn train(name: &str, precision: Precision, batch: usize, steps: usize) -> Result<(), Failure> {
        let device = &Cuda::open(0, precision)?;
        let mut model = Kat::new(device, &config(name)?, 0)?;
        let mut optimizer = AdamW::new(&model, AdamWConfig::default(), |_, _| ParameterOptions {
            weight_decay: 0.05,
            ..ParameterOptions::default()
        })?;
        let mut watch = StepMonitor::new(device)?;
        let pixels: Vec<f32> = (0..batch * 3 * 224 * 224).map(wave).collect();
        let targets = Targets::hard((0..batch as u32).collect());
        let mut step = || {
            let images = Tensor::from_slice(device, &pixels, [batch, 3, 224, 224])?;
            let mut graph = Graph::training(1);
            let logits = model.forward(&mut graph, &images)?;
            let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1))?;
            watch.loss(&loss, 0)?;
            let gradients = GradientSet::take(&model, graph.backward(&loss)?)?;
            watch.gradients(&gradients, Clip::NONE, 0)?;
            optimizer.step(&mut model, &gradients, 1e-4, &watch)
        };
        let time = Times::of(device, steps, &mut step)?;
        let before = device.work();
        step()?;
        let after = device.work();
        if let Some(failure) = watch.read().failure {
            return Err(format!("{name} {precision:?}: {failure:?}").into());
        }
        report(name, precision, "train", batch, &time);
        println!(
            "  a step: {} launches over {:.2} GB, {} products over {:.2} GB",
            after.launches - before.launches,
            (after.bytes - before.bytes) as f64 / 1e9,
            after.products - before.products,
            (after.product_bytes - before.product_bytes) as f64 / 1e9,
        );
        Ok(())
    }

    /// Forward passes of a batch that lies on the GPU.
    fn forward(name: &str, precision: Precision, batch: usize, steps: usize) -> Result<(), Failure> {
        let device = &Cuda::open(0, precision)?;
        let model = Kat::new(device, &config(name)?, 0)?;
        let pixels = (0..batch * 3 * 224 * 224).map(wave).collect();
        let images = Tensor::from_vec(device, pixels, [batch, 3, 224, 224])?;
        let time = Times::of(device, steps, || model.forward(&mut Graph::inference(), &images).map(drop))?;
        report(name, precision, "forward", batch, &time);
        Ok(())
    }

    fn wave(i: usize) -> f32 {
        (i as f32 * 0.37).sin()
    }
}
