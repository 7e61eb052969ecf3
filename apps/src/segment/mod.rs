//! Semantic segmentation: data, loss and figures.

pub mod args;
pub mod batch;
pub mod bench;
pub mod check;
pub mod convert;
pub mod data;
pub mod eval;
pub mod examples;
pub mod export;
pub mod foreign;
pub mod held_out;
pub mod inference;
pub mod layout;
pub mod miou;
pub mod model;
pub mod predict;
pub mod program;
pub mod report;
pub mod serve;
pub mod trained;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use kat_backbone::checkpoint::model::CONFIG_KEY;
use kat_backbone::ops::batch_norm;
use kat_backbone::{Device, Graph, KatConfig, Size};
use kat_images::Shard;
use kat_images::loader::{Dataset as _, Loader, LoaderState};
use kat_images::pipeline::{SegmentTrain, SegmentTrainConfig};
use kat_images::transform::category_crop::CategoryCrop;
use kat_images::transform::photometric::Photometric;
use kat_images::transform::random_scale::RandomScale;
use kat_upernet::{SegmentLoss, Segmentor, SegmentorConfig};

use crate::config::OnCorrupt;
use crate::config::{Plan, TaskKind};
use crate::report::run_page::ReportContext;
use crate::run::loading::{self, decoded};
use crate::run::memory;
use crate::run::processes::Processes;
use crate::run::task::{Losses, Part, Task, Trainable};
use crate::shell::Misuse;
use crate::shell::progress::Screen;
use batch::{SegmentBatch, TrainCollate};
use data::Splits;
use held_out::{Evaluation, HeldOut, leave_out};
use inference::Settings;
use model::{segment_loss, segmentor_config};

/// The metadata key of the class names, a JSON list.
pub const CLASSES_KEY: &str = "kat_classes";

/// Segmentation on a device.
pub struct Segment<D: Device> {
    device: D,
    plan: Plan,
    config: SegmentorConfig,
    loss: SegmentLoss,
    splits: Splits,
}

impl<D: Device> Segment<D> {
    /// Opens (or generates) the data and checks the model against it.
    ///
    /// # Errors
    /// Data that cannot be read, or a model that cannot be built.
    pub fn new(device: D, plan: &Plan) -> anyhow::Result<Self> {
        let splits = data::open(plan)?;
        let classes = splits.classes.len();
        let config = segmentor_config(plan, classes)?;
        let trained = KatConfig { image_size: Size::square(plan.segment.crop), ..config.backbone.clone() };
        memory::check(&trained, plan.train.batch_size)?;
        let loss = segment_loss(plan, classes)?;
        if plan.ranks * plan.train.batch_size < 2 && plan.segment.pool_scales.contains(&1) {
            let reason = "train.batch_size is 1, expected at least 2: batch norm over a map pooled to one pixel \
                          needs two images, or take 1 out of segment.pool_scales";
            return Err(Misuse(reason.into()).into());
        }
        Ok(Self { device, plan: plan.clone(), config, loss, splits })
    }

    /// Class names in the order of their indices.
    pub fn classes(&self) -> &[String] {
        &self.splits.classes
    }

    /// Images to train on and held out.
    pub fn counts(&self) -> (usize, usize) {
        self.splits.counts()
    }

    fn pipeline(&self) -> anyhow::Result<SegmentTrain> {
        let (a, s) = (&self.plan.augment, &self.plan.segment);
        let crop = u32::try_from(s.crop).context("segment.crop")?;
        Ok(SegmentTrain::new(SegmentTrainConfig {
            scale: RandomScale { long: crop.saturating_mul(4), short: crop, ratio: a.scale },
            crop: CategoryCrop { size: crop, max_ratio: s.max_class_share },
            flip: a.hflip,
            photometric: a.photometric.then(Photometric::default),
            normalize: self.plan.data.normalize,
        })?)
    }
}

