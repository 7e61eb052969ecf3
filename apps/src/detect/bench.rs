//! `bench`: time and memory of a detector, stage by stage.

use std::time::{Duration, Instant};

use clap::Args;
use kat_backbone::ops::adamw::AdamWConfig;
use kat_backbone::optim::{AdamW, GradientSet, ParameterOptions};
use kat_backbone::step_monitor::{Clip, StepMonitor};
use kat_backbone::{Device, Graph, Tensor};
use kat_images::{Mask, Polygon, Size};
use kat_mask_rcnn::finish;
use kat_mask_rcnn::structures::Targets;
use kat_mask_rcnn::{MaskRcnn, MaskRcnnConfig, Operations};
use serde::Serialize;

use crate::config::Plan;
use crate::config::TaskKind;
use crate::detect::model::detector_config;
use crate::run::memory;
use crate::shell::bench::{Mode, peak_resident_mib};
use crate::shell::device::on_device;
use crate::shell::flags::{ConfigArgs, DeviceArgs};

/// Time a detector on a random image, stage by stage
#[derive(Debug, Args)]
#[command(
    after_help = "Weights are random, so the model is given the most work: as many detections as it may \
    report. GFLOP/s counts matrix products and convolutions, a multiply-add as two. Peak memory is that of \
    this process, so each mode is measured in a run of its own.\n\nExample, after the program's name:\n  \
    bench --config configs/detect/kat_small_coco.toml --mode infer"
)]
pub struct BenchCommand {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// What to time
    #[arg(long, value_enum, default_value_t = Mode::Infer)]
    mode: Mode,
    /// Number of classes
    #[arg(long, value_name = "K", default_value = "80")]
    classes: std::num::NonZeroUsize,
    /// Timed rounds, after one that is not
    #[arg(long, value_name = "N", default_value = "3")]
    rounds: std::num::NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A stage's share of the work.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    /// Median over the rounds.
    ms: f64,
    gflop: f64,
    gflops_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    mode: Mode,
    canvas: [usize; 2],
    threads: usize,
    proposals: usize,
    detections: usize,
    stages: Vec<Stage>,
    ms: f64,
    gflop: f64,
    gflops_per_second: f64,
    peak_resident_mib: Option<f64>,
}

/// What one round took.
#[derive(Default)]
struct Round {
    times: Vec<(&'static str, Duration)>,
    proposals: usize,
    detections: usize,
}

impl Round {
    fn stage<T>(
        &mut self,
        device: &impl Device,
        name: &'static str,
        run: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let start = Instant::now();
        let value = run()?;
        device.synchronize()?;
        self.times.push((name, start.elapsed()));
        Ok(value)
    }
}

impl BenchCommand {
    /// Runs and prints to stdout.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn run(&self) -> anyhow::Result<()> {
        let plan = self.config.plan_of_model(TaskKind::Detect)?;
        on_device!(&self.device, device => self.time(&device, &plan))
    }

    fn time<D: Device>(&self, device: &D, plan: &Plan) -> anyhow::Result<()> {
        let mut config = detector_config(plan, self.classes.get())?;
        // every class of every region counts, so that untrained weights give as many detections as there may be
        config.detections.score_threshold = 0.0;
        memory::check_mode(&config.backbone, 1, self.mode, "the model")?;
        let mut model = MaskRcnn::new(device, &config, 0)?;
        let image = image(device, &config)?;
        let mut rounds = Vec::with_capacity(self.rounds.get());
        let mut optimizer = match self.mode {
            Mode::Train => Some(AdamW::new(&model, AdamWConfig::default(), |_, _| ParameterOptions {
                weight_decay: 0.1,
                ..ParameterOptions::default()
            })?),
            Mode::Infer => None,
        };
        for number in 0..=self.rounds.get() {
            let round = match &mut optimizer {
                None => infer(&model, &image)?,
                Some(optimizer) => train(&mut model, optimizer, &image, number as u64)?,
            };
            if number > 0 {
                rounds.push(round);
            }
        }
        let report = report(self.mode, &config, &rounds)?;
        let text = if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { words(&report) };
        crate::shell::printable::print(&text)
    }
}

/// Pixels that look like normalized noise, over the whole canvas.
fn image<D: Device>(device: &D, config: &MaskRcnnConfig) -> anyhow::Result<Tensor<D>> {
    let (height, width) = (config.backbone.image_size.height, config.backbone.image_size.width);
    let pixels = (0..3 * height * width).map(|i| ((i * 7919) % 10_007) as f32 / 2500.0 - 2.0).collect();
    Ok(Tensor::from_vec(device, pixels, [1, 3, height, width])?)
}

fn canvas(config: &MaskRcnnConfig) -> Size {
    config.backbone.image_size
}

