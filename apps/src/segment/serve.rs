//! A segmentor as `serve` has it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use kat_backbone::Device;
use kat_images::decode::DecodeOptions;
use kat_images::encode;
use serde_json::{Value, json};

use super::held_out::gray;
use super::inference::{Inference, Settings};
use super::predict::{shares, shares_json};
use super::report::Colors;
use super::trained::Trained;
use crate::serve::{Answer, Program, Query, Served, card, css};
use crate::shell::images::ImageLimits;
use crate::shell::weights::WeightsArgs;

/// `segment serve`.
pub struct SegmentServer;

impl Program for SegmentServer {
    fn open<D: Device>(device: &D, path: &Path, limits: &ImageLimits) -> anyhow::Result<Box<dyn Served>> {
        let trained = Trained::open(device, &WeightsArgs::own(path))?;
        let settings = Settings::of(&trained.plan);
        let decoding = limits.options(&trained.plan);
        Ok(Box::new(ServedSegmentor { device: device.clone(), trained, settings, decoding }))
    }
}

struct ServedSegmentor<D: Device> {
    device: D,
    trained: Trained<D>,
    settings: Settings,
    decoding: DecodeOptions,
}

impl<D: Device> Served for ServedSegmentor<D> {
    fn card(&self) -> Value {
        let colors = Colors::of(&self.trained.classes);
        let painted = (0..=u8::MAX).zip(&self.trained.classes).map(|(i, _)| colors.painted(i).map(css));
        let mut card = card(&self.trained.plan, &self.trained.model, &self.trained.model.backbone);
        card["colors"] = painted.collect::<Vec<_>>().into();
        card["classes"] = json!(self.trained.classes);
        card["image_size"] = self.trained.plan.segment.crop.into();
        card
    }

    fn decoding(&self) -> DecodeOptions {
        self.decoding
    }

    fn answer(&self, images: Vec<(RgbImage, Query)>) -> Vec<anyhow::Result<Answer>> {
        let inference =
            Inference { device: &self.device, model: &self.trained.model, settings: &self.settings };
        let one = |(image, _): (RgbImage, Query)| {
            let labels = gray(&inference.labels(&image)?)?;
            let png = encode::png(&labels)?;
            let result = json!({
                "width": labels.width(),
                "height": labels.height(),
                "classes": shares_json(&shares(&labels, &self.trained.classes)),
                "label_map": format!("data:image/png;base64,{}", STANDARD.encode(png)),
            });
            Ok(Answer { result, probabilities: None })
        };
        images.into_iter().map(one).collect()
    }
}
