//! The loader as a whole: order, threads, resuming, bad samples, panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::order::Shuffle;
use super::*;

/// Sample `i` is (i, a random number); those in `bad` fail, `panics` panics.
#[derive(Default)]
struct Numbers {
    samples: usize,
    bad: Vec<usize>,
    panics: Option<usize>,
    loads: AtomicUsize,
}

impl Source for Numbers {
    type Item = (usize, u64);
    fn len(&self) -> usize {
        self.samples
    }
    fn name(&self, index: usize) -> String {
        format!("{index}.jpg")
    }
    fn load(&self, index: usize, rng: &mut ChaCha8Rng) -> Result<(usize, u64), BoxError> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        // uneven work, so that threads overtake one another
        std::thread::sleep(std::time::Duration::from_micros((index as u64 * 7919) % 300));
        assert_ne!(Some(index), self.panics, "sample {index} is cursed");
        let number = rng.random();
        if self.bad.contains(&index) { Err("truncated".into()) } else { Ok((index, number)) }
    }
}

struct Listing;

impl Collate<(usize, u64)> for Listing {
    type Batch = Vec<(usize, u64)>;
    fn new_batch(&self) -> Self::Batch {
        Vec::new()
    }
    fn begin(&self, batch: &mut Self::Batch, _capacity: usize) {
        batch.clear();
    }
    fn put(&self, batch: &mut Self::Batch, item: (usize, u64), _: &mut ChaCha8Rng) -> Result<(), BoxError> {
        batch.push(item);
        Ok(())
    }
    fn finish(&self, batch: &mut Self::Batch, rng: &mut ChaCha8Rng) -> Result<(), BoxError> {
        batch.push((usize::MAX, rng.random()));
        Ok(())
    }
}

/// The names of samples, all of one size.
struct Names;

impl Collate<Sample> for Names {
    type Batch = Vec<String>;
    fn new_batch(&self) -> Self::Batch {
        Vec::new()
    }
    fn begin(&self, batch: &mut Self::Batch, _capacity: usize) {
        batch.clear();
    }
    fn put(&self, batch: &mut Self::Batch, sample: Sample, _: &mut ChaCha8Rng) -> Result<(), BoxError> {
        assert_eq!(sample.image.dimensions(), (64, 8));
        batch.push(sample.id);
        Ok(())
    }
}

fn config(threads: usize) -> LoaderConfig {
    LoaderConfig {
        batch_size: 4,
        order: Order { last_batch: LastBatch::Keep, ..Order::training(5) },
        epochs: 3,
        threads,
        buffers: threads + 2,
        on_bad: OnBad::Replace { max_fraction: 0.2 },
    }
}

type Numbered = Loader<Vec<(usize, u64)>>;

fn start(
    source: Numbers,
    config: LoaderConfig,
    resume: Option<LoaderState>,
) -> Result<Numbered, LoaderError> {
    Loader::start(Arc::new(source), Arc::new(Listing), config, resume)
}

fn numbers(samples: usize, bad: &[usize]) -> Numbers {
    Numbers { samples, bad: bad.to_vec(), ..Default::default() }
}

/// Epoch, batch and samples.
type Listed = (u64, u64, Vec<(usize, u64)>);

fn all(loader: Numbered) -> Vec<Listed> {
    loader.map(|b| b.unwrap()).map(|b| (b.epoch, b.batch, b.clone())).collect()
}

fn failure(loader: Numbered) -> String {
    loader.filter_map(|b| b.err()).next().expect("an error").to_string()
}

#[test]
fn the_same_batches_whatever_the_threads() {
    let one = all(start(numbers(30, &[3, 4, 17]), config(1), None).unwrap());
    assert_eq!(one.len(), 3 * 8);
    for threads in [2, 5] {
        assert_eq!(one, all(start(numbers(30, &[3, 4, 17]), config(threads), None).unwrap()));
    }
    // random numbers differ between epochs
    let of = |epoch: u64| {
        let samples = one.iter().filter(|b| b.0 == epoch).flat_map(|b| b.2.iter());
        samples.filter(|s| s.0 == 9).map(|s| s.1).collect::<Vec<_>>()
    };
    assert_ne!(of(0), of(1));
}

