//! Batches, read ahead by worker threads: the same order and bytes whatever the number of threads.
//!
//! * A [`Source`] gives sample `i`; a [`Collate`] writes samples into a reusable batch buffer.
//! * Each random number comes from a generator keyed by (seed, epoch, index of the sample), see [`order`].
//! * One thread fills one batch; at most [`LoaderConfig::buffers`] batches exist at a time.
//! * A sample that cannot be loaded is treated as [`OnBad`] says, and named in the log once.

pub mod order;
pub mod resume;
mod stack;
mod workers;

use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;

use crate::decode::{DecodeOptions, decode_file_region};
use crate::sample::Sample;
use crate::transform::crop::crop_sample;
use crate::transform::target::BoxRule;
use crate::{Rect, Size};

pub use order::{LastBatch, Order};
pub use resume::LoaderState;
pub use stack::{Images, LabelMaps, Stack};
pub use workers::{Loaded, Loader};

/// Any error, as sources report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Where samples come from: loading and transforming.
pub trait Source: Send + Sync + 'static {
    /// What one sample is.
    type Item;
    /// Number of samples.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// How the log and errors call a sample: its file.
    fn name(&self, index: usize) -> String;
    /// Loads and transforms sample `index`, taking all randomness from `rng`.
    ///
    /// # Errors
    /// Whatever makes this sample unusable; the loader decides what follows.
    fn load(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Self::Item, BoxError>;
}

/// How samples become a batch.
pub trait Collate<Item>: Send + Sync + 'static {
    /// The batch buffer.
    type Batch: Send;
    /// A new, empty buffer.
    fn new_batch(&self) -> Self::Batch;
    /// Empties a buffer for reuse, keeping its memory; up to `capacity` samples follow.
    fn begin(&self, batch: &mut Self::Batch, capacity: usize);
    /// Adds the next sample.
    ///
    /// # Errors
    /// A sample that does not fit the batch (size, kind of target).
    fn put(&self, batch: &mut Self::Batch, item: Item, rng: &mut ChaCha8Rng) -> Result<(), BoxError>;
    /// Called after the last sample, with a generator keyed by the batch (padding, Mixup).
    ///
    /// # Errors
    /// A batch that cannot be completed.
    fn finish(&self, _batch: &mut Self::Batch, _rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A dataset on disk: samples as annotated, before any transform.
pub trait Dataset: Send + Sync + 'static {
    /// Number of samples.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The file of a sample.
    fn name(&self, index: usize) -> String;
    /// Reads sample `index`.
    ///
    /// # Errors
    /// A file that is missing or cannot be decoded, or an annotation that does not fit it.
    fn get(&self, index: usize) -> Result<Sample, BoxError>;
    /// Reads of sample `index` only the part of its image that `choose` names, given width and height, with what is
    /// annotated there; the part is cut to the image. A dataset that can do so decodes no more than that.
    ///
    /// # Errors
    /// As [`Self::get`], as far as the file is read; a part outside the image.
    fn get_region(&self, index: usize, choose: Choose<'_>) -> Result<Sample, BoxError> {
        let sample = self.get(index)?;
        let region = choose(Size::of(&sample.image));
        Ok(crop_sample(sample, region, BoxRule::Clip)?)
    }
}

/// Names the part of an image to read, given its width and height.
pub type Choose<'a> = &'a mut dyn FnMut(Size) -> Rect;

/// A dataset followed by a transform.
pub struct Transformed<D, T> {
    /// Where the samples come from.
    pub dataset: D,
    /// What is done to each.
    pub transform: T,
}

