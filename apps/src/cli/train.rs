//! `train`: trains a model, resumes a run, writes its report.

use clap::Args;
use kat_backbone::nn::Module;
use kat_backbone::{Cpu, Device};

use super::Misuse;
use super::common::{ConfigArgs, DeviceArgs};
use super::device::{Chosen, choose};
use crate::config::Plan;
use crate::report::progress::Screen;
use crate::task::classify::{Classify, report};
use crate::task::{Task, TaskKind};
use crate::train::run_dir::{OpenMode, RunDir};
use crate::train::signals::Interrupt;
use crate::train::trainer::{Alone, Ended, Setting, Trainer};

/// Train a model; Ctrl-C saves and stops, --resume goes on
#[derive(Debug, Args)]
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

/// What `train` needs of a program beside its task.
pub trait Program: Task + Sized {
    /// The same program on another device.
    type On<D: Device>: Program<Device = D>;
    /// Which program.
    const KIND: TaskKind;
    /// Opens the data and checks the model against it.
    ///
    /// # Errors
    /// Data that cannot be read, or a model that cannot be built.
    fn open(device: Self::Device, plan: &Plan) -> anyhow::Result<Self>;
    /// What there is to learn from, in words.
    fn summary(&self) -> String;
    /// Writes the page at the end of a run.
    ///
    /// # Errors
    /// Held-out images that cannot be read, or files that cannot be written.
    fn report(&self, model: &Self::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()>;
}

impl<D: Device> Program for Classify<D> {
    type On<E: Device> = Classify<E>;
    const KIND: TaskKind = TaskKind::Classify;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Classify::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = self.counts();
        format!("{} classes, {train} training and {val} held-out images", self.classes().len())
    }

    fn report(&self, model: &Self::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()> {
        report::write(self, model, plan, run)
    }
}

impl TrainCommand {
    /// Trains to the end, or until Ctrl-C.
    ///
    /// # Errors
    /// A configuration, data or directory that cannot be used, or training that cannot go on.
    pub fn run<P: Program<Device = Cpu>>(&self, screen: &Screen) -> anyhow::Result<()> {
        let plan = self.config.plan(P::KIND)?;
        if let Some(dir) = self.config.data.as_ref().filter(|dir| !dir.exists()) {
            // Generated data go where the configuration says; a directory mistyped must not be filled with them.
            return Err(Misuse(format!("--data {}: there is no such directory", dir.display())).into());
        }
        match choose(&self.device)? {
            Chosen::Cpu(device) => self.train::<P>(device, &plan, screen),
            #[cfg(feature = "cuda")]
            Chosen::Cuda(device) => self.train::<P::On<kat_backbone::Cuda>>(device, &plan, screen),
        }
    }

    fn train<P: Program>(&self, device: P::Device, plan: &Plan, screen: &Screen) -> anyhow::Result<()> {
        let mode = match (self.resume, self.overwrite) {
            (true, _) => OpenMode::Resume,
            (_, true) => OpenMode::Overwrite,
            _ => OpenMode::Fresh,
        };
        let run = RunDir::open(&plan.output, mode)?;
        let task = P::open(device, plan)?;
        run.write_config(&plan.to_toml())?;
        let interrupt = Interrupt::install()?;
        let setting = Setting { plan, run: &run, screen, interrupt: &interrupt };
        let mut trainer = Trainer::new(&task, setting, Box::new(Alone))?;
        let parameters = trainer.evaluated().parameter_count();
        tracing::info!("{parameters} parameters, {}, into {}", task.summary(), run.path().display());
        if let Ended::Interrupted(step) = trainer.run()? {
            tracing::info!("saved {} at step {step}; --resume goes on", run.last().display());
            return Ok(());
        }
        for (name, value) in trainer.figures()? {
            super::data::print(&format!("{name} {value:.4}\n"))?;
        }
        if plan.raw.output.report {
            task.report(trainer.evaluated(), plan, &run)?;
            tracing::info!("wrote {}", run.report().display());
        }
        Ok(())
    }
}
