//! The configuration as typed: one struct for each TOML table, every key with its default. Nothing is checked
//! here beyond the types; [`crate::config::Plan`] does that.
//!
//! The defaults are those of the published KAT classification recipe where one exists; the files under
//! `configs/` state what differs for a task, with their sources.

use std::path::PathBuf;

use kat_backbone::collective::gradients::GradientFormat;
use kat_mask_rcnn::{BoxHeadKind, BoxRegression};
use serde::{Deserialize, Serialize};

use super::eval_every::EvalEvery;
use super::keys::{Key, Section, section};
use super::kinds::{
    ColorChoice, EmaWarmup, Granularity, LrScaling, NeckChoice, NoDecay, OnCorrupt, ScheduleKind,
};
pub use super::raw_model::Model;
use super::task::TaskKind;

section! {
    /// `[data]`: where the samples are and how they are read.
    Data {
        /// "folder", "shapes" (generated), "coco" or "ade20k"; found from the directory when left out.
        dataset: Option<String> = None;
        /// Root directory; for detect also one annotation file.
        dir: Option<String> = None;
        /// Training part, relative to `dir`.
        train: Option<String> = None;
        /// Held-out part, relative to `dir`.
        val: Option<String> = None;
        /// Classify only: labels of a held-out part that is one folder of images, a file relative to `dir`: `file label`
        /// a line, or ILSVRC2012's ground truth, an id a line.
        val_labels: Option<String> = None;
        /// Classify only, with ILSVRC2012's ground truth: the file that says which wnid each id stands for.
        synset_map: Option<String> = None;
        /// Classify only: class names in the order of their indices, for tar shards, whose samples hold the index only;
        /// a file relative to `dir`.
        class_names: Option<String> = None;
        /// Class names in the order of their indices; found with the data where empty. Classify: of the class folders; detect:
        /// those of the categories that count; segment: in the order of the labels.
        classes: Vec<String> = Vec::new();
        /// Segment only: folder of the images, relative to `dir` or to a part's folder; found by the usual words when left out.
        images: Option<String> = None;
        /// Segment only: folder of the label maps, as `images`.
        labels: Option<String> = None;
        /// Segment only: the classes of label maps whose pixels are colors: [red, green, blue] of each class, or a file relative to
        /// `dir` with a line for each color, `red green blue name`.
        colors: Option<ColorChoice> = None;
        /// Share of the training part to hold out where there is no held-out part.
        val_fraction: f64 = 0.1;
        /// Which images that share is: the same for the same number.
        val_seed: u64 = 0;
        /// Generated data only: images to train on.
        generate_train: usize = 4000;
        /// Generated data only: held-out images.
        generate_val: usize = 1000;
        /// Generated data only: side of an image in pixels.
        generate_size: usize = 64;
        /// Generated data only: kinds of shapes, up to 12.
        generate_classes: usize = 10;
        /// Generated data only, detect and segment: most shapes in an image.
        generate_objects: usize = 5;
        /// Mean of each channel, in [0, 1], subtracted from the input.
        mean: [f64; 3] = [0.485, 0.456, 0.406];
        /// Standard deviation of each channel, in [0, 1].
        std: [f64; 3] = [0.229, 0.224, 0.225];
        /// Threads that decode and transform; 0 takes one for each core.
        workers: usize = 0;
        /// "fail" stops at a file that cannot be read, "skip" leaves it out and says so.
        on_corrupt: OnCorrupt = OnCorrupt::Fail;
        /// Memory in MiB that decoding one image may take; a file that claims to need more is refused.
        max_image_mb: usize = 1024;
    }
}

