//! The pass backward: gradients at what attention made; at queries, keys and values, head by head; at the stream.

use super::super::blocks::{read_slopes, turn};
use super::super::weights::{WeightGradient, backward_factor};
use super::super::{steps_of, sums, tasks};
use super::forward::add_terms;
use super::heads::{Head, Part, one};
use super::relative::{Tables, Terms};
use super::{Kept, Pass};
use crate::cpu::gemm::{Block, PANEL, Panels, Tile, Tiles, right_of_rows, sweep, with_tiles};
use crate::cpu::scatter::Scatter;
use crate::cpu::simd::{exp, fold, lanes, vectorized};
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::hint::black_box;

/// Panels of rows in a task.
const TASK: usize = 8;
/// Blocks of a head's logits that a step over its queries keeps, twice, in bfloat16.
const BLOCKS: usize = 128;

/// Gradients, those of weights as the products that they are.
pub struct Slopes {
    pub x: Vec<f32>,
    pub norm: [Vec<f32>; 2],
    pub qkv: WeightGradient,
    pub qkv_bias: Vec<f32>,
    pub proj: WeightGradient,
    pub proj_bias: Vec<f32>,
    pub relative: Option<[Vec<f32>; 2]>,
}

impl Pass<'_> {
    pub fn backward(&self, [qkv, proj]: [&Tensor; 2], kept: Kept, dy: Vec<f32>) -> Slopes {
        let (channels, steps) = (self.channels(), self.channels() / PANEL);
        let (rows, panels) = (&self.rows, self.rows.panels());
        let qkv = backward_factor(qkv, [3 * channels, channels]);
        let proj = backward_factor(proj, [channels, channels]);
        // factors of the weights' gradients: a step for each panel of rows
        let space = |steps: usize| Tiles::new(2 * steps * panels);
        let (mut dy_turned, mut made) = (space(steps), space(steps));
        let mut at_attended = space(steps);
        let mut proj_bias = vec![0.0; channels * panels];
        let mut dx = dy;
        {
            let (turned, made) = (Scatter::new(&mut dy_turned), Scatter::new(&mut made));
            let (at_attended, biases) = (Scatter::new(&mut at_attended), Scatter::new(&mut proj_bias));
            let dy = Scatter::new(&mut dx);
            tasks(panels, TASK).into_par_iter().for_each(|task| {
                let len = task.len();
                let mut block = Block::ZERO;
                with_tiles(2 * len * steps, |slopes| {
                    for (i, panel) in task.clone().enumerate() {
                        let attended = &kept.attended[steps_of(panel, steps)];
                        // SAFETY: a panel's sums, its rows and the steps that they are, are its task's alone.
                        let bias = unsafe { biases.part(panel * channels..(panel + 1) * channels) };
                        for c in 0..steps {
                            // SAFETY: as above.
                            unsafe {
                                read_slopes(&dy, channels, &rows.of(panel), c, self.factors, &mut block)
                            };
                            sums::add_rows(&block, &mut bias[c * PANEL..][..PANEL]);
                            block.write_left(&mut slopes[steps_of(i, steps)][2 * c..2 * c + 2]);
                            let place = 2 * (c * panels + panel);
                            // SAFETY: as above.
                            let (turned, made) =
                                unsafe { (turned.part(place..place + 2), made.part(place..place + 2)) };
                            turn(&block, turned);
                            right_of_rows(&attended[2 * c..2 * c + 2], made);
                        }
                    }
                    sweep(
                        rows.panels_from(task.start, slopes, steps),
                        0..len,
                        proj.panels(),
                        0..steps,
                        |i, c, sums| {
                            let place = steps_of(task.start + i, steps).start + 2 * c;
                            // SAFETY: as above.
                            sums.write_left(unsafe { at_attended.part(place..place + 2) });
                        },
                    );
                });
            });
        }
        let mut at_qkv = space(3 * steps);
        let mut qkv_turned = space(3 * steps);
        let mut qkv_bias = vec![0.0; 3 * channels * rows.groups];
        let relative = self.heads_backward(
            &kept,
            &at_attended,
            Gradients {
                left: Scatter::new(&mut at_qkv),
                turned: Scatter::new(&mut qkv_turned),
                bias: Scatter::new(&mut qkv_bias),
            },
        );
        let mut input = space(steps);
        let mut norm = vec![0.0; 2 * channels * panels];
        {
            let (dx, input, norm) =
                (Scatter::new(&mut dx), Scatter::new(&mut input), Scatter::new(&mut norm));
            tasks(panels, TASK).into_par_iter().for_each(|task| {
                let len = task.len();
                let mut grads = vec![Block::ZERO; len * steps];
                let tiles =
                    &at_qkv[steps_of(task.start, 3 * steps).start..steps_of(task.end, 3 * steps).start];
                sweep(
                    rows.panels_from(task.start, tiles, 3 * steps),
                    0..len,
                    qkv.panels(),
                    0..steps,
                    |i, c, sums| {
                        grads[i * steps + c] = *sums;
                    },
                );
                let mut block = Block::ZERO;
                for (panel, grads) in task.zip(grads.chunks_exact(steps)) {
                    let rows = rows.of(panel);
                    let statistics =
                        kept.statistics[panel * PANEL..][..PANEL].try_into().expect("a panel's rows");
                    for c in 0..steps {
                        self.normed.block(&rows, statistics, c, &mut block);
                        let place = 2 * (c * panels + panel);
                        // SAFETY: as above.
                        block.write_right(unsafe { input.part(place..place + 2) });
                    }
                    // SAFETY: as above.
                    unsafe {
                        let sums = norm.part(panel * 2 * channels..(panel + 1) * 2 * channels);
                        let (dweight, dbias) = sums.split_at_mut(channels);
                        self.normed.gradient(&rows, statistics, grads, &dx, [dweight, dbias]);
                    }
                }
            });
        }
        let mut norm = sums::total(&norm, 2 * channels);
        let norm_bias = norm.split_off(channels);
        Slopes {
            x: dx,
            norm: [norm, norm_bias],
            qkv: WeightGradient::new((qkv_turned, 3 * channels), (input, channels), panels),
            qkv_bias: sums::total(&qkv_bias, 3 * channels),
            proj: WeightGradient::new((dy_turned, channels), (made, channels), panels),
            proj_bias: sums::total(&proj_bias, channels),
            relative,
        }
    }

    /// Gradients at queries, keys and values of every head, and at the tables.
    fn heads_backward(
        &self,
        kept: &Kept,
        at_attended: &[Tile],
        gradients: Gradients<'_>,
    ) -> Option<[Vec<f32>; 2]> {
        let tables = self.relative.map(|relative| Tables::new(relative, self.head_dim()));
        let found: Vec<[Vec<f32>; 2]> = (0..self.rows.groups * self.heads)
            .into_par_iter()
            .map(|i| {
                let head = Head::new(self, i / self.heads, i % self.heads);
                self.head_backward(head, i, kept, at_attended, &gradients, tables.as_ref())
            })
            .collect();
        tables.as_ref()?;
        let mut found = found.into_iter();
        let mut total = found.next()?;
        for part in found {
            for (total, part) in total.iter_mut().zip(part) {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
        }
        Some(total)
    }

    fn head_backward(
        &self,
        head: Head,
        index: usize,
        kept: &Kept,
        at_attended: &[Tile],
        gradients: &Gradients<'_>,
        tables: Option<&Tables<'_>>,
    ) -> [Vec<f32>; 2] {
        let (panels, steps, len) = (head.panels, head.steps, head.len());
        let chunk = (BLOCKS / panels).clamp(1, panels);
        let mut of_tables = [Vec::new(), Vec::new()];
        let mut logits = vec![Block::ZERO; panels];
        let mut slopes = vec![Block::ZERO; panels];
        // at keys, then at values
        let mut sums = vec![Block::ZERO; 2 * panels * steps];
        let mut terms = Terms::default();
        let log_sums = &kept.log_sums[index * panels * PANEL..][..panels * PANEL];
        let mut values = vec![0.0; PANEL * steps * PANEL];
        let mut dq = vec![Block::ZERO; steps];
        let square = 2 * panels * chunk;
        with_tiles(3 * len + 3 * square + 2 * 2 * chunk * steps, |tiles| {
            let (keys, tiles) = tiles.split_at_mut(len);
            let (keys_inner, tiles) = tiles.split_at_mut(len);
            let (values_by_token, tiles) = tiles.split_at_mut(len);
            let (turned_weights, tiles) = tiles.split_at_mut(square);
            let (turned_slopes, tiles) = tiles.split_at_mut(square);
            let (left_slopes, inner) = tiles.split_at_mut(square);
            head.columns_of(&kept.qkv, |panel, step| head.place(Part::Key, panel, step), keys);
            head.columns_of(&kept.qkv, |panel, step| head.place(Part::Value, panel, step), values_by_token);
            head.inner_of(&kept.qkv, |panel, step| head.place(Part::Key, panel, step), keys_inner);
            for start in (0..panels).step_by(chunk) {
                let chunk = chunk.min(panels - start);
                for (i, panel) in (start..start + chunk).enumerate() {
                    let count = head.count(panel);
                    let place = head.place(Part::Query, panel, 0);
                    let queries = one(&kept.qkv[place..place + 2 * steps], count, steps);
                    sweep(queries, 0..1, head.by_token(keys), 0..panels, |_, column, sums| {
                        self.scaled(sums, &mut logits[column], head.count(column), None);
                    });
                    if let Some(tables) = tables {
                        tables.terms(head, &kept.qkv, panel, &mut terms);
                        add_terms(tables, &terms, (panel, count), &mut logits);
                    }
                    let place = head.attended_place(panel, 0);
                    let at_made = one(&at_attended[place..place + 2 * steps], count, steps);
                    let log_sums = &log_sums[panel * PANEL..][..PANEL];
                    let mut dots = [[0.0; PANEL]; PANEL];
                    sweep(at_made, 0..1, head.by_token(values_by_token), 0..panels, |_, c, dp| {
                        probabilities(&mut logits[c], dp, log_sums, count, &mut dots);
                        slopes[c] = *dp;
                        let place = 2 * (c * chunk + i);
                        turn(&logits[c], &mut turned_weights[place..place + 2]);
                    });
                    let dots = row_sums(&dots);
                    for (c, (p, ds)) in logits.iter().zip(&mut slopes).enumerate() {
                        softmax_gradient(p, ds, &dots);
                        let place = 2 * (c * chunk + i);
                        turn(ds, &mut turned_slopes[place..place + 2]);
                        let place = 2 * (i * panels + c);
                        ds.write_left(&mut left_slopes[place..place + 2]);
                    }
                    let left = one(&left_slopes[2 * i * panels..][..2 * panels], count, panels);
                    sweep(left, 0..1, head.by_channel(keys_inner, panels), 0..steps, |_, step, sums| {
                        self.scaled(sums, &mut dq[step], PANEL, None);
                    });
                    if let Some(tables) = tables {
                        let dim = steps * PANEL;
                        let mut rows = vec![0.0; PANEL * dim];
                        read_rows(&kept.qkv[head.place(Part::Query, panel, 0)..][..2 * steps], &mut values);
                        blocks_to_rows(&dq, &mut rows);
                        tables.gradient((panel, count), &slopes, &values, &mut rows, &mut of_tables);
                        for (step, block) in dq.iter_mut().enumerate() {
                            for (block, row) in block.0.iter_mut().zip(rows.chunks_exact(dim)) {
                                block.copy_from_slice(&row[step * PANEL..][..PANEL]);
                            }
                        }
                    }
                    for (step, block) in dq.iter().enumerate() {
                        gradients.write(self, head, (Part::Query, panel, step), block);
                    }
                }
                // the queries of this chunk and the gradients at what they attended to, as inner lengths
                let (queries, at_made) = inner.split_at_mut(2 * steps * chunk);
                for step in 0..steps {
                    for (i, panel) in (start..start + chunk).enumerate() {
                        let to = 2 * (step * chunk + i);
                        let from = head.place(Part::Query, panel, step);
                        right_of_rows(&kept.qkv[from..from + 2], &mut queries[to..to + 2]);
                        let from = head.attended_place(panel, step);
                        right_of_rows(&at_attended[from..from + 2], &mut at_made[to..to + 2]);
                    }
                }
                let (at_keys, at_values) = sums.split_at_mut(panels * steps);
                for (turned, right, totals, factor) in [
                    (&*turned_slopes, &*queries, at_keys, self.scale()),
                    (&*turned_weights, &*at_made, at_values, 1.0),
                ] {
                    let left = Panels {
                        tiles: &turned[..2 * panels * chunk],
                        count: head.tokens,
                        steps: chunk,
                        period: panels,
                        first: 0,
                    };
                    let right = head.by_channel(&right[..2 * steps * chunk], chunk);
                    sweep(left, 0..panels, right, 0..steps, |panel, step, sums| {
                        totals[panel * steps + step].add_scaled(sums, factor);
                    });
                }
            }
        });
        let (at_keys, at_values) = sums.split_at(panels * steps);
        for (part, totals) in [(Part::Key, at_keys), (Part::Value, at_values)] {
            for (i, block) in totals.iter().enumerate() {
                gradients.write(self, head, (part, i / steps, i % steps), block);
            }
        }
        of_tables
    }
}

