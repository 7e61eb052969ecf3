//! The command line that the three programs share: flags, device and threads, progress, exit codes, and the
//! subcommands that are the same for all.

pub mod bench;
pub mod completions;
pub mod config;
pub mod convert;
pub mod data;
pub mod device;
pub mod exit;
pub mod export;
pub mod flags;
pub mod images;
pub mod info;
pub mod inspect;
pub mod launch;
pub mod printable;
pub mod progress;
pub mod report;
pub mod runs;
pub mod threads;
pub mod train;
pub mod verify;
pub mod weights;

use std::process::ExitCode;

use clap::Parser;

pub use exit::{Misuse, status, told};
use flags::Verbosity;
use progress::Screen;

use crate::run::processes::Processes;

/// A program's command line.
pub trait Program: Parser {
    /// Its name, before messages.
    const NAME: &'static str;

    /// The flags of every subcommand.
    fn verbosity(&self) -> &Verbosity;

    /// Carries the subcommand out, with the others that the launcher started.
    ///
    /// # Errors
    /// Whatever keeps it from doing what it was asked for.
    fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()>;
}

/// The whole of a program: parses the command line, starts the threads, runs the subcommand, ends with its status.
pub fn main<P: Program>() -> ExitCode {
    let matches = P::command().get_matches();
    let program =
        P::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut P::command()).exit());
    let device = launch::device_of_several(&matches);
    let processes = match launch::join(device) {
        Ok(processes) => processes,
        Err(error) => return exit::finish(P::NAME, &Processes::alone(), Err(error)),
    };
    let screen = program.verbosity().start(&processes);
    exit::run(P::NAME, &processes, || {
        threads::start(threads::wanted(&matches), &processes)?;
        program.run(&screen, &launch::with_gpus(&processes, device)?)
    })
}
