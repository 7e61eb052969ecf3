//! A step of the residual stream: the sum with a branch, the sum's layer norm and, where one follows, the group rational of
//! that. In one pass over memory where the device has it, else by [`add_drop_path`], [`layer_norm`] and [`rational`].

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use super::add::{AddKernel, add_drop_path, path_factors};
use super::layer_norm::{LayerNormKernel, check, layer_norm};
use super::rational::{Denominator, Geometry, RationalKernel, rational};
use super::reduce::ReduceKernel;
use crate::cpu::Cpu;
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};

/// A layer norm's parameters.
#[derive(Debug)]
pub struct Norm<'a, D: Backend> {
    /// (C).
    pub weight: &'a Tensor<D>,
    /// (C).
    pub bias: &'a Tensor<D>,
    /// Added to the variance.
    pub eps: f32,
}

/// A group rational's parameters.
#[derive(Debug)]
pub struct Rational<'a, D: Backend> {
    /// (1 or G, m+1).
    pub numerator: &'a Tensor<D>,
    /// (1 or G, n).
    pub denominator: &'a Tensor<D>,
    /// G.
    pub groups: usize,
    /// Which denominator.
    pub form: Denominator,
}

/// What a pass forward reads.
pub struct Inputs<'a, D: Backend> {
    /// The stream.
    pub x: D::View<'a>,
    /// What is added to it.
    pub branch: D::View<'a>,
    /// Factors of the branch's samples, if it has any.
    pub factors: Option<&'a [f32]>,
    /// Weight and bias of the norm.
    pub norm: [D::View<'a>; 2],
    /// What is added to the variance.
    pub eps: f32,
    /// Numerator and denominator of the rational, if one follows.
    pub rational: Option<([D::View<'a>; 2], &'a Geometry)>,
}

/// What it writes.
pub struct Outputs<D: Backend> {
    /// The sum.
    pub sum: D::Buf,
    /// Its norm, or the rational of that.
    pub y: D::Buf,
    /// (rows, 2): mean and inverse deviation.
    pub statistics: D::Buf,
}

/// What the pass backward writes.
pub struct Slopes<D: Backend> {
    /// At the stream.
    pub x: D::Buf,
    /// At the branch.
    pub branch: D::Buf,
    /// At the norm's weight and bias.
    pub norm: [D::Buf; 2],
    /// At the rational's numerator and denominator.
    pub rational: Option<[D::Buf; 2]>,
}

/// The one pass each way.
pub trait ResidualNormPass<D: Backend> {
    /// Forward.
    ///
    /// # Errors
    /// The device refuses.
    fn forward(&self, inputs: Inputs<'_, D>) -> Result<Outputs<D>>;
    /// Backward, from the gradient at y and that at the sum, if one arrived. `inputs` are those of the pass forward, with the
    /// sum in the place of the stream.
    ///
    /// # Errors
    /// The device refuses.
    fn backward(
        &self,
        inputs: Inputs<'_, D>,
        statistics: D::View<'_>,
        dy: D::Buf,
        dsum: Option<D::Buf>,
    ) -> Result<Slopes<D>>;
}

/// A device that may have the pass.
pub trait ResidualNormKernel: Backend {
    /// The pass over rows of so many channels, if the device has it.
    fn residual_norm_pass(&self, _: usize, _: Option<&Geometry>) -> Option<&dyn ResidualNormPass<Self>> {
        None
    }
}

impl ResidualNormKernel for Cpu {}

/// `x + branch`, whose samples are dropped at `rate` while training, and the norm of the sum, or the rational of its norm.
///
/// # Shapes
/// x, branch (B, …, C) → the sum (B, …, C) and (B, …, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn residual_norm<D>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    branch: &Tensor<D>,
    rate: f32,
    norm: Norm<'_, D>,
    activation: Option<Rational<'_, D>>,
) -> Result<[Tensor<D>; 2]>
where
    D: ResidualNormKernel + AddKernel + LayerNormKernel + RationalKernel + ReduceKernel,
{
    let geometry = activation
        .as_ref()
        .map(|r| Geometry::of(x, r.numerator, r.denominator, r.groups, r.form))
        .transpose()?;
    let Some(pass) = x.device().residual_norm_pass(x.shape().last(), geometry.as_ref()) else {
        let sum = add_drop_path(graph, x, branch, rate)?;
        let y = layer_norm(graph, &sum, norm.weight, norm.bias, norm.eps)?;
        let y = match activation {
            Some(r) => rational(graph, &y, r.numerator, r.denominator, r.groups, r.form)?,
            None => y,
        };
        return Ok([sum, y]);
    };
    if x.shape() != branch.shape() {
        return Err(Error::shape("residual norm", "the branch", x.shape().to_string(), branch.shape()));
    }
    check(x, norm.weight, norm.bias)?;
    let factors =
        (graph.is_training() && rate != 0.0).then(|| path_factors(graph, x.shape().axes()[0], rate));
    let Outputs { sum, y, statistics } = pass.forward(Inputs {
        x: x.view(),
        branch: branch.view(),
        factors: factors.as_deref(),
        norm: [norm.weight.view(), norm.bias.view()],
        eps: norm.eps,
        rational: activation
            .as_ref()
            .zip(geometry.as_ref())
            .map(|(r, g)| ([r.numerator.view(), r.denominator.view()], g)),
    })?;
    let coefficients = activation.map(|r| [r.numerator, r.denominator]);
    let inputs: Vec<_> =
        [x, branch, norm.weight, norm.bias].into_iter().chain(coefficients.into_iter().flatten()).collect();
    graph.record_pair(x.device(), [sum, y], x.shape(), &inputs, |sum| {
        let (x, branch, eps) = (x.clone(), branch.clone(), norm.eps);
        let (weight, bias) = (norm.weight.clone(), norm.bias.clone());
        let coefficients = coefficients.map(|tables| tables.map(Clone::clone));
        move |[dsum, dy], grads| {
            let device = x.device();
            let Some(dy) = dy else {
                // nothing depends on the norm
                if let Some(dsum) = dsum {
                    grads.add(
                        &branch,
                        device.scaled_copy(D::view_buf(&dsum), factors.as_deref(), branch.view())?,
                    )?;
                    grads.add(&x, dsum)?;
                }
                return Ok(());
            };
            let pass = device.residual_norm_pass(x.shape().last(), geometry.as_ref()).ok_or_else(|| {
                Error::config("residual norm", "the device had a pass forward and none backward")
            })?;
            let inputs = Inputs {
                x: sum.view(),
                branch: branch.view(),
                factors: factors.as_deref(),
                norm: [weight.view(), bias.view()],
                eps,
                rational: coefficients
                    .as_ref()
                    .zip(geometry.as_ref())
                    .map(|([a, b], g)| ([a.view(), b.view()], g)),
            };
            let slopes = pass.backward(inputs, D::view_buf(&statistics), dy, dsum)?;
            grads.add(&branch, slopes.branch)?;
            grads.add(&x, slopes.x)?;
            for (parameter, slope) in [&weight, &bias].into_iter().zip(slopes.norm) {
                grads.add(parameter, slope)?;
            }
            for (table, slope) in coefficients.iter().flatten().zip(slopes.rational.into_iter().flatten()) {
                grads.add(table, slope)?;
            }
            Ok(())
        }
    })
}