fn infer<D: Device>(model: &MaskRcnn<D>, image: &Tensor<D>) -> anyhow::Result<Round> {
    let (mut round, device) = (Round::default(), image.device());
    let size = canvas(model.config());
    let graph = &mut Graph::inference();
    let map = round.stage(device, "backbone", || Ok(model.backbone.net.last_map(graph, image)?))?;
    let pyramid = round.stage(device, "pyramid", || Ok(model.backbone.pyramid.forward(graph, &map)?))?;
    let proposals = round.stage(device, "RPN", || Ok(model.proposals(&pyramid, &[size])?))?;
    let detections = round.stage(device, "boxes", || Ok(model.detections(&pyramid, &proposals)?))?;
    let masks = round.stage(device, "masks", || Ok(model.masks(&pyramid, &detections)?))?;
    round.stage(device, "post-processing", || {
        let at_own_size =
            detections.iter().zip(&masks).map(|(d, m)| finish(d, m.as_ref().map(|g| g.view()), size));
        Ok(at_own_size.collect::<Result<Vec<_>, _>>()?)
    })?;
    round.proposals = proposals.iter().map(|p| p.boxes().len()).sum();
    round.detections = detections.iter().map(|d| d.len()).sum();
    Ok(round)
}

/// Forward, backward and an AdamW step on an image with forty objects.
fn train<D: Device>(
    model: &mut MaskRcnn<D>,
    optimizer: &mut AdamW<D>,
    image: &Tensor<D>,
    number: u64,
) -> anyhow::Result<Round> {
    const OBJECTS: usize = 40;
    let size = canvas(model.config());
    let object = |i: usize| {
        let (x, y) = ((i % 8) as f32 * size.width as f32 / 8.0, (i / 8) as f32 * size.height as f32 / 5.0);
        [
            x,
            y,
            x + size.width as f32 / (4.0 + (i % 7) as f32),
            y + size.height as f32 / (4.0 + (i % 5) as f32),
        ]
    };
    let outline = |[x0, y0, x1, y1]: [f32; 4]| {
        let ring = vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
        Polygon::new(vec![ring]).map(Mask::Polygon)
    };
    let boxes: Vec<[f32; 4]> = (0..OBJECTS).map(object).collect();
    let masks = boxes.iter().map(|b| outline(*b)).collect::<Result<_, _>>()?;
    let classes = (0..OBJECTS).map(|i| (i % model.config().classes) as u32).collect();
    let targets = Targets::new(size, boxes.into(), classes, Some(masks), vec![false; OBJECTS])?;
    let (mut round, device) = (Round::default(), image.device());
    let mut graph = Graph::training(number);
    let loss = round
        .stage(device, "forward", || Ok(model.losses(&mut graph, image, &[targets])?.total(&mut graph)?))?;
    let gradients =
        round.stage(device, "backward", || Ok(GradientSet::take(model, graph.backward(&loss)?)?))?;
    round.stage(device, "update", || {
        let mut monitor = StepMonitor::new(device)?;
        monitor.gradients(&gradients, Clip::NONE, number)?;
        Ok(optimizer.step(model, &gradients, 1e-6, &monitor)?)
    })?;
    Ok(round)
}

fn report(mode: Mode, config: &MaskRcnnConfig, rounds: &[Round]) -> anyhow::Result<Report> {
    let last = rounds.last().ok_or_else(|| anyhow::anyhow!("no round was timed"))?;
    let median = |index: usize| {
        let mut times: Vec<f64> = rounds.iter().map(|r| r.times[index].1.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let operations = Operations::of(config, last.proposals, last.detections)?;
    let of_stage = |name: &str| match name {
        "backbone" => operations.backbone,
        "pyramid" => operations.pyramid,
        "RPN" => operations.rpn,
        "boxes" => operations.boxes,
        "masks" => operations.masks,
        _ => 0,
    };
    let stages: Vec<Stage> = last
        .times
        .iter()
        .enumerate()
        .map(|(index, (name, _))| {
            let (seconds, gflop) = (median(index), of_stage(name) as f64 / 1e9);
            Stage { name, ms: seconds * 1e3, gflop, gflops_per_second: gflop / seconds }
        })
        .collect();
    let ms: f64 = stages.iter().map(|s| s.ms).sum();
    let gflop: f64 = stages.iter().map(|s| s.gflop).sum();
    let size = config.backbone.image_size;
    Ok(Report {
        mode,
        canvas: [size.height, size.width],
        threads: rayon::current_num_threads(),
        proposals: last.proposals,
        detections: last.detections,
        stages,
        ms,
        gflop,
        gflops_per_second: gflop / ms * 1e3,
        peak_resident_mib: peak_resident_mib(),
    })
}

fn words(report: &Report) -> String {
    let [height, width] = report.canvas;
    let mut out = format!("{height}x{width}, {} threads, {:?}", report.threads, report.mode);
    if report.mode == Mode::Infer {
        out += &format!(", {} proposals, {} detections", report.proposals, report.detections);
    }
    let rate = |gflop: f64, rate: f64| match gflop > 0.0 {
        true => format!("{gflop:>9.1} GFLOP {rate:>7.1} GFLOP/s"),
        false => String::new(),
    };
    for stage in &report.stages {
        let work = rate(stage.gflop, stage.gflops_per_second);
        out += format!("\n  {:<16}{:>9.1} ms{work}", stage.name, stage.ms).trim_end();
    }
    let work = rate(report.gflop, report.gflops_per_second);
    out += format!("\n  {:<16}{:>9.1} ms{work}", "in all", report.ms).trim_end();
    let memory = report.peak_resident_mib.map_or("unknown".into(), |mib| format!("{mib:.0} MiB"));
    out + &format!("\n  peak resident memory {memory}\n")
}
