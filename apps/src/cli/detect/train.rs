//! `detect train`: what the shared subcommand needs of detection.

use kat_backbone::Device;

use crate::cli::train::Program;
use crate::config::Plan;
use crate::task::detect::{Detect, report};
use crate::task::{Task, TaskKind};
use crate::train::run_dir::RunDir;

impl<D: Device> Program for Detect<D> {
    type On<E: Device> = Detect<E>;
    const KIND: TaskKind = TaskKind::Detect;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Detect::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = (self.splits().train.0.len(), self.splits().val.0.len());
        format!("{} categories, {train} training and {val} held-out images", self.categories().len())
    }

    fn report(&self, model: &<Self as Task>::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()> {
        report::write(self, model, plan, run)
    }
}
