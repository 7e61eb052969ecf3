//! Relative positions: what a query adds to its logits by the distance of the key's row and column.

use super::super::normed::whole;
use super::heads::{Head, Part, one};
use crate::config::Size;
use crate::cpu::Cpu;
use crate::cpu::gemm::{self, Block, Dst, Hand, Mat, PANEL, Packed, Threads, Tile, sweep};
use crate::cpu::simd::lanes;
use crate::ops::RelativePositions;
use crate::tensor::Precision;

/// The tables as factors of queries, backwards: that of a query's distances to the first key, the second, … is then a run.
pub struct Tables<'a> {
    grid: Size,
    tables: [&'a [f32]; 2],
    factors: [Packed; 2],
    head_dim: usize,
}

/// A panel's queries' terms: (32, span) for rows and for columns of keys.
#[derive(Default)]
pub struct Terms([Vec<f32>; 2]);

impl<'a> Tables<'a> {
    pub fn new(relative: &'a RelativePositions<Cpu>, head_dim: usize) -> Self {
        let tables = [relative.height.view(), relative.width.view()];
        let factors = tables.map(|table| {
            let backwards: Vec<f32> = table.chunks_exact(head_dim).rev().flatten().copied().collect();
            let mat = Mat::new(&backwards, table.len() / head_dim, head_dim);
            Packed::new(mat.transposed(), Hand::Right, Precision::Bf16, false)
        });
        Self { grid: relative.grid, tables, factors, head_dim }
    }

    /// Numbers of distances, rounded up to whole panels.
    fn spans(&self) -> [usize; 2] {
        [self.grid.height, self.grid.width].map(|size| (2 * size - 1).next_multiple_of(PANEL))
    }

    /// The terms of a panel's queries.
    pub fn terms(&self, head: Head, qkv: &[Tile], panel: usize, terms: &mut Terms) {
        let place = head.place(Part::Query, panel, 0);
        let query = &qkv[place..place + 2 * head.steps];
        for ((factor, span), terms) in self.factors.iter().zip(self.spans()).zip(&mut terms.0) {
            terms.resize(PANEL * span, 0.0);
            let queries = one(query, head.count(panel), head.steps);
            sweep(queries, 0..1, factor.panels(), 0..span / PANEL, |_, column, sums| {
                for (terms, sums) in terms.chunks_exact_mut(span).zip(&sums.0) {
                    terms[column * PANEL..][..PANEL].copy_from_slice(sums);
                }
            });
        }
    }

    /// Adds the terms of query `r` of a panel to its logits, which lie in blocks of 32 keys.
    #[inline(always)]
    pub fn add(&self, terms: &Terms, panel: usize, r: usize, logits: &mut [Block], row: &mut Vec<f32>) {
        let (Size { height, width }, spans) = (self.grid, self.spans());
        let query = panel * PANEL + r;
        let (y, x) = (query / width, query % width);
        let by_row = &terms.0[0][r * spans[0] + height - 1 - y..][..height];
        let by_column = &terms.0[1][r * spans[1] + width - 1 - x..][..width];
        if width.is_multiple_of(PANEL) {
            // 32 keys lie in one row of the grid
            for (c, block) in logits.iter_mut().enumerate() {
                let (key_y, key_x) = (c * PANEL / width, c * PANEL % width);
                let (by_row, by_column) = (by_row[key_y], *whole(&by_column[key_x..key_x + PANEL]));
                let before = block.row(r);
                block.set_row(r, lanes(|l| before[l] + (by_row + by_column[l])));
            }
            return;
        }
        row.resize(logits.len() * PANEL, 0.0);
        for (row, by_row) in row.chunks_exact_mut(width).zip(by_row) {
            row.iter_mut().zip(by_column).for_each(|(sum, by_column)| *sum = by_row + by_column);
        }
        for (c, block) in logits.iter_mut().enumerate() {
            let (before, terms) = (block.row(r), *whole(&row[c * PANEL..(c + 1) * PANEL]));
            block.set_row(r, lanes(|l| before[l] + terms[l]));
        }
    }

    /// From the gradients at the logits of a panel's queries, adds to those at the queries, (32, D), and at the tables.
    pub fn gradient(
        &self,
        (panel, count): (usize, usize),
        slopes: &[Block],
        queries: &[f32],
        dq: &mut [f32],
        tables: &mut [Vec<f32>; 2],
    ) {
        let Size { height, width } = self.grid;
        let spans = [2 * height - 1, 2 * width - 1];
        let mut sums = spans.map(|span| vec![0.0; count * span]);
        let mut row = vec![0.0; slopes.len() * PANEL];
        for r in 0..count {
            for (row, block) in row.chunks_exact_mut(PANEL).zip(slopes) {
                row.copy_from_slice(&block.0[r]);
            }
            let query = panel * PANEL + r;
            let (y, x) = (query / width, query % width);
            let [by_row, by_column] = &mut sums;
            let by_row = &mut by_row[r * spans[0]..][..spans[0]];
            let by_column = &mut by_column[r * spans[1] + x..][..width];
            for (key_y, row) in row.chunks_exact(width).take(height).enumerate() {
                by_row[y + height - 1 - key_y] = row.iter().sum();
                by_column.iter_mut().rev().zip(row).for_each(|(sum, d)| *sum += d);
            }
        }
        let engine = Threads::One.at(Precision::Bf16);
        let queries = Mat::new(&queries[..count * self.head_dim], count, self.head_dim);
        for (((sums, span), table), gradient) in sums.iter().zip(spans).zip(self.tables).zip(tables) {
            let sums = Mat::new(sums, count, span);
            let dq = &mut dq[..count * self.head_dim];
            gemm::gemm(dq, Dst::Accumulate, sums, Mat::new(table, span, self.head_dim), engine);
            gradient.resize(span * self.head_dim, 0.0);
            gemm::gemm(gradient, Dst::Accumulate, sums.transposed(), queries, engine);
        }
    }
}
