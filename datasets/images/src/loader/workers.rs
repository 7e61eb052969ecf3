//! The threads: each takes the next batch number and an empty buffer, fills it, and puts it down; the caller
//! receives batches in order.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::order::{Use, keyed};
use super::resume::Epochs;
use super::{Collate, LastBatch, LoaderConfig, LoaderError, LoaderState, OnBad, Source};
use crate::Shard;

/// Most samples tried in place of a bad one.
const TRIES: usize = 64;
/// Bad files named in an error.
const NAMED: usize = 5;

/// Batches of a run, in order: an iterator over `Result<Loaded<Batch>, LoaderError>`, ended by the last batch
/// of the last epoch or by an error. Dropping it stops and joins the threads.
pub struct Loader<B: Send + 'static> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
    config: LoaderConfig,
    samples: usize,
    epochs: Epochs,
    position: LoaderState,
    /// Distinct bad samples in the order they were met, with file and reason.
    bad: BTreeMap<usize, String>,
    first_bad: Vec<String>,
    ended: bool,
}

/// A batch in the caller's hands; its buffer goes back to the workers when dropped.
pub struct Loaded<B: Send + 'static> {
    /// Epoch of the batch.
    pub epoch: u64,
    /// Number of the batch within its epoch.
    pub batch: u64,
    /// Whether the epoch ends with it.
    pub last_of_epoch: bool,
    buffer: Option<B>,
    shared: Arc<Shared<B>>,
}

struct Shared<B> {
    state: Mutex<State<B>>,
    work: Condvar,
    ready: Condvar,
}

struct State<B> {
    free: Vec<B>,
    /// Next batch to hand to a worker; `None` when there is no more.
    next: Option<(u64, u64)>,
    order: Arc<Vec<u32>>,
    order_of: u64,
    filled: BTreeMap<(u64, u64), Filled<B>>,
    lent: usize,
    stop: bool,
}

struct Filled<B> {
    buffer: B,
    result: Result<(), LoaderError>,
    bad: Vec<(usize, String)>,
}

struct Job<S, C> {
    source: Arc<S>,
    collate: Arc<C>,
    config: LoaderConfig,
    epochs: Epochs,
}

impl<B: Send + 'static> Loader<B> {
    /// Starts the threads, at the beginning or where a saved state says.
    ///
    /// # Errors
    /// A configuration out of range, a state of another run, or no thread to be had.
    pub fn start<S, C>(
        source: Arc<S>,
        collate: Arc<C>,
        config: LoaderConfig,
        resume: Option<LoaderState>,
    ) -> Result<Self, LoaderError>
    where
        S: Source,
        C: Collate<S::Item, Batch = B>,
    {
        let samples = source.len();
        validate(&config, samples)?;
        let position = match resume {
            Some(state) => state.adopt(&config, samples)?,
            None => LoaderState::start(&config, samples),
        };
        let epochs = Epochs::new(&config, samples, &position);
        let some = position.epoch < config.epochs && epochs.in_first > 0;
        let state = State {
            free: (0..config.buffers).map(|_| collate.new_batch()).collect(),
            next: some.then_some((position.epoch, position.batch)),
            order: Arc::new(config.order.epoch(samples, position.epoch)),
            order_of: position.epoch,
            filled: BTreeMap::new(),
            lent: 0,
            stop: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), ready: Condvar::new() });
        let mut loader = Self {
            shared: shared.clone(),
            threads: Vec::new(),
            config: config.clone(),
            samples,
            epochs,
            position,
            bad: BTreeMap::new(),
            first_bad: Vec::new(),
            ended: !some,
        };
        let job = Arc::new(Job { source, collate, config: config.clone(), epochs });
        for i in 0..config.threads {
            let (job, shared) = (job.clone(), shared.clone());
            // on failure the loader is dropped here, which joins the threads already started
            let thread = std::thread::Builder::new()
                .name(format!("loader-{i}"))
                .spawn(move || job.run(&shared))
                .map_err(LoaderError::Spawn)?;
            loader.threads.push(thread);
        }
        Ok(loader)
    }

    /// Where the run stands: the next batch to be delivered.
    pub fn state(&self) -> LoaderState {
        self.position.clone()
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.epochs.in_others
    }

    /// Batches left in the epoch of the next one.
    pub fn batches_left(&self) -> u64 {
        self.position.left(&self.config)
    }

    /// Distinct samples that could not be loaded so far: dataset index, file and reason.
    pub fn bad(&self) -> &BTreeMap<usize, String> {
        &self.bad
    }

    fn count_bad(&mut self, bad: Vec<(usize, String)>) -> Result<(), LoaderError> {
        for (index, reason) in bad {
            if self.bad.contains_key(&index) {
                continue;
            }
            tracing::warn!(sample = index, "skipped {reason}");
            if self.first_bad.len() < NAMED {
                self.first_bad.push(reason.clone());
            }
            self.bad.insert(index, reason);
        }
        let (OnBad::Replace { max_fraction } | OnBad::Skip { max_fraction }) = self.config.on_bad else {
            return Ok(());
        };
        let samples = self.config.order.reach(self.samples);
        if self.bad.len() as f64 > max_fraction * samples as f64 {
            return Err(LoaderError::TooManyBad {
                bad: self.bad.len(),
                samples,
                max_fraction,
                first: self.first_bad.clone(),
            });
        }
        Ok(())
    }
}

