//! The subcommands of `detect`.

pub mod bench;
pub mod data;
pub mod eval;
pub mod predict;
pub mod train;
