//! The pass forward: queries, keys and values of panels; attention of some panels of a head's queries; the projection.

use super::super::blocks::{add_bias, next_of, write_sum};
use super::super::{TASK, steps_of, tasks};
use super::heads::{Head, Part, one};
use super::relative::{Tables, Terms};
use super::{Kept, Pass};
use crate::cpu::gemm::{Block, PANEL, Packed, Tile, Tiles, sweep, with_tiles};
use crate::cpu::scatter::Scatter;
use crate::cpu::simd::{exp, fold, lanes, vectorized};
use rayon::prelude::*;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// Tasks of attention for each thread, if there are as many panels of queries.
const TASKS_A_THREAD: usize = 4;

impl Pass<'_> {
    pub fn forward(
        &self,
        [qkv, proj]: [&Packed; 2],
        [qkv_bias, proj_bias]: [Option<&[f32]>; 2],
        keep: bool,
        y: &Scatter<'_, MaybeUninit<f32>>,
    ) -> Kept {
        let (channels, steps) = (self.channels(), self.channels() / PANEL);
        let (rows, panels) = (&self.rows, self.rows.panels());
        let mut kept = Kept {
            qkv: Tiles::new(2 * panels * 3 * steps),
            attended: Tiles::new(2 * panels * steps),
            log_sums: vec![0.0; if keep { panels * PANEL * self.heads } else { 0 }],
            statistics: vec![[0.0; 2]; if keep { panels * PANEL } else { 0 }],
        };
        self.project(qkv, qkv_bias, keep, &mut kept);
        self.attend(keep, &mut kept);
        let attended = &kept.attended;
        tasks(panels, TASK).into_par_iter().for_each(|task| {
            let left = &attended[steps_of(task.start, steps).start..steps_of(task.end, steps).start];
            let left = rows.panels_from(task.start, left, steps);
            sweep(left, 0..task.len(), proj.panels(), 0..steps, |i, column, sums| {
                add_bias(sums, proj_bias, column);
                let (now, next) = (rows.of(task.start + i), next_of(rows, &task, i, column));
                let (place, next) = ((channels, column), (&next.0, next.1));
                // SAFETY: the panel's rows are this task's.
                unsafe { write_sum(y, self.normed.x, place, &now, self.factors, sums, next) };
            });
        });
        kept
    }

    /// Queries, keys and values.
    fn project(&self, weight: &Packed, bias: Option<&[f32]>, keep: bool, kept: &mut Kept) {
        let steps = self.channels() / PANEL;
        let (qkv, statistics) = (Scatter::new(&mut kept.qkv), Scatter::new(&mut kept.statistics));
        tasks(self.rows.panels(), TASK).into_par_iter().for_each(|task| {
            let len = task.len();
            with_tiles(2 * len * steps, |input| {
                for (panel, tiles) in task.clone().zip(input.chunks_exact_mut(2 * steps)) {
                    let found = self.normed.panel(&self.rows.of(panel), None, tiles);
                    if keep {
                        // SAFETY: the panel is this task's.
                        unsafe { statistics.part(panel * PANEL..(panel + 1) * PANEL) }
                            .copy_from_slice(&found);
                    }
                }
                let left = self.rows.panels_from(task.start, input, steps);
                sweep(left, 0..len, weight.panels(), 0..3 * steps, |i, column, sums| {
                    add_bias(sums, bias, column);
                    let place = steps_of(task.start + i, 3 * steps).start + 2 * column;
                    // SAFETY: the panel is this task's.
                    sums.write_left(unsafe { qkv.part(place..place + 2) });
                });
            });
        });
    }

    /// What attention makes of them.
    fn attend(&self, keep: bool, kept: &mut Kept) {
        let (heads, panels) = (self.rows.groups * self.heads, self.rows.period());
        let qkv = &kept.qkv[..];
        let head = |i: usize| Head::new(self, i / self.heads, i % self.heads);
        let len = head(0).len();
        let mut factors = Tiles::new(2 * len * heads);
        factors.par_chunks_exact_mut(2 * len).enumerate().for_each(|(i, factors)| {
            let head = head(i);
            let (keys, values) = factors.split_at_mut(len);
            head.columns_of(qkv, |panel, step| head.place(Part::Key, panel, step), keys);
            head.inner_of(qkv, |panel, step| head.place(Part::Value, panel, step), values);
        });
        let tables = self.relative.map(|relative| Tables::new(relative, self.head_dim()));
        let attended = Scatter::new(&mut kept.attended);
        let log_sums = Scatter::new(&mut kept.log_sums);
        let wanted = (TASKS_A_THREAD * rayon::current_num_threads()).div_ceil(heads).clamp(1, panels);
        (0..heads * wanted).into_par_iter().for_each(|task| {
            let (i, part) = (task / wanted, task % wanted);
            let (keys, values) = factors[i * 2 * len..][..2 * len].split_at(len);
            let head = head(i);
            let mut logits = vec![Block::ZERO; panels];
            let mut terms = Terms::default();
            with_tiles(2 * panels, |weights| {
                for panel in part * panels / wanted..(part + 1) * panels / wanted {
                    let place = head.place(Part::Query, panel, 0);
                    let count = head.count(panel);
                    let queries = one(&qkv[place..place + 2 * head.steps], count, head.steps);
                    let mut largest = [[f32::NEG_INFINITY; 16]; PANEL];
                    sweep(queries, 0..1, head.by_token(keys), 0..panels, |_, column, sums| {
                        // with relative terms the largest are known later
                        let largest = tables.is_none().then_some(&mut largest);
                        self.scaled(sums, &mut logits[column], head.count(column), largest);
                    });
                    if let Some(tables) = &tables {
                        tables.terms(head, qkv, panel, &mut terms);
                        add_terms(tables, &terms, (panel, count), &mut logits);
                        logits.iter().for_each(|block| enlarge(&mut largest, block));
                    }
                    let mut sums = [0.0; PANEL];
                    let logarithms = softmax(&mut logits, &largest, weights, &mut sums);
                    if keep {
                        let start = (i * panels + panel) * PANEL;
                        // SAFETY: the head's panel is this task's.
                        unsafe { log_sums.part(start..start + PANEL) }.copy_from_slice(&logarithms);
                    }
                    let left = one(weights, count, panels);
                    sweep(left, 0..1, head.by_channel(values, panels), 0..head.steps, |_, step, block| {
                        vectorized(
                            #[inline(always)]
                            || {
                                for r in 0..PANEL {
                                    let row = block.row(r);
                                    block.set_row(r, lanes(|l| row[l] * sums[r]));
                                }
                            },
                        );
                        let place = head.attended_place(panel, step);
                        // SAFETY: the head's panel is this task's.
                        block.write_left(unsafe { attended.part(place..place + 2) });
                    });
                }
            });
        });
    }

    /// Logits from products, -∞ where there is no key.
    pub(super) fn scaled(
        &self,
        sums: &Block,
        logits: &mut Block,
        keys: usize,
        largest: Option<&mut Largest>,
    ) {
        let scale = self.scale();
        vectorized(
            #[inline(always)]
            || {
                for r in 0..PANEL {
                    let sums = sums.row(r);
                    logits.set_row(r, lanes(|l| scale * sums[l]));
                }
            },
        );
        if keys < PANEL {
            logits.0.iter_mut().for_each(|row| row[keys..].fill(f32::NEG_INFINITY));
        }
        if let Some(largest) = largest {
            enlarge(largest, logits);
        }
    }
}

