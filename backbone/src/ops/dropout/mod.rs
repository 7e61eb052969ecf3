//! Dropout: while training, elements, or whole channels of a feature map, are zeroed with probability `rate` and the
//! others scaled by 1/(1 - rate).

#[cfg(feature = "cuda")]
mod cuda;

use super::add::AddKernel;
use crate::cpu::{Cpu, GRAIN};
use crate::error::Result;
use crate::tensor::{Backend, Graph, Tensor};
use kat_images::Run;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Dropout on a device.
pub trait DropoutKernel: Backend {
    /// Masks and scales `x` in place. The mask depends on `seed` and the position alone, so that the backward
    /// pass makes it again instead of keeping it; `pieces` say where `x` lies in the tensor over all processes.
    ///
    /// # Errors
    /// The device refuses.
    fn dropout(&self, x: Self::Buf, rate: f32, seed: u64, pieces: &[Run]) -> Result<Self::Buf>;
}

/// Dropout of every element; any shape. The identity unless the graph trains.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn dropout<D: DropoutKernel + AddKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    rate: f32,
) -> Result<Tensor<D>> {
    if !graph.is_training() || rate == 0.0 {
        return Ok(x.clone());
    }
    let seed = graph.random().next_generator().random();
    let pieces = pieces(graph, x);
    let y = x.device().dropout(x.device().duplicate(x.view())?, rate, seed, &pieces)?;
    graph.record(x.device(), y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().dropout(dy, rate, seed, &pieces)?;
            grads.add(&x, dx)
        }
    })
}

/// Where the elements of `x`, of which each process has some rows, lie in the tensor over all of them.
fn pieces<D: Backend>(graph: &mut Graph<D>, x: &Tensor<D>) -> Vec<Run> {
    let rows = x.shape().axes().first().copied().unwrap_or(1);
    let each = x.numel() / rows.max(1);
    let elements =
        |run: Run| Run { own: run.own.start * each..run.own.end * each, global: run.global * each };
    graph.random().runs(rows).into_iter().map(elements).collect()
}

/// Dropout of whole channels, drawn for each sample (torch's `Dropout2d`): neighboring pixels of a feature map say
/// much the same, so that dropping them one by one would take little away. The identity unless the graph trains.
///
/// # Shapes
/// x (B, C, H, W) → (B, C, H, W).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn channel_dropout<D: DropoutKernel + AddKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    rate: f32,
) -> Result<Tensor<D>> {
    let [batch, channels, _, _] = x.axes("channel dropout", "(B, C, H, W)")?;
    if !graph.is_training() || rate == 0.0 || x.numel() == 0 {
        return Ok(x.clone());
    }
    let keep = 1.0 - rate;
    let kept = graph.random().keeps(batch, channels, keep);
    let factors: Vec<f32> = kept.into_iter().map(|kept| if kept { 1.0 / keep } else { 0.0 }).collect();
    let device = x.device();
    let y = device.scale_samples(device.duplicate(x.view())?, &factors)?;
    graph.record(device, y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().scale_samples(dy, &factors)?;
            grads.add(&x, dx)
        }
    })
}

impl DropoutKernel for Cpu {
    fn dropout(&self, mut x: Vec<f32>, rate: f32, seed: u64, pieces: &[Run]) -> Result<Vec<f32>> {
        for Run { own, global } in pieces {
            mask(&mut x[own.clone()], rate, seed, *global);
        }
        Ok(x)
    }
}

/// Masks and scales what lies from element `start` of a tensor on: each `GRAIN` of it has its own stream of draws.
fn mask(x: &mut [f32], rate: f32, seed: u64, start: usize) {
    let keep = 1.0 / (1.0 - rate);
    let masked = |(stream, x): (usize, &mut [f32]), skipped: usize| {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream as u64);
        // a draw takes one word
        generator.set_word_pos(skipped as u128);
        for x in x {
            *x = if generator.random::<f32>() < rate { 0.0 } else { *x * keep };
        }
    };
    let skipped = start % GRAIN;
    let (head, rest) = x.split_at_mut(if skipped == 0 { 0 } else { (GRAIN - skipped).min(x.len()) });
    masked((start / GRAIN, head), skipped);
    let first = start.div_ceil(GRAIN);
    rest.par_chunks_mut(GRAIN).enumerate().for_each(|(i, x)| masked((first + i, x), 0));
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_images::Shard;

    #[test]
    fn gradient_uses_the_same_mask_and_evaluation_is_the_identity() {
        let dev = Cpu::default();
        let x = Tensor::from_vec(&dev, vec![1.0; 50_000], [50_000]).unwrap().parameter().unwrap();
        let y = dropout(&mut Graph::recording(), &x, 0.4).unwrap();
        assert_eq!(y.to_vec(), x.to_vec());
        let mut graph = Graph::training(3);
        let y = dropout(&mut graph, &x, 0.4).unwrap();
        let values = y.to_vec();
        let kept = values.iter().filter(|v| **v != 0.0).count() as f32 / 50_000.0;
        assert!((kept - 0.6).abs() < 0.01, "{kept}");
        let loss = super::super::weighted_sum(&mut graph, &y, 1.0).unwrap();
        assert_eq!(graph.backward(&loss).unwrap().take_host(&x).unwrap().unwrap(), values);
    }

    #[test]
    fn rows_have_the_same_mask_whatever_the_processes() {
        const ROW: usize = 7001;
        let drop = |shard: Shard| {
            let rows = 12 / shard.world;
            let x = Tensor::from_vec(&Cpu::default(), vec![1.0; rows * ROW], [rows, ROW]).unwrap();
            let mut graph = Graph::training(3);
            *graph.random() = graph.random().clone().of(shard);
            let y = dropout(&mut graph, &x, 0.4).unwrap().to_vec();
            shard.places(rows).zip(y.chunks(ROW).map(<[f32]>::to_vec)).collect::<Vec<_>>()
        };
        let whole = drop(Shard::WHOLE);
        for world in [2, 3, 4] {
            for (place, row) in (0..world).flat_map(|rank| drop(Shard { rank, world })) {
                assert!(row == whole[place].1, "row {place} of {world} processes");
            }
        }
    }

    #[test]
    fn channels_are_dropped_whole() {
        let x = Tensor::from_vec(&Cpu::default(), vec![1.0; 4000 * 6], [40, 100, 2, 3]).unwrap();
        let x = x.parameter().unwrap();
        let mut graph = Graph::training(5);
        let y = channel_dropout(&mut graph, &x, 0.25).unwrap();
        let values = y.to_vec();
        assert!(values.chunks(6).all(|plane| plane.iter().all(|v| *v == plane[0])));
        let kept = values.iter().filter(|v| **v != 0.0).count() as f32 / values.len() as f32;
        assert!((kept - 0.75).abs() < 0.03, "{kept}");
        assert!(values.iter().all(|v| *v == 0.0 || (v - 1.0 / 0.75).abs() < 1e-6));
        let loss = super::super::weighted_sum(&mut graph, &y, 1.0).unwrap();
        assert_eq!(graph.backward(&loss).unwrap().take_host(&x).unwrap().unwrap(), values);
        assert_eq!(channel_dropout(&mut Graph::recording(), &x, 0.25).unwrap().to_vec(), x.to_vec());
    }
}
