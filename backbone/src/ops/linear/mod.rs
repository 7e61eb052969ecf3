//! The linear layer y = x Wᵀ + b over the last axis.

#[cfg(feature = "cuda")]
mod cuda;

use crate::cpu::gemm::{self, Mat, Side, Threads};
use crate::cpu::{Cpu, GRAIN, build};
use crate::error::{Error, Result};
use crate::tensor::{Backend, Graph, Stored, Tensor};
use rayon::prelude::*;

/// Sizes of a linear layer: `rows` of `inputs` channels become `rows` of `outputs` channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Product of all axes but the last.
    pub rows: usize,
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
}

/// The linear layer on a device.
pub trait LinearKernel: Backend {
    /// x Wᵀ + b; of the weight the device may keep a form that its products take.
    ///
    /// # Errors
    /// The device refuses.
    fn linear_forward(
        &self,
        x: Self::View<'_>,
        weight: &Stored<Self>,
        bias: Option<Self::View<'_>>,
        geometry: Geometry,
    ) -> Result<Self::Buf>;
    /// dy W, added to `earlier` if there is one.
    ///
    /// # Errors
    /// The device refuses.
    fn linear_input_gradient(
        &self,
        dy: Self::View<'_>,
        weight: Self::View<'_>,
        earlier: Option<Self::Buf>,
        geometry: Geometry,
    ) -> Result<Self::Buf>;
    /// dyᵀ x, added to `earlier` if there is one, and the sum of dy's rows where there is a `bias`.
    ///
    /// # Errors
    /// The device refuses.
    fn linear_parameter_gradients(
        &self,
        dy: Self::View<'_>,
        x: Self::View<'_>,
        earlier: Option<Self::Buf>,
        bias: bool,
        geometry: Geometry,
    ) -> Result<(Self::Buf, Option<Self::Buf>)>;
    /// The sum of dy's rows.
    ///
    /// # Errors
    /// The device refuses.
    fn linear_bias_gradient(&self, dy: Self::View<'_>, geometry: Geometry) -> Result<Self::Buf>;
}

/// y = x Wᵀ + b.
///
/// # Shapes
/// x (…, I), weight (O, I), bias (O) → (…, O).
///
/// # Errors
/// Inputs whose shapes or settings do not fit; the device refuses.
pub fn linear<D: LinearKernel>(
    graph: &mut Graph<D>,
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: Option<&Tensor<D>>,
) -> Result<Tensor<D>> {
    let inputs = x.shape().last();
    let [outputs, weight_inputs] = weight.axes("linear", "a weight (outputs, inputs)")?;
    if x.shape().rank() == 0 || inputs != weight_inputs {
        let expected = format!("a last axis of {weight_inputs}");
        return Err(Error::shape("linear", "the input", expected, x.shape()));
    }
    if let Some(bias) = bias
        && bias.shape().axes() != [outputs]
    {
        return Err(Error::shape("linear", "the bias", format!("[{outputs}]"), bias.shape()));
    }
    let geometry = Geometry { rows: x.shape().rows(), inputs, outputs };
    let device = x.device();
    let y = device.linear_forward(x.view(), weight.stored(), bias.map(Tensor::view), geometry)?;
    let wanting: Vec<_> = [x, weight].into_iter().chain(bias).collect();
    graph.record(device, y, x.shape().with_last(outputs), &wanting, || {
        let (x, weight, bias) = (x.clone(), weight.clone(), bias.cloned());
        move |dy, grads| {
            let device = x.device();
            let dy = D::view_buf(&dy);
            let bias = bias.filter(Tensor::wants_gradient);
            let bias_gradient = match (weight.wants_gradient(), &bias) {
                (true, bias) => grads.update_with(&weight, |earlier| {
                    device.linear_parameter_gradients(dy, x.view(), earlier, bias.is_some(), geometry)
                })?,
                (false, Some(_)) => Some(device.linear_bias_gradient(dy, geometry)?),
                (false, None) => None,
            };
            if let Some((bias, gradient)) = bias.zip(bias_gradient) {
                grads.add(&bias, gradient)?;
            }
            grads.update(&x, |earlier| device.linear_input_gradient(dy, weight.view(), earlier, geometry))
        }
    })
}

impl LinearKernel for Cpu {
    fn linear_forward(
        &self,
        x: &[f32],
        weight: &Stored<Self>,
        bias: Option<&[f32]>,
        g: Geometry,
    ) -> Result<Vec<f32>> {
        let x = Mat::new(x, g.rows, g.inputs);
        let weight: Side<'_> = match weight.packed_weight(g.outputs, g.inputs) {
            Some(packed) => packed.into(),
            None => Mat::new(weight.values(), g.outputs, g.inputs).transposed().into(),
        };
        Ok(build(g.rows * g.outputs, |y| {
            gemm::write(y, x, weight, bias, Threads::All.at(self.precision()));
        }))
    }

