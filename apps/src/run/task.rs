//! What the trainer needs of a task.

use std::collections::BTreeMap;

use kat_backbone::nn::Module;
use kat_backbone::{Device, Graph, Tensor};
use kat_images::loader::{Loader, LoaderState};

use crate::config::{Plan, TaskKind};
use crate::run::run_dir::RunDir;
use crate::shell::progress::{Screen, Style};

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// Held out.
    HeldOut,
}

/// What the trainer needs of a task. Everything else (rates, checkpoints, logs) is the same for all.
pub trait Task {
    /// Where it computes.
    type Device: Device;
    /// What is trained.
    type Model: Module<Self::Device> + Clone;
    /// What the loader delivers.
    type Batch: Send + 'static;

    /// Where it computes.
    fn device(&self) -> &Self::Device;
    /// Blocks of the backbone, for layer-wise rates.
    fn depth(&self) -> usize;
    /// The model before training.
    ///
    /// # Errors
    /// A configuration that cannot be built, or initial weights that do not fit.
    fn build(&self) -> anyhow::Result<Self::Model>;
    /// Batches to train on, without end, from the start or from where a run stood.
    ///
    /// # Errors
    /// Data that cannot be read, or a state of another run.
    fn batches(&self, resume: Option<LoaderState>) -> anyhow::Result<Loader<Self::Batch>>;
    /// The loss of a batch, a scalar.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn loss(
        &self,
        model: &Self::Model,
        graph: &mut Graph<Self::Device>,
        batch: &Self::Batch,
    ) -> anyhow::Result<Tensor<Self::Device>>;
    /// Figures of the held-out part, such as ("val/top1", 0.95); the screen shows how far it is.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn evaluate_on(&self, model: &Self::Model, screen: &Screen) -> anyhow::Result<Vec<(&'static str, f64)>>;
    /// As [`Task::evaluate_on`], without showing anything.
    ///
    /// # Errors
    /// Data that cannot be read.
    fn evaluate(&self, model: &Self::Model) -> anyhow::Result<Vec<(&'static str, f64)>> {
        self.evaluate_on(model, &Screen::new(Style::Hidden))
    }
    /// Checks, before the first step, what can be checked without a model of that on which an evaluation would fail.
    ///
    /// # Errors
    /// Held-out data that cannot be evaluated.
    fn check_held_out(&self) -> anyhow::Result<()>;
    /// Names of the classes in the order of their indices.
    fn class_names(&self) -> Vec<String>;
    /// The key under which [`Task::metadata`] has them.
    fn classes_key(&self) -> &'static str;
    /// Calls `see` with the name of each image of a part, relative to the data's folder, in the data's order.
    fn each_image(&self, part: Part, see: &mut dyn FnMut(&str));
    /// Which of those figures picks the best checkpoint; higher is better.
    fn criterion(&self) -> &'static str;
    /// What a checkpoint says of the model, by key: its configuration, the classes.
    ///
    /// # Errors
    /// A value that cannot be written as text.
    fn metadata(&self, model: &Self::Model) -> anyhow::Result<BTreeMap<String, String>>;
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
    /// Writes the page at the end of a run.
    ///
    /// # Errors
    /// Held-out images that cannot be read, or files that cannot be written.
    fn report(&self, model: &Self::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()>;
}
