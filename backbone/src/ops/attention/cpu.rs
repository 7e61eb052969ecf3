//! Attention on the CPU: tiles of queries in parallel, products by single-threaded GEMM.

use super::{Attended, AttendedViews, AttentionGradients, AttentionKernel, Geometry, RelativeViews};
use crate::config::Size;
use crate::cpu::gemm::{self, Dst, Engine, Hand, Kept, Mat, Side, Threads, gemm, gemm_strided};
use crate::cpu::simd::{exp, fold, vectorized};
use crate::cpu::{Cpu, build};
use crate::error::Result;
use rayon::prelude::*;

/// Queries of one tile: a tile's logits against 197 keys take 50 KB, against 4096 keys 1 MB.
const TILE: usize = 64;

/// The packed values of one image, where a head's parts lie in it, and what computes their products.
#[derive(Clone, Copy)]
struct Packed<'a> {
    values: &'a [f32],
    geometry: Geometry,
    engine: Engine,
}

impl<'a> Packed<'a> {
    fn new(qkv: &'a [f32], image: usize, geometry: Geometry, engine: Engine) -> Self {
        let size = geometry.tokens * 3 * geometry.channels();
        Self { values: &qkv[image * size..(image + 1) * size], geometry, engine }
    }

    /// (count, D): part 0, 1, 2 (query, key, value) of `head`, from token `start` on.
    fn part(&self, part: usize, head: usize, start: usize, count: usize) -> Mat<'a> {
        let g = self.geometry;
        let stride = 3 * g.channels();
        let offset = start * stride + part * g.channels() + head * g.head_dim;
        Mat::strided(&self.values[offset..], count, g.head_dim, stride)
    }
}

/// The tables of relative positions as factors of queries, for all heads and tiles.
struct Tables<'a> {
    height: Kept<'a>,
    width: Kept<'a>,
    grid: Size,
}

impl<'a> Tables<'a> {
    fn new(relative: &RelativeViews<'a, Cpu>, head_dim: usize, engine: Engine) -> Self {
        let factor = |table: &'a [f32], size: usize| {
            Kept::new(Mat::new(table, 2 * size - 1, head_dim).transposed(), Hand::Right, engine)
        };
        let grid = relative.grid;
        Self { height: factor(relative.height, grid.height), width: factor(relative.width, grid.width), grid }
    }
}

/// Logits of a tile: scale · q kᵀ + relative terms, (count, N).
fn tile_logits(
    packed: Packed<'_>,
    head: usize,
    (start, count): (usize, usize),
    keys: Side<'_>,
    relative: Option<&Tables<'_>>,
    logits: &mut [f32],
) {
    let Packed { geometry: g, engine, .. } = packed;
    let q = packed.part(0, head, start, count);
    gemm_strided(logits, g.tokens, Dst::Overwrite, g.scale(), q, keys, engine);
    let Some(relative) = relative else { return };
    let Size { height: rows, width: cols } = relative.grid;
    let project = |table: &Kept<'_>, size: usize| {
        build(count * (2 * size - 1), |dst| {
            gemm::write(dst, q, table.side(), None, engine);
        })
    };
    let (by_row, by_col) = (project(&relative.height, rows), project(&relative.width, cols));
    for (i, logits) in logits.chunks_exact_mut(g.tokens).enumerate() {
        let (y, x) = ((start + i) / cols, (start + i) % cols);
        let by_row = &by_row[i * (2 * rows - 1)..];
        let by_col = &by_col[i * (2 * cols - 1)..][..2 * cols - 1];
        for (key_y, logits) in logits.chunks_exact_mut(cols).enumerate() {
            let height = by_row[y + rows - 1 - key_y];
            // key x' takes entry x - x' + cols - 1: the table backwards, from x + cols - 1 down to x
            let width = by_col[x..x + cols].iter().rev();
            logits.iter_mut().zip(width).for_each(|(l, w)| *l += height + w);
        }
    }
}

/// Turns a row of logits into probabilities and returns the logarithm of the sum of exponentials.
#[inline(always)]
fn softmax_row(row: &mut [f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut lanes = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = if *v > *lane { *v } else { *lane };
        }
    }
    let max = fold(lanes, |a, b| if b > a { b } else { a });
    let max = rest.iter().fold(max, |m, v| m.max(*v));
    let (chunks, rest) = row.as_chunks_mut::<16>();
    let mut lanes = [0f32; 16];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *v = exp(*v - max);
            *lane += *v;
        }
    }
    let mut sum = fold(lanes, |a, b| a + b);
    for v in rest {
        *v = exp(*v - max);
        sum += *v;
    }
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|v| *v *= inverse);
    max + sum.ln()
}

