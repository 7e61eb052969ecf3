//! What `/metrics` says, in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the buckets of a request's time, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By status.
    requests: BTreeMap<u16, u64>,
    /// Requests in each bucket, and those above all.
    buckets: [u64; BUCKETS.len() + 1],
    seconds: f64,
    models: BTreeMap<String, ModelCounts>,
}

#[derive(Debug, Default)]
struct ModelCounts {
    images: u64,
    batches: u64,
    seconds: f64,
    waiting: i64,
}

impl Metrics {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn model(&self, name: &str, change: impl FnOnce(&mut ModelCounts)) {
        self.change(|counts| change(counts.models.entry(name.to_owned()).or_default()));
    }

    /// A request was answered.
    pub fn answered(&self, status: u16, time: Duration) {
        self.change(|counts| {
            let seconds = time.as_secs_f64();
            *counts.requests.entry(status).or_default() += 1;
            counts.buckets[BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len())] += 1;
            counts.seconds += seconds;
        });
    }

    /// An image began to wait (1) or no longer waits (-1).
    pub fn waiting(&self, model: &str, change: i64) {
        self.model(model, |counts| counts.waiting += change);
    }

    /// A forward pass over so many images is done.
    pub fn computed(&self, model: &str, images: usize, time: Duration) {
        self.model(model, |counts| {
            counts.images += images as u64;
            counts.batches += 1;
            counts.seconds += time.as_secs_f64();
        });
    }

    /// The page.
    pub fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        let head =
            |name: &str, kind: &str, help: &str| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        out += &head("kat_requests_total", "counter", "Requests answered, by status.");
        for (status, n) in &counts.requests {
            let _ = writeln!(out, "kat_requests_total{{status=\"{status}\"}} {n}");
        }
        out += &head("kat_request_seconds", "histogram", "Time from a request's head to its answer.");
        let mut sum = 0;
        for (end, n) in BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]).zip(counts.buckets) {
            sum += n;
            let _ = writeln!(out, "kat_request_seconds_bucket{{le=\"{end}\"}} {sum}");
        }
        let _ = writeln!(out, "kat_request_seconds_sum {}\nkat_request_seconds_count {sum}", counts.seconds);
        type Pick = fn(&ModelCounts) -> f64;
        let series: [(&str, &str, &str, Pick); 4] = [
            ("kat_images_total", "counter", "Images that a model looked at.", |m| m.images as f64),
            ("kat_batches_total", "counter", "Forward passes.", |m| m.batches as f64),
            ("kat_compute_seconds_total", "counter", "Time in forward passes.", |m| m.seconds),
            ("kat_waiting", "gauge", "Images that wait for a model.", |m| m.waiting as f64),
        ];
        for (name, kind, help, pick) in series {
            out += &head(name, kind, help);
            for (model, one) in &counts.models {
                let model = model.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = writeln!(out, "{name}{{model=\"{model}\"}} {}", pick(one));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_names_are_escaped() {
        let metrics = Metrics::default();
        metrics.answered(200, Duration::from_millis(7));
        metrics.answered(503, Duration::from_secs(40));
        metrics.waiting("a\"b", 1);
        metrics.computed("a\"b", 3, Duration::from_millis(500));
        let text = metrics.text();
        for line in [
            "kat_requests_total{status=\"503\"} 1",
            "kat_request_seconds_bucket{le=\"0.005\"} 0",
            "kat_request_seconds_bucket{le=\"0.01\"} 1",
            "kat_request_seconds_bucket{le=\"+Inf\"} 2",
            "kat_images_total{model=\"a\\\"b\"} 3",
            "kat_waiting{model=\"a\\\"b\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in {text}");
        }
    }
}
