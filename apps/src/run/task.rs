//! What the trainer needs of a task.

use std::collections::BTreeMap;

use kat_backbone::nn::Module;
use kat_backbone::{Device, Graph, Tensor};
use kat_images::Shard;
use kat_images::loader::{Loader, LoaderState};

use crate::config::{Plan, TaskKind};
use crate::report::run_page::ReportContext;
use crate::run::processes::Processes;
use crate::shell::progress::Screen;

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// Held out.
    HeldOut,
}

/// The loss of a batch.
pub struct Losses<D: Device> {
    /// The loss that is minimized, a scalar.
    pub total: Tensor<D>,
    /// What it is the sum of, by the name in the records; empty where it is one thing. Nobody reads them within a
    /// step: they stay on the device until the total is read.
    pub parts: Vec<(&'static str, Tensor<D>)>,
}

/// What the trainer needs of a task. Everything else (rates, checkpoints, logs) is the same for all.
pub trait Task {
    /// Where it computes.
    type Device: Device;
    /// What is trained.
    type Model: Module<Self::Device> + Clone;
    /// What the loader delivers.
    type Batch: Send + 'static;
    /// What an evaluation of the held-out part found: its figures, and what a report shows beside them.
    type Evaluation;

    /// Where it computes.
    fn device(&self) -> &Self::Device;
    /// Blocks of the backbone, for layer-wise rates.
    fn depth(&self) -> usize;
    /// The model before training.
    ///
    /// # Errors
    /// A configuration that cannot be built, or initial weights that do not fit.
    fn build(&self) -> anyhow::Result<Self::Model>;
    /// Batches to train on, this process's part of each, without end, from the start or from where a run stood.
    ///
    /// # Errors
    /// Data that cannot be read, or a state of another run.
    fn batches(&self, shard: Shard, resume: Option<LoaderState>) -> anyhow::Result<Loader<Self::Batch>>;
    /// The loss of a batch, or this process's share of it.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn loss(
        &self,
        model: &Self::Model,
        graph: &mut Graph<Self::Device>,
        batch: &Self::Batch,
    ) -> anyhow::Result<Losses<Self::Device>>;
    /// Evaluates the held-out part, of which each process takes a stretch, and keeps up to `examples` images of that to
    /// show; the screen shows how far it is. All processes find the same figures.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn evaluate(
        &self,
        model: &Self::Model,
        screen: &Screen,
        examples: usize,
        processes: &Processes,
    ) -> anyhow::Result<Self::Evaluation>;
    /// The figures of an evaluation, such as ("val/top1", 0.95).
    fn figures(&self, evaluation: &Self::Evaluation) -> Vec<(&'static str, f64)>;
    /// Checks, before the first step, what can be checked without a model of that on which an evaluation would fail.
    ///
    /// # Errors
    /// Held-out data that cannot be evaluated.
    fn check_held_out(&self) -> anyhow::Result<()>;
    /// Names of the classes in the order of their indices.
    fn class_names(&self) -> Vec<String>;
    /// The key under which [`Task::metadata`] has them.
    fn classes_key(&self) -> &'static str;
    /// Calls `visit` with the name of each image of a part, relative to the data's folder, in the data's order.
    fn for_each_image(&self, part: Part, visit: &mut dyn FnMut(&str));
    /// Which of those figures picks the best checkpoint; higher is better.
    fn criterion(&self) -> &'static str;
    /// What a checkpoint says of the model, by key: its configuration, the classes.
    ///
    /// # Errors
    /// A value that cannot be written as text.
    fn metadata(&self, model: &Self::Model) -> anyhow::Result<BTreeMap<String, String>>;
    /// Writes the page of a run that is under way or done, with what the newest evaluation found.
    ///
    /// # Errors
    /// Files that cannot be written, or images to show that cannot be read again.
    fn report(
        &self,
        model: &Self::Model,
        evaluation: &Self::Evaluation,
        context: ReportContext<'_>,
    ) -> anyhow::Result<()>;
}

/// What `train` needs of a program beside its task.
pub trait Trainable: Task + Sized {
    /// The same program on another device.
    type On<D: Device>: Trainable<Device = D>;
    /// Which program.
    const KIND: TaskKind;
    /// Opens the data and checks the model against it.
    ///
    /// # Errors
    /// Data that cannot be read, or a model that cannot be built.
    fn open(device: Self::Device, plan: &Plan) -> anyhow::Result<Self>;
    /// What there is to learn from, in words.
    fn summary(&self) -> String;
}