section! {
    /// `[train]`: how long, in what batches, and with what care.
    Train {
        /// Passes over the training part; either this or `steps`.
        epochs: Option<usize> = None;
        /// Optimiser steps; either this or `epochs`.
        steps: Option<usize> = None;
        /// Images in a forward pass of each process.
        batch_size: usize = 64;
        /// Forward passes whose gradients are added before a step.
        accumulate: usize = 1;
        /// How processes exchange gradients: "f32", or "bf16", which rounds them and halves the bytes.
        gradient_exchange: GradientFormat = GradientFormat::F32;
        /// Whether each process keeps and updates its part of AdamW's moments and weights, rather than all of them.
        shard_optimizer: bool = false;
        /// Largest norm of the whole gradient; 0 leaves it as it is.
        clip_grad: f64 = 0.0;
        /// Decay of the averaged weights (EMA); 0 keeps none.
        ema_decay: f64 = 0.0;
        /// How that decay grows at the start, so that short runs are not judged by their first weights: "timm",
        /// "ultralytics" or "none".
        ema_warmup: EmaWarmup = EmaWarmup::Timm;
        /// Steps in which "ultralytics" comes to about two thirds of the decay.
        ema_tau: f64 = 2000.0;
        /// Classify only: how far rare classes are shown more often: 0 each image once an epoch, 1 every class as often as the
        /// largest, 0.5 by the root of its size.
        balance: f64 = 0.0;
        /// Seed of everything random.
        seed: u64 = 0;
        /// Steps between log lines and metric records.
        log_every: usize = 20;
        /// Time between evaluations on the held-out part: a number of epochs, "500 steps", or "auto": 8 to 12 times over the
        /// run (of under 80 steps: each epoch).
        eval_every: EvalEvery = EvalEvery::Auto;
        /// Evaluations in a row without a new best of the main figure after which training stops; 0 never stops early.
        patience: usize = 0;
        /// Steps between checkpoints besides those at the end of an epoch; 0 for none.
        save_every: usize = 0;
    }
}

section! {
    /// `[optimizer]`: AdamW with decoupled decay.
    Optimizer {
        /// Learning rate for a batch of `lr_batch`, or for any batch where that is 0.
        lr: f64 = 1e-3;
        /// The rate is multiplied by batch / lr_batch, the batch being that of a step over all processes; 0 takes `lr` as it
        /// is.
        lr_batch: usize = 0;
        /// How the rate grows with that share: "linear", "sqrt" (of its root) or "none".
        lr_scaling: LrScaling = LrScaling::Linear;
        /// Decay rates of the two moments.
        betas: [f64; 2] = [0.9, 0.999];
        /// Added to the root of the second moment.
        eps: f64 = 1e-8;
        /// Decoupled weight decay.
        weight_decay: f64 = 0.05;
        /// What decay spares: any of "bias", "norm", "token_norm" (not the channel norms of a detector's heads), "rational",
        /// "pos_embed", "tokens".
        no_decay: Vec<NoDecay> =
            vec![NoDecay::Bias, NoDecay::Norm, NoDecay::Rational, NoDecay::PosEmbed, NoDecay::Tokens];
        /// Rate of a layer over that of the layer after it; 1 gives every layer the same.
        layer_decay: f64 = 1.0;
        /// Rate of the rational functions' coefficients over that of the other weights of their layer; 0 leaves them as they were.
        rational_lr: f64 = 1.0;
        /// Whether those coefficients' gradients count in the norm that train.clip_grad bounds. In a KAT made of a pre-trained ViT
        /// they would be nearly all of it.
        clip_rationals: bool = true;
    }
}

section! {
    /// `[schedule]`: the learning rate over time.
    Schedule {
        /// "cosine", "step", "poly" or "constant".
        kind: ScheduleKind = ScheduleKind::Cosine;
        /// Warm-up in epochs; either this or `warmup_steps`.
        warmup_epochs: f64 = 0.0;
        /// Warm-up in steps.
        warmup_steps: usize = 0;
        /// Rate at the first step over the full rate.
        warmup_factor: f64 = 0.01;
        /// Last rate over the full rate.
        min_factor: f64 = 0.0;
        /// Exponent of "poly".
        power: f64 = 1.0;
        /// For "poly" and "cosine": the curve begins where warm-up ends, step for step as mmengine's; else it spans the run.
        after_warmup: bool = false;
        /// For "step": where the rate falls, as shares of the whole run in (0, 1).
        milestones: Vec<f64> = Vec::new();
        /// For "step": factor at each milestone.
        decay: f64 = 0.1;
        /// Whether the rate changes each "step" or each "epoch".
        per: Granularity = Granularity::Step;
    }
}

