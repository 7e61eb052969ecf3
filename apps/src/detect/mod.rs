//! Object detection and instance segmentation: data, losses and COCO's figures.

pub mod batch;
pub mod bench;
pub mod check;
pub mod coco_eval;
pub mod convert;
pub mod data;
pub mod draw;
pub mod eval;
pub mod export;
pub mod foreign;
pub mod held_out;
pub mod model;
pub mod predict;
pub mod program;
pub mod report;
mod rows;
pub mod scored;
pub mod serve;
pub mod trained;

use std::collections::BTreeMap;
use std::sync::Arc;

use kat_backbone::{Device, Graph};
use kat_coco::json::Category;
use kat_images::Shard;
use kat_images::loader::{Loader, LoaderState};
use kat_images::pipeline::{DetectEval, DetectEvalConfig, DetectTrain, DetectTrainConfig};
use kat_images::transform::scale_jitter::ScaleJitter;
use kat_images::transform::shortest_edge::ShortestEdge;
use kat_mask_rcnn::finish;
use kat_mask_rcnn::structures::ImageResult;
use kat_mask_rcnn::{MaskRcnn, MaskRcnnConfig};
use serde::{Deserialize, Serialize};

use crate::config::{Plan, TaskKind};
use crate::report::run_page::ReportContext;
use crate::run::loading::{self, decoded};
use crate::run::memory;
use crate::run::processes::Processes;
use crate::run::resume::difference;
use crate::run::task::{Losses, Part, Task, Trainable};
use crate::shell::Misuse;
use crate::shell::progress::Screen;
use batch::{DetectBatch, DetectCollate};
use data::Splits;
use held_out::{Evaluation, HeldOut};
use scored::{Figures, Scored};

pub use kat_backbone::checkpoint::model::DETECTOR_KEY;

/// The metadata key of the categories in the order of their classes, as JSON.
pub const CATEGORIES_KEY: &str = "kat_categories";

/// A category as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryName {
    /// COCO id.
    pub id: u64,
    /// Name.
    pub name: String,
}

/// Detection on a device.
pub struct Detect<D: Device> {
    device: D,
    plan: Plan,
    config: MaskRcnnConfig,
    splits: Splits,
}

impl<D: Device> Detect<D> {
    /// Opens (or generates) the data and checks the model against it.
    ///
    /// # Errors
    /// Data that cannot be read, or a model that cannot be built.
    pub fn new(device: D, plan: &Plan) -> anyhow::Result<Self> {
        let splits = data::open(plan)?;
        let config = model::detector_config(plan, splits.train.0.categories().len())?;
        memory::check(&config.backbone, plan.train.batch_size)?;
        Ok(Self { device, plan: plan.clone(), config, splits })
    }

    /// The categories in the order of their classes.
    pub fn categories(&self) -> Vec<Category> {
        let map = self.splits.train.0.categories();
        (0..map.len() as u32).filter_map(|class| map.category(class).cloned()).collect()
    }

    /// The images.
    pub fn splits(&self) -> &Splits {
        &self.splits
    }

    fn side(&self) -> u32 {
        self.config.backbone.image_size.height as u32
    }
}

impl<D: Device> Trainable for Detect<D> {
    type On<E: Device> = Detect<E>;
    const KIND: TaskKind = TaskKind::Detect;

    fn open(device: D, plan: &Plan) -> anyhow::Result<Self> {
        Detect::new(device, plan)
    }

    fn summary(&self) -> String {
        let (train, val) = (self.splits().train.0.len(), self.splits().val.0.len());
        format!("{} categories, {train} training and {val} held-out images", self.categories().len())
    }
}

impl<D: Device> Task for Detect<D> {
    type Device = D;
    type Model = MaskRcnn<D>;
    type Batch = DetectBatch;
    type Evaluation = Evaluation;

    fn device(&self) -> &D {
        &self.device
    }

    fn depth(&self) -> usize {
        self.config.backbone.depth
    }

    fn build(&self) -> anyhow::Result<MaskRcnn<D>> {
        let mut model = MaskRcnn::new(&self.device, &self.config, self.plan.train.seed)?;
        let m = &self.plan.model;
        if let Some(path) = &m.init_from {
            let report = model.load(path, m.load)?;
            tracing::info!("weights from {}: {report}", path.display());
        }
        Ok(model)
    }

    fn batches(&self, shard: Shard, resume: Option<LoaderState>) -> anyhow::Result<Loader<DetectBatch>> {
        let a = &self.plan.augment;
        let pipeline = DetectTrain::new(DetectTrainConfig {
            flip: a.hflip,
            jitter: ScaleJitter { scale: a.scale, target: self.side(), ..ScaleJitter::default() },
            normalize: self.plan.data.normalize,
        })?;
        let (images, collate) = (decoded(&self.splits.train), Arc::new(DetectCollate(pipeline)));
        Ok(Loader::start(images, collate, loading::training(&self.plan, shard), resume)?)
    }

