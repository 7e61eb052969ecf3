//! Residual addition, with an optional factor for each sample (drop path), and sums and means.

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::{Cpu, GRAIN, overwritten};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Backend;
use crate::tensor::Graph;
use crate::tensor::Tensor;
use rayon::prelude::*;

/// Addition and scaling on a device.
pub trait AddKernel: Backend {
    /// `a + b`, where `b` repeats as often as it fits into `a` (position embeddings: (N, C) onto (B, N, C)).
    fn add_forward(&self, a: Self::View<'_>, b: Self::View<'_>, repeats: usize) -> Result<Self::Buf>;
    /// The sum of `repeats` equal parts of `dy`.
    fn sum_parts(&self, dy: Self::View<'_>, repeats: usize) -> Result<Self::Buf>;
    /// `a + factors[sample] b`.
    fn add_scaled(&self, a: Self::View<'_>, b: Self::View<'_>, factors: &[f32]) -> Result<Self::Buf>;
    /// `factors[sample] x`, in place of x.
    fn scale_samples(&self, x: Self::Buf, factors: &[f32]) -> Result<Self::Buf>;
    /// `factors[sample] x` (without factors: a copy), as precise as `like`: the gradient of a branch, which may be kept in
    /// fewer bits.
    fn scaled_copy(
        &self,
        x: Self::View<'_>,
        factors: Option<&[f32]>,
        like: Self::View<'_>,
    ) -> Result<Self::Buf>;
    /// A copy.
    fn duplicate(&self, x: Self::View<'_>) -> Result<Self::Buf>;
    /// `factor` Σ weights x, added up in f64: one value. Without weights they are 1.
    fn total(&self, x: Self::View<'_>, weights: Option<Self::View<'_>>, factor: f64) -> Result<Self::Buf>;
    /// The gradient of that at x, of `len` values, from `dy` at the total: dy · factor · weights.
    fn spread_total(
        &self,
        dy: Self::View<'_>,
        weights: Option<Self::View<'_>>,
        factor: f64,
        len: usize,
    ) -> Result<Self::Buf>;
}

/// `a + b`; `b` may lack leading axes of `a`, or have 1 there, and is then added to each part.
pub fn add<D: Device>(graph: &mut Graph<D>, a: &Tensor<D>, b: &Tensor<D>) -> Result<Tensor<D>> {
    let ones = b.shape().axes().iter().take_while(|size| **size == 1).count();
    if !a.shape().axes().ends_with(&b.shape().axes()[ones..]) || b.numel() == 0 {
        return Err(Error::shape("add", "the second input", format!("the end of {}", a.shape()), b.shape()));
    }
    let repeats = a.numel() / b.numel();
    let y = a.device().add_forward(a.view(), b.view(), repeats)?;
    graph.record(a.device(), y, a.shape(), &[a, b], || {
        let (a, b) = (a.clone(), b.clone());
        move |dy, grads| {
            if b.wants_gradient() {
                let db = match repeats {
                    1 => b.device().scaled_copy(D::view_buf(&dy), None, b.view())?,
                    _ => b.device().sum_parts(D::view_buf(&dy), repeats)?,
                };
                grads.add(&b, db)?;
            }
            grads.add(&a, dy)
        }
    })
}

/// The residual sum of stochastic depth (drop path): `a + factor · b`, one factor for each sample, which is 0
/// with probability `rate` and 1/(1 - rate) otherwise while training, else 1.
///
/// # Shapes
/// a, b (B, …) → (B, …).
pub fn add_drop_path<D: Device>(
    graph: &mut Graph<D>,
    a: &Tensor<D>,
    b: &Tensor<D>,
    rate: f32,
) -> Result<Tensor<D>> {
    if !graph.is_training() || rate == 0.0 {
        return add(graph, a, b);
    }
    if a.shape() != b.shape() || a.shape().rank() == 0 {
        return Err(Error::shape("add_drop_path", "the branch", a.shape().to_string(), b.shape()));
    }
    let keep = 1.0 - rate;
    let factors: Vec<f32> = graph
        .random()
        .keeps(a.shape().axes()[0], keep)
        .into_iter()
        .map(|kept| if kept { 1.0 / keep } else { 0.0 })
        .collect();
    let y = a.device().add_scaled(a.view(), b.view(), &factors)?;
    graph.record(a.device(), y, a.shape(), &[a, b], || {
        let (a, b) = (a.clone(), b.clone());
        move |dy, grads| {
            let db = b.device().scaled_copy(D::view_buf(&dy), Some(&factors), b.view())?;
            grads.add(&b, db)?;
            grads.add(&a, dy)
        }
    })
}

/// The mean of all elements, as a scalar.
pub fn mean<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>) -> Result<Tensor<D>> {
    weighted_sum(graph, x, 1.0 / x.numel().max(1) as f32)
}

/// `factor` times the sum of all elements, as a scalar.
pub fn weighted_sum<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>, factor: f32) -> Result<Tensor<D>> {
    let factor = f64::from(factor);
    let y = x.device().total(x.view(), None, factor)?;
    graph.record(x.device(), y, [], &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().spread_total(D::view_buf(&dy), None, factor, x.numel())?;
            grads.add(&x, dx)
        }
    })
}

