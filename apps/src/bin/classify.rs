//! The program `classify`: parses the command line, runs a subcommand, exits with its status.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kat_apps::cli::{
    self, bench::BenchCommand, common::Verbosity, config::ConfigCommand, info::InfoCommand,
    report::ReportCommand, verify::VerifyCommand,
};
use kat_apps::cli::{
    classify_data::TOOLS, data::DataArgs, eval::EvalCommand, export::ExportCommand, predict::PredictCommand,
    train::TrainCommand,
};
use kat_apps::task::TaskKind;
use kat_apps::task::classify::Classify;
use kat_backbone::Cpu;

/// Train, evaluate and use KAT on images
#[derive(Debug, Parser)]
#[command(name = "classify", version, arg_required_else_help = true, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    verbosity: Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Info(InfoCommand),
    Verify(VerifyCommand),
    Bench(BenchCommand),
    #[command(after_help = "Examples, after the program's name:\n  \
        train --config configs/classify/quickstart.toml\n  \
        train --config configs/classify/quickstart.toml --data my_images --output runs/mine\n  \
        train --config configs/classify/quickstart.toml --resume")]
    Train(TrainCommand),
    Eval(EvalCommand),
    Predict(PredictCommand),
    Export(ExportCommand),
    Data(DataArgs),
    Config(ConfigCommand),
    Report(ReportCommand),
}

impl Command {
    /// Whether it takes `--threads`, and starts its threads itself.
    fn computes(&self) -> bool {
        matches!(
            self,
            Command::Train(_)
                | Command::Eval(_)
                | Command::Predict(_)
                | Command::Bench(_)
                | Command::Verify(_)
        )
    }
}

fn main() -> ExitCode {
    let program = Program::parse();
    let screen = program.verbosity.start();
    cli::run("classify", || {
        if !program.command.computes() {
            cli::threads::start(None)?;
        }
        match &program.command {
            Command::Info(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Train(command) => command.run::<Classify<Cpu>>(&screen),
            Command::Eval(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Config(command) => command.run(TaskKind::Classify),
            Command::Report(command) => command.run(),
        }
    })
}
