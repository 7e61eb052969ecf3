//! The command line: one file a subcommand.

pub mod coco_eval;
pub mod data;
pub mod miou;
