//! Sums over the processes of a communicator.

use half::bf16;
use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence};

use super::super::gradients::GradientFormat;
use super::super::{Share, Sum};
use super::PIECE;

/// What this process gets of a sum, whose numbers are `world` equal parts where each gets its own.
pub(super) fn made(processes: &SimpleCommunicator, sum: Sum) -> Vec<f32> {
    let Sum { mut numbers, format, share } = sum;
    match (format, share) {
        (GradientFormat::F32, Share::All) => {
            all(processes, &mut numbers);
            numbers
        }
        (GradientFormat::F32, Share::Own) => own(processes, &numbers),
        (GradientFormat::Bf16, Share::All) => {
            let mut half: Vec<bf16> = numbers.iter().map(|n| bf16::from_f32(*n)).collect();
            all_bf16(processes, &mut half);
            numbers.iter_mut().zip(half).for_each(|(n, half)| *n = half.to_f32());
            numbers
        }
        (GradientFormat::Bf16, Share::Own) => own_of_bf16(processes, &numbers),
    }
}

/// Replaces each number by its sum.
pub(super) fn all<T: Equivalence + Copy>(processes: &SimpleCommunicator, numbers: &mut [T]) {
    let mut send = Vec::with_capacity(numbers.len().min(PIECE));
    for piece in numbers.chunks_mut(PIECE) {
        send.clear();
        send.extend_from_slice(piece);
        processes.all_reduce_into(&send[..], piece, SystemOperation::sum());
    }
}

/// MPI has no bfloat16. Each process adds up, in f32 and in the order of ranks, the part of its rank, and sends its sums
/// to all: as many bytes as the sum of a ring of 16-bit numbers.
pub(super) fn all_bf16(processes: &SimpleCommunicator, numbers: &mut [bf16]) {
    let world = processes.size() as usize;
    for piece in numbers.chunks_mut(PIECE) {
        let part = piece.len().div_ceil(world);
        let mut send: Vec<u16> = piece.iter().map(|n| n.to_bits()).collect();
        send.resize(part * world, 0);
        let mut received = vec![0u16; part * world];
        let own: Vec<u16> = own_bf16(processes, &send, &mut received)
            .into_iter()
            .map(|sum| bf16::from_f32(sum).to_bits())
            .collect();
        processes.all_gather_into(&own[..], &mut received[..]);
        piece.iter_mut().zip(received).for_each(|(n, bits)| *n = bf16::from_bits(bits));
    }
}

/// The sums, in f32, of this process's part of `send`.
fn own_bf16(processes: &SimpleCommunicator, send: &[u16], received: &mut [u16]) -> Vec<f32> {
    processes.all_to_all_into(send, received);
    let part = send.len() / processes.size() as usize;
    let mut sums = vec![0.0f32; part];
    for from in received.chunks_exact(part.max(1)) {
        sums.iter_mut().zip(from).for_each(|(sum, n)| *sum += bf16::from_bits(*n).to_f32());
    }
    sums
}

/// The sums of this process's part of `numbers`, which has `world` equal ones.
fn own(processes: &SimpleCommunicator, numbers: &[f32]) -> Vec<f32> {
    let mut own = vec![0.0; numbers.len() / processes.size() as usize];
    processes.reduce_scatter_block_into(numbers, &mut own[..], SystemOperation::sum());
    own
}

/// The same of numbers that travel as bfloat16.
fn own_of_bf16(processes: &SimpleCommunicator, numbers: &[f32]) -> Vec<f32> {
    let send: Vec<u16> = numbers.iter().map(|n| bf16::from_f32(*n).to_bits()).collect();
    let mut received = vec![0u16; send.len()];
    let sums = own_bf16(processes, &send, &mut received);
    // Rounded as the sums that all get are.
    sums.into_iter().map(|sum| bf16::from_f32(sum).to_f32()).collect()
}
