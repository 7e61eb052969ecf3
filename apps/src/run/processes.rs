//! The processes that train or evaluate together, and what they agree on at each step: whether to stop, and what failed
//! where. The first of them writes files and the log; what one of them fails at ends all.

use std::cell::Cell;
use std::rc::Rc;

use kat_backbone::collective::{Collective, CollectiveError, SingleProcess, Summands};
use kat_backbone::step_monitor::{Failure, Readings};
use kat_images::Shard;

use super::signals::Interrupt;

/// The processes of a run, seen from one of them. Clones are the same.
#[derive(Clone)]
pub struct Processes {
    collective: Rc<dyn Collective>,
    /// Whether all of them end for a reason that each knows.
    agreed: Rc<Cell<bool>>,
}

impl Processes {
    /// This one, and no other.
    pub fn alone() -> Self {
        Self::of(Rc::new(SingleProcess))
    }

    /// Those of a world.
    pub fn of(collective: Rc<dyn Collective>) -> Self {
        Self { collective, agreed: Rc::default() }
    }

    /// The same processes, by another way.
    #[cfg(feature = "cuda")]
    pub fn by(&self, collective: Rc<dyn Collective>) -> Self {
        Self { collective, agreed: self.agreed.clone() }
    }

    /// How they speak to one another.
    pub fn collective(&self) -> &Rc<dyn Collective> {
        &self.collective
    }

    /// Which part of batches and lists this one has.
    pub fn shard(&self) -> Shard {
        self.collective.shard()
    }

    /// This process, in `0..world`.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// Number of processes.
    pub fn world(&self) -> usize {
        self.collective.world()
    }

    /// Whether there is no other.
    pub fn is_alone(&self) -> bool {
        self.collective.is_alone()
    }

    /// Whether this one writes files and the log.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Does `work` on the first process, then on all others: what the first one creates is there for them.
    ///
    /// # Errors
    /// Those of `work`; a process that is gone.
    pub fn first_then_others<T>(&self, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        if self.is_first() {
            let done = work()?;
            self.collective.barrier()?;
            return Ok(done);
        }
        self.collective.barrier()?;
        work()
    }

    /// The numbers of all processes, in the order of ranks.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn gather(&self, own: &[f64]) -> Result<Vec<f64>, CollectiveError> {
        let bytes: Vec<u8> = own.iter().flat_map(|number| number.to_le_bytes()).collect();
        let all = self.collective.all_gather_bytes(&bytes)?;
        Ok(all.iter().flat_map(|part| part.as_chunks().0).map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }

