//! `train`: trains a model, resumes a run, writes its report.

use clap::Args;
use kat_backbone::Cpu;
use kat_backbone::nn::Module;

use super::Misuse;
use super::common::{ConfigArgs, Device, DeviceArgs};
use crate::report::progress::Screen;
use crate::task::classify::{Classify, report};
use crate::task::{Task, TaskKind};
use crate::train::run_dir::{OpenMode, RunDir};
use crate::train::signals::Interrupt;
use crate::train::trainer::{Alone, Ended, Setting, Trainer};

/// Train a model; Ctrl-C saves and stops, --resume goes on
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    train --config configs/classify/quickstart.toml\n  \
    train --config configs/classify/quickstart.toml --data my_images --output runs/mine\n  \
    train --config configs/classify/quickstart.toml --resume")]
pub struct TrainCommand {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Go on from the run's last checkpoint
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Remove an earlier run in the output directory first
    #[arg(long)]
    overwrite: bool,
}

/// The CPU, or why not.
pub fn cpu(args: &DeviceArgs) -> anyhow::Result<Cpu> {
    args.start()?;
    match args.device {
        Device::Auto | Device::Cpu => Ok(Cpu::default()),
        Device::Cuda(n) => {
            Err(Misuse(format!("--device cuda:{n}: this program was built without CUDA; use --device cpu"))
                .into())
        }
    }
}

impl TrainCommand {
    /// Trains a classifier.
    ///
    /// # Errors
    /// A configuration, data or directory that cannot be used, or training that cannot go on.
    pub fn run(&self, screen: &Screen) -> anyhow::Result<()> {
        let plan = self.config.plan(TaskKind::Classify)?;
        let device = cpu(&self.device)?;
        let mode = match (self.resume, self.overwrite) {
            (true, _) => OpenMode::Resume,
            (_, true) => OpenMode::Overwrite,
            _ => OpenMode::Fresh,
        };
        let run = RunDir::open(&plan.output, mode)?;
        let task = Classify::new(device, &plan)?;
        run.write_config(&plan.to_toml())?;
        let interrupt = Interrupt::install()?;
        let setting = Setting { plan: &plan, run: &run, screen, interrupt: &interrupt };
        let mut trainer = Trainer::new(&task, setting, Box::new(Alone))?;
        let (train, val) = task.counts();
        tracing::info!(
            "{} parameters, {} classes, {train} training and {val} held-out images, into {}",
            trainer.evaluated().parameter_count(),
            task.classes().len(),
            run.path().display()
        );
        if let Ended::Interrupted(step) = trainer.run()? {
            tracing::info!("saved {} at step {step}; --resume goes on", run.last().display());
            return Ok(());
        }
        for (name, value) in task.evaluate(trainer.evaluated())? {
            super::data::print(&format!("{name} {value:.4}\n"))?;
        }
        if plan.raw.output.report {
            report::write(&task, trainer.evaluated(), &plan, &run)?;
            tracing::info!("wrote {}", run.report().display());
        }
        Ok(())
    }
}
