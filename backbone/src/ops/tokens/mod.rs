//! Token sequences (B, N, C): tokens put before them, a range cut out.

#[cfg(feature = "cuda")]
mod cuda;

use super::reduce::ReduceKernel;
use crate::cpu::{Cpu, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Moves of token sequences on a device; `channels` is C, `tokens` N.
pub trait TokensKernel: Backend {
    /// `prefix` (P, C) before each of the sequences of `x`: (B, P + N, C).
    ///
    /// # Errors
    /// The device refuses.
    fn prepend(&self, prefix: Self::View<'_>, x: Self::View<'_>, batch: usize) -> Result<Self::Buf>;
    /// Tokens of `range` from sequences of `tokens`: (B, len, C).
    ///
    /// # Errors
    /// The device refuses.
    fn take_range(
        &self,
        x: Self::View<'_>,
        tokens: usize,
        range: Range<usize>,
        channels: usize,
    ) -> Result<Self::Buf>;
    /// The reverse of [`TokensKernel::take_range`], zeros elsewhere.
    ///
    /// # Errors
    /// The device refuses.
    fn put_range(
        &self,
        dy: Self::View<'_>,
        tokens: usize,
        range: Range<usize>,
        channels: usize,
    ) -> Result<Self::Buf>;
}

/// The same learned tokens before every sequence (class token, registers).
///
/// # Shapes
/// prefix (1, P, C), x (B, N, C) → (B, P + N, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn prepend_tokens<D: TokensKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    prefix: &Tensor<D>,
    x: &Tensor<D>,
) -> Result<Tensor<D>> {
    let [batch, tokens, channels] = x.axes("prepend_tokens", "tokens (B, N, C)")?;
    let [one, added, prefix_channels] = prefix.axes("prepend_tokens", "a prefix (1, P, C)")?;
    if one != 1 || prefix_channels != channels {
        let expected = format!("[1, P, {channels}]");
        return Err(Error::shape("prepend_tokens", "the prefix", expected, prefix.shape()));
    }
    let device = x.device();
    let total = added + tokens;
    let y = device.prepend(prefix.view(), x.view(), batch)?;
    graph.record(device, y, [batch, total, channels], &[prefix, x], || {
        let (prefix, x) = (prefix.clone(), x.clone());
        move |dy, grads| {
            let (device, dy) = (x.device(), D::view_buf(&dy));
            if prefix.wants_gradient() {
                let each = device.take_range(dy, total, 0..added, channels)?;
                let sum = device.sum_parts(D::view_buf(&each), batch)?;
                grads.add(&prefix, sum)?;
            }
            if x.wants_gradient() {
                grads.add(&x, device.take_range(dy, total, added..total, channels)?)?;
            }
            Ok(())
        }
    })
}

/// A range of every sequence's tokens.
///
/// # Shapes
/// x (B, N, C) → (B, range length, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn take_tokens<D: TokensKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    range: Range<usize>,
) -> Result<Tensor<D>> {
    let [batch, tokens, channels] = x.axes("take_tokens", "tokens (B, N, C)")?;
    if range.start > range.end || range.end > tokens {
        let expected = format!("at least {} tokens", range.end.max(range.start));
        return Err(Error::shape("take_tokens", "the input", expected, x.shape()));
    }
    let y = x.device().take_range(x.view(), tokens, range.clone(), channels)?;
    graph.record(x.device(), y, [batch, range.len(), channels], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().put_range(D::view_buf(&dy), tokens, range, channels)?;
            grads.add(&x, dx)
        }
    })
}

impl TokensKernel for Cpu {
    fn prepend(&self, prefix: &[f32], x: &[f32], batch: usize) -> Result<Vec<f32>> {
        let sequence = x.len() / batch.max(1);
        let total = prefix.len() + sequence;
        Ok(build(total * batch, |y| {
            y.par_chunks(total.max(1)).enumerate().for_each(|(i, y)| {
                let (head, tail) = y.split_at(prefix.len());
                head.copy_from(prefix);
                tail.copy_from(&x[i * sequence..(i + 1) * sequence]);
            });
        }))
    }

    fn take_range(&self, x: &[f32], tokens: usize, range: Range<usize>, channels: usize) -> Result<Vec<f32>> {
        let (size, part) = (tokens * channels, range.len() * channels);
        let batch = x.len() / size.max(1);
        Ok(build(batch * part, |y| {
            y.par_chunks(part.max(1)).enumerate().for_each(|(i, y)| {
                y.copy_from(&x[i * size + range.start * channels..][..part]);
            });
        }))
    }

    fn put_range(&self, dy: &[f32], tokens: usize, range: Range<usize>, channels: usize) -> Result<Vec<f32>> {
        let (size, part) = (tokens * channels, range.len() * channels);
        let batch = dy.len() / part.max(1);
        let mut dx = vec![0.0; batch * size];
        dx.par_chunks_mut(size.max(1)).zip(dy.par_chunks(part.max(1))).for_each(|(dx, dy)| {
            dx[range.start * channels..][..part].copy_from_slice(dy);
        });
        Ok(dx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{check::Case, mean_tokens};

    #[test]
    fn prefix_range_and_mean_match_plain_loops() {
        Case::new().input([1, 2, 3], -1.0..1.0).input([2, 4, 3], -1.0..1.0).gradients_match(
            |graph, t| {
                let x = prepend_tokens(graph, &t[0], &t[1])?;
                let x = take_tokens(graph, &x, 1..5)?;
                mean_tokens(graph, &x)
            },
            |t| {
                let mean = |b: usize, c: usize| {
                    let own: f64 = (0..3).map(|n| t[1][(b * 4 + n) * 3 + c]).sum();
                    (t[0][3 + c] + own) / 4.0
                };
                (0..6).map(|i| mean(i / 3, i % 3)).collect()
            },
            1e-6,
        );
    }
}
