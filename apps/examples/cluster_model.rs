//! What a step's efficiency would be on 1 to 256 processes, by the alpha–beta model: a message of b bytes takes α + b / β.
//! It is a model, not a measurement; what it starts from is measured.
//!
//! `cargo run --release -p kat-apps --example cluster_model -- --name KAT-S --step 1.4 --megabytes 88.2 --gbit 25 --latency 20 \
//! --output model.png`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use kat_apps::plot::curves::{LineChart, Series};

/// The ranks of a table's rows, powers of two.
const POWERS: u32 = 8;
/// Bytes of a full bucket.
const BUCKET: f64 = 26.2e6;

#[derive(Parser)]
struct Args {
    /// What is trained.
    #[arg(long)]
    name: String,
    /// Seconds of a step on one process.
    #[arg(long)]
    step: f64,
    /// The part of it that the backward pass takes, behind which sums can hide.
    #[arg(long, default_value_t = 0.6)]
    backward: f64,
    /// Megabytes of gradients.
    #[arg(long)]
    megabytes: f64,
    /// Rate of a link in Gbit/s; several give several curves.
    #[arg(long, value_delimiter = ',')]
    gbit: Vec<f64>,
    /// Latency of a message in microseconds.
    #[arg(long)]
    latency: f64,
    /// The plot.
    #[arg(long)]
    output: PathBuf,
}

/// How sums over processes are made.
#[derive(Clone, Copy)]
enum Way {
    /// Each process sends a part to its neighbor 2 (n - 1) times: the bytes hardly depend on n, the messages do.
    Ring,
    /// Up and down a binary tree, whole buckets: 2 log₂ n messages.
    Tree,
}

impl Way {
    /// Seconds in which `bytes` are summed over `n` processes.
    fn sum(self, n: f64, bytes: f64, alpha: f64, beta: f64) -> f64 {
        match self {
            Way::Ring => 2.0 * (n - 1.0) * (alpha + bytes / n / beta),
            Way::Tree => 2.0 * n.log2() * (alpha + bytes / beta),
        }
    }

    /// The part of the ideal rate. Buckets are summed one after the other; all but the last, which is full only when the
    /// backward pass ends, can hide behind it.
    fn efficiency(self, n: f64, args: &Args, gbit: f64) -> f64 {
        let (alpha, beta, bytes) = (args.latency * 1e-6, gbit * 1e9 / 8.0, args.megabytes * 1e6);
        let buckets = (bytes / BUCKET).ceil().max(1.0);
        let one = self.sum(n, bytes / buckets, alpha, beta);
        let hidden = ((buckets - 1.0) * one).min(args.backward * args.step * (1.0 - 1.0 / buckets));
        args.step / (args.step + buckets * one - hidden)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.step > 0.0 && args.megabytes > 0.0, "--step and --megabytes have to be above 0");
    let ways = [("ring", Way::Ring), ("tree", Way::Tree)];
    let columns: Vec<(String, Way, f64)> = args
        .gbit
        .iter()
        .flat_map(|gbit| ways.map(|(name, way)| (format!("{name}, {gbit} Gbit/s"), way, *gbit)))
        .collect();
    let names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
    println!("| ranks | {} |\n|---|{}", names.join(" | "), "---|".repeat(columns.len()));
    for power in 0..=POWERS {
        let n = f64::from(1 << power);
        let cells: Vec<String> =
            columns.iter().map(|(_, way, gbit)| format!("{:.2}", way.efficiency(n, &args, *gbit))).collect();
        println!("| {n} | {} |", cells.join(" | "));
    }
    let points = |way: Way, gbit: f64| {
        let at = |power: u32| (f64::from(power), way.efficiency(f64::from(1 << power), &args, gbit));
        (0..=POWERS).map(at).collect()
    };
    let series = columns.iter().map(|(name, way, gbit)| Series::line(name, points(*way, *gbit))).collect();
    let title = format!("{}: expected efficiency (model, {} µs)", args.name, args.latency);
    let chart =
        LineChart { y_range: Some((0.0, 1.05)), ..LineChart::new(title, "log₂ of the processes", series) };
    let written = chart.plot()?.write_png(&args.output);
    written.with_context(|| format!("cannot write {}", args.output.display()))
}
