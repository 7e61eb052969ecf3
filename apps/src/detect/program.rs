//! The command line of `detect`. It is here and not in the program's own file, so that everything is compiled once, with the library,
//! whichever program is built.

use std::process::ExitCode;

use crate::config::TaskKind;
use crate::detect;
use crate::detect::{
    Detect, bench::BenchCommand, check::TOOLS, coco_eval::CocoEvalArgs, eval::EvalCommand,
    predict::PredictCommand, trained::Trained,
};
use crate::run::processes::Processes;
use crate::serve::ServeCommand;
use crate::shell::{
    self,
    completions::{CompletionsCommand, ManCommand},
    config::ConfigCommand,
    data::DataArgs,
    export::ExportCommand,
    flags::Verbosity,
    inspect::InspectCommand,
    progress::Screen,
    report::ReportCommand,
    runs::RunsArgs,
    train::TrainCommand,
};
use clap::{CommandFactory as _, Parser, Subcommand};
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
    Serve(ServeCommand),
    Export(ExportCommand),
    Bench(BenchCommand),
    Data(DataArgs),
    Inspect(InspectCommand),
    Config(ConfigCommand),
    Report(ReportCommand),
    Runs(RunsArgs),
    Completions(CompletionsCommand),
    Man(ManCommand),
}

impl shell::Program for Program {
    const NAME: &'static str = "detect";

    fn verbosity(&self) -> &Verbosity {
        &self.verbosity
    }

    fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        match &self.command {
            Command::Train(command) => command.run::<Detect<Cpu>>(screen, processes),
            Command::Eval(command) => command.run(screen, processes),
            Command::CocoEval(command) => command.run(),
            Command::Predict(command) => command.run(),
            Command::Serve(command) => command.run::<detect::serve::DetectServer>(),
            Command::Export(command) => command.run(|weights| Trained::open(&Cpu::default(), weights)),
            Command::Bench(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Inspect(command) => command.run(),
            Command::Config(command) => command.run(TaskKind::Detect),
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
