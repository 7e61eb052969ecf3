//! Why a run cannot go on.

use std::path::PathBuf;

/// Training that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A loss or gradient that is not a number.
    #[error(
        "the {what} is {value} at step {step}{} (learning rate {lr:.3e}); training stopped. {}",
        rank.map_or(String::new(), |rank| format!(" on rank {rank}")),
        last.as_ref().map_or("There is no good checkpoint yet".to_owned(), |p| format!("The last good checkpoint is {}", p.display()))
    )]
    NotFinite {
        /// "loss", "gradient norm" or a figure of the held-out part.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The step, from 0.
        step: u64,
        /// Whose, where several processes train.
        rank: Option<usize>,
        /// Its rate.
        lr: f64,
        /// The newest checkpoint, which was read again and is whole.
        last: Option<PathBuf>,
    },
}
