//! `train`: trains a model, resumes a run, writes its report.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use kat_backbone::Cpu;
use kat_backbone::nn::Module;

use super::Misuse;
use super::device::{Chosen, choose};
use super::flags::{ConfigArgs, DeviceArgs};
use crate::config::Plan;
use crate::config::TaskKind;
use crate::report::run_page::ReportContext;
use crate::run::generated::prepare;
use crate::run::processes::Processes;
use crate::run::run_dir::{OpenMode, RunDir};
use crate::run::signals::Interrupt;
use crate::run::state::{self, PLAN_KEY};
use crate::run::task::Trainable;
use crate::run::trainer::{Ended, RunContext, Trainer};
use crate::shell::progress::Screen;

/// Train a model; Ctrl-C saves and stops, --resume goes on
#[derive(Debug, Args)]
pub struct TrainCommand {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Go on from the run's last checkpoint, with its own configuration; only --set, --data and --seed change it
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Remove an earlier run in the output directory first
    #[arg(long)]
    overwrite: bool,
}

/// What surrounds a run.
struct Around<'a> {
    plan: &'a Plan,
    run: &'a RunDir,
    screen: &'a Screen,
    interrupt: &'a Interrupt,
    /// What computes, in words.
    device: &'a str,
    processes: &'a Processes,
}

impl TrainCommand {
    /// Trains to the end, or until Ctrl-C.
    ///
    /// # Errors
    /// A configuration, data or directory that cannot be used, or training that cannot go on.
    pub fn run<P: Trainable<Device = Cpu>>(
        &self,
        screen: &Screen,
        processes: &Processes,
    ) -> anyhow::Result<()> {
        let interrupt = Interrupt::install().context("cannot listen to signals")?;
        if !processes.is_first() {
            interrupt.be_quiet();
        }
        let (mut plan, run) = processes.first_then_others(|| self.begin(P::KIND, processes.is_first()))?;
        plan.ranks = processes.world();
        if let Some(dir) = self.config.data.as_ref().filter(|dir| !dir.exists()) {
            // Generated data go where the configuration says; a directory mistyped must not be filled with them.
            return Err(Misuse(format!("--data {}: there is no such directory", dir.display())).into());
        }
        let chosen = choose(&self.device)?;
        let device = &chosen.describe(&self.device);
        let around = Around { plan: &plan, run: &run, screen, interrupt: &interrupt, device, processes };
        match chosen {
            Chosen::Cpu(device) => train::<P>(device, around),
            #[cfg(feature = "cuda")]
            Chosen::Cuda(device) => train::<P::On<kat_backbone::Cuda>>(device, around),
        }
    }

    /// The configuration and the directory, which one process opens and the others follow into. A run that goes on starts
    /// from its own configuration.
    fn begin(&self, task: TaskKind, opens: bool) -> anyhow::Result<(Plan, RunDir)> {
        let open = |path: &Path, mode| if opens { RunDir::open(path, mode) } else { RunDir::follow(path) };
        if !self.resume {
            let plan = self.config.plan(task)?;
            let mode = if self.overwrite { OpenMode::Overwrite } else { OpenMode::Fresh };
            let run = open(&plan.output, mode)?;
            return Ok((plan, run));
        }
        let run = open(&self.config.run_directory(task)?, OpenMode::Resume)?;
        let (text, origin) = match std::fs::read_to_string(run.config()) {
            Ok(text) => (text, run.config()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let map = state::open(&run.last())?;
                let hint = "give its configuration with --config";
                (state::described(&map, PLAN_KEY, &run.last(), hint)?.to_owned(), run.last())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", run.config().display()));
            }
        };
        let mut plan = self.config.plan_of_run(&text, &origin, task)?;
        // The directory may have been moved since.
        plan.output = run.path().to_owned();
        Ok((plan, run))
    }
}

fn train<P: Trainable>(device: P::Device, around: Around<'_>) -> anyhow::Result<()> {
    let Around { plan, run, screen, interrupt, device: described, processes } = around;
    // The first one generates data and indices that are not there.
    let task = processes.first_then_others(|| {
        prepare(plan, screen, interrupt)?;
        P::open(device, plan)
    })?;
    let context = RunContext { plan, run, screen, interrupt, device: described, processes };
    let mut trainer = Trainer::new(&task, context)?;
    if processes.is_first() {
        // Only now is it certain that there will be a run: nothing of an earlier one has been touched.
        run.accept()?;
        run.write_config(&plan.to_toml())?;
    }
    if !processes.is_alone() {
        tracing::info!("{}", plan.batch_in_words());
    }
    let parameters = trainer.evaluated().parameter_count();
    tracing::info!("{parameters} parameters, {}, into {}", task.summary(), run.path().display());
    if let Ended::Interrupted(step) = trainer.run()? {
        let what = format!("{} is at step {step}; --resume goes on", run.last().display());
        processes.end_together();
        return Err(interrupt.stopped(what).into());
    }
    interrupt.note(format!("training is complete, {} is its end", run.last().display()));
    let evaluation = trainer.evaluation()?;
    if !processes.is_first() {
        return Ok(());
    }
    for (name, value) in task.figures(&evaluation) {
        let printed = super::printable::print(&format!("{name} {value:.4}\n"));
        // Nobody reads the figures any more: the report is written all the same.
        printed.or_else(|error| if super::status(&error) == 0 { Ok(()) } else { Err(error) })?;
    }
    if plan.report {
        let context = ReportContext { plan, run, start: trainer.start(), under_way: None };
        task.report(trainer.evaluated(), &evaluation, context)?;
        tracing::info!("wrote {}", run.report().display());
    }
    trainer.completed()
}
