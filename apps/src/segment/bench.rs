//! `segment bench`: time by stage, arithmetic and memory of a configuration on this machine.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::time::Instant;

use clap::Args;
use kat_backbone::ops::resize::Interpolation;
use kat_backbone::ops::{batch_norm, resize};
use kat_backbone::optim::{AdamW, AdamWConfig, GradientSet, ParameterOptions};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::{Device, Graph, KatConfig, Size, Tensor};
use kat_upernet::{Segmentor, SegmentorConfig};
use serde::Serialize;

use crate::config::Plan;
use crate::config::TaskKind;
use crate::run::memory;
use crate::segment::model::{segment_loss, segmentor_config};
use crate::shell::Misuse;
use crate::shell::bench::{Mode, median, peak_resident_mib};
use crate::shell::device::on_device;
use crate::shell::flags::{ConfigArgs, DeviceArgs};
use crate::shell::printable::print;

/// Time a configuration on random images, stage by stage
#[derive(Debug, Args)]
#[command(after_help = "GFLOP/s counts every matrix product and convolution, a multiply-add as two.\n\n\
    Example, after the program's name:\n  \
    bench --config configs/segment/kat_tiny_ade20k.toml --batch 1 --mode infer")]
pub struct BenchCommand {
    #[command(flatten)]
    config: ConfigArgs,
    /// Side of the images in pixels [default: the training crop]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Number of classes
    #[arg(long, value_name = "N", default_value = "150")]
    classes: NonZeroUsize,
    /// Images in a batch
    #[arg(long, value_name = "N", default_value = "2")]
    batch: NonZeroUsize,
    /// What to time
    #[arg(long, value_enum, default_value_t = Mode::Infer)]
    mode: Mode,
    /// Timed rounds, after one that is not
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// One stage.
#[derive(Serialize)]
struct Stage {
    name: &'static str,
    /// Median over the rounds.
    ms: f64,
    /// Of the stage's own arithmetic, where it is counted.
    gflops_per_second: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    side: usize,
    batch: usize,
    mode: Mode,
    threads: usize,
    parameters: usize,
    gflop_per_image: f64,
    stages: Vec<Stage>,
    ms_per_batch: f64,
    images_per_second: f64,
    peak_resident_mib: Option<f64>,
}

/// Seconds of each stage, one round after the other.
struct Clock {
    names: Vec<&'static str>,
    seconds: Vec<Vec<f64>>,
    last: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { names: Vec::new(), seconds: Vec::new(), last: Instant::now() }
    }

    fn start(&mut self) {
        self.last = Instant::now();
    }

    fn stop(&mut self, device: &impl Device, name: &'static str) -> anyhow::Result<()> {
        device.synchronize()?;
        let elapsed = self.last.elapsed().as_secs_f64();
        let at = self.names.iter().position(|n| *n == name).unwrap_or_else(|| {
            self.names.push(name);
            self.seconds.push(Vec::new());
            self.names.len() - 1
        });
        self.seconds[at].push(elapsed);
        self.start();
        Ok(())
    }

    /// Median of each stage, the first round left out as it warms caches up.
    fn medians(&self) -> Vec<(&'static str, f64)> {
        let middle = |rounds: &Vec<f64>| median(&mut rounds[1..].to_vec());
        self.names.iter().copied().zip(self.seconds.iter().map(middle)).collect()
    }
}

impl BenchCommand {
    /// Runs and prints to stdout.
    ///
    /// # Errors
    /// A configuration that cannot be built, or images that are no multiple of the patch.
    pub fn run(&self) -> anyhow::Result<()> {
        let plan = self.config.plan_of_model(TaskKind::Segment)?;
        on_device!(&self.device, device => self.time(&device, &plan))
    }

