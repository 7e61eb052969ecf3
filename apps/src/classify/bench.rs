//! `bench`: speed of a model on this machine, beside the machine's own matrix product rate.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Args;
use kat_backbone::ops::adamw::AdamWConfig;
use kat_backbone::ops::linear;
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets, softmax_cross_entropy};
use kat_backbone::optim::{AdamW, GradientSet, ParameterOptions};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::variants::{self, Variant};
use kat_backbone::{Device, Graph, Kat, KatConfig, Tensor, count};
use serde::Serialize;

use crate::run::memory;
use crate::shell::Misuse;
use crate::shell::bench::{Mode, median, peak_resident_mib};
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;

/// Time a model on random images
#[derive(Debug, Args)]
#[command(
    after_help = "GFLOP/s counts every matrix product of the model, attention included, a multiply-add as \
    two; the share is of the rate that this machine reaches, in the same run, on the model's own matrix \
    products alone.\n\nExample, after the program's name:\n  bench --model kat_small_patch16_224 --batch 8 --mode infer"
)]
pub struct BenchCommand {
    /// Named model
    #[arg(long, value_name = "MODEL", default_value = "kat_tiny_patch16_224")]
    model: String,
    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "8")]
    batch: NonZeroUsize,
    /// What to time
    #[arg(long, value_enum, default_value_t = Mode::Infer)]
    mode: Mode,
    /// Timed rounds, after one that is not
    #[arg(long, value_name = "N", default_value = "10")]
    rounds: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Serialize)]
struct Report {
    model: String,
    batch: usize,
    mode: Mode,
    threads: usize,
    /// Median over the rounds.
    ms_per_batch: f64,
    /// Fastest round.
    best_ms_per_batch: f64,
    images_per_second: f64,
    gflops_per_second: f64,
    /// The machine's rate on matrix products in these numbers: of factors in its caches, on a GPU the model's own.
    matmul_gflops_per_second: f64,
    share_of_matmul_rate: f64,
    peak_resident_mib: Option<f64>,
}

impl BenchCommand {
    /// Runs and prints to stdout.
    ///
    /// # Errors
    /// An unknown model, or one that does not fit in memory.
    pub fn run(&self) -> anyhow::Result<()> {
        let variant = variants::named(&self.model).map_err(|e| Misuse(e.to_string()))?;
        on_device!(&self.device, device => self.time(&device, variant))
    }