impl<B: Send + 'static> Iterator for Loader<B> {
    type Item = Result<Loaded<B>, LoaderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.position.epoch >= self.config.epochs {
            return None;
        }
        let (epoch, batch) = (self.position.epoch, self.position.batch);
        let filled = {
            let mut state = self.shared.lock();
            loop {
                if let Some(filled) = state.filled.remove(&(epoch, batch)) {
                    state.lent += 1;
                    break filled;
                }
                if state.lent >= self.config.buffers {
                    return Some(Err(LoaderError::BuffersHeld(self.config.buffers)));
                }
                state = self.shared.ready.wait(state).unwrap_or_else(|e| e.into_inner());
            }
        };
        let last_of_epoch = batch + 1 == self.epochs.batches(epoch);
        let loaded =
            Loaded { epoch, batch, last_of_epoch, buffer: Some(filled.buffer), shared: self.shared.clone() };
        // counted here rather than by the workers, so that the outcome does not depend on who was faster
        if let Err(error) = self.count_bad(filled.bad).and(filled.result) {
            self.ended = true;
            self.shared.stop();
            return Some(Err(error));
        }
        if last_of_epoch {
            (self.position.epoch, self.position.batch, self.position.visited) = (epoch + 1, 0, 0);
        } else {
            self.position.batch += 1;
        }
        Some(Ok(loaded))
    }
}

impl<B: Send + 'static> Drop for Loader<B> {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // a worker catches its own panics, so there is nothing to learn from the result
            let _ = thread.join();
        }
    }
}

impl<B: Send + 'static> Deref for Loaded<B> {
    type Target = B;
    fn deref(&self) -> &B {
        self.buffer.as_ref().expect("the buffer is there until drop")
    }
}

impl<B: Send + 'static> DerefMut for Loaded<B> {
    fn deref_mut(&mut self) -> &mut B {
        self.buffer.as_mut().expect("the buffer is there until drop")
    }
}

impl<B: Send + 'static> Drop for Loaded<B> {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            let mut state = self.shared.lock();
            state.free.push(buffer);
            state.lent -= 1;
            self.shared.work.notify_one();
        }
    }
}

impl<B> Shared<B> {
    /// No code that may panic runs under the lock, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn stop(&self) {
        self.lock().stop = true;
        self.work.notify_all();
    }
}

