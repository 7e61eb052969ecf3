//! The programs classify, detect and segment, over one trainer.

pub mod cli;
