//! Sums over rows, made panel by panel and then added in order: the same bits on any number of threads.

use crate::cpu::gemm::{Block, PANEL};
use crate::cpu::simd::{lanes, vectorized};

/// Adds the rows of a block to `sums`.
pub fn add_rows(block: &Block, sums: &mut [f32]) {
    let sums: &mut [f32; PANEL] = sums.try_into().expect("a step's sums");
    vectorized(
        #[inline(always)]
        || {
            let mut all = *sums;
            for r in 0..PANEL {
                let row = block.row(r);
                all = lanes(|l| all[l] + row[l]);
            }
            *sums = all;
        },
    );
}

/// Of rows of `len` values each, the sum.
pub fn total(rows: &[f32], len: usize) -> Vec<f32> {
    let mut total = vec![0f64; len];
    for row in rows.chunks_exact(len.max(1)) {
        total.iter_mut().zip(row).for_each(|(t, s)| *t += f64::from(*s));
    }
    total.into_iter().map(|t| t as f32).collect()
}
