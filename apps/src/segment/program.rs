//! The command line of `segment`. It is here and not in the program's own file, so that everything is compiled once, with the library,
//! whichever program is built.

use std::process::ExitCode;

use crate::config::TaskKind;
use crate::run::processes::Processes;
use crate::segment;
use crate::segment::{
    Segment, bench::BenchCommand, check::TOOLS, eval::EvalCommand, miou::MiouArgs, predict::PredictCommand,
    trained::Trained,
};
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
    Serve(ServeCommand),
    Export(ExportCommand),
    Miou(MiouArgs),
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
    const NAME: &'static str = "segment";

    fn verbosity(&self) -> &Verbosity {
        &self.verbosity
    }

    fn run(&self, screen: &Screen, processes: &Processes) -> anyhow::Result<()> {
        match &self.command {
            Command::Train(command) => command.run::<Segment<Cpu>>(screen, processes),
            Command::Eval(command) => command.run(screen, processes),
            Command::Predict(command) => command.run(),
            Command::Serve(command) => command.run::<segment::serve::SegmentServer>(),
            Command::Export(command) => command.run(|weights| Trained::open(&Cpu::default(), weights)),
            Command::Miou(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Data(args) => args.run(&TOOLS),
            Command::Inspect(command) => command.run(),
            Command::Config(command) => command.run(TaskKind::Segment),
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
