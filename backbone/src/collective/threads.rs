//! A world of threads of one process: for tests, and for whoever embeds several ranks in one program.
//!
//! Sums are made in the order of ranks, so that they are the same bits on each.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use half::bf16;

use super::{Collective, CollectiveError, Summands, check_parts};

/// One rank of a world of threads. When it is dropped, the others no longer wait for it.
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    world: usize,
    meeting: Arc<Meeting>,
}

/// Where the ranks meet.
#[derive(Debug, Default)]
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Meetings held so far.
    held: u64,
    /// What each rank brought to the one under way.
    parts: Vec<Option<Vec<u8>>>,
    arrived: usize,
    /// What all brought to the last one.
    last: Arc<Vec<Vec<u8>>>,
    gone: bool,
}

/// The ranks of a world, to be moved to a thread each.
pub fn world(ranks: usize) -> Vec<ThreadRank> {
    let state = State { parts: vec![None; ranks], ..State::default() };
    let meeting = Arc::new(Meeting { state: Mutex::new(state), changed: Condvar::new() });
    (0..ranks).map(|rank| ThreadRank { rank, world: ranks, meeting: meeting.clone() }).collect()
}

impl ThreadRank {
    /// Nothing that may panic runs under the lock, so a poisoned one still holds a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.meeting.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What each rank brought, in the order of ranks.
    fn meet(&self, operation: &'static str, own: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>, CollectiveError> {
        let mut state = self.lock();
        let now = state.held;
        state.parts[self.rank] = Some(own);
        state.arrived += 1;
        if state.arrived == self.world {
            state.last = Arc::new(state.parts.iter_mut().filter_map(Option::take).collect());
            (state.arrived, state.held) = (0, now + 1);
            self.meeting.changed.notify_all();
        }
        while state.held == now {
            if state.gone {
                return Err(CollectiveError::Gone { operation });
            }
            state = self.meeting.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        Ok(state.last.clone())
    }

    /// As [`ThreadRank::meet`], where all bring as many bytes.
    fn meet_alike(
        &self,
        operation: &'static str,
        own: Vec<u8>,
    ) -> Result<Arc<Vec<Vec<u8>>>, CollectiveError> {
        let expected = own.len();
        let parts = self.meet(operation, own)?;
        match parts.iter().enumerate().find(|(_, part)| part.len() != expected) {
            Some((rank, part)) => {
                Err(CollectiveError::Length { operation, rank, found: part.len(), expected })
            }
            None => Ok(parts),
        }
    }

    fn sum_f32(&self, operation: &'static str, numbers: &[f32]) -> Result<Vec<f32>, CollectiveError> {
        let parts = self.meet_alike(operation, numbers.iter().flat_map(|n| n.to_le_bytes()).collect())?;
        let mut sum = vec![0.0; numbers.len()];
        for part in parts.iter() {
            let (values, _) = part.as_chunks();
            sum.iter_mut().zip(values).for_each(|(sum, bytes)| *sum += f32::from_le_bytes(*bytes));
        }
        Ok(sum)
    }
}

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.world
    }

    fn all_reduce(&self, numbers: Summands<'_>) -> Result<(), CollectiveError> {
        const OPERATION: &str = "all-reduce";
        match numbers {
            Summands::F32(numbers) => numbers.copy_from_slice(&self.sum_f32(OPERATION, numbers)?),
            Summands::Bf16(numbers) => {
                let single: Vec<f32> = numbers.iter().map(|n| n.to_f32()).collect();
                let sums = self.sum_f32(OPERATION, &single)?;
                numbers.iter_mut().zip(sums).for_each(|(n, sum)| *n = bf16::from_f32(sum));
            }
            Summands::F64(numbers) => {
                let own = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                let parts = self.meet_alike(OPERATION, own)?;
                numbers.fill(0.0);
                for part in parts.iter() {
                    let (values, _) = part.as_chunks();
                    numbers.iter_mut().zip(values).for_each(|(n, bytes)| *n += f64::from_le_bytes(*bytes));
                }
            }
        }
        Ok(())
    }

    fn reduce_scatter(&self, numbers: &[f32], own: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("reduce-scatter", numbers.len(), own.len(), self.world)?;
        let sums = self.sum_f32("reduce-scatter", numbers)?;
        own.copy_from_slice(&sums[self.rank * own.len()..(self.rank + 1) * own.len()]);
        Ok(())
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) -> Result<(), CollectiveError> {
        check_parts("all-gather", all.len(), own.len(), self.world)?;
        let parts = self.meet_alike("all-gather", own.iter().flat_map(|n| n.to_le_bytes()).collect())?;
        let values = parts.iter().flat_map(|part| part.as_chunks().0.iter());
        all.iter_mut().zip(values).for_each(|(n, bytes)| *n = f32::from_le_bytes(*bytes));
        Ok(())
    }

    fn all_gather_bytes(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        Ok(self.meet("all-gather", own.to_vec())?.to_vec())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>, root: usize) -> Result<(), CollectiveError> {
        let own = if self.rank == root { std::mem::take(bytes) } else { Vec::new() };
        *bytes = self.meet("broadcast", own)?[root].clone();
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.meet("barrier", Vec::new()).map(|_| ())
    }

    /// Ends this thread by a panic; the others see that it is gone.
    fn abort(&self, status: u8) -> ! {
        std::panic::panic_any(format!("rank {} ends all with status {status}", self.rank))
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.lock().gone = true;
        self.meeting.changed.notify_all();
    }
}
