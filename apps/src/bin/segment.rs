//! The program `segment`: parses the command line, runs a subcommand, exits with its status.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kat_apps::cli::{self, common::Verbosity, config::ConfigCommand, miou::MiouArgs, report::ReportCommand};
use kat_apps::task::TaskKind;

/// Label every pixel with UperNet on KAT
#[derive(Debug, Parser)]
#[command(name = "segment", version, arg_required_else_help = true, max_term_width = 100)]
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
    Miou(MiouArgs),
}

fn main() -> ExitCode {
    let program = Program::parse();
    let _screen = program.verbosity.start();
    let result = match &program.command {
        Command::Config(command) => command.run(TaskKind::Segment),
        Command::Report(command) => command.run(),
        Command::Miou(command) => command.run(),
    };
    cli::finish("segment", result)
}