    /// Replaces each count by its sum over all processes, exactly up to 2^53.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn add_counts<'c>(&self, counts: impl Iterator<Item = &'c mut u64>) -> Result<(), CollectiveError> {
        let mut counts: Vec<&mut u64> = counts.collect();
        let mut sums: Vec<f64> = counts.iter().map(|count| **count as f64).collect();
        self.collective.all_reduce(Summands::F64(&mut sums))?;
        counts.iter_mut().zip(sums).for_each(|(count, sum)| **count = sum as u64);
        Ok(())
    }

    /// Notes that all processes end now, each for the same reason.
    pub fn end_together(&self) {
        self.agreed.set(true);
    }

    /// Whether an error of this process is one of all, of which the first tells.
    pub fn ends_together(&self) -> bool {
        self.agreed.get()
    }

    /// Whether one of them was asked to stop: then all stop after the same step.
    pub(super) fn agree_to_stop(&self, interrupt: &Interrupt) -> Result<bool, CollectiveError> {
        let own = interrupt.signal().unwrap_or(0);
        let mut all = vec![0.0; self.world()];
        self.collective.all_gather(&[own as f32], &mut all)?;
        // In a world of one this process may be asked meanwhile.
        let signal = all.into_iter().fold(own, |signal, other| signal.max(other as i32));
        if signal > 0 && !interrupt.requested() {
            interrupt.tell(signal);
        }
        Ok(signal > 0)
    }

    /// What the steps of all processes say of themselves: the sum of their shares of the loss, the first failure, and
    /// whose it is.
    pub(super) fn readings(&self, seen: Readings) -> Result<(Readings, Option<usize>), CollectiveError> {
        const LEN: usize = 4;
        if self.is_alone() {
            return Ok((seen, None));
        }
        let [kind, value, step] = match seen.failure {
            None => [0.0; 3],
            Some(Failure { what, value, step }) => {
                [if what == LOSS { 1.0 } else { 2.0 }, value as f32, step as f32]
            }
        };
        let mut all = vec![0.0; LEN * self.world()];
        self.collective.all_gather(&[seen.loss as f32, kind, value, step], &mut all)?;
        let ranks = || all.as_chunks::<LEN>().0.iter().enumerate();
        let loss = ranks().map(|(_, [loss, ..])| f64::from(*loss)).sum();
        // A loss that is no number makes the gradient of all processes none: where it came from says more.
        let failed = |kind: f32| ranks().find(|(_, row)| row[1] == kind);
        let failure = match (failed(1.0), failed(2.0)) {
            (Some((rank, [_, _, value, step])), _) => Some((Some(rank), LOSS, *value, *step)),
            (None, Some((_, [_, _, value, step]))) => Some((None, "gradient norm", *value, *step)),
            (None, None) => None,
        };
        let rank = failure.and_then(|(rank, ..)| rank);
        let failure =
            failure.map(|(_, what, value, step)| Failure { what, value: value.into(), step: step as u64 });
        Ok((Readings { loss, failure, ..seen }, rank))
    }

    /// Adds up the shares of all processes in named values, of which each has the same.
    pub(super) fn add_up(&self, values: &mut [(&'static str, f64)]) -> Result<(), CollectiveError> {
        let mut sums: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
        self.collective.all_reduce(Summands::F64(&mut sums))?;
        values.iter_mut().zip(sums).for_each(|((_, value), sum)| *value = sum);
        Ok(())
    }
}

/// What a watch calls the loss.
const LOSS: &str = "loss";

#[cfg(test)]
mod tests {
    use kat_backbone::collective::threads::world;

    use super::*;

    fn on_each<T: Send>(ranks: usize, work: impl Fn(Processes) -> T + Sync) -> Vec<T> {
        let work = &work;
        std::thread::scope(|scope| {
            let start = |rank| scope.spawn(move || work(Processes::of(Rc::new(rank))));
            let threads: Vec<_> = world(ranks).into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn a_request_to_one_stops_all() {
        let stopped = on_each(3, |processes| {
            let interrupt = Interrupt::default();
            assert!(!processes.agree_to_stop(&interrupt).unwrap());
            if processes.rank() == 1 {
                interrupt.press();
            }
            let stops = processes.agree_to_stop(&interrupt).unwrap();
            (stops, interrupt.requested(), interrupt.stopped("").status())
        });
        assert_eq!(stopped, [(true, true, 130); 3]);
    }

    #[test]
    fn losses_add_up_and_a_failure_is_of_the_process_whose_loss_failed() {
        let failure = |what, value| Some(Failure { what, value, step: 7 });
        let told = on_each(3, |processes| {
            let seen = |failure| Readings { loss: 0.5, norm: 1.0, failure };
            let (sum, nobody) = processes.readings(seen(None)).unwrap();
            assert_eq!((sum.loss, sum.failure, nobody), (1.5, None, None));
            let own = match processes.rank() {
                2 => failure(LOSS, f64::INFINITY),
                _ => failure("gradient norm", f64::NAN),
            };
            let (told, rank) = processes.readings(seen(own)).unwrap();
            let mut values = [("a", processes.rank() as f64)];
            processes.add_up(&mut values).unwrap();
            assert_eq!(values, [("a", 3.0)]);
            (told.failure, rank)
        });
        assert_eq!(told, vec![(failure(LOSS, f64::INFINITY), Some(2)); 3]);
    }

    #[test]
    fn the_first_goes_ahead() {
        let done = std::sync::Mutex::new(Vec::new());
        on_each(3, |processes| {
            let work = || {
                done.lock().unwrap().push(processes.rank());
                Ok(())
            };
            processes.first_then_others(work).unwrap();
        });
        assert_eq!(done.into_inner().unwrap()[0], 0);
    }
}
