//! The program `segment`: parses the command line, runs a subcommand, exits with its status.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kat_apps::cli::{
    self,
    common::Verbosity,
    config::ConfigCommand,
    data::DataArgs,
    export::OwnExportCommand,
    miou::MiouArgs,
    report::ReportCommand,
    segment::{BenchCommand, EvalCommand, PredictCommand, TOOLS},
    train::TrainCommand,
};
use kat_apps::task::TaskKind;
use kat_apps::task::segment::Segment;
use kat_apps::task::segment::trained::Trained;
use kat_backbone::Cpu;

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
    #[command(after_help = "Examples, after the program's name:\n  \
        train --config configs/segment/quickstart.toml\n  \
        train --config configs/segment/kat_small_ade20k.toml --data ADEChallengeData2016\n  \
        train --config configs/segment/quickstart.toml --resume")]
    Train(TrainCommand),
    Eval(EvalCommand),
    Predict(PredictCommand),
    Export(OwnExportCommand),
    Miou(MiouArgs),
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
    cli::run("segment", || {
        if !program.command.computes() {
            cli::threads::start(None)?;
        }
        match &program.command {
            Command::Train(command) => command.run::<Segment<Cpu>>(&screen),
            Command::Eval(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Export(command) => command.run(|path| Ok(Trained::open(&Cpu::default(), path)?.map)),
            Command::Miou(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Config(command) => command.run(TaskKind::Segment),
            Command::Report(command) => command.run(),
        }
    })
}