impl AttentionKernel for Cpu {
    fn attention_forward(
        &self,
        qkv: &[f32],
        relative: Option<RelativeViews<'_, Self>>,
        g: Geometry,
    ) -> Result<Attended<Self>> {
        let channels = g.channels();
        let tiles = g.tokens.div_ceil(TILE).max(1);
        let engine = Threads::One.at(self.precision());
        let tables = relative.as_ref().map(|relative| Tables::new(relative, g.head_dim, engine));
        // keys and values of every head, for all tiles of queries
        let factors: Vec<[Kept<'_>; 2]> = (0..g.batch * g.heads)
            .into_par_iter()
            .map(|i| {
                let part =
                    |part| Packed::new(qkv, i / g.heads, g, engine).part(part, i % g.heads, 0, g.tokens);
                [part(1).transposed(), part(2)].map(|part| Kept::new(part, Hand::Right, engine))
            })
            .collect();
        let mut log_sums = vec![0.0; g.batch * g.tokens * g.heads];
        let y = build(g.batch * g.tokens * channels, |y| {
            // a task is one tile of one image, all heads: its output rows are contiguous
            y.par_chunks((g.tokens * channels).max(1))
                .zip(log_sums.par_chunks_mut((g.tokens * g.heads).max(1)))
                .enumerate()
                .flat_map(|(image, (y, sums))| {
                    y.par_chunks(TILE * channels)
                        .zip(sums.par_chunks_mut(TILE * g.heads))
                        .enumerate()
                        .map(move |(tile, parts)| (image, tile, parts))
                })
                .for_each(|(image, tile, (y, sums))| {
                    debug_assert!(tile < tiles);
                    let packed = Packed::new(qkv, image, g, engine);
                    let y = y.zeroed();
                    let count = y.len() / channels;
                    let mut logits = vec![0.0; count * g.tokens];
                    for head in 0..g.heads {
                        let [keys, values] = factors[image * g.heads + head].each_ref().map(Kept::side);
                        let place = (tile * TILE, count);
                        tile_logits(packed, head, place, keys, tables.as_ref(), &mut logits);
                        vectorized(
                            #[inline(always)]
                            || {
                                for (i, row) in logits.chunks_exact_mut(g.tokens).enumerate() {
                                    sums[i * g.heads + head] = softmax_row(row);
                                }
                            },
                        );
                        let probabilities = Mat::new(&logits, count, g.tokens);
                        let y = &mut y[head * g.head_dim..];
                        gemm_strided(y, channels, Dst::Overwrite, 1.0, probabilities, values, engine);
                    }
                });
        });
        Ok(Attended { y, log_sums })
    }

    fn attention_backward(
        &self,
        qkv: &[f32],
        relative: Option<RelativeViews<'_, Self>>,
        attended: AttendedViews<'_, Self>,
        dy: &[f32],
        g: Geometry,
    ) -> Result<AttentionGradients<Self>> {
        let relative = relative.as_ref();
        let head_size = 3 * g.tokens * g.head_dim;
        // gradients by head, (B, heads, 3, N, D), then brought into the order of qkv
        let mut by_head = vec![0.0; g.batch * g.heads * head_size];
        let engine = Threads::One.at(self.precision());
        let tables: Vec<Option<[Vec<f32>; 2]>> = by_head
            .par_chunks_mut(head_size.max(1))
            .enumerate()
            .map(|(i, gradients)| {
                let (image, head) = (i / g.heads, i % g.heads);
                head_gradient(
                    Packed::new(qkv, image, g, engine),
                    image,
                    head,
                    relative,
                    attended.log_sums,
                    dy,
                    gradients,
                )
            })
            .collect();
        let channels = g.channels();
        let dqkv = build(qkv.len(), |dqkv| {
            dqkv.par_chunks(3 * channels).enumerate().for_each(|(row, dqkv)| {
                let (image, token) = (row / g.tokens, row % g.tokens);
                for (i, dst) in dqkv.zeroed().chunks_exact_mut(g.head_dim).enumerate() {
                    let (part, head) = (i / g.heads, i % g.heads);
                    let start = (image * g.heads + head) * head_size + (part * g.tokens + token) * g.head_dim;
                    dst.copy_from_slice(&by_head[start..start + g.head_dim]);
                }
            });
        });
        let relative = relative.map(|_| {
            let mut sums = tables.into_iter().flatten();
            let [mut height, mut width] = sums.next().unwrap_or_default();
            for [h, w] in sums {
                height.iter_mut().zip(h).for_each(|(s, v)| *s += v);
                width.iter_mut().zip(w).for_each(|(s, v)| *s += v);
            }
            (height, width)
        });
        Ok(AttentionGradients { qkv: dqkv, relative })
    }
}

/// Gradients of one head of one image, tile by tile, into (3, N, D); returns those of the relative tables.
fn head_gradient(
    packed: Packed<'_>,
    image: usize,
    head: usize,
    relative: Option<&RelativeViews<'_, Cpu>>,
    log_sums: &[f32],
    dy: &[f32],
    gradients: &mut [f32],
) -> Option<[Vec<f32>; 2]> {
    let Packed { geometry: g, engine, .. } = packed;
    let (dq, dkv) = gradients.split_at_mut(g.tokens * g.head_dim);
    let (dk, dv) = dkv.split_at_mut(g.tokens * g.head_dim);
    let (k, v) = (packed.part(1, head, 0, g.tokens), packed.part(2, head, 0, g.tokens));
    let [keys, values] = [k, v].map(|part| Kept::new(part.transposed(), Hand::Right, engine));
    let k = Kept::new(k, Hand::Right, engine);
    let factors = relative.map(|relative| Tables::new(relative, g.head_dim, engine));
    let tile = TILE.min(g.tokens);
    let (mut p, mut dp) = (vec![0.0; tile * g.tokens], vec![0.0; tile * g.tokens]);
    let mut tables = relative.map(|r| {
        let Size { height: rows, width: cols } = r.grid;
        [vec![0.0; (2 * rows - 1) * g.head_dim], vec![0.0; (2 * cols - 1) * g.head_dim]]
    });
    for start in (0..g.tokens).step_by(TILE) {
        let count = TILE.min(g.tokens - start);
        let (p, dp) = (&mut p[..count * g.tokens], &mut dp[..count * g.tokens]);
        let q = packed.part(0, head, start, count);
        let dy_start = (image * g.tokens + start) * g.channels() + head * g.head_dim;
        let dy = Mat::strided(&dy[dy_start..], count, g.head_dim, g.channels());
        tile_logits(packed, head, (start, count), keys.side(), factors.as_ref(), p);
        gemm(dp, Dst::Overwrite, dy, values.side(), engine);
        vectorized(
            #[inline(always)]
            || {
                let rows = p.chunks_exact_mut(g.tokens).zip(dp.chunks_exact_mut(g.tokens));
                for (i, (p, dp)) in rows.enumerate() {
                    let log_sum = log_sums[(image * g.tokens + start + i) * g.heads + head];
                    logits_gradient(p, dp, log_sum);
                }
            },
        );
        let (p, ds) = (Mat::new(p, count, g.tokens), Mat::new(dp, count, g.tokens));
        gemm(dv, Dst::Accumulate, p.transposed(), dy, engine);
        gemm_strided(dk, g.head_dim, Dst::Accumulate, g.scale(), ds.transposed(), q, engine);
        let dq = &mut dq[start * g.head_dim..(start + count) * g.head_dim];
        gemm_strided(dq, g.head_dim, Dst::Overwrite, g.scale(), ds, k.side(), engine);
        if let (Some(relative), Some(tables)) = (relative, &mut tables) {
            relative_gradient(relative, dp, q, (start, count), dq, tables, engine);
        }
    }
    tables
}

/// From logits and dp: p = exp(logits - log_sum) and ds = p (dp - Σ p dp), both in place.
#[inline(always)]
fn logits_gradient(p: &mut [f32], dp: &mut [f32], log_sum: f32) {
    let mut lanes = [0f32; 16];
    let ((ps, p_rest), (dps, dp_rest)) = (p.as_chunks_mut::<16>(), dp.as_chunks::<16>());
    for (p, dp) in ps.iter_mut().zip(dps) {
        for l in 0..16 {
            p[l] = exp(p[l] - log_sum);
            lanes[l] += p[l] * dp[l];
        }
    }
    let mut sum = fold(lanes, |a, b| a + b);
    for (p, dp) in p_rest.iter_mut().zip(dp_rest) {
        *p = exp(*p - log_sum);
        sum += *p * dp;
    }
    p.iter().zip(dp).for_each(|(p, dp)| *dp = p * (*dp - sum));
}

/// Adds the relative terms' part to dq and to the tables' gradients, from the gradient at a tile's logits.
fn relative_gradient(
    relative: &RelativeViews<'_, Cpu>,
    ds: &[f32],
    q: Mat<'_>,
    (start, count): (usize, usize),
    dq: &mut [f32],
    tables: &mut [Vec<f32>; 2],
    engine: Engine,
) {
    let Size { height: rows, width: cols } = relative.grid;
    let (row_span, col_span) = (2 * rows - 1, 2 * cols - 1);
    let (mut by_row, mut by_col) = (vec![0.0; count * row_span], vec![0.0; count * col_span]);
    for (i, ds) in ds.chunks_exact(rows * cols).enumerate() {
        let (y, x) = ((start + i) / cols, (start + i) % cols);
        let by_row = &mut by_row[i * row_span..(i + 1) * row_span];
        let by_col = &mut by_col[i * col_span..][x..x + cols];
        for (key_y, ds) in ds.chunks_exact(cols).enumerate() {
            by_row[y + rows - 1 - key_y] = ds.iter().sum();
            by_col.iter_mut().rev().zip(ds).for_each(|(sum, d)| *sum += d);
        }
    }
    let sides = [(relative.height, by_row, row_span), (relative.width, by_col, col_span)];
    for ((table, sums, span), gradient) in sides.into_iter().zip(tables) {
        let sums = Mat::new(&sums, count, span);
        gemm(dq, Dst::Accumulate, sums, Mat::new(table, span, q.cols), engine);
        gemm(gradient, Dst::Accumulate, sums.transposed(), q, engine);
    }
}
