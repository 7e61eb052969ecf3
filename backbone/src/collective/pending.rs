//! Sums that are made while a process computes.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use half::bf16;

use super::gradients::GradientFormat;
use super::{Collective, CollectiveError, Summands, check_parts};

/// What a process gets of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    All,
    /// The part of its rank, one of `world` equal ones.
    Own,
}

/// A sum over all processes.
#[derive(Debug)]
pub struct Sum {
    /// What this process adds.
    pub numbers: Vec<f32>,
    /// As what they travel.
    pub format: GradientFormat,
    /// What this process gets.
    pub share: Share,
}

/// A sum that was begun.
#[derive(Debug)]
pub struct PendingSum(State);

#[derive(Debug)]
enum State {
    Made(Vec<f32>, Duration),
    UnderWay(Receiver<(Vec<f32>, Duration)>),
}

impl PendingSum {
    /// One that is made already, and the time that it took.
    pub fn made(numbers: Vec<f32>, took: Duration) -> Self {
        Self(State::Made(numbers, took))
    }

    /// One that will come from where it is made.
    pub fn under_way(from: Receiver<(Vec<f32>, Duration)>) -> Self {
        Self(State::UnderWay(from))
    }

    /// Waits for the sum. With it comes the time that making it took, waited for or not.
    ///
    /// # Errors
    /// It could not be made.
    pub fn wait(self) -> Result<(Vec<f32>, Duration), CollectiveError> {
        match self.0 {
            State::Made(numbers, took) => Ok((numbers, took)),
            State::UnderWay(from) => from.recv().map_err(|_| CollectiveError::Gone { operation: "sum" }),
        }
    }
}

/// Makes a sum.
pub(super) fn at_once(processes: &(impl Collective + ?Sized), sum: Sum) -> Result<Vec<f32>, CollectiveError> {
    let Sum { mut numbers, format, share } = sum;
    let part = numbers.len() / processes.world();
    if share == Share::Own {
        check_parts("sum of own parts", numbers.len(), part, processes.world())?;
    }
    match format {
        GradientFormat::F32 if share == Share::Own => {
            let mut own = vec![0.0; part];
            processes.reduce_scatter(&numbers, &mut own)?;
            return Ok(own);
        }
        GradientFormat::F32 => processes.all_reduce(Summands::F32(&mut numbers))?,
        GradientFormat::Bf16 => {
            let mut half: Vec<bf16> = numbers.iter().map(|v| bf16::from_f32(*v)).collect();
            processes.all_reduce(Summands::Bf16(&mut half))?;
            numbers.iter_mut().zip(half).for_each(|(v, half)| *v = half.to_f32());
        }
    }
    Ok(match share {
        Share::All => numbers,
        Share::Own => numbers[processes.rank() * part..(processes.rank() + 1) * part].to_vec(),
    })
}
