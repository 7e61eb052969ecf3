//! The group rational on blocks of 32 × 32 values that lie between two products of bfloat16 numbers.

use super::{Denominator, Geometry, Group, Lanes, MAX_COEFFICIENTS};
use crate::cpu::gemm::Block;
use crate::cpu::simd::{fold, vectorized};

/// The function on blocks of 32 × 32 values between products of bfloat16 numbers, whose digits it is right to.
pub(crate) struct OnBlocks {
    groups: Vec<Group<MAX_COEFFICIENTS, MAX_COEFFICIENTS>>,
    geometry: Geometry,
    signs: Option<Vec<f32>>,
}

/// Sums of the coefficients' gradients over some rows, a0… and b1…, for each group.
pub(crate) type CoefficientSums = [[f32; MAX_COEFFICIENTS]; 2];

impl OnBlocks {
    /// Whether groups are whole vectors, without which the function is faster row by row.
    pub(crate) fn fit(geometry: &Geometry) -> bool {
        (geometry.channels / geometry.groups).is_multiple_of(8)
    }

    pub(crate) fn new(numerator: &[f32], denominator: &[f32], geometry: Geometry) -> Self {
        let signs = (geometry.form == Denominator::Kernel).then(|| denominator.to_vec());
        Self { groups: geometry.coefficients(numerator, denominator), geometry, signs }
    }

    /// Groups.
    pub(crate) fn groups(&self) -> usize {
        self.geometry.groups
    }

    /// The group of 8 or 16 columns from `column` on.
    #[inline(always)]
    fn group<const M: usize, const N: usize>(&self, column: usize) -> (usize, Group<M, N>) {
        let g = column / (self.geometry.channels / self.geometry.groups);
        let Group { a, b } = &self.groups[g];
        (g, Group { a: a[..M].try_into().expect("M of them"), b: b[..N].try_into().expect("N of them") })
    }

    /// Each value of the channels from `column` on becomes the function's.
    pub(crate) fn apply(&self, column: usize, block: &mut Block) {
        specialized!(self.geometry, apply_block(self, column, block));
    }

    /// `dy` becomes the gradient at `x`, and `x` the function's value; adds to the sums of the groups.
    pub(crate) fn gradient(
        &self,
        column: usize,
        x: &mut Block,
        dy: &mut Block,
        sums: &mut [CoefficientSums],
    ) {
        specialized!(self.geometry, block_gradient(self, column, x, dy, sums));
    }

    /// The coefficients' gradients from the sums of parts of the rows, group by group each, added in their order.
    pub(crate) fn totals(&self, sums: &[CoefficientSums]) -> [Vec<f32>; 2] {
        self.geometry.totals(sums, self.signs.as_deref())
    }
}

fn apply_block<const M: usize, const N: usize, const L: usize, const PAPER: bool>(
    function: &OnBlocks,
    column: usize,
    block: &mut Block,
) {
    vectorized(
        #[inline(always)]
        || {
            for first in (0..32).step_by(L) {
                let (_, group) = function.group::<M, N>(column + first);
                for row in &mut block.0 {
                    let y: &mut [f32; L] = (&mut row[first..first + L]).try_into().expect("L values");
                    let x = *y;
                    group.value::<L, PAPER, true>(&x, y);
                }
            }
        },
    );
}

fn block_gradient<const M: usize, const N: usize, const L: usize, const PAPER: bool>(
    function: &OnBlocks,
    column: usize,
    x: &mut Block,
    dy: &mut Block,
    sums: &mut [CoefficientSums],
) {
    vectorized(
        #[inline(always)]
        || {
            for first in (0..32).step_by(L) {
                let (g, group) = function.group::<M, N>(column + first);
                let mut lanes = Lanes::<M, N, L> { a: [[0.0; L]; M], b: [[0.0; L]; N] };
                for (x, dy) in x.0.iter_mut().zip(&mut dy.0) {
                    let x: &mut [f32; L] = (&mut x[first..first + L]).try_into().expect("L values");
                    let dy = (&mut dy[first..first + L]).try_into().expect("L values");
                    let before = *x;
                    group.gradient::<L, PAPER, true>(&before, dy, x, &mut lanes);
                }
                let [a, b] = &mut sums[g];
                a.iter_mut().zip(&lanes.a).for_each(|(sum, lane)| *sum += fold(*lane, |a, b| a + b));
                b.iter_mut().zip(&lanes.b).for_each(|(sum, lane)| *sum += fold(*lane, |a, b| a + b));
            }
        },
    );
}
