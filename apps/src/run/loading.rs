//! How the tasks read their images: order, threads, and what happens to files that cannot be read.

use std::sync::Arc;

use kat_backbone::{Device, Tensor};
use kat_images::Shard;
use kat_images::loader::{
    BoxError, Collate, Dataset, Images, Loader, LoaderConfig, OnBad, Order, Transformed,
};
use kat_images::sample::Sample;
use rand_chacha::ChaCha8Rng;

use crate::config::{OnCorrupt, Plan};
use crate::shell::progress::Screen;
use crate::shell::threads;

/// The images of a batch as a tensor (N, 3, H, W).
///
/// # Errors
/// The device's.
pub fn tensor<D: Device>(device: &D, images: &Images) -> kat_backbone::Result<Tensor<D>> {
    let [channels, height, width] = [0, 1, 2].map(|axis| images.item_shape()[axis]);
    Tensor::from_slice(device, images.as_slice(), [images.len(), channels, height, width])
}

/// Share of files that may turn out unreadable where `data.on_corrupt` is "skip".
pub const MAX_BAD: f64 = 0.05;

/// Batches to train on, without end: another file takes the place of one that is skipped.
pub fn training(plan: &Plan, shard: Shard) -> LoaderConfig {
    let t = &plan.train;
    let skip = OnBad::Replace { max_fraction: MAX_BAD };
    threads::capped(plan.data.workers, "data.workers");
    LoaderConfig { epochs: u64::MAX, ..config(plan, t.batch_size, Order::training(t.seed).of(shard), skip) }
}

/// Batches to evaluate, each image of this process's stretch once and in order: one that is skipped is left out.
pub fn evaluation(plan: &Plan, shard: Shard) -> LoaderConfig {
    let e = &plan.eval;
    let batch_size = if e.batch_size == 0 { plan.train.batch_size } else { e.batch_size };
    config(plan, batch_size, Order::evaluation().of(shard), OnBad::Skip { max_fraction: MAX_BAD })
}

fn config(plan: &Plan, batch_size: usize, order: Order, skip: OnBad) -> LoaderConfig {
    let threads = match plan.data.workers {
        0 if order.shard.world > 1 => rayon::current_num_threads(),
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n.min(threads::most()),
    };
    let on_bad = match plan.data.on_corrupt {
        OnCorrupt::Fail => OnBad::Fail,
        OnCorrupt::Skip => skip,
    };
    LoaderConfig { batch_size, order, epochs: 1, threads, buffers: threads + 2, on_bad }
}

/// Leaves a sample as it was decoded.
pub type AsIs = fn(Sample, &mut ChaCha8Rng) -> Result<Sample, BoxError>;

/// The images as decoded; the batch's maker transforms them, straight into the batch.
pub fn decoded<S: Dataset + Clone>(dataset: &S) -> Arc<Transformed<S, AsIs>> {
    fn as_is(sample: Sample, _: &mut ChaCha8Rng) -> Result<Sample, BoxError> {
        Ok(sample)
    }
    Arc::new(Transformed { dataset: dataset.clone(), transform: as_is as AsIs })
}

/// Goes through this process's stretch of a held-out part in order, each batch made by `collate`; `visit` is given each, and
/// says how many images it held (none where all of them were left out).
///
/// # Errors
/// Images that cannot be read, or an error of `visit`.
pub fn for_each_batch<S, C>(
    images: &S,
    collate: C,
    plan: &Plan,
    screen: &Screen,
    shard: Shard,
    mut visit: impl FnMut(&C::Batch) -> anyhow::Result<usize>,
) -> anyhow::Result<()>
where
    S: Dataset + Clone,
    C: Collate<Sample>,
{
    let own = shard.stretch(images.len()).len();
    let mut progress = screen.progress("evaluating", "images", 0, own as u64);
    for batch in Loader::start(decoded(images), Arc::new(collate), evaluation(plan, shard), None)? {
        let batch = batch?;
        progress.advance(visit(&batch)? as u64);
    }
    progress.finish();
    Ok(())
}
