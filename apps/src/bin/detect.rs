//! The program `detect`: parses the command line, runs a subcommand, exits with its status.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kat_apps::cli::detect::{bench::BenchCommand, data::TOOLS, eval::EvalCommand, predict::PredictCommand};
use kat_apps::cli::{
    self, coco_eval::CocoEvalArgs, common::Verbosity, config::ConfigCommand, data::DataArgs,
    export::OwnExportCommand, report::ReportCommand, train::TrainCommand,
};
use kat_apps::task::TaskKind;
use kat_apps::task::detect::Detect;
use kat_apps::task::detect::trained::Trained;
use kat_backbone::Cpu;

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
    #[command(after_help = "Examples, after the program's name:\n  \
        train --config configs/detect/quickstart.toml\n  \
        train --config configs/detect/kat_small_coco.toml --data coco --set model.init_from=kat_small.pth\n  \
        train --config configs/detect/quickstart.toml --resume")]
    Train(TrainCommand),
    Eval(EvalCommand),
    CocoEval(CocoEvalArgs),
    Predict(PredictCommand),
    Export(OwnExportCommand),
    Bench(BenchCommand),
    Data(DataArgs),
    Config(ConfigCommand),
    Report(ReportCommand),
}

impl Command {
    /// Whether it takes `--threads`, and starts its threads itself.
    fn computes(&self) -> bool {
        matches!(self, Command::Train(_) | Command::Eval(_) | Command::Predict(_) | Command::Bench(_))
    }
}

fn main() -> ExitCode {
    let program = Program::parse();
    let screen = program.verbosity.start();
    cli::run("detect", || {
        if !program.command.computes() {
            cli::threads::start(None)?;
        }
        match &program.command {
            Command::Train(command) => command.run::<Detect<Cpu>>(&screen),
            Command::Eval(command) => command.run(),
            Command::CocoEval(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Export(command) => command.run(|path| Ok(Trained::open(&Cpu::default(), path)?.map)),
            Command::Bench(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Config(command) => command.run(TaskKind::Detect),
            Command::Report(command) => command.run(),
        }
    })
}
