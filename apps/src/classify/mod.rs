//! Image classification: data, loss and figures.

pub mod args;
pub mod batch;
pub mod bench;
pub mod check;
pub mod data;
pub mod eval;
pub mod explain;
pub mod export;
pub mod predict;
pub mod report;
pub mod trained;

use std::collections::BTreeMap;
use std::sync::Arc;

use kat_backbone::checkpoint::model::CONFIG_KEY;
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::{Device, Graph, Kat, KatConfig, Tensor, ops};
use kat_imagenet::ImageFolder;
use kat_imagenet::topk::TopK;
use kat_images::loader::{Loader, LoaderState};
use kat_images::pipeline::{
    ClassifyEval, ClassifyEvalConfig, ClassifyTrain, ClassifyTrainConfig, ColorAugment,
};
use kat_images::transform::color_jitter::ColorJitter;
use kat_images::transform::crop::CenterCrop;
use kat_images::transform::mixup::Mixup;
use kat_images::transform::random_erasing::RandomErasing;
use kat_images::transform::random_resized_crop::RandomResizedCrop;
use kat_images::transform::resize::Filter;

use crate::config::{Plan, TaskKind};
use crate::run::loading::{self, decoded};
use crate::run::memory;
use crate::run::run_dir::RunDir;
use crate::run::task::{Part, Task, Trainable};
use crate::shell::Misuse;
use crate::shell::progress::Screen;
use batch::{ClassifyBatch, EvalCollate, TrainCollate};
use data::Splits;

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
        let config = plan.model.kat_config(splits.train.classes.len())?;
        if config.image_size.height != config.image_size.width {
            return Err(Misuse("classification takes square images".into()).into());
        }
        memory::check(&config, plan.train.batch_size)?;
        Ok(Self { device, plan: plan.clone(), config, splits })
    }

    /// Class names in the order of their indices.
    pub fn classes(&self) -> &[String] {
        &self.splits.train.classes
    }

    /// Images to train on and held out.
    pub fn counts(&self) -> (usize, usize) {
        (self.splits.train.items.len(), self.splits.val.items.len())
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
            ColorAugment::Rand(format!("rand-m{}-mstd{}", a.randaugment, a.randaugment_std))
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

    /// Goes through the held-out part: `see` is given each batch and its logits (N, K).
    ///
    /// # Errors
    /// Images that cannot be read, or an error of `see`.
    pub fn look(
        &self,
        model: &Kat<D>,
        mut see: impl FnMut(&ClassifyBatch, &[f32]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let part = HeldOut { device: &self.device, plan: &self.plan, images: &self.splits.val };
        part.look(model, &mut see)
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

    fn report(&self, model: &Self::Model, plan: &Plan, run: &RunDir) -> anyhow::Result<()> {
        report::write(self, model, plan, run)
    }
}

impl<D: Device> Task for Classify<D> {
    type Device = D;
    type Model = Kat<D>;
    type Batch = ClassifyBatch;

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
            let report = model.load(path, m.head)?;
            tracing::info!("weights from {}: {report}", path.display());
        }
        Ok(model)
    }

    fn batches(&self, resume: Option<LoaderState>) -> anyhow::Result<Loader<ClassifyBatch>> {
        let collate = self.train_collate()?;
        let images = data::cropped(&self.splits.train, &collate.pipeline);
        Ok(Loader::start(images, Arc::new(collate), loading::training(&self.plan), resume)?)
    }

    fn loss(&self, model: &Kat<D>, graph: &mut Graph<D>, batch: &ClassifyBatch) -> anyhow::Result<Tensor<D>> {
        let logits = model.forward(graph, &images(&self.device, batch)?)?;
        let (targets, smoothing) = if batch.soft.is_empty() {
            (Targets::hard(batch.labels.clone()), self.plan.augment.label_smoothing as f32)
        } else {
            // Mixed targets are smoothed already.
            (Targets::Soft(batch.soft.clone()), 0.0)
        };
        Ok(ops::softmax_cross_entropy(graph, &logits, &targets, &Options::smoothed(smoothing))?)
    }

    fn evaluate_on(&self, model: &Kat<D>, screen: &Screen) -> anyhow::Result<Vec<(&'static str, f64)>> {
        let classes = self.classes().len();
        let mut top = TopK::new(classes);
        let mut loss = 0.0;
        let mut progress = screen.progress("evaluating", "images", 0, self.counts().1 as u64);
        self.look(model, |batch, logits| {
            progress.advance(batch.ids.len() as u64);
            loss += batch
                .labels
                .iter()
                .zip(logits.chunks(classes))
                .map(|(l, row)| negative_log(row, *l))
                .sum::<f64>();
            Ok(top.update(logits, &batch.labels)?)
        })?;
        progress.finish();
        let accuracy = top.accuracy();
        Ok(vec![
            ("val/loss", loss / accuracy.samples as f64),
            ("val/top1", accuracy.top1),
            ("val/top5", accuracy.top5),
        ])
    }

    fn check_held_out(&self) -> anyhow::Result<()> {
        if self.counts().1 == 0 {
            let reason = "no held-out images to evaluate on: name a part with data.val, or hold out more with \
                          data.val_fraction";
            return Err(Misuse(reason.into()).into());
        }
        Ok(())
    }

    fn class_names(&self) -> Vec<String> {
        self.classes().to_vec()
    }

    fn classes_key(&self) -> &'static str {
        CLASSES_KEY
    }

    fn each_image(&self, part: Part, see: &mut dyn FnMut(&str)) {
        let images = match part {
            Part::Train => &self.splits.train,
            Part::HeldOut => &self.splits.val,
        };
        images.items.iter().for_each(|(name, _)| see(name));
    }

    fn criterion(&self) -> &'static str {
        "val/top1"
    }

    fn metadata(&self, model: &Kat<D>) -> anyhow::Result<BTreeMap<String, String>> {
        metadata(model.config(), self.classes())
    }
}

