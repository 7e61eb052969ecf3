//! Configuration: TOML files and `--set` changes in, a checked [`Plan`] out.
//!
//! `raw` is what was typed, `plan` what will be done; everything that can be wrong is found between the two,
//! before any data is read.

pub mod backbone;
mod error;
mod keys;
mod kinds;
mod load;
mod overrides;
mod plan;
pub mod raw;
mod suggest;
mod task;

pub use error::ConfigError;
pub use keys::{Key, Section};
pub use load::{Loaded, differences, from_run, from_text, from_text_with, load, to_text};
pub use overrides::Override;
pub use plan::{Duration, ModelPlan, Plan};
pub use raw::{RawConfig, SECTIONS};
pub use suggest::{hint, nearest};
pub use task::TaskKind;