    fn linear_input_gradient(
        &self,
        dy: &[f32],
        weight: &[f32],
        earlier: Option<Vec<f32>>,
        g: Geometry,
    ) -> Result<Vec<f32>> {
        let (dy, weight) = (Mat::new(dy, g.rows, g.outputs), Mat::new(weight, g.outputs, g.inputs));
        Ok(gemm::onto(earlier, dy, weight, Threads::All.at(self.precision())))
    }

    fn linear_parameter_gradients(
        &self,
        dy: &[f32],
        x: &[f32],
        earlier: Option<Vec<f32>>,
        bias: bool,
        g: Geometry,
    ) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let (slopes, x) = (Mat::new(dy, g.rows, g.outputs), Mat::new(x, g.rows, g.inputs));
        let weight = gemm::onto(earlier, slopes.transposed(), x, Threads::All.at(self.precision()));
        Ok((weight, bias.then(|| sum_rows(dy, g.outputs))))
    }

    fn linear_bias_gradient(&self, dy: &[f32], g: Geometry) -> Result<Vec<f32>> {
        Ok(sum_rows(dy, g.outputs))
    }
}

/// The sum of rows of `columns` values. Blocks of rows are summed apart and then in order: the same bits on any
/// number of threads.
pub(crate) fn sum_rows(values: &[f32], columns: usize) -> Vec<f32> {
    let block = (2 * GRAIN / columns.max(1)).max(1) * columns;
    let partial: Vec<Vec<f32>> = values
        .par_chunks(block.max(1))
        .map(|rows| {
            let mut sums = vec![0.0; columns];
            for row in rows.chunks_exact(columns) {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sums
        })
        .collect();
    let mut total = vec![0f64; columns];
    for sums in &partial {
        total.iter_mut().zip(sums).for_each(|(t, s)| *t += f64::from(*s));
    }
    total.into_iter().map(|t| t as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Case;

    #[test]
    fn matches_plain_loops() {
        for (rows, inputs, outputs) in [(1, 1, 1), (7, 5, 3), (50, 33, 70)] {
            Case::new()
                .input([rows, inputs], -1.0..1.0)
                .input([outputs, inputs], -1.0..1.0)
                .input([outputs], -1.0..1.0)
                .gradients_match(
                    |graph, t| linear(graph, &t[0], &t[1], Some(&t[2])),
                    |t| {
                        let dot = |r: usize, o: usize| -> f64 {
                            (0..inputs).map(|i| t[0][r * inputs + i] * t[1][o * inputs + i]).sum()
                        };
                        (0..rows * outputs)
                            .map(|i| dot(i / outputs, i % outputs) + t[2][i % outputs])
                            .collect()
                    },
                    1e-5,
                );
        }
    }

    #[test]
    fn an_input_used_twice_gets_both_gradients() {
        Case::new().input([4, 3], -1.0..1.0).input([3, 3], -1.0..1.0).gradients_match(
            |graph, t| {
                let h = linear(graph, &t[0], &t[1], None)?;
                let h = linear(graph, &h, &t[1], None)?;
                crate::ops::add(graph, &h, &t[0])
            },
            |t| {
                let apply = |x: &[f64]| -> Vec<f64> {
                    let dot = |i: usize| (0..3).map(|k| x[i / 3 * 3 + k] * t[1][i % 3 * 3 + k]).sum();
                    (0..12).map(dot).collect()
                };
                apply(&apply(&t[0])).iter().zip(&t[0]).map(|(a, b)| a + b).collect()
            },
            1e-5,
        );
    }

    #[test]
    fn wrong_shapes_are_named() {
        let dev = Cpu::default();
        let t = |shape: &[usize]| Tensor::zeros(&dev, crate::Shape::new(shape).unwrap()).unwrap();
        let error = linear(&mut Graph::inference(), &t(&[2, 5]), &t(&[3, 4]), None).unwrap_err();
        assert!(error.to_string().contains("last axis of 4"), "{error}");
        let error = linear(&mut Graph::inference(), &t(&[2, 4]), &t(&[3, 4]), Some(&t(&[4]))).unwrap_err();
        assert!(error.to_string().contains("bias"), "{error}");
    }
}
