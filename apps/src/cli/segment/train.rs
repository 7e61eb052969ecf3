//! `segment train`: what the shared subcommand needs of segmentation.

use kat_backbone::Device;

use crate::cli::train::Program;
use crate::config::Plan;
use crate::task::segment::{Segment, report};
use crate::task::{Task, TaskKind};
use crate::train::run_dir::RunDir;

impl<D: Device> Program for Segment<D> {
    type On<E: Device> = Segment<E>;
    const KIND: TaskKind = TaskKind::Segment;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Segment::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = self.counts();
        format!("{} classes, {train} training and {val} held-out images", self.classes().len())
    }

    fn report(&self, model: &<Self as Task>::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()> {
        report::write(self, model, plan, run)
    }
}
