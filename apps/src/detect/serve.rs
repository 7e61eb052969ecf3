//! A detector as `serve` has it.

use std::path::Path;

use image::RgbImage;
use kat_backbone::Device;
use kat_images::decode::DecodeOptions;
use kat_images::pipeline::DetectEval;
use serde_json::{Value, json};

use super::eval_pipeline;
use super::predict::{look, objects_json};
use super::trained::Trained;
use crate::draw::palette::class_color;
use crate::serve::{Answer, Program, Query, Served, card, css};
use crate::shell::images::ImageLimits;
use crate::shell::weights::WeightsArgs;

/// `detect serve`.
pub struct DetectServer;

impl Program for DetectServer {
    fn open<D: Device>(device: &D, path: &Path, limits: &ImageLimits) -> anyhow::Result<Box<dyn Served>> {
        let trained = Trained::open(device, &WeightsArgs::own(path))?;
        let pipeline = eval_pipeline(&trained.plan, trained.model.config())?;
        let decoding = limits.options(&trained.plan);
        Ok(Box::new(ServedDetector { device: device.clone(), trained, pipeline, decoding }))
    }
}

struct ServedDetector<D: Device> {
    device: D,
    trained: Trained<D>,
    pipeline: DetectEval,
    decoding: DecodeOptions,
}

impl<D: Device> Served for ServedDetector<D> {
    fn card(&self) -> Value {
        let names: Vec<&str> = self.trained.categories.iter().map(|c| c.name.as_str()).collect();
        let mut card = card(&self.trained.plan, &self.trained.model, &self.trained.model.backbone.net);
        card["colors"] = (0..names.len()).map(|i| css(class_color(i))).collect();
        card["classes"] = json!(names);
        card["threshold"] = self.trained.plan.detect.show_threshold.into();
        card["image_size"] = self.pipeline.size().height.into();
        card
    }

    fn decoding(&self) -> DecodeOptions {
        self.decoding
    }

    fn answer(&self, images: Vec<(RgbImage, Query)>) -> Vec<anyhow::Result<Answer>> {
        let one = |(image, query): (RgbImage, Query)| {
            let found = look(&self.trained, &self.pipeline, &self.device, image)?;
            let threshold = query.threshold.unwrap_or(self.trained.plan.detect.show_threshold as f32);
            let result = objects_json(&found, &self.trained.categories, threshold);
            Ok(Answer { result, probabilities: None })
        };
        images.into_iter().map(one).collect()
    }
}