/// `factor · x`.
pub fn scale<D: Device>(graph: &mut Graph<D>, x: &Tensor<D>, factor: f32) -> Result<Tensor<D>> {
    let device = x.device();
    let y = device.scale_samples(device.duplicate(x.view())?, &[factor])?;
    graph.record(device, y, x.shape(), &[x], || {
        let x = x.clone();
        move |dy, grads| {
            let dx = x.device().scale_samples(dy, &[factor])?;
            grads.add(&x, dx)
        }
    })
}

impl AddKernel for Cpu {
    fn add_forward(&self, a: &[f32], b: &[f32], repeats: usize) -> Result<Vec<f32>> {
        let period = a.len() / repeats;
        let grain = GRAIN.min(period).max(1);
        let tasks = period.div_ceil(grain);
        Ok(overwritten(a.len(), |y| {
            let sum = |y: &mut [f32], a: &[f32], b: &[f32]| {
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a + b);
            };
            if repeats == 1 {
                y.par_chunks_mut(grain)
                    .zip(a.par_chunks(grain).zip(b.par_chunks(grain)))
                    .for_each(|(y, (a, b))| sum(y, a, b));
            } else if tasks == 1 && period < GRAIN {
                let block = GRAIN / period * period;
                y.par_chunks_mut(block).zip(a.par_chunks(block)).for_each(|(y, a)| {
                    for (y, a) in y.chunks_mut(period).zip(a.chunks(period)) {
                        sum(y, a, b);
                    }
                });
            } else {
                y.par_chunks_mut(period).zip(a.par_chunks(period)).for_each(|(y, a)| sum(y, a, b));
            }
        }))
    }

    fn sum_parts(&self, dy: &[f32], repeats: usize) -> Result<Vec<f32>> {
        let period = dy.len() / repeats;
        let mut sums = vec![0.0; period];
        // Each task owns a range of columns and adds the parts in order: the same bits on any thread count.
        let columns = (GRAIN / repeats.max(1)).clamp(16, GRAIN);
        sums.par_chunks_mut(columns).enumerate().for_each(|(i, sums)| {
            for part in dy.chunks_exact(period) {
                let part = &part[i * columns..i * columns + sums.len()];
                sums.iter_mut().zip(part).for_each(|(s, d)| *s += d);
            }
        });
        Ok(sums)
    }

    fn add_scaled(&self, a: &[f32], b: &[f32], factors: &[f32]) -> Result<Vec<f32>> {
        let sample = (a.len() / factors.len().max(1)).max(1);
        Ok(overwritten(a.len(), |y| {
            let parts = a.par_chunks(sample).zip(b.par_chunks(sample)).zip(factors);
            y.par_chunks_mut(sample).zip(parts).for_each(|(y, ((a, b), factor))| {
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a + factor * b);
            });
        }))
    }

    fn scale_samples(&self, mut x: Vec<f32>, factors: &[f32]) -> Result<Vec<f32>> {
        let sample = (x.len() / factors.len().max(1)).max(1);
        x.par_chunks_mut(sample).zip(factors).for_each(|(x, factor)| {
            x.iter_mut().for_each(|x| *x *= factor);
        });
        Ok(x)
    }

    fn scaled_copy(&self, x: &[f32], factors: Option<&[f32]>, _: &[f32]) -> Result<Vec<f32>> {
        let Some(factors) = factors else { return self.duplicate(x) };
        let sample = (x.len() / factors.len().max(1)).max(1);
        Ok(overwritten(x.len(), |y| {
            let samples = y.par_chunks_mut(sample).zip(x.par_chunks(sample)).zip(factors);
            samples.for_each(|((y, x), factor)| y.iter_mut().zip(x).for_each(|(y, x)| *y = factor * x));
        }))
    }

    fn duplicate(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(overwritten(x.len(), |y| {
            y.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| y.copy_from_slice(x));
        }))
    }

    fn total(&self, x: &[f32], weights: Option<&[f32]>, factor: f64) -> Result<Vec<f32>> {
        // Collected and added in order: a parallel sum would depend on the number of threads.
        let parts: Vec<f64> = match weights {
            None => x.par_chunks(GRAIN).map(|x| x.iter().map(|x| f64::from(*x)).sum()).collect(),
            // What has no weight does not count, whatever it is.
            Some(weights) => x
                .par_chunks(GRAIN)
                .zip(weights.par_chunks(GRAIN))
                .map(|(x, w)| {
                    let counted = x.iter().zip(w).filter(|(_, w)| **w != 0.0);
                    counted.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
                })
                .collect(),
        };
        Ok(vec![(parts.iter().sum::<f64>() * factor) as f32])
    }

    fn spread_total(&self, dy: &[f32], weights: Option<&[f32]>, factor: f64, len: usize) -> Result<Vec<f32>> {
        let slope = (f64::from(dy[0]) * factor) as f32;
        Ok(weights.map_or_else(|| vec![slope; len], |weights| weights.iter().map(|w| w * slope).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn adds_with_and_without_repeats() {
        for parts in [1, 3] {
            Case::new().input([parts, 4, 5], -1.0..1.0).input([4, 5], -1.0..1.0).gradients_match(
                |graph, t| add(graph, &t[0], &t[1]),
                |t| t[0].iter().enumerate().map(|(i, a)| a + t[1][i % 20]).collect(),
                1e-6,
            );
        }
        let (a, b) = (vec![1.0f32; 3 * 40_000], (0..40_000).map(|i| i as f32).collect::<Vec<_>>());
        let y = Cpu::default().add_forward(&a, &b, 3).unwrap();
        assert!(y.iter().enumerate().all(|(i, y)| *y == 1.0 + (i % 40_000) as f32));
    }

    #[test]
    fn drop_path_keeps_the_expectation_and_whole_samples() {
        let dev = Cpu::default();
        let a = Tensor::zeros(&dev, [4000, 3]).unwrap();
        let b = Tensor::from_vec(&dev, vec![1.0; 12_000], [4000, 3]).unwrap().parameter().unwrap();
        let mut graph = Graph::training(5);
        let y = add_drop_path(&mut graph, &a, &b, 0.25).unwrap();
        let values = y.to_vec();
        assert!(values.chunks(3).all(|s| s == [0.0; 3] || s == [1.0 / 0.75; 3]));
        let mean = values.iter().sum::<f32>() / 12_000.0;
        assert!((mean - 1.0).abs() < 0.05, "{mean}");
        let loss = weighted_sum(&mut graph, &y, 1.0).unwrap();
        let db = graph.backward(&loss).unwrap().take_host(&b).unwrap().unwrap();
        assert_eq!(db, values, "the gradient passes where the sample was kept");
    }
}
