//! Models as ONNX files (`export --format onnx`): plain operators of opset 18, so that any runtime has them.
//!
//! `proto` has the format's messages, `graph` collects operators, `layers`, `rational`, `splines`, `attention` and `encoder` are the network
//! that all three programs share, `classify`, `segment` and `detect` a program's own end. Weights are taken by the names that a
//! checkpoint has.

mod attention;
mod boxes;
pub mod classify;
pub mod detect;
mod encoder;
pub mod graph;
mod layers;
pub mod pixels;
mod proposals;
pub mod proto;
mod pyramid;
mod rational;
pub mod segment;
mod splines;
pub mod weights;

use std::path::Path;

use anyhow::Context;
use kat_images::files::write_atomic;
use kat_images::transform::normalize::Normalize;
use prost::Message as _;

use graph::GraphBuilder;
use pixels::Input;

/// What a protobuf message may have at most.
const LIMIT: usize = i32::MAX as usize;

/// What stands beside a network, for those who run it.
#[derive(Debug)]
pub struct About<'a> {
    /// The program.
    pub task: &'a str,
    /// Names of classes in the order of their indices.
    pub classes: &'a [String],
    /// What the network takes.
    pub input: Input,
    /// Mean and deviation.
    pub normalize: Normalize,
    /// The share of the short side that a classifier's images keep.
    pub crop: Option<f64>,
}

/// Writes the network to `path`.
///
/// # Errors
/// A file that cannot be written, or one of more than 2 GiB, which the format does not hold.
pub fn save(path: &Path, graph: GraphBuilder, about: &About) -> anyhow::Result<()> {
    let mut metadata = vec![
        ("task".to_owned(), about.task.to_owned()),
        ("classes".to_owned(), serde_json::to_string(about.classes)?),
        ("mean".to_owned(), serde_json::to_string(&about.normalize.mean)?),
        ("std".to_owned(), serde_json::to_string(&about.normalize.std)?),
    ];
    if let Some(crop) = about.crop {
        metadata.push(("crop".to_owned(), crop.to_string()));
    }
    let description = format!("{} of the KAT suite, {} classes", about.task, about.classes.len());
    let model = graph.finish(&description, metadata);
    let bytes = model.encoded_len();
    anyhow::ensure!(bytes <= LIMIT, "{}: {bytes} bytes, an ONNX file holds {LIMIT} at most", path.display());
    let bytes = model.encode_to_vec();
    write_atomic(path, |out| out.write_all(&bytes))
        .with_context(|| format!("cannot write {}", path.display()))
}
