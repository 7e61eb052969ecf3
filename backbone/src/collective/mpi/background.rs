//! The thread that makes the sums that were begun, one after the other, on a communicator of its own: its calls and those of
//! the thread that joined are told apart by it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use half::bf16;
use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator as _;

use super::super::gradients::GradientFormat;
use super::super::{CollectiveError, PendingSum, Share, Sum, check_parts};
use super::sums;

/// The thread, and the way to it.
pub(super) struct Background {
    sums: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    world: usize,
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
            let _ = ready.send(own.size() as usize);
            work(&own, &jobs);
        });
        let world = is_ready.recv().unwrap_or(1);
        Self { sums: Some(sums), thread: Some(thread), world }
    }

    /// Hands a sum over.
    pub(super) fn begin(&self, sum: Sum) -> Result<PendingSum, CollectiveError> {
        const OPERATION: &str = "sum";
        if sum.share == Share::Own {
            check_parts(OPERATION, sum.numbers.len(), sum.numbers.len() / self.world, self.world)?;
        }
        let (done, pending) = channel();
        let gone = CollectiveError::Gone { operation: OPERATION };
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
    for Job { sum: Sum { mut numbers, format, share }, done } in jobs {
        let begun = Instant::now();
        let summed = match (format, share) {
            (GradientFormat::F32, Share::All) => {
                sums::all(processes, &mut numbers);
                numbers
            }
            (GradientFormat::F32, Share::Own) => sums::own(processes, &numbers),
            (GradientFormat::Bf16, Share::All) => {
                let mut half: Vec<bf16> = numbers.iter().map(|n| bf16::from_f32(*n)).collect();
                sums::all_bf16(processes, &mut half);
                numbers.iter_mut().zip(half).for_each(|(n, half)| *n = half.to_f32());
                numbers
            }
            (GradientFormat::Bf16, Share::Own) => sums::own_of_bf16(processes, &numbers),
        };
        // Nobody waits where the step failed meanwhile.
        let _ = done.send((summed, begun.elapsed()));
    }
}