/// Where the gradients at queries, keys and values go: as left-hand factors, turned, and summed by group.
struct Gradients<'a> {
    left: Scatter<'a, Tile>,
    turned: Scatter<'a, Tile>,
    bias: Scatter<'a, f32>,
}

impl Gradients<'_> {
    fn write(&self, pass: &Pass<'_>, head: Head, (part, panel, step): (Part, usize, usize), block: &Block) {
        let all = pass.rows.panels();
        let place = head.place(part, panel, step);
        let channel = part as usize * head.all + head.head * head.steps + step;
        let turned = 2 * (channel * all + head.first + panel);
        let bias = (head.first / head.panels * 3 * head.all + channel) * PANEL;
        // SAFETY: a head's tiles and sums are its task's alone.
        unsafe {
            block.write_left(self.left.part(place..place + 2));
            turn(block, self.turned.part(turned..turned + 2));
            sums::add_rows(block, self.bias.part(bias..bias + PANEL));
        }
    }
}

/// Logits become probabilities p, 0 in rows that are none; adds Σ p dp of each row to `dots`.
fn probabilities(
    logits: &mut Block,
    dp: &Block,
    log_sums: &[f32],
    count: usize,
    dots: &mut [[f32; PANEL]; PANEL],
) {
    vectorized(
        #[inline(always)]
        || {
            for r in 0..count {
                let (row, dp, before) = (logits.row(r), dp.row(r), *black_box(&dots[r]));
                let p: [f32; PANEL] = lanes(|l| exp(row[l] - log_sums[r]));
                logits.set_row(r, p);
                dots[r] = lanes(|l| p[l].mul_add(dp[l], before[l]));
            }
        },
    );
    logits.0[count..].fill([0.0; PANEL]);
}

