//! Image classification: data, loss and figures.

pub mod args;
pub mod balance;
pub mod batch;
pub mod bench;
pub mod calibration;
pub mod check;
pub mod data;
pub mod eval;
pub mod explain;
pub mod export;
pub mod figures;
pub mod held_out;
pub mod hub;
pub mod mistakes;
pub mod predict;
pub mod program;
pub mod report;
pub mod serve;
pub mod trained;

use std::collections::BTreeMap;
use std::sync::Arc;

use kat_backbone::checkpoint::model::CONFIG_KEY;
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::{Device, Graph, Kat, KatConfig, ops};
use kat_images::Shard;
use kat_images::loader::{Dataset as _, Loader, LoaderState};
use kat_images::pipeline::{ClassifyTrain, ClassifyTrainConfig, ColorAugment};
use kat_images::transform::color_jitter::ColorJitter;
use kat_images::transform::mixup::Mixup;
use kat_images::transform::random_erasing::RandomErasing;
use kat_images::transform::random_resized_crop::RandomResizedCrop;

use crate::config::{Plan, TaskKind};
use crate::report::run_page::ReportContext;
use crate::run::hold_out::NO_HELD_OUT;
use crate::run::loading;
use crate::run::memory;
use crate::run::processes::Processes;
use crate::run::task::{Losses, Part, Task, Trainable};
use crate::shell::Misuse;
use crate::shell::progress::Screen;
use batch::{ClassifyBatch, TrainCollate};
use data::Splits;
use held_out::{Evaluation, HeldOut};

/// The metadata key of the class names, a JSON list.
pub const CLASSES_KEY: &str = "kat_classes";

/// Classification on a device.
pub struct Classify<D: Device> {
    device: D,
    plan: Plan,
    config: KatConfig,
    splits: Splits,
}

impl<D: Device> Classify<D> {
    /// Opens (or generates) the data and checks the model against it.
    ///
    /// # Errors
    /// Data that cannot be read, or a model that cannot be built.
    pub fn new(device: D, plan: &Plan) -> anyhow::Result<Self> {
        let splits = data::open(plan)?;
        let config = plan.model.kat_config(splits.train.classes().len())?;
        if config.image_size.height != config.image_size.width {
            return Err(Misuse("classification takes square images".into()).into());
        }
        memory::check(&config, plan.train.batch_size)?;
        Ok(Self { device, plan: plan.clone(), config, splits })
    }

    /// Class names in the order of their indices.
    pub fn classes(&self) -> &[String] {
        self.splits.train.classes()
    }

    /// Images to train on and held out.
    pub fn counts(&self) -> (usize, usize) {
        (self.splits.train.len(), self.splits.val.len())
    }

    /// The model's configuration.
    pub fn config(&self) -> &KatConfig {
        &self.config
    }

    fn side(&self) -> u32 {
        self.config.image_size.height as u32
    }

    fn train_collate(&self) -> anyhow::Result<TrainCollate> {
        let a = &self.plan.augment;
        let augment = if a.randaugment > 0.0 {
            let increasing = if a.randaugment_increasing { "-inc1" } else { "" };
            ColorAugment::Rand(format!("rand-m{}-mstd{}{increasing}", a.randaugment, a.randaugment_std))
        } else if a.color_jitter > 0.0 {
            let strength = a.color_jitter;
            ColorAugment::Jitter(ColorJitter {
                brightness: strength,
                contrast: strength,
                saturation: strength,
                hue: 0.0,
            })
        } else {
            ColorAugment::None
        };
        let crop =
            RandomResizedCrop { size: self.side(), scale: a.scale, ratio: a.ratio, ..Default::default() };
        let erasing = RandomErasing { probability: a.erase, ..RandomErasing::default() };
        let config = ClassifyTrainConfig {
            crop,
            flip: a.hflip,
            augment,
            erasing: (a.erase > 0.0).then_some(erasing),
            normalize: self.plan.data.normalize,
        };
        let mixup = Mixup {
            mixup_alpha: a.mixup,
            cutmix_alpha: a.cutmix,
            label_smoothing: a.label_smoothing,
            ..Mixup::default()
        };
        mixup.validate()?;
        Ok(TrainCollate {
            pipeline: ClassifyTrain::new(config)?,
            mixup: (a.mixup > 0.0 || a.cutmix > 0.0).then_some(mixup),
            classes: self.classes().len(),
        })
    }
}

impl<D: Device> Trainable for Classify<D> {
    type On<E: Device> = Classify<E>;
    const KIND: TaskKind = TaskKind::Classify;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Classify::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = self.counts();
        format!("{} classes, {train} training and {val} held-out images", self.classes().len())
    }
}

