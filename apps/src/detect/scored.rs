//! Detections on their way through COCO's results format to COCO's figures.
//!
//! The figures are taken of what the file says, digit for digit, so that any evaluator that reads it agrees.

use std::path::Path;

use kat_coco::CocoDataset;
use kat_coco::evaluate::{EvalConfig, Evaluation, IouType, check_masks, evaluable, evaluate};
use kat_coco::json::{Category, parse_results};
use kat_coco::results::{Detection, ResultsWriter};
use kat_mask_rcnn::structures::ImageResult;

use super::rows::{Row, decode, encode};
use crate::run::processes::Processes;

/// Detections of a dataset's images.
pub struct Scored<'d> {
    data: &'d CocoDataset,
    /// The dataset's class for each of the model's; `None`: it has no category of this name.
    class_of: Vec<Option<u32>>,
    rows: Vec<Row>,
    /// Detections of classes that the dataset does not have.
    unknown: usize,
}

/// Figures for boxes, and for masks where model and data have them.
pub struct Figures {
    /// Of boxes.
    pub boxes: Evaluation,
    /// Of masks.
    pub masks: Option<Evaluation>,
    /// Why there are none of masks.
    pub no_masks: Option<String>,
}

impl<'d> Scored<'d> {
    /// Nothing detected yet; the model's categories and the dataset's are matched by name.
    ///
    /// # Errors
    /// Not one name in common: every figure would be 0.
    pub fn new(data: &'d CocoDataset, categories: &[Category]) -> anyhow::Result<Self> {
        let names: Vec<&str> = data.categories().names().collect();
        let class_of = |c: &Category| names.iter().position(|name| *name == c.name).map(|i| i as u32);
        let class_of: Vec<Option<u32>> = categories.iter().map(class_of).collect();
        if class_of.iter().all(Option::is_none) {
            let few = |names: &mut dyn Iterator<Item = &str>| {
                let names: Vec<&str> = names.take(9).collect();
                let more = if names.len() > 8 { ", …" } else { "" };
                format!("{:?}", &names[..names.len().min(8)]).replace(']', &format!("{more}]"))
            };
            anyhow::bail!(
                "{}: its categories {} share no name with the model's {}",
                data.file().path.display(),
                few(&mut names.iter().copied()),
                few(&mut categories.iter().map(|c| c.name.as_str()))
            );
        }
        Ok(Self { data, class_of, rows: Vec::new(), unknown: 0 })
    }

    /// Detections left out because the dataset has no category of their class's name.
    pub fn unknown(&self) -> usize {
        self.unknown
    }

    /// Adds the detections of the image with COCO id `id`.
    ///
    /// # Errors
    /// An id that is no number, or a mask of another size than its image.
    pub fn add(&mut self, id: &str, found: &ImageResult) -> anyhow::Result<()> {
        let image = id.parse()?;
        let d = &found.detections;
        for i in 0..d.len() {
            let Some(class) = self.class_of.get(d.classes()[i] as usize).copied().flatten() else {
                self.unknown += 1;
                continue;
            };
            let mask = found.masks.as_ref().map(|masks| masks[i].clone());
            self.rows.push(Row { image, class, bbox: d.boxes().as_slice()[i], score: d.scores()[i], mask });
        }
        Ok(())
    }

    /// Adds what the other processes found, in the order of ranks.
    ///
    /// # Errors
    /// A process that is gone, or that runs another program.
    pub fn gather(&mut self, processes: &Processes) -> anyhow::Result<()> {
        if processes.is_alone() {
            return Ok(());
        }
        let mut unknown = self.unknown as u64;
        processes.add_counts(std::iter::once(&mut unknown))?;
        self.unknown = unknown as usize;
        let all = processes.collective().all_gather_bytes(&encode(&self.rows))?;
        self.rows.clear();
        for part in &all {
            self.rows.extend(decode(part)?);
        }
        Ok(())
    }

    /// The results file.
    ///
    /// # Errors
    /// None for detections as the heads make them.
    pub fn to_json(&self) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut writer = ResultsWriter::new(&mut out, self.data.categories())?;
        for row in &self.rows {
            let Row { image, class, bbox, score, ref mask } = *row;
            writer.write(&Detection { image, class, bbox, score, mask: mask.as_ref() })?;
        }
        writer.finish()?;
        Ok(out)
    }

    /// COCO's figures of the results file `json`.
    ///
    /// # Errors
    /// An annotation file that cannot be evaluated.
    pub fn figures(&self, json: &[u8]) -> anyhow::Result<Figures> {
        let found = parse_results(Path::new("detections"), json)?;
        let truth = &*evaluable(self.data.file());
        let left_out = self.data.file().annotations.len() - truth.annotations.len();
        if left_out > 0 {
            tracing::warn!("{left_out} annotations cannot be evaluated against: `data check` names them");
        }
        let no_masks = if self.rows.iter().any(|row| row.mask.is_none()) {
            Some("the model predicts no masks".to_owned())
        } else {
            check_masks(truth).err().map(|error| error.to_string())
        };
        let masks = || evaluate(truth, &found, &EvalConfig::coco(IouType::Segm));
        Ok(Figures {
            boxes: evaluate(truth, &found, &EvalConfig::coco(IouType::Bbox))?,
            masks: no_masks.is_none().then(masks).transpose()?,
            no_masks,
        })
    }
}
