//! The words that a configuration chooses from.

use serde::{Deserialize, Serialize};

use super::TaskKind;

/// A part of a model, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenPart {
    /// Everything before the heads.
    Backbone,
}

/// What training leaves as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number of blocks or \"backbone\"")]
pub enum Freeze {
    /// Patches, tokens, positions and the first blocks; nothing where it is 0.
    Blocks(usize),
    /// A part by name.
    Part(FrozenPart),
}

/// Shape of the learning rate after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Half a cosine down to the minimum.
    Cosine,
    /// Multiplied by `decay` at each milestone.
    Step,
    /// (1 - t)^power down to the minimum.
    Poly,
    /// Constant after warm-up.
    Constant,
}

/// How often the rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// At each optimizer step.
    Step,
    /// At the start of each epoch, as timm does.
    Epoch,
}

/// How the learning rate grows with the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScaling {
    /// As the batch (arXiv 1706.02677).
    Linear,
    /// As its square root (arXiv 1404.5997).
    Sqrt,
    /// Not at all.
    None,
}

/// How the decay of averaged weights grows at the start of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmaWarmup {
    /// Not at all.
    None,
    /// 1 - (1 + step)^(-2/3), up to the full decay.
    Timm,
    /// The full decay times 1 - exp(-step / tau).
    Ultralytics,
}

/// What to do with a file that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCorrupt {
    /// Stop and name it.
    Fail,
    /// Leave it out, counted and named in the log.
    Skip,
}

/// Parameters that may be left out of weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDecay {
    /// Every bias.
    Bias,
    /// Weights and biases of normalization layers, and LayerScale's factors.
    Norm,
    /// Those of norms over tokens only: the channel norms of a detector's pyramid and heads decay, as detectron2's do.
    TokenNorm,
    /// Coefficients of rational functions.
    Rational,
    /// Position embeddings.
    PosEmbed,
    /// Class and register tokens.
    Tokens,
}

/// Where the colors of classes are said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a list of [red, green, blue] or the name of a file")]
pub enum ColorChoice {
    /// In the configuration, a color for each class.
    Table(Vec<[u8; 3]>),
    /// In a file, relative to the data's folder.
    File(String),
}

/// How feature maps become the scales of the segmentation head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeckChoice {
    /// Four scales: 4, 2, 1 and 1/2 of the patch grid.
    MultiLevel,
    /// All at the patch grid.
    Plain,
}

/// What the data of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetKind {
    /// A folder of class folders.
    Folder,
    /// Generated where there are none.
    Shapes,
    /// A folder in COCO's layout.
    Coco,
    /// A folder in the layout of ADE20K's SceneParsing, and its 150 classes where the data name none.
    Ade20k,
}

impl DatasetKind {
    /// Those that a program reads.
    pub fn of(task: TaskKind) -> [Self; 2] {
        match task {
            TaskKind::Classify => [Self::Folder, Self::Shapes],
            TaskKind::Detect => [Self::Coco, Self::Shapes],
            TaskKind::Segment => [Self::Ade20k, Self::Shapes],
        }
    }

    /// The word in a configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Shapes => "shapes",
            Self::Coco => "coco",
            Self::Ade20k => "ade20k",
        }
    }
}