    fn loss(
        &self,
        model: &MaskRcnn<D>,
        graph: &mut Graph<D>,
        batch: &DetectBatch,
    ) -> anyhow::Result<Losses<D>> {
        let losses = model.losses(graph, &loading::tensor(&self.device, &batch.images)?, &batch.targets)?;
        let total = losses.total(graph)?;
        // detectron2's names
        let mut parts = vec![
            ("loss_rpn_cls", losses.rpn_objectness),
            ("loss_rpn_loc", losses.rpn_boxes),
            ("loss_cls", losses.classes),
            ("loss_box_reg", losses.boxes),
        ];
        parts.extend(losses.masks.map(|masks| ("loss_mask", masks)));
        Ok(Losses { total, parts })
    }

    fn evaluate(
        &self,
        model: &MaskRcnn<D>,
        screen: &Screen,
        examples: usize,
        processes: &Processes,
    ) -> anyhow::Result<Evaluation> {
        let part =
            HeldOut { device: &self.device, plan: &self.plan, images: &self.splits.val, screen, processes };
        let evaluation = part.evaluate(model, &self.categories(), examples)?;
        if let Some(reason) = evaluation.figures.no_masks.as_ref().filter(|_| self.config.masks) {
            tracing::warn!("masks are not evaluated: {reason}");
        }
        Ok(evaluation)
    }

    fn figures(&self, evaluation: &Evaluation) -> Vec<(&'static str, f64)> {
        let Figures { boxes, masks, .. } = &evaluation.figures;
        let mut values = vec![("val/box_AP", boxes.ap()), ("val/box_AP50", boxes.stats()[1])];
        if let Some(masks) = masks {
            values.extend([("val/mask_AP", masks.ap()), ("val/mask_AP50", masks.stats()[1])]);
        }
        values
    }

    fn check_held_out(&self) -> anyhow::Result<()> {
        let names: Vec<String> = self.class_names();
        let held_out: Vec<String> = self.splits.val.0.categories().names().map(str::to_owned).collect();
        if let Some(unknown) = held_out.iter().find(|name| !names.contains(name)) {
            let called = ["in the training part", "in the held-out part"];
            let difference = difference(&names, &held_out, called).unwrap_or_default();
            return Err(Misuse(format!(
                "the held-out part has a category {unknown:?} that the training part lacks: {difference}"
            ))
            .into());
        }
        // What is found is nothing yet; what the evaluation makes of the annotations is the same.
        let scored = Scored::new(&self.splits.val.0, &self.categories())?;
        scored.figures(&scored.to_json()?).map(|_| ())
    }

    fn class_names(&self) -> Vec<String> {
        self.splits.train.0.categories().names().map(str::to_owned).collect()
    }

    fn classes_key(&self) -> &'static str {
        CATEGORIES_KEY
    }

    fn for_each_image(&self, part: Part, visit: &mut dyn FnMut(&str)) {
        let images = match part {
            Part::Train => &self.splits.train.0,
            Part::HeldOut => &self.splits.val.0,
        };
        images.file().images.iter().for_each(|image| visit(&image.file_name));
    }

    fn criterion(&self) -> &'static str {
        "val/box_AP"
    }

    fn metadata(&self, model: &MaskRcnn<D>) -> anyhow::Result<BTreeMap<String, String>> {
        let names = |c: Category| CategoryName { id: c.id, name: c.name };
        let categories: Vec<CategoryName> = self.categories().into_iter().map(names).collect();
        Ok(BTreeMap::from([
            (DETECTOR_KEY.to_owned(), serde_json::to_string(model.config())?),
            (CATEGORIES_KEY.to_owned(), serde_json::to_string(&categories)?),
        ]))
    }

    fn report(
        &self,
        model: &MaskRcnn<D>,
        evaluation: &Evaluation,
        context: ReportContext<'_>,
    ) -> anyhow::Result<()> {
        report::write(self, model, evaluation, context)
    }
}

/// What is in the images of a batch, at their own size.
///
/// # Errors
/// A batch that does not fit the model.
pub fn detect<D: Device>(
    device: &D,
    model: &MaskRcnn<D>,
    batch: &DetectBatch,
) -> anyhow::Result<Vec<ImageResult>> {
    let found = model.detect(&loading::tensor(device, &batch.images)?, &batch.sizes())?;
    let at_own_size = found.iter().zip(&batch.originals);
    Ok(at_own_size
        .map(|(f, size)| finish(&f.detections, f.masks.as_ref().map(|grids| grids.view()), *size))
        .collect::<Result<_, _>>()?)
}

/// What evaluation does to an image: as large as the model's canvas allows.
///
/// # Errors
/// A setting out of range.
pub fn eval_pipeline(plan: &Plan, config: &MaskRcnnConfig) -> anyhow::Result<DetectEval> {
    let side = config.backbone.image_size.height as u32;
    let resize = ShortestEdge { short: side, max: side };
    Ok(DetectEval::new(DetectEvalConfig { resize, normalize: plan.data.normalize })?)
}
