//! `serve`: a page and an HTTP interface for checkpoints, on this machine.
//!
//! A thread for each checkpoint owns its model and takes images from a bounded queue, a few at a time; connections are
//! tokio's. What is decoded was checked against the limits of `predict`.

mod http;
mod metrics;
mod model;
mod protocol;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kat_backbone::Device;

pub use model::{Answer, Query, Served, card, css};

use crate::shell::Misuse;
use crate::shell::device::on_device;
use crate::shell::flags::DeviceArgs;
use crate::shell::images::ImageLimits;
use http::State;
use metrics::Metrics;
use worker::Worker;

/// Show a page where images are dropped, and answer over HTTP
#[derive(Debug, Args)]
#[command(
    after_help = "GET / is the page. POST /v1/predict takes an image (the body, or multipart form data) and answers as predict \
    --json does; ?model=NAME, ?threshold=0.3 (detect; else detect.show_threshold of the checkpoint), ?top=5 (classify). /v2/… is the Open Inference Protocol: health/ready, \
    models/NAME, models/NAME/infer. /metrics is for Prometheus. A full queue is answered with 503 and Retry-After.\n\n\
    Examples, after the program's name:\n  \
    serve --checkpoint runs/mine/best.safetensors\n  \
    serve --checkpoint small=a.safetensors --checkpoint base=b.safetensors --port 9000\n  \
    curl --data-binary @photo.jpg http://127.0.0.1:8080/v1/predict"
)]
pub struct ServeCommand {
    /// Checkpoint that train or export wrote, with a name to call it by; may be repeated
    #[arg(long, value_name = "[NAME=]FILE", required = true)]
    checkpoint: Vec<String>,
    /// Address to listen on; others than this machine reach it only if you say so, as 0.0.0.0
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes one that is free
    #[arg(long, value_name = "N", default_value = "8080")]
    port: u16,
    /// Images that may wait for each model; one more is answered with 503
    #[arg(long, value_name = "N", default_value = "64")]
    queue: NonZeroUsize,
    /// Most images that one forward pass takes
    #[arg(long, value_name = "N", default_value = "8")]
    batch: NonZeroUsize,
    /// Milliseconds to wait for more images once there is one
    #[arg(long, value_name = "MS", default_value = "3")]
    batch_wait: u64,
    /// Largest request, in MiB
    #[arg(long, value_name = "MIB", default_value = "32")]
    max_body: NonZeroUsize,
    /// Seconds that a request may take to arrive, and to be answered
    #[arg(long, value_name = "S", default_value = "30")]
    timeout: std::num::NonZeroU64,
    #[command(flatten)]
    limits: ImageLimits,
    #[command(flatten)]
    device: DeviceArgs,
}

/// A checkpoint under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    path: PathBuf,
}

impl Named {
    /// `NAME=FILE`, or FILE under the name of the file, or of its folder where the file is called as in every run.
    fn parse(text: &str) -> Self {
        if let Some((name, path)) = text.split_once('=')
            && !name.is_empty()
            && !name.contains(['/', '\\'])
        {
            return Self { name: name.to_owned(), path: path.into() };
        }
        let path = PathBuf::from(text);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let folder =
            path.parent().and_then(Path::file_name).map(|folder| folder.to_string_lossy().into_owned());
        let name = match folder {
            Some(folder) if ["best", "last", "previous"].contains(&stem.as_str()) => folder,
            _ => stem,
        };
        Self { name, path }
    }
}

impl ServeCommand {
    /// Serves until it is told to stop: Ctrl-C and SIGTERM let what was begun be answered.
    ///
    /// # Errors
    /// Checkpoints that cannot be read, or an address that cannot be listened on.
    pub fn run<P: Program>(&self) -> anyhow::Result<()> {
        let named: Vec<Named> = self.checkpoint.iter().map(|text| Named::parse(text)).collect();
        for (i, one) in named.iter().enumerate() {
            if let Some(other) = named[..i].iter().find(|other| other.name == one.name) {
                let (a, b) = (other.path.display(), one.path.display());
                let reason =
                    format!("{a} and {b} are both called {}; give names: --checkpoint NAME=FILE", one.name);
                return Err(Misuse(reason).into());
            }
        }
        let metrics = Arc::new(Metrics::default());
        let settings = worker::Settings {
            queue: self.queue.get(),
            batch: self.batch.get(),
            wait: Duration::from_millis(self.batch_wait),
        };
        let mut workers = Vec::new();
        for Named { name, path } in named {
            let (device, limits) = (self.device.clone(), self.limits.clone());
            // made on the thread that keeps it: tensors do not move between threads
            let open = move || -> anyhow::Result<Box<dyn Served>> {
                on_device!(&device, device => P::open(&device, &path, &limits))
            };
            let worker = Worker::start(&name, open, settings, metrics.clone());
            workers.push(worker.with_context(|| format!("cannot serve {name}"))?);
        }
        let state =
            State::new(workers, metrics, self.max_body.get() << 20, Duration::from_secs(self.timeout.get()));
        http::serve(SocketAddr::new(self.host, self.port), state)
    }
}

/// A program whose checkpoints can be served.
pub trait Program {
    /// Opens a checkpoint.
    ///
    /// # Errors
    /// A file that cannot be read, or that is none of the program's.
    fn open<D: Device>(device: &D, path: &Path, limits: &ImageLimits) -> anyhow::Result<Box<dyn Served>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_named_by_hand_by_file_or_by_run() {
        let named = |text: &str| Named::parse(text).name;
        assert_eq!(named("small=runs/a/best.safetensors"), "small");
        assert_eq!(named("runs/a/best.safetensors"), "a");
        assert_eq!(named("models/kat_tiny.safetensors"), "kat_tiny");
        assert_eq!(Named::parse("runs/lr=3/kat.safetensors").path, Path::new("runs/lr=3/kat.safetensors"));
    }
}
