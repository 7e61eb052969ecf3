//! The subcommands of `segment`.

mod bench;
mod data;
mod eval;
mod predict;
mod settings;
mod train;

pub use bench::BenchCommand;
pub use data::TOOLS;
pub use eval::EvalCommand;
pub use predict::PredictCommand;
