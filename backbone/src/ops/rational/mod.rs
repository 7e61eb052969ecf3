//! The group rational function of GR-KAN (KAT, arXiv 2409.10594, section 4): every group of channels has its
//! own P/Q, applied element by element,
//!
//! P(x) = a0 + a1 x + … + am x^m,  Q(x) = 1 + |b1||x| + |b2||x|² + … + |bn||x|^n.
//!
//! The absolute values are taken of each term, as in the published kernels. The derivatives of |x| and |b| at 0 are
//! +1, also as in the kernels: identity initialization starts with b = 0, and with a derivative of 0 it could never
//! learn. The published fallback in PyTorch takes signed x there, and may divide by 0: nothing here follows it. The
//! paper's formula has one absolute value around the polynomial,
//!
//! Q(x) = 1 + |b1 x + b2 x² + … + bn x^n|,
//!
//! a third function for x < 0: [`Denominator::Paper`]. Its derivative where the polynomial is 0 is 0, as PyTorch's.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub(crate) use cpu::{CoefficientSums, OnBlocks};
#[cfg(feature = "cuda")]
pub(crate) use cuda::{LaunchSizes, RationalSums};

use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Tensor};
use serde::{Deserialize, Serialize};

/// The most coefficients a numerator or a denominator can have.
pub const MAX_COEFFICIENTS: usize = 13;

/// Which denominator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// 1 + Σ |b_i||x|^i: the published kernels' and checkpoints'.
    #[default]
    Kernel,
    /// 1 + |Σ b_i x^i|: the paper's, and that of Padé activation units.
    Paper,
}

impl std::fmt::Display for Denominator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Kernel { "kernel" } else { "paper" })
    }
}

impl Denominator {
    /// Q at `x`.
    pub fn at(self, coefficients: impl DoubleEndedIterator<Item = f64>, x: f64) -> f64 {
        let coefficients = coefficients.rev();
        match self {
            Self::Kernel => 1.0 + coefficients.fold(0.0, |sum, b| (sum + b.abs()) * x.abs()),
            Self::Paper => 1.0 + coefficients.fold(0.0, |sum, b| (sum + b) * x).abs(),
        }
    }

    /// A coefficient as the kernels take it.
    fn coefficient(self, b: f32) -> f32 {
        match self {
            Self::Kernel => b.abs(),
            Self::Paper => b,
        }
    }
}

/// Sizes of a group rational, and its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// C: channels, the last axis of x.
    pub channels: usize,
    /// G: groups that the channels fall into, C / G neighbors each.
    pub groups: usize,
    /// Rows of the numerator: G, or 1 shared by all groups (as published).
    pub numerator_groups: usize,
    /// m + 1: coefficients of the numerator, a0 first.
    pub numerator_len: usize,
    /// Rows of the denominator: G, or 1 shared by all groups.
    pub denominator_groups: usize,
    /// n: coefficients of the denominator, b1 first.
    pub denominator_len: usize,
    /// Which denominator.
    pub form: Denominator,
}

impl Geometry {
    pub(super) fn of<D: Backend>(
        x: &Tensor<D>,
        numerator: &Tensor<D>,
        denominator: &Tensor<D>,
        groups: usize,
        form: Denominator,
    ) -> Result<Self> {
        const OP: &str = "group rational";
        let channels = x.shape().last();
        if groups == 0 || !channels.is_multiple_of(groups) || x.shape().rank() == 0 {
            let expected = format!("a last axis divisible by {groups} groups");
            return Err(Error::shape(OP, "the input", expected, x.shape()));
        }
        let coefficients = |t: &Tensor<D>, what: &'static str| {
            let expected = || format!("(1 or {groups} groups, 1 to {MAX_COEFFICIENTS} coefficients)");
            match *t.shape().axes() {
                [rows, len] if (rows == 1 || rows == groups) && (1..=MAX_COEFFICIENTS).contains(&len) => {
                    Ok((rows, len))
                }
                _ => Err(Error::shape(OP, what, expected(), t.shape())),
            }
        };
        let (numerator_groups, numerator_len) = coefficients(numerator, "the numerator")?;
        let (denominator_groups, denominator_len) = coefficients(denominator, "the denominator")?;
        Ok(Self {
            channels,
            groups,
            numerator_groups,
            numerator_len,
            denominator_groups,
            denominator_len,
            form,
        })
    }
}

/// Gradients of a group rational.
pub struct RationalGradients<D: Backend> {
    /// At x; takes the place of the gradient at y.
    pub dx: D::Buf,
    /// At the numerator, summed over groups where it is shared.
    pub numerator: D::Buf,
    /// At the denominator, summed over groups where it is shared.
    pub denominator: D::Buf,
}

/// The group rational on a device.
pub trait RationalKernel: Backend {
    /// y = P(x)/Q(x), one read of x and one write of y.
    ///
    /// # Errors
    /// The device refuses.
    fn rational_forward(
        &self,
        x: Self::View<'_>,
        numerator: Self::View<'_>,
        denominator: Self::View<'_>,
        geometry: &Geometry,
    ) -> Result<Self::Buf>;

    /// Gradients at x and at the coefficients; the same bits whatever the number of threads.
    ///
    /// # Errors
    /// The device refuses.
    fn rational_backward(
        &self,
        x: Self::View<'_>,
        numerator: Self::View<'_>,
        denominator: Self::View<'_>,
        dy: Self::Buf,
        geometry: &Geometry,
    ) -> Result<RationalGradients<Self>>;
}

/// Applies P/Q to every element of `x`, with coefficients by group of the last axis.
///
/// # Shapes
/// x (…, C), numerator (1 or G, m+1), denominator (1 or G, n) → (…, C).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn rational<D: RationalKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    numerator: &Tensor<D>,
    denominator: &Tensor<D>,
    groups: usize,
    form: Denominator,
) -> Result<Tensor<D>> {
    let geometry = Geometry::of(x, numerator, denominator, groups, form)?;
    let y = x.device().rational_forward(x.view(), numerator.view(), denominator.view(), &geometry)?;
    graph.record(x.device(), y, x.shape(), &[x, numerator, denominator], || {
        let (x, numerator, denominator) = (x.clone(), numerator.clone(), denominator.clone());
        move |dy, grads| {
            let gradients = x.device().rational_backward(
                x.view(),
                numerator.view(),
                denominator.view(),
                dy,
                &geometry,
            )?;
            grads.add(&x, gradients.dx)?;
            grads.add(&numerator, gradients.numerator)?;
            grads.add(&denominator, gradients.denominator)
        }
    })
}
