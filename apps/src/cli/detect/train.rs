//! `train`: trains a detector, resumes a run, writes its report.

use clap::Args;
use kat_backbone::nn::Module;

use crate::cli::common::{ConfigArgs, DeviceArgs};
use crate::cli::train::cpu;
use crate::report::progress::Screen;
use crate::task::detect::{Detect, report};
use crate::task::{Task, TaskKind};
use crate::train::run_dir::{OpenMode, RunDir};
use crate::train::signals::Interrupt;
use crate::train::trainer::{Alone, Ended, Setting, Trainer};

/// Train a detector; Ctrl-C saves and stops, --resume goes on
#[derive(Debug, Args)]
#[command(after_help = "Examples, after the program's name:\n  \
    train --config configs/detect/quickstart.toml\n  \
    train --config configs/detect/kat_small_coco.toml --data coco --set model.init_from=kat_small.pth\n  \
    train --config configs/detect/quickstart.toml --resume")]
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

impl TrainCommand {
    /// Trains.
    ///
    /// # Errors
    /// A configuration, data or directory that cannot be used, or training that cannot go on.
    pub fn run(&self, screen: &Screen) -> anyhow::Result<()> {
        let plan = self.config.plan(TaskKind::Detect)?;
        let device = cpu(&self.device)?;
        let mode = match (self.resume, self.overwrite) {
            (true, _) => OpenMode::Resume,
            (_, true) => OpenMode::Overwrite,
            _ => OpenMode::Fresh,
        };
        let run = RunDir::open(&plan.output, mode)?;
        let task = Detect::new(device, &plan)?;
        run.write_config(&plan.to_toml())?;
        let interrupt = Interrupt::install()?;
        let setting = Setting { plan: &plan, run: &run, screen, interrupt: &interrupt };
        let mut trainer = Trainer::new(&task, setting, Box::new(Alone))?;
        tracing::info!(
            "{} parameters, {} categories, {} training and {} held-out images, into {}",
            trainer.evaluated().parameter_count(),
            task.categories().len(),
            task.splits().train.0.len(),
            task.splits().val.0.len(),
            run.path().display()
        );
        if let Ended::Interrupted(step) = trainer.run()? {
            tracing::info!("saved {} at step {step}; --resume goes on", run.last().display());
            return Ok(());
        }
        for (name, value) in task.evaluate(trainer.evaluated())? {
            crate::cli::data::print(&format!("{name} {value:.4}\n"))?;
        }
        if plan.raw.output.report {
            report::write(&task, trainer.evaluated(), &plan, &run)?;
            tracing::info!("wrote {}", run.report().display());
        }
        Ok(())
    }
}
