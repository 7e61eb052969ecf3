//! A run of training, generic over the [`task::Task`]: the trainer, its state and directory, its logs, and what the
//! three tasks share in reading data.

pub mod ema;
pub mod error;
pub mod finite;
pub mod freeze;
pub mod generated;
pub mod hold_out;
mod identity;
mod leftovers;
pub mod loading;
mod logs;
pub mod memory;
pub mod metrics_csv;
pub mod metrics_log;
mod monitor;
pub mod param_groups;
pub mod processes;
pub mod resume;
pub mod run_dir;
pub mod schedule;
pub mod sessions;
pub mod signals;
pub mod start;
pub mod state;
mod steps;
pub mod task;
pub mod tensorboard;
pub mod trainer;
