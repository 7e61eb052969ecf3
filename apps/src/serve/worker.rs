//! The thread that owns a model: it takes what waits, a few images at a time, and answers each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use image::RgbImage;
use kat_images::decode::DecodeOptions;
use serde_json::Value;
use tokio::sync::oneshot;

use super::metrics::Metrics;
use super::model::{Answer, Query, Served};
use crate::shell::told;

/// How a model's queue is served.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Images that may wait.
    pub queue: usize,
    /// Most images of a forward pass.
    pub batch: usize,
    /// How long the first image waits for others.
    pub wait: Duration,
}

/// An image that waits, and where its answer goes.
struct Job {
    image: RgbImage,
    query: Query,
    reply: oneshot::Sender<Result<Answer, String>>,
}

/// Why an image has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// As many images wait as may.
    #[error("too many images wait for this model; try again in a second")]
    Busy,
    /// The model could not look at the image.
    #[error("{0}")]
    Failed(String),
    /// The thread is gone.
    #[error("the model has stopped")]
    Stopped,
}

/// A model's queue.
#[derive(Debug, Clone)]
pub struct Worker {
    /// What the model is called.
    pub name: Arc<str>,
    /// What it is.
    pub card: Arc<Value>,
    /// How images are decoded for it.
    pub decoding: DecodeOptions,
    jobs: SyncSender<Job>,
    metrics: Arc<Metrics>,
}

impl Worker {
    /// Opens a model on a thread of its own.
    ///
    /// # Errors
    /// What `open` reports, or a thread that the system does not give.
    pub fn start(
        name: &str,
        open: impl FnOnce() -> anyhow::Result<Box<dyn Served>> + Send + 'static,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let (jobs, waiting) = sync_channel(settings.queue);
        let (opened, ready) = channel();
        let name: Arc<str> = name.into();
        let (own, counts) = (name.clone(), metrics.clone());
        std::thread::Builder::new().name(format!("model {name}")).spawn(move || {
            let model = match open() {
                Ok(model) => model,
                Err(error) => return drop(opened.send(Err(error))),
            };
            if opened.send(Ok((model.card(), model.decoding()))).is_ok() {
                work(&*model, &waiting, settings, (&own, &counts));
            }
        })?;
        let (card, decoding) = ready.recv().context("the thread ended")??;
        Ok(Self { name, card: Arc::new(card), decoding, jobs, metrics })
    }

    /// Has an image answered.
    ///
    /// # Errors
    /// A full queue, an image that the model cannot look at, a model that has stopped.
    pub async fn answer(&self, image: RgbImage, query: Query) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.metrics.waiting(&self.name, 1);
        if let Err(refused) = self.jobs.try_send(Job { image, query, reply }) {
            self.metrics.waiting(&self.name, -1);
            return Err(match refused {
                TrySendError::Full(_) => Refusal::Busy,
                TrySendError::Disconnected(_) => Refusal::Stopped,
            });
        }
        answer.await.map_err(|_| Refusal::Stopped)?.map_err(Refusal::Failed)
    }
}

fn work(model: &dyn Served, waiting: &Receiver<Job>, settings: Settings, (name, metrics): (&str, &Metrics)) {
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        let until = Instant::now() + settings.wait;
        while jobs.len() < settings.batch {
            match waiting.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => jobs.push(job),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        metrics.waiting(name, -(jobs.len() as i64));
        // nobody waits for these any more
        jobs.retain(|job| !job.reply.is_closed());
        if jobs.is_empty() {
            continue;
        }
        let (images, replies): (Vec<_>, Vec<_>) =
            jobs.into_iter().map(|job| ((job.image, job.query), job.reply)).unzip();
        let (count, begun) = (replies.len(), Instant::now());
        let mut answers = catch_unwind(AssertUnwindSafe(|| model.answer(images)))
            .unwrap_or_else(|_| (0..count).map(|_| Err(anyhow!("an internal error"))).collect())
            .into_iter();
        metrics.computed(name, count, begun.elapsed());
        for reply in replies {
            let answer = answers.next().unwrap_or_else(|| Err(anyhow!("no answer for the image")));
            // one who went away meanwhile is not told
            let _ = reply.send(answer.map_err(|error| told(&error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Mutex;

    /// Answers with the image's width once it may, and notes the sizes of its batches.
    struct Slow {
        may: Mutex<Receiver<()>>,
        batches: Arc<Mutex<Vec<usize>>>,
    }

    impl Served for Slow {
        fn card(&self) -> Value {
            json!({"task": "test"})
        }
        fn decoding(&self) -> DecodeOptions {
            DecodeOptions::default()
        }
        fn answer(&self, images: Vec<(RgbImage, Query)>) -> Vec<anyhow::Result<Answer>> {
            let _ = self.may.lock().unwrap().recv();
            self.batches.lock().unwrap().push(images.len());
            let one = |(image, _): &(RgbImage, Query)| match image.width() {
                13 => Err(anyhow!("thirteen")),
                14 => panic!("fourteen"),
                width => Ok(Answer { result: json!({"width": width}), probabilities: None }),
            };
            images.iter().map(one).collect()
        }
    }

    #[tokio::test]
    async fn a_full_queue_refuses_the_rest_is_batched_and_failures_stay_alone() {
        let (go, may) = channel();
        let batches = Arc::new(Mutex::new(Vec::new()));
        let slow = Slow { may: Mutex::new(may), batches: batches.clone() };
        let settings = Settings { queue: 3, batch: 2, wait: Duration::from_millis(1) };
        let metrics = Arc::new(Metrics::default());
        let worker =
            Worker::start("slow", move || Ok(Box::new(slow) as _), settings, metrics.clone()).unwrap();
        let ask = |width: u32| {
            let worker = worker.clone();
            tokio::spawn(async move { worker.answer(RgbImage::new(width, 1), Query::default()).await })
        };
        let first = ask(1);
        // the first is taken from the queue, alone
        tokio::time::sleep(Duration::from_millis(50)).await;
        let rest = [2, 13, 14].map(ask);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(ask(5).await.unwrap(), Err(Refusal::Busy)));
        assert!(metrics.text().contains("kat_waiting{model=\"slow\"} 3"));
        (0..3).for_each(|_| go.send(()).unwrap());
        assert_eq!(first.await.unwrap().unwrap().result["width"], 1);
        let [two, thirteen, fourteen] = rest;
        assert_eq!(two.await.unwrap().unwrap().result["width"], 2);
        assert!(matches!(thirteen.await.unwrap(), Err(Refusal::Failed(why)) if why == "thirteen"));
        assert!(matches!(fourteen.await.unwrap(), Err(Refusal::Failed(why)) if why == "an internal error"));
        assert_eq!(*batches.lock().unwrap(), [1, 2, 1]);
        assert!(metrics.text().contains("kat_waiting{model=\"slow\"} 0"));
    }

    #[test]
    fn a_model_that_cannot_be_opened_says_why() {
        let settings = Settings { queue: 1, batch: 1, wait: Duration::ZERO };
        let refused = Worker::start("none", || Err(anyhow!("no such file")), settings, Arc::default());
        assert_eq!(refused.unwrap_err().to_string(), "no such file");
    }
}
