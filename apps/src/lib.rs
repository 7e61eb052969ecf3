//! The programs classify, detect and segment, over one trainer.
//!
//! `classify`, `detect` and `segment` hold one program each, whole; `run` trains, generic over a program's task;
//! `runs` compares runs; `serve` answers over HTTP; `config` makes a checked plan of what was typed; `shell` is the command line that the three share; `plot`, `draw`
//! and `report` show what came of it.

pub mod classify;
pub mod config;
pub mod detect;
pub mod draw;
pub mod onnx;
pub mod plot;
pub mod report;
pub mod run;
pub mod runs;
pub mod segment;
pub mod serve;
pub mod shell;