/// What a checkpoint says of a classifier, by key.
fn metadata(config: &KatConfig, classes: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    Ok(BTreeMap::from([
        (CONFIG_KEY.to_owned(), serde_json::to_string(config)?),
        (CLASSES_KEY.to_owned(), serde_json::to_string(classes)?),
    ]))
}

/// Images to evaluate on.
pub struct HeldOut<'a, D: Device> {
    /// Where to compute.
    pub device: &'a D,
    /// How images are prepared and read.
    pub plan: &'a Plan,
    /// The images.
    pub images: &'a ImageFolder,
}

impl<D: Device> HeldOut<'_, D> {
    /// Goes through all of them in order: `see` is given each batch and its logits (N, K).
    ///
    /// # Errors
    /// Images that cannot be read, or an error of `see`.
    pub fn look(
        &self,
        model: &Kat<D>,
        see: &mut dyn FnMut(&ClassifyBatch, &[f32]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let collate = EvalCollate(eval_pipeline(self.plan, model.config().image_size.height as u32)?);
        let config = loading::evaluation(self.plan);
        for batch in Loader::start(decoded(self.images), Arc::new(collate), config, None)? {
            let batch = batch?;
            if batch.ids.is_empty() {
                continue;
            }
            let logits = model.forward(&mut Graph::inference(), &images(self.device, &batch)?)?.to_vec();
            see(&batch, &logits)?;
        }
        Ok(())
    }
}

/// The images of a batch as a tensor (N, 3, S, S).
fn images<D: Device>(device: &D, batch: &ClassifyBatch) -> anyhow::Result<Tensor<D>> {
    let shape = [batch.ids.len(), 3, batch.side, batch.side];
    Ok(Tensor::from_slice(device, &batch.images, shape)?)
}

/// -log softmax(row)[label].
fn negative_log(row: &[f32], label: u32) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
    sum.ln() - f64::from(row[label as usize] - largest)
}

/// Softmax of one row of logits.
pub fn probabilities(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| (p / sum) as f32).collect()
}

/// What evaluation does to an image.
///
/// # Errors
/// A setting out of range.
pub fn eval_pipeline(plan: &Plan, side: u32) -> anyhow::Result<ClassifyEval> {
    let crop = CenterCrop { size: side, crop_pct: plan.eval.crop, filter: Filter::Bicubic };
    Ok(ClassifyEval::new(ClassifyEvalConfig { crop, normalize: plan.data.normalize })?)
}