section! {
    /// `[augment]`: random changes to training images, and the label smoothing that goes with them.
    Augment {
        /// Range of the cropped area over the image's (classify), or of the resize ratio (detect, segment).
        scale: [f64; 2] = [0.08, 1.0];
        /// Range of the crop's aspect ratio (classify).
        ratio: [f64; 2] = [0.75, 1.3333333333333333];
        /// Probability of a horizontal flip.
        hflip: f64 = 0.5;
        /// Strength of brightness, contrast and saturation changes; 0 for none.
        color_jitter: f64 = 0.0;
        /// RandAugment magnitude of 10; 0 for none.
        randaugment: f64 = 0.0;
        /// Standard deviation of that magnitude.
        randaugment_std: f64 = 0.5;
        /// Whether a larger magnitude of RandAugment always changes an image more (timm's "inc1").
        randaugment_increasing: bool = false;
        /// Probability of erasing a random rectangle.
        erase: f64 = 0.0;
        /// Alpha of Mixup; 0 for none.
        mixup: f64 = 0.0;
        /// Alpha of CutMix; 0 for none.
        cutmix: f64 = 0.0;
        /// Share of the target spread over all classes.
        label_smoothing: f64 = 0.0;
        /// Photometric distortion of segmentation: brightness, contrast, saturation, hue.
        photometric: bool = false;
    }
}

section! {
    /// `[eval]`: how the held-out part is looked at.
    Eval {
        /// Images in a forward pass; 0 takes the training batch.
        batch_size: usize = 0;
        /// Share of the resized image that the centre crop keeps (classify).
        crop: f64 = 0.875;
        /// Evaluate the averaged weights where they are kept.
        use_ema: bool = true;
        /// Most confident mistakes, or example pictures, in the report.
        examples: usize = 24;
    }
}

section! {
    /// `[output]`: where a run leaves its files.
    Output {
        /// The run's own directory.
        dir: Option<String> = None;
        /// Write TensorBoard event files.
        tensorboard: bool = true;
        /// Write report.html and plots at the end.
        report: bool = true;
    }
}

section! {
    /// `[detect]`: Mask R-CNN on a simple feature pyramid.
    Detect {
        /// Blocks that attend over the whole image; the others attend within windows.
        global_blocks: Vec<usize> = vec![2, 5, 8, 11];
        /// Side of an attention window in tokens; 0 attends globally everywhere.
        window: usize = 14;
        /// Learned relative positions in attention.
        rel_pos: bool = true;
        /// Side in pixels of the images that the position embedding is made for; resampled to the input.
        pretrain_size: usize = 224;
        /// Channels of the pyramid and the heads.
        channels: usize = 256;
        /// 3×3 convolutions of the RPN.
        rpn_convs: usize = 2;
        /// Layers of the box head: "four_conv" or "two_fc".
        box_head: BoxHeadKind = BoxHeadKind::FourConv;
        /// Channels of the box head's hidden layer.
        box_hidden: usize = 1024;
        /// Boxes of a region: one "per_class", or one for all ("agnostic").
        box_regression: BoxRegression = BoxRegression::PerClass;
        /// Where the box loss turns from squares to absolute values; 0 has no squares (L1).
        smooth_l1_beta: f64 = 0.0;
        /// Anchor sides in pixels, one for each pyramid level.
        anchor_sizes: Vec<f64> = vec![32.0, 64.0, 128.0, 256.0, 512.0];
        /// Anchor height over width.
        anchor_ratios: Vec<f64> = vec![0.5, 1.0, 2.0];
        /// Anchors sampled for the RPN loss, an image.
        rpn_samples: usize = 256;
        /// Proposals sampled for the box loss, an image.
        roi_samples: usize = 512;
        /// Proposals kept before and after suppression in training.
        proposals_train: [usize; 2] = [2000, 1000];
        /// Proposals kept before and after suppression in evaluation.
        proposals_eval: [usize; 2] = [1000, 1000];
        /// Predict masks too.
        masks: bool = true;
        /// Lowest score of a detection.
        score_threshold: f64 = 0.05;
        /// Lowest score of a detection that `predict` and the report show.
        show_threshold: f64 = 0.5;
        /// Overlap above which the lower-scored detection of a class goes.
        nms: f64 = 0.5;
        /// Detections kept, an image.
        max_detections: usize = 100;
    }
}

