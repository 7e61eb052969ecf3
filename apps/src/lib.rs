//! The programs classify, detect and segment, over one trainer.

pub mod cli;
pub mod config;
pub mod report;
pub mod task;
pub mod train;
pub mod viz;
