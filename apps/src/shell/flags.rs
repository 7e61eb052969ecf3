//! Flags that several subcommands share, and what they turn into.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{ArgAction, Args, ValueEnum};
use tracing::field::Field;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::fmt::{FormatFields, SubscriberBuilder};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::TaskKind;
use crate::config::{Override, Plan, from_run, load};
use crate::run::processes::Processes;
use crate::shell::printable::printable;
use crate::shell::progress::{Screen, ScreenWriter, Style, colored};

/// Flags of every subcommand.
#[derive(Debug, Clone, Args)]
pub struct Verbosity {
    /// Only errors; no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
    /// More about what happens; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

impl Verbosity {
    /// The screen to write on, with the log set up to go through it. Of several processes only the first shows what is no
    /// error.
    pub fn start(&self, processes: &Processes) -> Screen {
        let quiet = self.quiet || !processes.is_first();
        kat_backbone::memory::keep_freed_pages();
        let screen = Screen::new(if quiet { Style::Hidden } else { Style::detect() });
        // What libraries say of fonts and pixels is not the user's business, unless everything is asked for.
        let (libraries, own) = match (quiet, self.verbose) {
            (true, _) => (LevelFilter::ERROR, LevelFilter::ERROR),
            (_, 0) => (LevelFilter::ERROR, LevelFilter::INFO),
            (_, 1) => (LevelFilter::WARN, LevelFilter::DEBUG),
            (_, _) => (LevelFilter::TRACE, LevelFilter::TRACE),
        };
        let shown = Targets::new().with_default(libraries).with_target("kat", own);
        let writer = ScreenWriter(screen.clone());
        let log = log_format()
            .with_max_level(own)
            .with_target(self.verbose > 1)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && colored())
            .with_writer(move || writer.clone());
        // Set up already: a test that starts several programs in one process.
        let _ = log.finish().with(shown).try_init();
        screen
    }
}

/// How log lines look, whatever they are written to.
fn log_format() -> SubscriberBuilder<impl for<'w> FormatFields<'w> + 'static, format::Format<format::Full, ()>>
{
    tracing_subscriber::fmt()
        .without_time()
        // They would be printed to a stderr that is closed, which is a panic.
        .log_internal_errors(false)
        .fmt_fields(format::debug_fn(log_field).delimited(" "))
}

/// Writes a part of a log line; names and messages from outside may hold control characters.
fn log_field(writer: &mut Writer<'_>, field: &Field, value: &dyn std::fmt::Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    match (field.name(), printable(&value)) {
        ("message", text) => write!(writer, "{text}"),
        (name, text) => write!(writer, "{name}={text}"),
    }
}

/// The configuration: a file and changes to it.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// Configuration file
    #[arg(short, long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Change one value; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Take a value of the configuration file back; may be repeated
    #[arg(long, value_name = "SECTION.KEY")]
    pub unset: Vec<String>,
    /// Data directory [same as --set data.dir=DIR]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Directory for the run's files [same as --set output.dir=DIR]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Seed of everything random [same as --set train.seed=N]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl ConfigArgs {
    /// Reads, merges and checks the configuration.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key or a value that does not do.
    pub fn plan(&self, task: TaskKind) -> anyhow::Result<Plan> {
        Ok(Plan::new(load(self.config.as_deref(), &self.overrides()?, task)?, task)?)
    }

    /// The plan of a model that is only timed, so that no length of training need be given.
    ///
    /// # Errors
    /// As [`ConfigArgs::plan`].
    pub fn plan_of_model(&self, task: TaskKind) -> anyhow::Result<Plan> {
        let loaded = load(self.config.as_deref(), &self.overrides()?, task)?;
        Ok(Plan::new(loaded.of_any_length(), task)?)
    }

    /// The directory of the run that the arguments mean.
    ///
    /// # Errors
    /// A file that cannot be read or an unknown key.
    pub fn run_directory(&self, task: TaskKind) -> anyhow::Result<PathBuf> {
        Ok(load(self.config.as_deref(), &self.overrides()?, task)?.output(task))
    }

    /// The configuration of a run that goes on: the run's own (`text`, from `origin`) with the changes of the command
    /// line. A configuration file named beside it changes nothing; in what it differs is listed.
    ///
    /// # Errors
    /// As [`ConfigArgs::plan`].
    pub fn plan_of_run(&self, text: &str, origin: &Path, task: TaskKind) -> anyhow::Result<Plan> {
        let overrides = self.overrides()?;
        let plan = Plan::new(from_run(text, &overrides, &origin.display().to_string(), task)?, task)?;
        if let Some(file) = &self.config {
            for difference in plan.differences_from(&load(Some(file), &overrides, task)?) {
                let file = file.display();
                tracing::info!("the run's own value stays (--set changes it), unlike {file}: {difference}");
            }
        }
        Ok(plan)
    }

    /// The changes of the command line, in order.
    fn overrides(&self) -> anyhow::Result<Vec<Override>> {
        let unset = self.unset.iter().map(|text| Override::unset(text));
        let set = self.set.iter().map(|text| Override::parse(text));
        let mut overrides = unset.chain(set).collect::<Result<Vec<_>, _>>()?;
        // A path is a string whatever it looks like, so these do not go through the parser.
        let mut add = |section: &str, key: &str, value: toml::Value| {
            let (section, key) = (section.to_owned(), key.to_owned());
            let text = format!("{section}.{key}={value}");
            overrides.push(Override { text, section, key, value: Some(value) });
        };
        if let Some(dir) = &self.data {
            add("data", "dir", dir.to_string_lossy().into_owned().into());
        }
        if let Some(dir) = &self.output {
            add("output", "dir", dir.to_string_lossy().into_owned().into());
        }
        if let Some(seed) = self.seed {
            let seed = i64::try_from(seed)
                .map_err(|_| super::Misuse(format!("--seed {seed} is above {}", i64::MAX)))?;
            add("train", "seed", seed.into());
        }
        Ok(overrides)
    }
}

