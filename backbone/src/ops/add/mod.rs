//! Residual addition, with an optional factor for each sample (drop path).

#[cfg(feature = "cuda")]
mod cuda;

use super::reduce::ReduceKernel;
use crate::cpu::{Cpu, GRAIN, buffer, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use rayon::prelude::*;

/// Addition and scaling on a device.
pub trait AddKernel: Backend {
    /// `a + b`, where `b` repeats as often as it fits into `a` (position embeddings: (N, C) onto (B, N, C)).
    ///
    /// # Errors
    /// The device refuses.
    fn add_forward(&self, a: Self::View<'_>, b: Self::View<'_>, repeats: usize) -> Result<Self::Buf>;
    /// `a + factors[sample] b`.
    ///
    /// # Errors
    /// The device refuses.
    fn add_scaled(&self, a: Self::View<'_>, b: Self::View<'_>, factors: &[f32]) -> Result<Self::Buf>;
    /// `factors[sample] x`, in place of x.
    ///
    /// # Errors
    /// The device refuses.
    fn scale_samples(&self, x: Self::Buf, factors: &[f32]) -> Result<Self::Buf>;
    /// `factors[sample] x` (without factors: a copy), as precise as `like`: the gradient of a branch, which may be kept in
    /// fewer bits.
    ///
    /// # Errors
    /// The device refuses.
    fn scaled_copy(
        &self,
        x: Self::View<'_>,
        factors: Option<&[f32]>,
        like: Self::View<'_>,
    ) -> Result<Self::Buf>;
    /// A copy.
    ///
    /// # Errors
    /// The device refuses.
    fn duplicate(&self, x: Self::View<'_>) -> Result<Self::Buf>;
}

/// `a + b`; `b` may lack leading axes of `a`, or have 1 there, and is then added to each part.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn add<D: AddKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    a: &Tensor<D>,
    b: &Tensor<D>,
) -> Result<Tensor<D>> {
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
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn add_drop_path<D: AddKernel + ReduceKernel>(
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
    let factors = path_factors(graph, a.shape().axes()[0], rate);
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

/// The factors of a branch's samples, of which each is dropped with probability `rate`.
pub(crate) fn path_factors<D: Backend>(graph: &mut Graph<D>, samples: usize, rate: f32) -> Vec<f32> {
    let keep = 1.0 - rate;
    let kept = graph.random().keeps(samples, 1, keep);
    kept.into_iter().map(|kept| if kept { 1.0 / keep } else { 0.0 }).collect()
}

/// `factor · x`.
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn scale<D: AddKernel + ReduceKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    factor: f32,
) -> Result<Tensor<D>> {
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
        if repeats == 1 {
            return Ok(buffer::zip(a, b, |a, b| a + b));
        }
        // whole repetitions a task
        let block = (GRAIN / b.len().max(1)).max(1) * b.len();
        Ok(build(a.len(), |y| {
            y.par_chunks(block.max(1)).zip(a.par_chunks(block.max(1))).for_each(|(y, a)| {
                for y in y.copy_from(a).chunks_mut(b.len()) {
                    y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
                }
            });
        }))
    }

    fn add_scaled(&self, a: &[f32], b: &[f32], factors: &[f32]) -> Result<Vec<f32>> {
        let sample = (a.len() / factors.len().max(1)).max(1);
        Ok(build(a.len(), |y| {
            let parts = a.par_chunks(sample).zip(b.par_chunks(sample)).zip(factors);
            y.par_chunks(sample).zip(parts).for_each(|(y, ((a, b), factor))| {
                y.write(a.iter().zip(b).map(|(a, b)| a + factor * b));
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
        Ok(build(x.len(), |y| {
            let samples = y.par_chunks(sample).zip(x.par_chunks(sample)).zip(factors);
            samples.for_each(|((y, x), factor)| {
                y.write(x.iter().map(|x| factor * x));
            });
        }))
    }

    fn duplicate(&self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(buffer::map(x, |x| x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;
    use crate::ops::weighted_sum;

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