    fn time<D: Device>(&self, device: &D, variant: Variant) -> anyhow::Result<()> {
        let (config, batch) = (variant.config, self.batch.get());
        memory::check_mode(&config, batch, self.mode, "--batch")?;
        let mut model = Kat::new(device, &KatConfig { mimetic: false, ..config.clone() }, 0)?;
        let mut optimizer = AdamW::new(&model, AdamWConfig::default(), |_, _| ParameterOptions {
            weight_decay: 0.05,
            ..ParameterOptions::default()
        })?;
        let image = image(device, &config, batch)?;
        let mut matmul = MatmulRate::new(device, &config, batch)?;
        let mut times = Vec::with_capacity(self.rounds.get());
        for round in 0..=self.rounds.get() {
            // the two are timed in turn, so that a machine whose speed drifts is the same for both
            matmul.round()?;
            let start = Instant::now();
            match self.mode {
                Mode::Infer => drop(model.forward(&mut Graph::inference(), &image)?),
                Mode::Train => train_step(&mut model, &mut optimizer, &image, round)?,
            }
            device.synchronize()?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let operations = count::count(&config, config.image_size)?.operations * batch;
        // the backward pass has two products for each of the forward pass
        let operations = operations as f64 * if self.mode == Mode::Train { 3.0 } else { 1.0 };
        let (median, best) = (median(&mut times), times[0]);
        let rate = operations / median / 1e9;
        let report = Report {
            model: variant.name,
            batch,
            mode: self.mode,
            threads: rayon::current_num_threads(),
            ms_per_batch: median * 1e3,
            best_ms_per_batch: best * 1e3,
            images_per_second: batch as f64 / median,
            gflops_per_second: rate,
            matmul_gflops_per_second: matmul.rate(),
            share_of_matmul_rate: rate / matmul.rate(),
            peak_resident_mib: peak_resident_mib(),
        };
        let text = if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { words(&report) };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

/// Pixels that look like normalized noise.
fn image<D: Device>(device: &D, config: &KatConfig, batch: usize) -> kat_backbone::Result<Tensor<D>> {
    let (height, width) = (config.image_size.height, config.image_size.width);
    let len = batch * config.channels * height * width;
    let pixels = (0..len).map(|i| ((i * 7919) % 10_007) as f32 / 2500.0 - 2.0).collect();
    Tensor::from_vec(device, pixels, [batch, config.channels, height, width])
}

/// Forward, backward and an AdamW step.
fn train_step<D: Device>(
    model: &mut Kat<D>,
    optimizer: &mut AdamW<D>,
    image: &Tensor<D>,
    round: usize,
) -> anyhow::Result<()> {
    let mut graph = Graph::training(round as u64);
    let logits = model.forward(&mut graph, image)?;
    let [batch, classes] = logits.axes("bench", "logits (B, K)")?;
    let targets = Targets::hard((0..batch).map(|i| (i % classes) as u32).collect());
    let loss = softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1))?;
    let gradients = GradientSet::take(model, graph.backward(&loss)?)?;
    let mut monitor = StepMonitor::new(image.device())?;
    monitor.gradients(&gradients, Clip::NONE, round as u64)?;
    Ok(optimizer.step(model, &gradients, 1e-4, &monitor)?)
}

/// The machine's rate on matrix products: what it says itself, or that on a block's four linear layers.
struct MatmulRate<D: Device> {
    /// Inputs and weights.
    products: Vec<[Tensor<D>; 2]>,
    /// GFLOP/s of each round.
    rates: Vec<f64>,
}

impl<D: Device> MatmulRate<D> {
    fn new(device: &D, config: &KatConfig, batch: usize) -> kat_backbone::Result<Self> {
        let (grid, dim, hidden) = (config.grid(), config.dim, config.hidden());
        let rows = batch * (grid.area() + config.prefix_tokens());
        let half = |shape: [usize; 2]| Tensor::from_vec(device, vec![0.5; shape[0] * shape[1]], shape);
        let product =
            |(inputs, outputs): (usize, usize)| Ok([half([rows, inputs])?, half([outputs, inputs])?]);
        let products = [(dim, 3 * dim), (dim, dim), (dim, hidden), (hidden, dim)].map(product);
        Ok(Self {
            products: products.into_iter().collect::<Result<_, kat_backbone::Error>>()?,
            rates: Vec::new(),
        })
    }

    fn round(&mut self) -> kat_backbone::Result<()> {
        let device = self.products[0][0].device();
        if let Some(rate) = device.product_rate() {
            self.rates.push(rate / 1e9);
            return Ok(());
        }
        let start = Instant::now();
        for _ in 0..2 {
            for [x, weight] in &self.products {
                linear(&mut Graph::inference(), x, weight, None)?;
            }
        }
        device.synchronize()?;
        let size = |[x, weight]: &[Tensor<D>; 2]| 2 * x.numel() * weight.shape().axes()[0];
        let products: usize = self.products.iter().map(size).sum();
        self.rates.push(2.0 * products as f64 / start.elapsed().as_secs_f64() / 1e9);
        Ok(())
    }

    /// GFLOP/s at the median.
    fn rate(&self) -> f64 {
        median(&mut self.rates.clone())
    }
}

fn words(report: &Report) -> String {
    let memory = report.peak_resident_mib.map_or("unknown".into(), |mib| format!("{mib:.0} MiB"));
    format!(
        "{}, batch {}, {} threads, {:?}\n  {:.1} ms a batch (median; best {:.1})\n  {:.2} images/s\n  \
         {:.1} GFLOP/s, {:.0} % of the {:.1} GFLOP/s of products alone\n  peak resident memory {memory}\n",
        report.model,
        report.batch,
        report.threads,
        report.mode,
        report.ms_per_batch,
        report.best_ms_per_batch,
        report.images_per_second,
        report.gflops_per_second,
        100.0 * report.share_of_matmul_rate,
        report.matmul_gflops_per_second,
    )
}