impl<D: Device> Trainable for Segment<D> {
    type On<E: Device> = Segment<E>;
    const KIND: TaskKind = TaskKind::Segment;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Segment::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = self.counts();
        format!("{} classes, {train} training and {val} held-out images", self.classes().len())
    }
}

impl<D: Device> Task for Segment<D> {
    type Device = D;
    type Model = Segmentor<D>;
    type Batch = SegmentBatch;
    type Evaluation = Evaluation;

    fn device(&self) -> &D {
        &self.device
    }

    fn depth(&self) -> usize {
        self.config.backbone.depth
    }

    fn build(&self) -> anyhow::Result<Segmentor<D>> {
        let m = &self.plan.model;
        let norm = batch_norm::Options::default();
        let mut model = Segmentor::new(&self.device, &self.config, &norm, self.plan.train.seed)?;
        if let Some(path) = &m.init_from {
            let report = model.load(path, m.load)?;
            tracing::info!("weights from {}: {report}", path.display());
        }
        Ok(model)
    }

    fn batches(&self, shard: Shard, resume: Option<LoaderState>) -> anyhow::Result<Loader<SegmentBatch>> {
        let (images, collate) = (decoded(&self.splits.train), Arc::new(TrainCollate(self.pipeline()?)));
        Ok(Loader::start(images, collate, loading::training(&self.plan, shard), resume)?)
    }

    fn loss(
        &self,
        model: &Segmentor<D>,
        graph: &mut Graph<D>,
        batch: &SegmentBatch,
    ) -> anyhow::Result<Losses<D>> {
        let scores = model.scores(graph, &loading::tensor(&self.device, &batch.images)?)?;
        let size = [0, 1].map(|axis| batch.labels.item_shape()[axis]);
        let losses = self.loss.parts(graph, &scores, batch.labels.as_slice(), size)?;
        let total = losses.total(graph)?;
        let mut parts = vec![("loss_decode", losses.decoded)];
        parts.extend(losses.auxiliary.map(|auxiliary| ("loss_aux", auxiliary)));
        Ok(Losses { total, parts })
    }

    fn evaluate(
        &self,
        model: &Segmentor<D>,
        screen: &Screen,
        examples: usize,
        processes: &Processes,
    ) -> anyhow::Result<Evaluation> {
        let (settings, images) = (&Settings::of(&self.plan), &self.splits.val);
        let part =
            HeldOut { device: &self.device, model, settings, images, plan: &self.plan, screen, processes };
        part.evaluate(self.classes().len(), examples)
    }

    fn figures(&self, evaluation: &Evaluation) -> Vec<(&'static str, f64)> {
        let scores = evaluation.matrix.scores();
        vec![("val/aAcc", scores.a_acc), ("val/mIoU", scores.m_iou), ("val/mAcc", scores.m_acc)]
    }

    fn check_held_out(&self) -> anyhow::Result<()> {
        // Opening the folder has found its images and that each has labels. Where a faulty one would end the run, all
        // are read now rather than at the first evaluation.
        match self.plan.data.on_corrupt {
            OnCorrupt::Fail => self.splits.val.scan().map(|_| ()).map_err(|error| leave_out(error.into())),
            OnCorrupt::Skip => Ok(()),
        }
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
        for index in 0..images.len() {
            let path = images.image_path(index);
            visit(&path.strip_prefix(&images.images).unwrap_or(&path).to_string_lossy());
        }
    }

    fn criterion(&self) -> &'static str {
        "val/mIoU"
    }

    fn metadata(&self, model: &Segmentor<D>) -> anyhow::Result<BTreeMap<String, String>> {
        Ok(BTreeMap::from([
            (CONFIG_KEY.to_owned(), serde_json::to_string(model.backbone.config())?),
            (CLASSES_KEY.to_owned(), serde_json::to_string(self.classes())?),
        ]))
    }

    fn report(
        &self,
        model: &Segmentor<D>,
        evaluation: &Evaluation,
        context: ReportContext<'_>,
    ) -> anyhow::Result<()> {
        report::write(self, model, evaluation, context)
    }
}
