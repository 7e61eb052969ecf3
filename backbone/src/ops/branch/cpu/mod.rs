//! Branches on a CPU with tile products of bfloat16 numbers.

mod attention;
mod blocks;
mod mixer;
mod normed;
mod rows;
mod sums;
mod weights;

use super::{AttentionBranch, BranchKernel, Layer, MixerBranch, Stream};
use crate::cpu::gemm::{PANEL, Packed};
use crate::cpu::scatter::{Gather, Scatter};
use crate::cpu::{Cpu, build};
use crate::error::{Error, Result};
use crate::tensor::{Grads, Graph, Precision, Tensor};
use std::mem::MaybeUninit;
use std::ops::Range;

impl BranchKernel for Cpu {
    fn has_branches(&self) -> bool {
        self.precision() == Precision::Bf16
    }

    fn mixer_branch(
        &self,
        graph: &mut Graph<Self>,
        x: Tensor<Self>,
        branch: &MixerBranch<'_, Self>,
    ) -> Result<Stream<Self>> {
        mixer::branch(graph, x, branch)
    }

    fn attention_branch(
        &self,
        graph: &mut Graph<Self>,
        x: Tensor<Self>,
        branch: &AttentionBranch<'_, Self>,
    ) -> Result<Stream<Self>> {
        attention::branch(graph, x, branch)
    }
}

/// Panels of rows in a task: more and what a task makes of them no longer fits the second cache, fewer and the weights, which
/// every task reads, take longer to arrive than to multiply.
const TASK: usize = 8;

/// Gives `pass` the stream and the place of its sum (the same, where nothing will read the stream again), and whether to keep
/// what the backward pass reads.
fn sum_of<K>(
    graph: &mut Graph<Cpu>,
    mut x: Tensor,
    inputs: &[&Tensor],
    pass: impl FnOnce(Gather<'_, f32>, &Scatter<'_, MaybeUninit<f32>>, bool) -> K,
    backward: impl FnOnce(Tensor, K) -> Backward,
) -> Result<Tensor> {
    let records = graph.records(&[&x]) || graph.records(inputs);
    if !records && x.stored().is_alone() {
        // SAFETY: passes write numbers.
        let y = unsafe { Scatter::over(x.view_mut()) };
        // SAFETY: a pass reads a row's values before it writes them.
        pass(unsafe { Gather::of(&y) }, &y, false);
        return Ok(x.detach());
    }
    let mut kept = None;
    let y = build(x.numel(), |y| {
        // SAFETY: every row is in one panel, of which every step is written.
        unsafe { y.write_scattered(|y| kept = Some(pass(x.view().into(), y, records))) };
    });
    let kept = kept.expect("the pass has run");
    let all: Vec<&Tensor> = [&x].into_iter().chain(inputs.iter().copied()).collect();
    graph.record(x.device(), y, x.shape(), &all, || backward(x.clone(), kept))
}

/// A branch's backward pass.
type Backward = Box<dyn FnOnce(Vec<f32>, &mut Grads<'_, Cpu>) -> Result<()>>;

/// So many panels, cut into tasks of up to `most` so that every thread has as many.
fn tasks(panels: usize, most: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads();
    let count = panels.div_ceil(most).next_multiple_of(threads).min(panels);
    (0..count).map(|i| i * panels / count..(i + 1) * panels / count).collect()
}

/// The weight as a factor of x Wᵀ.
fn packed<'a>(layer: &Layer<'a, Cpu>) -> Result<&'a Packed> {
    let [outputs, inputs] = layer.weight.axes("linear", "a weight (outputs, inputs)")?;
    layer.weight.stored().packed_weight(outputs, inputs).ok_or_else(|| {
        Error::config(
            "linear",
            format!("a weight {} that another layer has in another shape", layer.weight.shape()),
        )
    })
}

/// Whether a layer is of these sizes.
fn fits(layer: &Layer<'_, Cpu>, outputs: usize, inputs: usize) -> bool {
    layer.weight.shape().axes() == [outputs, inputs]
        && layer.bias.is_none_or(|bias| bias.shape().axes() == [outputs])
}

/// Tiles of which every row panel has `steps` steps.
fn steps_of(panel: usize, steps: usize) -> Range<usize> {
    2 * panel * steps..2 * (panel + 1) * steps
}

/// Whether so many channels are whole steps.
fn whole(channels: usize) -> bool {
    channels > 0 && channels.is_multiple_of(PANEL)
}
