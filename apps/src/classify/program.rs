//! The command line of `classify`. It is here and not in the program's own file, so that everything is compiled once, with the library,
//! whichever program is built.

use std::process::ExitCode;

use crate::classify;
use crate::classify::{
    Classify, bench::BenchCommand, check::TOOLS, eval::EvalCommand, export::ExportCommand,
    predict::PredictCommand,
};
use crate::config::TaskKind;
use crate::run::processes::Processes;
use crate::serve::ServeCommand;
use crate::shell::{
    self,
    completions::{CompletionsCommand, ManCommand},
    config::ConfigCommand,
    data::DataArgs,
    flags::Verbosity,
    info::InfoCommand,
    inspect::InspectCommand,
    progress::Screen,
    report::ReportCommand,
    runs::RunsArgs,
    train::TrainCommand,
    verify::VerifyCommand,
};
use clap::{CommandFactory as _, Parser, Subcommand};
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
    Serve(ServeCommand),
    Export(ExportCommand),
    Data(DataArgs),
    Inspect(InspectCommand),
    Config(ConfigCommand),
    Report(ReportCommand),
    Runs(RunsArgs),
    Completions(CompletionsCommand),
    Man(ManCommand),
}

impl shell::Program for Program {
    const NAME: &'static str = "classify";

    fn verbosity(&self) -> &Verbosity {
        &self.verbosity
    }

    fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        match &self.command {
            Command::Info(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Train(command) => command.run::<Classify<Cpu>>(screen, processes),
            Command::Eval(command) => command.run(screen, processes),
            Command::Predict(command) => command.run(),
            Command::Serve(command) => command.run::<classify::serve::ClassifyServer>(),
            Command::Export(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Inspect(command) => command.run(),
            Command::Config(command) => command.run(TaskKind::Classify),
            Command::Report(command) => command.run(),
            Command::Runs(args) => args.run(),
            Command::Completions(command) => command.run(Self::command()),
            Command::Man(command) => command.run(Self::command()),
        }
    }
}

/// The program.
pub fn main() -> ExitCode {
    shell::main::<Program>()
}