#[test]
fn resuming_in_the_middle_of_an_epoch_gives_the_rest() {
    let whole = all(start(numbers(30, &[3]), config(2), None).unwrap());
    for stop in [0, 1, 7, 8, 13, 23, 24] {
        let mut first = start(numbers(30, &[3]), config(5), None).unwrap();
        for _ in 0..stop {
            first.next().unwrap().unwrap();
        }
        let text = serde_json::to_string(&first.state()).unwrap();
        drop(first);
        let state: LoaderState = serde_json::from_str(&text).unwrap();
        let rest = all(start(numbers(30, &[3]), config(1), Some(state)).unwrap());
        assert_eq!(rest, whole[stop..], "stopped after {stop}");
    }
}

#[test]
fn a_state_of_another_run_is_refused() {
    let state = start(numbers(30, &[]), config(1), None).unwrap().state();
    let error = start(numbers(31, &[]), config(1), Some(state.clone())).err().unwrap().to_string();
    assert_eq!(error, "loader state: samples is 30, but this run has 31");
    let late = LoaderState { batch: 8, ..state };
    let error = start(numbers(30, &[]), config(1), Some(late)).err().unwrap();
    assert!(matches!(error, LoaderError::StateMismatch { field: "batch", .. }), "{error}");
}

#[test]
fn bad_samples_are_replaced_by_the_next_good_one() {
    let unshuffled =
        LoaderConfig { order: Order { shuffle: Shuffle::Never, ..config(2).order }, epochs: 1, ..config(2) };
    let mut loader = start(numbers(10, &[4, 9]), unshuffled.clone(), None).unwrap();
    let mut seen = Vec::new();
    for batch in loader.by_ref() {
        seen.extend(batch.unwrap().iter().map(|s| s.0).filter(|&i| i != usize::MAX));
    }
    assert_eq!(seen, [0, 1, 2, 3, 5, 5, 6, 7, 8, 0]);
    assert_eq!(loader.bad()[&4], "4.jpg: truncated");
    assert_eq!(loader.bad().len(), 2);

    let skip = LoaderConfig { on_bad: OnBad::Skip { max_fraction: 0.2 }, ..unshuffled };
    let seen: Vec<usize> = start(numbers(10, &[4, 9]), skip, None)
        .unwrap()
        .flat_map(|b| b.unwrap().iter().map(|s| s.0).filter(|&i| i != usize::MAX).collect::<Vec<_>>())
        .collect();
    assert_eq!(seen, [0, 1, 2, 3, 5, 6, 7, 8]);
}

#[test]
fn too_many_bad_samples_stop_the_run() {
    let error = failure(start(numbers(10, &[1, 2, 3]), config(2), None).unwrap());
    assert!(
        error.starts_with("3 of 10 samples cannot be loaded, more than the allowed share 0.2"),
        "{error}"
    );
    assert!(error.contains("2.jpg: truncated"), "{error}");
    // the same bad samples in each epoch are counted once
    assert_eq!(all(start(numbers(10, &[1, 2]), config(2), None).unwrap()).len(), 9);
    let strict = LoaderConfig { on_bad: OnBad::Fail, ..config(2) };
    assert_eq!(
        failure(start(numbers(10, &[6]), strict, None).unwrap()),
        "6.jpg (sample 6): truncated; --set data.on_corrupt=skip leaves such samples out"
    );
}

#[test]
fn a_panic_in_a_worker_is_an_error() {
    let cursed = Numbers { samples: 10, panics: Some(6), ..Default::default() };
    let error = failure(start(cursed, config(2), None).unwrap());
    assert!(error.contains("panicked") && error.contains("sample 6 is cursed"), "{error}");
}