/// Where to compute.
#[derive(Debug, Clone, Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda (of several processes on a host each its own) or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,
    /// Threads to compute with [default: one for each core, of several processes on a host its share of them]
    #[arg(long, value_name = "N")]
    pub threads: Option<std::num::NonZeroUsize>,
    /// Numbers: off (f32), tf32 (f32, products from shorter factors) or bf16 (mixed precision); on a GPU, or a CPU with AMX
    #[arg(long, value_enum, value_name = "NUMBERS", default_value_t = Amp::Off, hide_possible_values = true)]
    pub amp: Amp,
    /// The same bits run to run: so in any case here; taken for scripts that ask for it
    #[arg(long)]
    pub deterministic: bool,
}

/// Numbers as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Amp {
    /// f32
    Off,
    /// f32, but products on the matrix units: from factors of 10 bits on a GPU, of 16 on a CPU
    Tf32,
    /// Mixed: factors of products in bfloat16 (on a GPU all activations); weights, the residual stream, sums and losses in f32
    Bf16,
}

impl Amp {
    /// As a line of text names the numbers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A device as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// As `OwnGpu`, if the program was built for GPUs and there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU; of several processes on a host, each its own.
    OwnGpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::OwnGpu),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Device::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N, for example cuda:0".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: ConfigArgs,
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        verbosity: Verbosity,
    }

    fn parse(args: &[&str]) -> Result<Program, clap::Error> {
        Program::try_parse_from([&["program"], args].concat())
    }

    #[test]
    fn log_lines_hold_no_control_characters() {
        #[derive(Clone, Default)]
        struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        let writer = kept.clone();
        let log = log_format().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            tracing::info!(path = "a\u{1b}[2J", "no \u{202e}name\u{7}: {}", "\u{9b}31m");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(line.contains("no \\u202ename\\u0007: \\u009b31m"), "{line}");
        assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    }

    #[test]
    fn flags_reach_the_plan() {
        let args =
            ["--set", "model.name=x", "--set", "train.epochs=2", "--data", "1e5", "-o", "out", "--seed", "7"];
        let plan = parse(&args).unwrap().config.plan(TaskKind::Classify).unwrap();
        assert_eq!(plan.data.dir.as_deref(), Some(Path::new("1e5")));
        assert_eq!(plan.output, PathBuf::from("out"));
        assert_eq!(plan.train.seed, 7);
        let error = parse(&["--set", "lr=1"]).unwrap().config.plan(TaskKind::Classify).unwrap_err();
        assert_eq!(crate::shell::status(&error), 2);
        let error =
            parse(&["--config", "no/such.toml"]).unwrap().config.plan(TaskKind::Classify).unwrap_err();
        assert!(format!("{error:#}").contains("no/such.toml"));
    }

    #[test]
    fn devices_and_threads_are_checked() {
        assert_eq!(parse(&["--device", "cuda:3"]).unwrap().device.device, Device::Cuda(3));
        assert_eq!(parse(&["--device", "cuda"]).unwrap().device.device, Device::OwnGpu);
        assert_eq!(parse(&[]).unwrap().device.device, Device::Auto);
        for bad in ["gpu", "cuda:", "cuda:x", "cuda:-1"] {
            assert!(parse(&["--device", bad]).is_err(), "{bad}");
        }
        assert!(parse(&["--threads", "0"]).is_err());
        assert!(parse(&["-q", "-v"]).is_err());
        assert_eq!(parse(&["-vv"]).unwrap().verbosity.verbose, 2);
    }
}
