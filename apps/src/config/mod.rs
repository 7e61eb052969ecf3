//! Configuration: TOML files and `--set` changes in, a checked [`Plan`] out.
//!
//! `raw` is what was typed, [`Plan`] what will be done; everything that can be wrong is found between the two, before
//! any data is read.

mod check;
mod data;
mod error;
mod eval_every;
mod keys;
mod kinds;
mod load;
mod model;
mod overrides;
mod plan;
mod raw;
mod raw_model;
mod recognized;
mod suggest;
mod task;

pub use data::{DataPlan, Generate, HoldOut, Labels};
pub use error::ConfigError;
pub use eval_every::EvalEvery;
pub use keys::{Key, Section};
pub use kinds::{
    ColorChoice, DatasetKind, EmaWarmup, Freeze, FrozenPart, Granularity, NeckChoice, NoDecay, OnCorrupt,
    ScheduleKind,
};
pub use load::{Loaded, from_run, from_text, from_text_with, load};
pub use model::{ModelBase, ModelPlan};
pub use overrides::Override;
pub use plan::{Duration, Plan};
pub use raw::{Augment, Detect, Eval, Optimizer, SECTIONS, Schedule, Segment, Train, default_of};
pub use recognized::{preparation, sections};
pub use suggest::hint;
pub use task::TaskKind;
