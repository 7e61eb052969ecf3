//! The words that a configuration chooses from.

use serde::{Deserialize, Serialize};

/// What stands in for the MLP between the attention layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MixerKind {
    /// Group-rational KAN: rational, linear, rational, linear.
    GrKan,
    /// The plain transformer: linear, GELU, linear.
    Mlp,
    /// B-spline KAN, the paper's negative example.
    Kan,
}

/// Initialisation of the linear layers of a GR-KAN mixer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitKind {
    /// The paper's: keeps the variance through the rational functions.
    VariancePreserving,
    /// What the released code runs: truncated normal of 0.02.
    Published,
}

/// Whether the groups of a rational function share their numerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumeratorKind {
    /// One numerator for all groups, as in the released checkpoints.
    Shared,
    /// One for each group.
    PerGroup,
}

/// How tokens become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// The class token.
    ClassToken,
    /// The mean of the patch tokens.
    Average,
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
    /// At each optimiser step.
    Step,
    /// At the start of each epoch, as timm does.
    Epoch,
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

/// Parameters that weight decay can spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spared {
    /// Every bias.
    Bias,
    /// Weights and biases of normalisation layers.
    Norm,
    /// Coefficients of rational functions.
    Rational,
    /// Position embeddings.
    PosEmbed,
    /// Class and register tokens.
    Tokens,
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
