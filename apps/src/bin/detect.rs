//! The program `detect`: parses the command line, runs a subcommand, exits with its status.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kat_apps::cli::{
    self, coco_eval::CocoEvalArgs, common::Verbosity, config::ConfigCommand, report::ReportCommand,
};
use kat_apps::task::TaskKind;

/// Find objects and their outlines with Mask R-CNN on KAT
#[derive(Debug, Parser)]
#[command(name = "detect", version, arg_required_else_help = true, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Config(ConfigCommand),
    Report(ReportCommand),
    CocoEval(CocoEvalArgs),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let _screen = program.verbosity.start();
    let result = match &program.command {
        Command::Config(command) => command.run(TaskKind::Detect),
        Command::Report(command) => command.run(),
        Command::CocoEval(command) => command.run(),
    };
    cli::finish("detect", result)
}