    fn time<D: Device>(&self, device: &D, plan: &Plan) -> anyhow::Result<()> {
        let config = segmentor_config(plan, self.classes.get())?;
        let side = self.side.unwrap_or(plan.segment.crop);
        let operations = config.operations(Size::square(side)).map_err(|e| Misuse(e.to_string()))?;
        let batch = self.batch.get();
        let timed = KatConfig { image_size: Size::square(side), ..config.backbone.clone() };
        memory::check_mode(&timed, batch, self.mode, "--side or --batch")?;
        let mut model = Segmentor::new(device, &config, &batch_norm::Options::default(), 0)?;
        let len = batch * 3 * side * side;
        let pixels = (0..len).map(|i| ((i * 7919) % 10_007) as f32 / 2500.0 - 2.0).collect();
        let image = Tensor::from_vec(device, pixels, [batch, 3, side, side])?;
        let mut clock = Clock::new();
        match self.mode {
            Mode::Infer => {
                for _ in 0..=self.rounds.get() {
                    infer(&model, &image, &mut clock)?;
                }
            }
            Mode::Train => self.train(plan, &config, &mut model, &image, &mut clock)?,
        }
        let counted = |name: &str| match name {
            "backbone" => Some(operations.backbone),
            "neck" => Some(operations.neck),
            "decode head" => Some(operations.decode_head),
            "forward" => Some(operations.inference() + operations.auxiliary_head),
            // two products for each of the forward pass
            "backward" => Some(2 * (operations.inference() + operations.auxiliary_head)),
            _ => None,
        };
        let medians = clock.medians();
        let total: f64 = medians.iter().map(|(_, seconds)| seconds).sum();
        let stage = |(name, seconds): (&'static str, f64)| {
            let rate = counted(name).filter(|n| *n > 0).map(|n| (n * batch) as f64 / seconds / 1e9);
            Stage { name, ms: seconds * 1e3, gflops_per_second: rate }
        };
        let report = Report {
            side,
            batch,
            mode: self.mode,
            threads: rayon::current_num_threads(),
            parameters: kat_backbone::nn::Module::parameter_count(&model),
            gflop_per_image: operations.inference() as f64 / 1e9,
            stages: medians.into_iter().map(stage).collect(),
            ms_per_batch: total * 1e3,
            images_per_second: batch as f64 / total,
            peak_resident_mib: peak_resident_mib(),
        };
        let text = if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { words(&report) };
        print(&text)
    }

    /// Training steps: forward, loss, backward, AdamW.
    fn train<D: Device>(
        &self,
        plan: &Plan,
        config: &SegmentorConfig,
        model: &mut Segmentor<D>,
        image: &Tensor<D>,
        clock: &mut Clock,
    ) -> anyhow::Result<()> {
        let mut optimizer = AdamW::new(model, AdamWConfig::default(), |_, _| ParameterOptions {
            weight_decay: 0.01,
            ..ParameterOptions::default()
        })?;
        let [batch, _, height, width] = image.axes("bench", "images (B, 3, H, W)")?;
        let labels: Vec<u8> =
            (0..batch * height * width).map(|i| (i / 64 % config.classes.min(255)) as u8).collect();
        let loss = segment_loss(plan, config.classes)?;
        let mut monitor = StepMonitor::new(image.device())?;
        for round in 0..=self.rounds.get() {
            let mut graph = Graph::training(round as u64);
            clock.start();
            let scores = model.scores(&mut graph, image)?;
            clock.stop(image.device(), "forward")?;
            let value = loss.forward(&mut graph, &scores, &labels, [height, width])?;
            clock.stop(image.device(), "loss")?;
            let gradients = GradientSet::take(model, graph.backward(&value)?)?;
            clock.stop(image.device(), "backward")?;
            monitor.gradients(&gradients, Clip::NONE, round as u64)?;
            optimizer.step(model, &gradients, 1e-5, &monitor)?;
            clock.stop(image.device(), "optimiser")?;
        }
        Ok(())
    }
}

fn infer<D: Device>(model: &Segmentor<D>, image: &Tensor<D>, clock: &mut Clock) -> anyhow::Result<()> {
    let mut graph = Graph::inference();
    let [_, _, height, width] = image.axes("bench", "images (B, 3, H, W)")?;
    clock.start();
    let maps = model.features(&mut graph, image)?;
    clock.stop(image.device(), "backbone")?;
    let maps = model.neck.forward(&mut graph, maps)?;
    clock.stop(image.device(), "neck")?;
    let scores = model.decode_head.forward(&mut graph, &maps)?;
    clock.stop(image.device(), "decode head")?;
    drop(resize(&mut graph, &scores, [height, width], Interpolation::Bilinear)?);
    clock.stop(image.device(), "to image size")?;
    Ok(())
}

fn words(report: &Report) -> String {
    let memory = report.peak_resident_mib.map_or("unknown".into(), |mib| format!("{mib:.0} MiB"));
    let Report { side, batch, threads, parameters, .. } = report;
    let mut out = format!(
        "{side}x{side} pixels, batch {batch}, {threads} threads, {:?}; {:.2}M parameters, {:.1} GFLOP an image\n",
        report.mode,
        *parameters as f64 / 1e6,
        report.gflop_per_image
    );
    for stage in &report.stages {
        let rate = stage.gflops_per_second.map_or(String::new(), |rate| format!("  {rate:>6.1} GFLOP/s"));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {:<14}{:>9.1} ms{rate}", stage.name, stage.ms);
    }
    let _ = writeln!(
        out,
        "  {:<14}{:>9.1} ms  {:.3} images/s\n  peak resident memory {memory}",
        "together", report.ms_per_batch, report.images_per_second
    );
    out
}