impl<D: Device> Task for Classify<D> {
    type Device = D;
    type Model = Kat<D>;
    type Batch = ClassifyBatch;
    type Evaluation = Evaluation;

    fn device(&self) -> &D {
        &self.device
    }

    fn depth(&self) -> usize {
        self.config.depth
    }

    fn build(&self) -> anyhow::Result<Kat<D>> {
        let m = &self.plan.model;
        let mut model = Kat::new(&self.device, &self.config, self.plan.train.seed)?;
        if let Some(path) = &m.init_from {
            let report = model.load(path, m.load)?;
            tracing::info!("weights from {}: {report}", path.display());
        }
        Ok(model)
    }

    fn batches(&self, shard: Shard, resume: Option<LoaderState>) -> anyhow::Result<Loader<ClassifyBatch>> {
        let collate = self.train_collate()?;
        let images = data::cropped(&self.splits.train, &collate.pipeline);
        let (collate, config) = (Arc::new(collate), loading::training(&self.plan, shard));
        let share = self.plan.train.balance;
        if share == 0.0 {
            return Ok(Loader::start(images, collate, config, resume)?);
        }
        let train = &self.splits.train;
        let classes: Vec<u32> = (0..train.len()).map(|image| train.class_of(image)).collect();
        let list = balance::balanced(&classes, share);
        tracing::info!("train.balance {share}: an epoch of {} images shows {}", train.len(), list.len());
        Ok(Loader::start(Arc::new(balance::Listed { source: images, list }), collate, config, resume)?)
    }

    fn loss(&self, model: &Kat<D>, graph: &mut Graph<D>, batch: &ClassifyBatch) -> anyhow::Result<Losses<D>> {
        let logits = model.forward(graph, &loading::tensor(&self.device, &batch.images)?)?;
        let (targets, smoothing) = match &batch.soft {
            None => (Targets::hard(batch.labels.clone()), self.plan.augment.label_smoothing as f32),
            // Mixed targets are smoothed already.
            Some(soft) => (Targets::Soft(soft.iter().copied().collect()), 0.0),
        };
        let total = ops::softmax_cross_entropy(graph, &logits, &targets, &Options::smoothed(smoothing))?;
        Ok(Losses { total, parts: Vec::new() })
    }

    fn evaluate(
        &self,
        model: &Kat<D>,
        screen: &Screen,
        examples: usize,
        processes: &Processes,
    ) -> anyhow::Result<Evaluation> {
        let part =
            HeldOut { device: &self.device, plan: &self.plan, images: &self.splits.val, screen, processes };
        part.evaluate(model, self.classes(), examples)
    }

    fn figures(&self, evaluation: &Evaluation) -> Vec<(&'static str, f64)> {
        let accuracy = evaluation.top.accuracy();
        let mut figures = vec![("val/loss", evaluation.mean_loss()), ("val/top1", accuracy.top1)];
        if self.classes().len() >= figures::TOP5_FROM {
            figures.push(("val/top5", accuracy.top5));
        }
        figures
    }

    fn check_held_out(&self) -> anyhow::Result<()> {
        if self.counts().1 == 0 {
            return Err(Misuse(NO_HELD_OUT.into()).into());
        }
        Ok(())
    }

    fn class_names(&self) -> Vec<String> {
        self.classes().to_vec()
    }

    fn classes_key(&self) -> &'static str {
        CLASSES_KEY
    }

    fn for_each_image(&self, part: Part, visit: &mut dyn FnMut(&str)) {
        let images = match part {
            Part::Train => &self.splits.train,
            Part::HeldOut => &self.splits.val,
        };
        (0..images.len()).for_each(|i| visit(images.id(i)));
    }

    fn criterion(&self) -> &'static str {
        "val/top1"
    }

    fn metadata(&self, model: &Kat<D>) -> anyhow::Result<BTreeMap<String, String>> {
        metadata(model.config(), self.classes())
    }

    fn report(
        &self,
        model: &Kat<D>,
        evaluation: &Evaluation,
        context: ReportContext<'_>,
    ) -> anyhow::Result<()> {
        report::write(self, model, evaluation, context)
    }
}

/// What a checkpoint says of a classifier, by key.
fn metadata(config: &KatConfig, classes: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(BTreeMap::from([
        (CONFIG_KEY.to_owned(), serde_json::to_string(config)?),
        (CLASSES_KEY.to_owned(), serde_json::to_string(classes)?),
    ]))
}
