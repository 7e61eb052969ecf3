//! x + f · proj(attention(norm(x))), over images or windows of their grids.
//!
//! Queries, keys and values of a group's tokens (an image's, or a window's) begin a panel; they, what attention made of them and
//! the gradients at both stay in bfloat16, as the left-hand factors that the next product takes.

mod backward;
mod forward;
mod heads;
mod relative;

use super::normed::{Normed, Statistics};
use super::rows::{Factors, Rows, SampleFactors};
use super::{AttentionBranch, Stream, fits, packed, sum_of, whole};
use crate::config::Size;
use crate::cpu::Cpu;
use crate::cpu::gemm::Tiles;
use crate::cpu::scatter::{Gather, Scatter};
use crate::error::Result;
use crate::ops::RelativePositions;
use crate::ops::window_partition;
use crate::tensor::{Graph, Tensor};

/// Parameters as tensors, for the backward pass.
#[derive(Clone)]
struct Parameters {
    norm: [Tensor; 2],
    qkv: (Tensor, Option<Tensor>),
    proj: (Tensor, Option<Tensor>),
    relative: Option<RelativePositions<Cpu>>,
}

impl Parameters {
    fn all(&self) -> impl Iterator<Item = &Tensor> {
        let layers = [&self.qkv, &self.proj];
        let layers = layers.into_iter().flat_map(|(weight, bias)| [weight].into_iter().chain(bias));
        self.norm.iter().chain(layers).chain(self.relative.iter().flat_map(|r| [&r.height, &r.width]))
    }

    fn pass<'a>(
        &'a self,
        x: Gather<'a, f32>,
        (heads, eps): (usize, f32),
        rows: Rows,
        factors: Factors<'a>,
    ) -> Pass<'a> {
        let [weight, bias] = self.norm.each_ref().map(Tensor::view);
        let normed = Normed { x, weight, bias, eps };
        Pass { normed, rows, heads, relative: self.relative.as_ref(), factors }
    }
}

/// What the backward pass reads again, panel by panel.
struct Kept {
    /// Queries, keys and values of all heads.
    qkv: Tiles,
    /// What attention made of them.
    attended: Tiles,
    /// Of each group and head, of each row: the logarithm of the sum of exponentials.
    log_sums: Vec<f32>,
    /// Of every row.
    statistics: Vec<Statistics>,
}

/// What both passes read.
struct Pass<'a> {
    normed: Normed<'a>,
    rows: Rows,
    heads: usize,
    relative: Option<&'a RelativePositions<Cpu>>,
    factors: Factors<'a>,
}

impl Pass<'_> {
    fn channels(&self) -> usize {
        self.normed.channels()
    }

    fn head_dim(&self) -> usize {
        self.channels() / self.heads
    }

    /// 1/√D.
    fn scale(&self) -> f32 {
        1.0 / (self.head_dim() as f32).sqrt()
    }
}

/// The branch, if heads are whole steps.
pub fn branch(graph: &mut Graph<Cpu>, x: Tensor, branch: &AttentionBranch<'_, Cpu>) -> Result<Stream<Cpu>> {
    let &[samples, tokens, channels] = x.shape().axes() else { return Ok(Stream::Same(x)) };
    let heads = branch.heads;
    let fit = fits(&branch.qkv, 3 * channels, channels) && fits(&branch.proj, channels, channels);
    if heads == 0 || !channels.is_multiple_of(heads) || !whole(channels / heads) || !fit || x.numel() == 0 {
        return Ok(Stream::Same(x));
    }
    let rows = match branch.window {
        None => Rows::new(samples, tokens),
        Some((grid, window)) if grid.area() == tokens && window > 0 => {
            let Size { height: rows, width: cols } = grid;
            Rows::windows(window_partition::Geometry { batch: samples, rows, cols, channels, window })
        }
        Some(_) => return Ok(Stream::Same(x)),
    };
    if let Some(relative) = branch.relative {
        relative.check(crate::ops::attention::Geometry {
            batch: rows.groups,
            tokens: rows.tokens,
            heads,
            head_dim: channels / heads,
        })?;
    }
    crate::ops::layer_norm::check(&x, branch.norm.weight, branch.norm.bias)?;
    let factors = SampleFactors::of(graph, &x, branch.drop_path);
    let parameters = Parameters {
        norm: [branch.norm.weight.clone(), branch.norm.bias.clone()],
        qkv: (branch.qkv.weight.clone(), branch.qkv.bias.cloned()),
        proj: (branch.proj.weight.clone(), branch.proj.bias.cloned()),
        relative: branch.relative.cloned(),
    };
    let inputs: Vec<&Tensor> = parameters.all().collect();
    let eps = branch.norm.eps;
    let weights = [packed(&branch.qkv)?, packed(&branch.proj)?];
    let biases = [&branch.qkv, &branch.proj].map(|layer| layer.bias.map(Tensor::view));
    let forward = |x: Gather<'_, f32>, y: &Scatter<'_, _>, keep| {
        let pass = parameters.pass(x, (heads, eps), rows.clone(), factors.view());
        pass.forward(weights, biases, keep, y)
    };
    let y = sum_of(graph, x, &inputs, forward, |x, kept| {
        let (parameters, factors, rows) = (parameters.clone(), factors.clone(), rows.clone());
        Box::new(move |dy, grads| {
            let pass = parameters.pass(x.view().into(), (heads, eps), rows, factors.view());
            let slopes = pass.backward([&parameters.qkv.0, &parameters.proj.0], kept, dy);
            for (layer, product) in [(&parameters.proj, &slopes.proj), (&parameters.qkv, &slopes.qkv)] {
                grads.update(&layer.0, |earlier| Ok(product.onto(earlier)))?;
            }
            let biases = [(&parameters.qkv.1, slopes.qkv_bias), (&parameters.proj.1, slopes.proj_bias)];
            for (bias, slope) in biases {
                if let Some(bias) = bias {
                    grads.add(bias, slope)?;
                }
            }
            if let Some((relative, [height, width])) = parameters.relative.as_ref().zip(slopes.relative) {
                grads.add(&relative.height, height)?;
                grads.add(&relative.width, width)?;
            }
            for (tensor, slope) in parameters.norm.iter().zip(slopes.norm) {
                grads.add(tensor, slope)?;
            }
            grads.add(&x, slopes.x)
        })
    })?;
    Ok(Stream::Done(y))
}
