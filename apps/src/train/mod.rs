//! The trainer that the three tasks share.

pub mod param_groups;
pub mod run_dir;
pub mod schedule;
pub mod signals;
pub mod state;
pub mod trainer;