/// The sum of each row.
fn row_sums(rows: &[[f32; PANEL]; PANEL]) -> [f32; PANEL] {
    let mut sums = [0.0; PANEL];
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                sums[r] = fold(*black_box(&rows[r]), |a, b| a + b);
            }
        },
    );
    sums
}

/// dp becomes p (dp - Σ p dp).
fn softmax_gradient(p: &Block, dp: &mut Block, dots: &[f32; PANEL]) {
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                let (p, before) = (p.row(r), dp.row(r));
                dp.set_row(r, lanes(|l| p[l] * (before[l] - dots[r])));
            }
        },
    );
}

/// Steps of tiles as rows.
fn read_rows(tiles: &[Tile], rows: &mut [f32]) {
    let dim = tiles.len() / 2 * PANEL;
    let mut block = Block::ZERO;
    for (step, tiles) in tiles.chunks_exact(2).enumerate() {
        block.read_left(tiles);
        for (row, values) in rows.chunks_exact_mut(dim).zip(&block.0) {
            row[step * PANEL..][..PANEL].copy_from_slice(values);
        }
    }
}

/// Steps of blocks as rows.
fn blocks_to_rows(blocks: &[Block], rows: &mut [f32]) {
    let dim = blocks.len() * PANEL;
    for (step, block) in blocks.iter().enumerate() {
        for (row, values) in rows.chunks_exact_mut(dim).zip(&block.0) {
            row[step * PANEL..][..PANEL].copy_from_slice(values);
        }
    }
}
