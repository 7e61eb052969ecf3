//! The thread that makes the sums that were begun, one after the other, on a communicator of its own: its calls and those of
//! the thread that joined are told apart by it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator as _;

use super::super::{CollectiveError, PendingSum, Sum};
use super::sums;

/// The thread, and the way to it.
pub(super) struct Background {
    sums: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// A sum, and where it goes.
struct Job {
    sum: Sum,
    done: Sender<(Vec<f32>, Duration)>,
}

impl Background {
    /// Starts the thread; all processes do so at the same place of their calls.
    pub(super) fn start() -> Self {
        let (sums, jobs) = channel();
        let (ready, is_ready) = channel();
        let thread = std::thread::spawn(move || {
            let own = SimpleCommunicator::world().duplicate();
            // Who waits for it may be gone only with the process.
            let _ = ready.send(());
            work(&own, &jobs);
        });
        // A communicator's processes duplicate it together, and make no other call on it meanwhile.
        let _ = is_ready.recv();
        Self { sums: Some(sums), thread: Some(thread) }
    }

    /// Hands a sum over.
    pub(super) fn begin(&self, sum: Sum) -> Result<PendingSum, CollectiveError> {
        let (done, pending) = channel();
        let gone = CollectiveError::Gone { operation: "sum" };
        self.sums.as_ref().and_then(|sums| sums.send(Job { sum, done }).ok()).ok_or(gone)?;
        Ok(PendingSum::under_way(pending))
    }
}

impl Drop for Background {
    /// The communicator has to be gone before MPI ends.
    fn drop(&mut self) {
        self.sums = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told.
            let _ = thread.join();
        }
    }
}

fn work(processes: &SimpleCommunicator, jobs: &Receiver<Job>) {
    for Job { sum, done } in jobs {
        let begun = Instant::now();
        let summed = sums::made(processes, sum);
        // Nobody waits where the step failed meanwhile.
        let _ = done.send((summed, begun.elapsed()));
    }
}
