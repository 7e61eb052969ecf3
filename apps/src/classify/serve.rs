//! A classifier as `serve` has it: images of a request and of others in one forward pass.

use std::path::Path;

use image::RgbImage;
use kat_backbone::{Device, Graph, Tensor};
use kat_images::decode::DecodeOptions;
use kat_images::pipeline::ClassifyEval;
use serde_json::{Value, json};

use super::args::CheckpointArgs;
use super::held_out::{eval_pipeline, probabilities};
use super::predict::{by_rank, classes_json, prepare};
use super::trained::Trained;
use crate::run::finite;
use crate::serve::{Answer, Program, Query, Served, card};
use crate::shell::images::ImageLimits;

/// `classify serve`.
pub struct ClassifyServer;

impl Program for ClassifyServer {
    fn open<D: Device>(device: &D, path: &Path, limits: &ImageLimits) -> anyhow::Result<Box<dyn Served>> {
        let trained = CheckpointArgs::of(path).open(device, None)?;
        let pipeline = eval_pipeline(&trained.plan, trained.side())?;
        let decoding = limits.options(&trained.plan);
        Ok(Box::new(ServedClassifier { device: device.clone(), trained, pipeline, decoding }))
    }
}

struct ServedClassifier<D: Device> {
    device: D,
    trained: Trained<D>,
    pipeline: ClassifyEval,
    decoding: DecodeOptions,
}

impl<D: Device> ServedClassifier<D> {
    fn logits(&self, planes: &[Vec<f32>]) -> anyhow::Result<Vec<f32>> {
        let side = self.trained.side() as usize;
        let images = Tensor::from_vec(&self.device, planes.concat(), [planes.len(), 3, side, side])?;
        Ok(self.trained.model.forward(&mut Graph::inference(), &images)?.to_vec())
    }
}

impl<D: Device> Served for ServedClassifier<D> {
    fn card(&self) -> Value {
        let mut card = card(&self.trained.plan, &self.trained.model, &self.trained.model);
        card["classes"] = json!(self.trained.classes);
        card["image_size"] = self.trained.side().into();
        card
    }

    fn decoding(&self) -> DecodeOptions {
        self.decoding
    }

    fn answer(&self, images: Vec<(RgbImage, Query)>) -> Vec<anyhow::Result<Answer>> {
        let side = self.trained.side();
        let prepared: Vec<(anyhow::Result<Vec<f32>>, Query)> =
            images.into_iter().map(|(image, query)| (prepare(&self.pipeline, image, side), query)).collect();
        let planes: Vec<Vec<f32>> = prepared.iter().filter_map(|(p, _)| p.as_ref().ok().cloned()).collect();
        let logits = if planes.is_empty() { Ok(Vec::new()) } else { self.logits(&planes) };
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => return prepared.iter().map(|_| Err(anyhow::anyhow!("{error:#}"))).collect(),
        };
        let mut rows = logits.chunks(self.trained.classes.len().max(1));
        let mut one = |(prepared, query): (anyhow::Result<Vec<f32>>, Query)| {
            prepared?;
            let row = rows.next().ok_or_else(|| anyhow::anyhow!("no logits for the image"))?;
            finite::output(row, Path::new("the image"))?;
            let probabilities = probabilities(row);
            let ranked = by_rank(&self.trained.classes, &probabilities);
            let result = json!({ "classes": classes_json(&ranked, query.top) });
            Ok(Answer { result, probabilities: Some(probabilities) })
        };
        prepared.into_iter().map(&mut one).collect()
    }
}