section! {
    /// `[segment]`: UperNet on four blocks.
    Segment {
        /// Blocks whose tokens become feature maps, counted from 0.
        out_blocks: Vec<usize> = vec![2, 5, 8, 11];
        /// "multi_level" makes four scales of the four maps, "plain" leaves them at the patch grid.
        neck: NeckChoice = NeckChoice::MultiLevel;
        /// Apply the backbone's final norm to the last map.
        final_norm: bool = false;
        /// Channels of the head.
        channels: usize = 512;
        /// Grids of the pyramid pooling module.
        pool_scales: Vec<usize> = vec![1, 2, 3, 6];
        /// Probability with which a channel is dropped before the classifier.
        dropout: f64 = 0.1;
        /// Weight of the auxiliary loss; 0 leaves its head out.
        aux_weight: f64 = 0.4;
        /// Channels of the auxiliary head.
        aux_channels: usize = 256;
        /// Side of the training crop in pixels; images are scaled so that their short side is this long.
        crop: usize = 512;
        /// A crop is drawn again when one class covers more than this share of it.
        max_class_share: f64 = 0.75;
        /// Label value 0 means "other" and is ignored; classes start at 1 (ADE20K).
        reduce_zero_label: bool = true;
        /// The same as data.classes, which took its place.
        classes: Vec<String> = Vec::new();
        /// Step of the sliding window in pixels; 0 looks at the whole image at once.
        stride: usize = 0;
        /// Compute as mmsegmentation does, for its checkpoints: images resized by OpenCV's bilinear filter, without antialias;
        /// scores of a padded canvas resized to the image as they are; the neck's halving in steps of exactly 2.
        as_mmsegmentation: bool = false;
        /// A factor for each class in the loss; none where empty.
        class_weights: Vec<f64> = Vec::new();
        /// Online hard example mining: highest probability of a pixel that counts; 0 for none.
        ohem_threshold: f64 = 0.0;
        /// Pixels that count at least, an image, with hard example mining.
        ohem_min_kept: usize = 100_000;
    }
}

impl Output {
    /// Where a run leaves its files: as given, else where runs of the program go.
    pub(super) fn directory(&self, task: TaskKind) -> PathBuf {
        self.dir.as_ref().map_or_else(|| format!("runs/{}", task.program()).into(), PathBuf::from)
    }
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// File that this one builds on, relative to it. Resolved while loading and then left empty.
    #[serde(skip_serializing)]
    pub extends: Option<String>,
    /// Keys of that file that are taken back, as "section.key".
    #[serde(skip_serializing)]
    pub unset: Vec<String>,
    /// `[model]`
    pub model: Model,
    /// `[data]`
    pub data: Data,
    /// `[train]`
    pub train: Train,
    /// `[optimizer]`
    pub optimizer: Optimizer,
    /// `[schedule]`
    pub schedule: Schedule,
    /// `[augment]`
    pub augment: Augment,
    /// `[eval]`
    pub eval: Eval,
    /// `[output]`
    pub output: Output,
    /// `[detect]`: read by `detect` only.
    pub detect: Detect,
    /// `[segment]`: read by `segment` only.
    pub segment: Segment,
}

/// Every section with its keys, in the order of [`RawConfig`].
pub const SECTIONS: &[(&str, &[Key])] = &[
    ("model", Model::KEYS),
    ("data", Data::KEYS),
    ("train", Train::KEYS),
    ("optimizer", Optimizer::KEYS),
    ("schedule", Schedule::KEYS),
    ("augment", Augment::KEYS),
    ("eval", Eval::KEYS),
    ("output", Output::KEYS),
    ("detect", Detect::KEYS),
    ("segment", Segment::KEYS),
];

/// The default of a key, as JSON has it; none where it has none.
pub fn default_of(section: &str, key: &str) -> Option<String> {
    let defaults = serde_json::to_value(RawConfig::default()).unwrap_or_default();
    match &defaults[section][key] {
        serde_json::Value::Null => None,
        value => Some(value.to_string()),
    }
}