#[test]
fn dropping_early_joins_and_buffers_bound_what_is_read() {
    let source = Arc::new(numbers(4000, &[]));
    let mut loader = Loader::start(source.clone(), Arc::new(Listing), config(3), None).unwrap();
    drop(loader.next().unwrap().unwrap());
    drop(loader);
    // only this test holds the source once the threads are gone
    assert_eq!(Arc::strong_count(&source), 1);
    let most = (5 + 1) * 4;
    assert!(source.loads.load(Ordering::Relaxed) <= most, "read {:?} samples", source.loads);
}

#[test]
fn holding_every_buffer_is_an_error_not_a_deadlock() {
    let mut loader = start(numbers(100, &[]), LoaderConfig { buffers: 2, ..config(1) }, None).unwrap();
    let held = [loader.next().unwrap().unwrap(), loader.next().unwrap().unwrap()];
    assert!(matches!(loader.next(), Some(Err(LoaderError::BuffersHeld(2)))));
    drop(held);
    assert_eq!(loader.next().unwrap().unwrap().batch, 2);
}

#[test]
fn fields_out_of_range_are_named() {
    for (config, text) in [
        (LoaderConfig { batch_size: 0, ..config(1) }, "batch_size is 0"),
        (LoaderConfig { threads: 0, ..config(1) }, "threads is 0"),
        (LoaderConfig { buffers: 1, ..config(1) }, "buffers is 1"),
        (LoaderConfig { on_bad: OnBad::Skip { max_fraction: f64::NAN }, ..config(1) }, "max_fraction is NaN"),
        (LoaderConfig { batch_size: 11, order: Order::training(0), ..config(1) }, "give no batch of 11"),
    ] {
        let error = start(numbers(10, &[]), config, None).err().unwrap().to_string();
        assert!(error.contains(text), "{error}");
    }
    let error = start(numbers(0, &[]), config(1), None).err().unwrap();
    assert!(matches!(error, LoaderError::NoBatch { samples: 0, .. }));
}

/// A drawn part is read like a whole image: what cannot be read is counted and named, its place taken by the next.
#[test]
fn broken_files_are_counted_where_parts_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let jpeg = crate::bench::sample_jpeg(64, 48, 1).unwrap();
    let files: [(&str, &[u8]); 5] =
        [("0", &jpeg), ("1", &jpeg[..jpeg.len() / 2]), ("2", b""), ("3", &jpeg), ("4", b"text")];
    let paths = files.map(|(name, bytes)| {
        let path = dir.path().join(format!("{name}.jpg"));
        std::fs::write(&path, bytes).unwrap();
        path
    });
    let dataset = Files { paths: paths.to_vec(), decode: DecodeOptions::default() };
    let bottom = |size: Size, _: &mut ChaCha8Rng| {
        let (width, height) = size.dimensions();
        Rect { x: 0, y: height - 8, width, height: 8 }
    };
    let order = Order { last_batch: LastBatch::Keep, ..Order::evaluation() };
    let config = LoaderConfig {
        epochs: 1,
        batch_size: 5,
        order,
        on_bad: OnBad::Replace { max_fraction: 0.6 },
        ..config(2)
    };
    let mut loader =
        Loader::start(Arc::new(Regions { dataset, draw: bottom }), Arc::new(Names), config, None).unwrap();
    let ids: Vec<String> = {
        let batch = loader.next().unwrap().unwrap();
        batch.iter().map(|id| id[id.len() - 5..].to_owned()).collect()
    };
    assert_eq!(ids, ["0.jpg", "3.jpg", "3.jpg", "3.jpg", "0.jpg"]);
    let bad: Vec<_> = loader.bad().iter().map(|(&index, reason)| (index, reason.as_str())).collect();
    assert_eq!(bad.len(), 3);
    for ((index, reason), (number, part)) in
        bad.into_iter().zip([(1, "truncated JPEG"), (2, "empty"), (4, "not an image")])
    {
        assert!(index == number && reason.contains(part), "{index}: {reason}");
    }
}
