//! Attention of mixed precision: by the fused kernels where they know the width of heads and the size of the grid, else by the
//! others.

use super::{ROUNDING, compare_within, gpu_in, random, run_on};
use kat_backbone::ops::{self, RelativePositions};
use kat_backbone::{Cpu, Cuda, Device, Graph, Precision, Result, Size, Tensor};

/// Images, tokens, heads, channels of a head; the greatest input.
#[derive(Clone, Copy)]
struct Case {
    sizes: [usize; 4],
    reach: f32,
    /// Queries above and keys below 0, so that every logit is far below it.
    opposed: bool,
    /// The token grid, for relative positions.
    grid: Option<(usize, usize)>,
}

impl Case {
    fn new(sizes: [usize; 4]) -> Self {
        Self { sizes, reach: 1.0, opposed: false, grid: None }
    }

    /// Numbers of bfloat16: 8 bits. Those of tables are an eighth of the others, so that the terms, which the logits' scale does
    /// not divide, are of the size of the other logits.
    fn values(self, len: usize, seed: u64) -> Vec<f32> {
        let reach = if seed > 2 { self.reach / 8.0 } else { self.reach };
        let signed = |v: f32| match (self.opposed, seed) {
            (true, 0) => v.abs(),
            (true, 1) => -v.abs(),
            _ => v,
        };
        random(len, seed).iter().map(|v| signed(v * 128.0).round() / 128.0 * reach).collect()
    }

    /// The output, and the gradients at queries, keys, values and tables.
    fn run<D: Device>(self, device: &D) -> Result<Vec<Vec<f32>>> {
        let [batch, tokens, heads, dim] = self.sizes;
        let part = [batch, tokens, heads * dim];
        let tables = self.grid.map(|(rows, columns)| [[2 * rows - 1, dim], [2 * columns - 1, dim]]);
        let shapes: Vec<&[usize]> =
            [&part[..]; 3].into_iter().chain(tables.iter().flatten().map(|table| &table[..])).collect();
        let op = |graph: &mut Graph<D>, t: &[Tensor<D>]| {
            let qkv = ops::concat(graph, &[&t[0], &t[1], &t[2]], 2)?;
            let relative = self.grid.map(|(rows, columns)| RelativePositions {
                height: t[3].clone(),
                width: t[4].clone(),
                grid: Size::new(rows, columns),
            });
            ops::attention(graph, &qkv, heads, relative.as_ref())
        };
        run_on(device, |len, seed| self.values(len, seed), &shapes, op)
    }

    /// What differs are roundings on the way, each by at most half of [`ROUNDING`]: of p, dy, ds and y (in Σ dy y), which
    /// the sums that follow average, and of the result.
    fn check(self, gpu: &Cuda) {
        let [batch, tokens, heads, dim] = self.sizes;
        let name = format!("{batch}x{tokens}, {heads}x{dim}, {}", self.reach);
        compare_within(4.0 * ROUNDING, &name, [self.run(gpu), self.run(gpu)], self.run(&Cpu::default()));
    }
}

#[test]
fn attention_in_mixed_precision() {
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    for tokens in [1, 17, 64, 65, 129, 197, 200, 225] {
        Case::new([2, tokens, 3, 64]).check(&gpu);
    }
    // 8 and 48 have no fused kernel
    for dim in [16, 32, 96, 128, 8, 48] {
        Case::new([1, 77, 2, dim]).check(&gpu);
        Case::new([3, 33, 1, dim]).check(&gpu);
    }
    // probabilities far from even, the greatest in any of the tiles
    for dim in [32, 64, 128] {
        Case { reach: 4.0, ..Case::new([1, 150, 6, dim]) }.check(&gpu);
    }
    // log sums of about -130, for which a key that is not there would have an infinite probability
    Case { reach: 8.0, opposed: true, ..Case::new([2, 50, 2, 64]) }.check(&gpu);
}

#[test]
fn attention_with_relative_positions_in_mixed_precision() {
    let Some(gpu) = gpu_in(Precision::Bf16) else { return };
    // a grid that no kernel has marks for, and one of each width, the last tile whole and not
    for (grid, dim) in [
        ((3, 4), 48),
        ((3, 4), 16),
        ((3, 4), 32),
        ((14, 14), 64),
        ((4, 16), 64),
        ((2, 40), 64),
        ((70, 3), 64),
        ((5, 130), 64),
        ((2, 143), 64),
    ] {
        Case { grid: Some(grid), ..Case::new([2, grid.0 * grid.1, 2, dim]) }.check(&gpu);
    }
    // far from even
    Case { grid: Some((9, 11)), reach: 2.0, ..Case::new([1, 99, 3, 64]) }.check(&gpu);
}