/// Adds the relative terms of a panel's queries.
pub(super) fn add_terms(
    tables: &Tables<'_>,
    terms: &Terms,
    (panel, count): (usize, usize),
    logits: &mut [Block],
) {
    let mut row = Vec::new();
    vectorized(
        #[inline(always)]
        || {
            for r in 0..count {
                tables.add(terms, panel, r, logits, &mut row);
            }
        },
    );
}

/// The largest logits of each row so far, lane by lane.
type Largest = [[f32; 16]; PANEL];

#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Takes account of a block's.
fn enlarge(largest: &mut Largest, block: &Block) {
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                let (row, before) = (block.row(r), *black_box(&largest[r]));
                largest[r] = lanes(|l| larger(before[l], larger(row[l], row[l + 16])));
            }
        },
    );
}

/// Logits become exponentials, of a row's largest taken off, in `weights` as a left-hand factor; `inverse` becomes the inverse of
/// a row's sum of them. Returns the logarithms of the rows' sums.
fn softmax(
    logits: &mut [Block],
    largest: &Largest,
    weights: &mut [Tile],
    inverse: &mut [f32; PANEL],
) -> [f32; PANEL] {
    let (mut logarithms, mut most) = ([0.0; PANEL], [0.0; PANEL]);
    let mut sums = [[0.0; 16]; PANEL];
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                most[r] = fold(largest[r], larger);
            }
        },
    );
    for (block, tiles) in logits.iter_mut().zip(weights.chunks_exact_mut(2)) {
        vectorized(
            #[inline(always)]
            || {
                for r in 0..PANEL {
                    let (row, before) = (block.row(r), *black_box(&sums[r]));
                    let row: [f32; PANEL] = lanes(|l| exp(row[l] - most[r]));
                    block.set_row(r, row);
                    sums[r] = lanes(|l| before[l] + (row[l] + row[l + 16]));
                }
            },
        );
        block.write_left(tiles);
    }
    vectorized(
        #[inline(always)]
        || {
            for r in 0..PANEL {
                let sum = fold(sums[r], |a, b| a + b);
                inverse[r] = 1.0 / sum;
                logarithms[r] = most[r] + sum.ln();
            }
        },
    );
    logarithms
}
