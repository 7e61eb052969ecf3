//! Times on GPU 0: the group rational beside a copy of as many bytes, and training steps of kat_small.

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
    use kat_backbone::nn::Module as _;
    use kat_backbone::ops::rational::{Geometry, RationalKernel as _};
    use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
    use kat_backbone::ops::{self, add::AddKernel as _};
    use kat_backbone::{Cuda, Error, Graph, Kat, KatConfig, Precision, Tensor, variants};
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
        let device = Cuda::open(0, Precision::F32)?;
        rational(&device)?;
        for mode in [Precision::F32, Precision::Tf32] {
            train(&Cuda::open(0, mode)?, mode)?;
        }
        Ok(())
    }

    /// The tensors of FlashKAT's paper: 1024 × 197 × 768, 8 groups.
    fn rational(device: &Cuda) -> Result<(), Error> {
        let shape = [1024, 197, 768];
        let bytes = 4.0 * shape.iter().product::<usize>() as f64;
        let x = Tensor::from_vec(device, (0..shape.iter().product()).map(wave).collect(), shape)?;
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
        for (name, time, passes) in
            [("copy", copy, 2.0), ("rational forward", forward, 2.0), ("rational backward", backward, 3.0)]
        {
            println!("{name:<20} {:8.3} ms {:7.0} GB/s", 1e3 * time, passes * bytes / time / 1e9);
        }
        Ok(())
    }

    fn train(device: &Cuda, mode: Precision) -> Result<(), Box<dyn std::error::Error>> {
        const BATCH: usize = 64;
        let config = KatConfig { mimetic: false, ..variants::named("kat_small_patch16_224")?.config };
        let model = Kat::new(device, &config, 0)?;
        let images =
            Tensor::from_vec(device, (0..BATCH * 3 * 224 * 224).map(wave).collect(), [BATCH, 3, 224, 224])?;
        let targets = Targets::hard((0..BATCH as u32).collect());
        let parameters = model.parameters();
        let step = seconds(device, 10, || {
            let mut graph = Graph::training(1);
            let logits = model.forward(&mut graph, &images)?;
            let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1))?;
            let mut gradients = graph.backward(&loss)?;
            parameters.iter().try_for_each(|p| gradients.take(p).map(drop))
        })?;
        println!(
            "kat_small {mode:?}, forward and backward, batch {BATCH}: {:.0} images/s",
            BATCH as f64 / step
        );
        Ok(())
    }

    fn wave(i: usize) -> f32 {
        (i as f32 * 0.37).sin()
    }
}