impl<D, T> Source for Transformed<D, T>
where
    D: Dataset,
    T: Fn(Sample, &mut ChaCha8Rng) -> Result<Sample, BoxError> + Send + Sync + 'static,
{
    type Item = Sample;
    fn len(&self) -> usize {
        self.dataset.len()
    }
    fn name(&self, index: usize) -> String {
        self.dataset.name(index)
    }
    fn load(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Sample, BoxError> {
        (self.transform)(self.dataset.get(index)?, rng)
    }
}

/// A dataset of whose images only a part is read, drawn by `draw` from width and height: what a random crop keeps.
pub struct Regions<D, F> {
    /// Where the samples come from.
    pub dataset: D,
    /// Draws the part.
    pub draw: F,
}

impl<D, F> Source for Regions<D, F>
where
    D: Dataset,
    F: Fn(Size, &mut ChaCha8Rng) -> Rect + Send + Sync + 'static,
{
    type Item = Sample;
    fn len(&self) -> usize {
        self.dataset.len()
    }
    fn name(&self, index: usize) -> String {
        self.dataset.name(index)
    }
    fn load(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<Sample, BoxError> {
        self.dataset.get_region(index, &mut |size| (self.draw)(size, rng))
    }
}

/// What to do with a sample that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OnBad {
    /// Training: the next good one in dataset order, cyclically, takes its place, label and all. It is
    /// transformed with the random numbers of the place it fills.
    Replace {
        /// The run stops when more than this share of the dataset turned out bad.
        max_fraction: f64,
    },
    /// Evaluation: it is left out and the batch is shorter, so that no sample counts twice.
    Skip {
        /// The run stops when more than this share of the dataset turned out bad.
        max_fraction: f64,
    },
    /// Strict: the first one stops the run.
    Fail,
}

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Samples a batch.
    pub batch_size: usize,
    /// Shuffling, sharding and what happens to the rest.
    pub order: Order,
    /// Epochs to go through.
    pub epochs: u64,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Batch buffers in all, at least 2: those being filled, waiting, and in the caller's hands.
    pub buffers: usize,
    /// What to do with a bad sample.
    pub on_bad: OnBad,
}

/// Why loading stopped.
#[derive(Debug, thiserror::Error)]
pub enum LoaderError {
    /// A field of the configuration is out of range.
    #[error("loader: {field} is {found}, expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The dataset, or this rank's share of it, has too few samples for one batch.
    #[error(
        "loader: {samples} samples give no batch of {batch_size} for rank {rank} of {world}: take a smaller one, --set \
         train.batch_size={}", (samples / world.max(&1)).max(1)
    )]
    NoBatch {
        /// Samples in the dataset.
        samples: usize,
        /// Samples a batch.
        batch_size: usize,
        /// This rank.
        rank: usize,
        /// Ranks in all.
        world: usize,
    },
    /// A sample could not be loaded, under [`OnBad::Fail`].
    #[error("{name} (sample {index}): {reason}; --set data.on_corrupt=skip leaves such samples out")]
    Bad {
        /// The file.
        name: String,
        /// Index in the dataset.
        index: usize,
        /// Why.
        reason: String,
    },
    /// Too many samples could not be loaded.
    #[error(
        "{bad} of {samples} samples cannot be loaded, more than the allowed share {max_fraction}; the first: {}",
        first.join("; ")
    )]
    TooManyBad {
        /// Distinct bad samples so far.
        bad: usize,
        /// Samples in the dataset.
        samples: usize,
        /// Allowed share.
        max_fraction: f64,
        /// The first files and reasons.
        first: Vec<String>,
    },
    /// A sample does not fit into the batch.
    #[error("{name}: {reason}")]
    Collate {
        /// The file, or the batch.
        name: String,
        /// Why.
        reason: String,
    },
    /// A worker panicked: a bug in a decoder, transform or collate.
    #[error("loader: a worker panicked at batch {batch} of epoch {epoch}: {message}")]
    Panicked {
        /// Epoch of the batch.
        epoch: u64,
        /// Batch within the epoch.
        batch: u64,
        /// Text of the panic.
        message: String,
    },
    /// The caller keeps every buffer and asks for another batch.
    #[error("loader: all {0} batch buffers are held by the caller; drop one or raise `buffers`")]
    BuffersHeld(usize),
    /// A saved state belongs to another run.
    #[error("loader state: {field} is {found}, but this run has {expected}")]
    StateMismatch {
        /// The field that differs.
        field: &'static str,
        /// Value in the saved state.
        found: u64,
        /// Value of this run.
        expected: u64,
    },
    /// The system gave no thread.
    #[error("loader: cannot start a worker thread: {0}")]
    Spawn(std::io::Error),
}

/// A list of image files without annotations (prediction).
#[derive(Debug, Clone)]
pub struct Files {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// How one is read.
    pub decode: DecodeOptions,
}

impl Dataset for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }
    fn name(&self, index: usize) -> String {
        self.paths[index].display().to_string()
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        self.get_region(index, &mut Rect::whole)
    }
    fn get_region(&self, index: usize, choose: Choose<'_>) -> Result<Sample, BoxError> {
        let image = decode_file_region(&self.paths[index], &self.decode, choose)?;
        Ok(Sample { image, target: crate::sample::Target::None, id: self.name(index) })
    }
}

#[cfg(test)]
mod tests;