impl<S: Source, C: Collate<S::Item>> Job<S, C> {
    fn run(&self, shared: &Shared<C::Batch>) {
        loop {
            let (mut buffer, (epoch, batch), order) = {
                let mut state = shared.lock();
                loop {
                    if state.stop {
                        return;
                    }
                    let Some(ticket) = state.next else { return };
                    // buffer and number are taken together: the earliest open batch always has a buffer
                    if let Some(buffer) = state.free.pop() {
                        if ticket.0 != state.order_of {
                            state.order = Arc::new(self.config.order.epoch(self.source.len(), ticket.0));
                            state.order_of = ticket.0;
                        }
                        state.next = match ticket {
                            (e, b) if b + 1 < self.epochs.batches(e) => Some((e, b + 1)),
                            (e, _) if e + 1 < self.config.epochs => Some((e + 1, 0)),
                            _ => None,
                        };
                        break (buffer, ticket, state.order.clone());
                    }
                    state = shared.work.wait(state).unwrap_or_else(|e| e.into_inner());
                }
            };
            let mut bad = Vec::new();
            let fill = AssertUnwindSafe(|| self.fill(&mut buffer, epoch, batch, &order, &mut bad));
            let result = catch_unwind(fill).unwrap_or_else(|panic| {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|s| s.to_string())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".into());
                Err(LoaderError::Panicked { epoch, batch, message })
            });
            let mut state = shared.lock();
            state.filled.insert((epoch, batch), Filled { buffer, result, bad });
            if state.next.is_none() {
                shared.work.notify_all();
            }
            shared.ready.notify_all();
        }
    }

    fn fill(
        &self,
        buffer: &mut C::Batch,
        epoch: u64,
        batch: u64,
        order: &[u32],
        bad: &mut Vec<(usize, String)>,
    ) -> Result<(), LoaderError> {
        let size = self.config.batch_size;
        let start = self.epochs.visited(epoch) + batch as usize * self.config.order.stride(size);
        let indices = self.config.order.batch(order, start, size);
        self.collate.begin(buffer, indices.len());
        for index in indices {
            let mut rng = keyed(self.config.order.seed, epoch, index.into(), Use::Sample);
            if let Some((at, item)) = self.load(index as usize, &mut rng, bad)? {
                let put = self.collate.put(buffer, item, &mut rng);
                put.map_err(|e| LoaderError::Collate { name: self.source.name(at), reason: e.to_string() })?;
            }
        }
        // keyed by the place in the epoch: the parts of one batch over all processes are mixed alike
        let mut rng = keyed(self.config.order.seed, epoch, start as u64, Use::Batch);
        self.collate.finish(buffer, &mut rng).map_err(|e| LoaderError::Collate {
            name: format!("batch {batch} of epoch {epoch}"),
            reason: e.to_string(),
        })
    }

    /// Sample `index` or what stands for it, with the index it really has; `None` where it is left out.
    fn load(
        &self,
        index: usize,
        rng: &mut rand_chacha::ChaCha8Rng,
        bad: &mut Vec<(usize, String)>,
    ) -> Result<Option<(usize, S::Item)>, LoaderError> {
        let samples = self.source.len();
        let fresh = rng.clone();
        for step in 0..TRIES.min(samples) {
            let at = (index + step) % samples;
            *rng = fresh.clone();
            let error = match self.source.load(at, rng) {
                Ok(item) => return Ok(Some((at, item))),
                Err(error) => error,
            };
            let name = self.source.name(at);
            match self.config.on_bad {
                OnBad::Fail => return Err(LoaderError::Bad { name, index: at, reason: error.to_string() }),
                OnBad::Skip { .. } => {
                    bad.push((at, format!("{name}: {error}")));
                    return Ok(None);
                }
                OnBad::Replace { .. } => bad.push((at, format!("{name}: {error}"))),
            }
        }
        Err(LoaderError::Bad {
            name: self.source.name(index),
            index,
            reason: format!("neither this nor the {} samples after it can be loaded", TRIES.min(samples) - 1),
        })
    }
}

fn validate(config: &LoaderConfig, samples: usize) -> Result<(), LoaderError> {
    config.order.validate()?;
    let bad = |field, found: String, expected: &str| {
        Err(LoaderError::Field { field, found, expected: expected.into() })
    };
    if config.batch_size == 0 {
        return bad("batch_size", "0".into(), "at least 1");
    }
    if !(1..=1024).contains(&config.threads) {
        return bad("threads", config.threads.to_string(), "1..=1024");
    }
    if config.buffers < 2 {
        return bad("buffers", config.buffers.to_string(), "at least 2");
    }
    if samples > u32::MAX as usize {
        return bad("samples", samples.to_string(), "below 2^32");
    }
    if let OnBad::Replace { max_fraction } | OnBad::Skip { max_fraction } = config.on_bad
        && !(0.0..=1.0).contains(&max_fraction)
    {
        return bad("max_fraction", max_fraction.to_string(), "a number in [0, 1]");
    }
    // A process may have no part of an evaluation.
    let shared = samples > 0 && config.order.last_batch == LastBatch::Keep;
    if config.order.batches(samples, 0, config.batch_size) == 0 && !shared {
        let Shard { rank, world } = config.order.shard;
        return Err(LoaderError::NoBatch { samples, batch_size: config.batch_size, rank, world });
    }
    Ok(())
}
