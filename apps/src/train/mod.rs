//! The trainer that the three tasks share.

pub mod ema;
pub mod error;
pub mod exchange;
mod leftovers;
mod logs;
pub mod param_groups;
pub mod resume;
pub mod run_dir;
pub mod schedule;
pub mod sessions;
pub mod signals;
pub mod state;
pub mod trainer;
