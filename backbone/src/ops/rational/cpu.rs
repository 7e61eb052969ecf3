//! The group rational on the CPU: rows in parallel, channels of a group in vectors, coefficients in registers.

use super::{Denominator, Geometry, MAX_COEFFICIENTS, RationalGradients, RationalKernel};
use crate::cpu::simd::{coarse_reciprocal, fold, vectorized};
use crate::cpu::{Cpu, GRAIN, Unwritten, build};
use crate::error::Result;
use rayon::prelude::*;

/// Coefficients of one group: a0…am and |b1|…|bn| (b1…bn in the paper's form), zeros behind.
#[derive(Clone, Copy)]
struct Group<const M: usize, const N: usize> {
    a: [f32; M],
    b: [f32; N],
}

impl Geometry {
    /// Rows of one task. Fixed by the shape alone, so that sums come out the same on any number of threads.
    fn rows_per_task(&self) -> usize {
        (GRAIN / self.channels).max(1)
    }

    /// Gradients of numerator and denominator from sums of parts of the rows, in order.
    fn totals(&self, sums: &[CoefficientSums], signs: Option<&[f32]>) -> [Vec<f32>; 2] {
        let total = |side: usize, rows: usize, len: usize, signs: Option<&[f32]>| {
            let mut total = vec![0f64; rows * len];
            for (i, sums) in sums.iter().enumerate() {
                let row = if rows == 1 { 0 } else { i % self.groups };
                let total = &mut total[row * len..(row + 1) * len];
                total.iter_mut().zip(&sums[side]).for_each(|(t, s)| *t += f64::from(*s));
            }
            let sign = |i: usize| signs.map_or(1.0, |b| if b[i] < 0.0 { -1.0 } else { 1.0 });
            total.iter().enumerate().map(|(i, t)| (t * sign(i)) as f32).collect::<Vec<_>>()
        };
        [
            total(0, self.numerator_groups, self.numerator_len, None),
            total(1, self.denominator_groups, self.denominator_len, signs),
        ]
    }

    fn coefficients<const M: usize, const N: usize>(&self, a: &[f32], b: &[f32]) -> Vec<Group<M, N>> {
        let row = |table: &[f32], rows: usize, len: usize, g: usize| {
            let start = if rows == 1 { 0 } else { g * len };
            table[start..start + len].to_vec()
        };
        (0..self.groups)
            .map(|g| {
                let mut group = Group { a: [0.0; M], b: [0.0; N] };
                let numerator = row(a, self.numerator_groups, self.numerator_len, g);
                group.a[..numerator.len()].copy_from_slice(&numerator);
                let denominator = row(b, self.denominator_groups, self.denominator_len, g);
                group.b.iter_mut().zip(denominator).for_each(|(slot, b)| *slot = self.form.coefficient(b));
                group
            })
            .collect()
    }
}

/// Chooses the compiled form: the published orders (5, 4), or any up to [`MAX_COEFFICIENTS`] padded with zeros;
/// and vectors of 16, 8 or 1 lanes, whichever divides a group; each for both forms of the denominator.
macro_rules! specialized {
    ($geometry:expr, $function:ident($($argument:expr),*)) => {
        match $geometry.form {
            Denominator::Kernel => specialized!(false, $geometry, $function($($argument),*)),
            Denominator::Paper => specialized!(true, $geometry, $function($($argument),*)),
        }
    };
    ($paper:literal, $geometry:expr, $function:ident($($argument:expr),*)) => {{
        let published = $geometry.numerator_len == 6 && $geometry.denominator_len == 4;
        let group_size = $geometry.channels / $geometry.groups;
        match (published, group_size % 16, group_size % 8) {
            (true, 0, _) => $function::<6, 4, 16, $paper>($($argument),*),
            (true, _, 0) => $function::<6, 4, 8, $paper>($($argument),*),
            (true, _, _) => $function::<6, 4, 1, $paper>($($argument),*),
            (false, 0, _) => $function::<MAX_COEFFICIENTS, MAX_COEFFICIENTS, 16, $paper>($($argument),*),
            (false, _, 0) => $function::<MAX_COEFFICIENTS, MAX_COEFFICIENTS, 8, $paper>($($argument),*),
            (false, _, _) => $function::<MAX_COEFFICIENTS, MAX_COEFFICIENTS, 1, $paper>($($argument),*),
        }
    }};
}

mod blocks;

pub(crate) use blocks::{CoefficientSums, OnBlocks};

impl RationalKernel for Cpu {
    fn rational_forward(
        &self,
        x: &[f32],
        numerator: &[f32],
        denominator: &[f32],
        geometry: &Geometry,
    ) -> Result<Vec<f32>> {
        Ok(build(x.len(), |y| specialized!(geometry, forward(x, numerator, denominator, geometry, y))))
    }

    fn rational_backward(
        &self,
        x: &[f32],
        numerator: &[f32],
        denominator: &[f32],
        dy: Vec<f32>,
        geometry: &Geometry,
    ) -> Result<RationalGradients<Self>> {
        Ok(specialized!(geometry, backward(x, numerator, denominator, dy, geometry)))
    }
}

fn forward<const M: usize, const N: usize, const L: usize, const PAPER: bool>(
    x: &[f32],
    numerator: &[f32],
    denominator: &[f32],
    geometry: &Geometry,
    y: Unwritten<'_>,
) {
    /// Values that are written while they are in the first cache.
    const BLOCK: usize = 4096;
    let groups = geometry.coefficients::<M, N>(numerator, denominator);
    let (channels, group_size) = (geometry.channels, geometry.channels / geometry.groups);
    let task = geometry.rows_per_task() * channels;
    let block = (BLOCK / channels).max(1) * channels;
    let parts = y.par_chunks(task).zip(x.par_chunks(task));
    parts.flat_map_iter(|(y, x)| y.chunks(block).zip(x.chunks(block))).for_each(|(y, x)| {
        let y = y.zeroed();
        vectorized(
            #[inline(always)]
            || {
                for (g, group) in groups.iter().enumerate() {
                    let columns = g * group_size..(g + 1) * group_size;
                    for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                        let y = y[columns.clone()].as_chunks_mut::<L>().0;
                        let x = x[columns.clone()].as_chunks::<L>().0;
                        for (y, x) in y.iter_mut().zip(x) {
                            group.value::<L, PAPER, false>(x, y);
                        }
                    }
                }
            },
        )
    });
}

fn backward<const M: usize, const N: usize, const L: usize, const PAPER: bool>(
    x: &[f32],
    numerator: &[f32],
    denominator: &[f32],
    mut dy: Vec<f32>,
    geometry: &Geometry,
) -> RationalGradients<Cpu> {
    let groups = geometry.coefficients::<M, N>(numerator, denominator);
    let (channels, group_size) = (geometry.channels, geometry.channels / geometry.groups);
    let task = geometry.rows_per_task() * channels;
    // Each task sums its own rows in f32 lanes; the sums of tasks are added in order, in f64.
    let mut sums = vec![[[0f32; MAX_COEFFICIENTS]; 2]; x.len().div_ceil(task) * geometry.groups];
    dy.par_chunks_mut(task).zip(x.par_chunks(task)).zip(sums.par_chunks_mut(geometry.groups)).for_each(
        |((dy, x), sums)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((g, group), sums) in groups.iter().enumerate().zip(sums) {
                        let columns = g * group_size..(g + 1) * group_size;
                        let mut lanes = Lanes::<M, N, L> { a: [[0.0; L]; M], b: [[0.0; L]; N] };
                        for (dy, x) in dy.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                            let dy = dy[columns.clone()].as_chunks_mut::<L>().0;
                            let x = x[columns.clone()].as_chunks::<L>().0;
                            for (dy, x) in dy.iter_mut().zip(x) {
                                group.gradient::<L, PAPER, false>(x, dy, &mut [0.0; L], &mut lanes);
                            }
                        }
                        for (sum, lane) in sums[0].iter_mut().zip(&lanes.a) {
                            *sum = fold(*lane, |a, b| a + b);
                        }
                        for (sum, lane) in sums[1].iter_mut().zip(&lanes.b) {
                            *sum = fold(*lane, |a, b| a + b);
                        }
                    }
                },
            )
        },
    );
    let signs = (geometry.form == Denominator::Kernel).then_some(denominator);
    let [numerator, denominator] = geometry.totals(&sums, signs);
    RationalGradients { numerator, denominator, dx: dy }
}

/// The derivative of |value|, 0 at 0 as PyTorch has it.
#[inline(always)]
fn sign(value: f32) -> f32 {
    let up = if value > 0.0 { 1.0 } else { 0.0 };
    let down = if value < 0.0 { 1.0 } else { 0.0 };
    up - down
}

/// Sums of the coefficients' gradients, by lane.
struct Lanes<const M: usize, const N: usize, const L: usize> {
    a: [[f32; L]; M],
    b: [[f32; L]; N],
}

impl<const M: usize, const N: usize> Group<M, N> {
    /// P/Q of L neighbors by Horner's rule.
    #[inline(always)]
    fn value<const L: usize, const PAPER: bool, const COARSE: bool>(&self, x: &[f32; L], y: &mut [f32; L]) {
        for l in 0..L {
            let x = x[l];
            let v = if PAPER { x } else { x.abs() };
            let mut p = self.a[M - 1];
            for &a in self.a[..M - 1].iter().rev() {
                p = p.mul_add(x, a);
            }
            let mut q = self.b[N - 1];
            for &b in self.b[..N - 1].iter().rev() {
                q = q.mul_add(v, b);
            }
            let q = if PAPER { 1.0 + (q * v).abs() } else { q.mul_add(v, 1.0) };
            y[l] = if COARSE { p * coarse_reciprocal(q) } else { p / q };
        }
    }

    /// Turns dy into dx and adds to the sums: ∂y/∂a_i = x^i/Q, ∂y/∂|b_j| = -P/Q · |x|^j/Q
    /// (in the paper's form, B = Q's polynomial: ∂y/∂b_j = -P/Q · sign(B) x^j/Q).
    ///
    /// One loop over lanes around everything: the form that the compiler turns into one vector a step.
    #[inline(always)]
    fn gradient<const L: usize, const PAPER: bool, const COARSE: bool>(
        &self,
        x: &[f32; L],
        dy: &mut [f32; L],
        value: &mut [f32; L],
        sums: &mut Lanes<M, N, L>,
    ) {
        for l in 0..L {
            let (x, d) = (x[l], dy[l]);
            let v = if PAPER { x } else { x.abs() };
            let (mut p, mut dp) = (self.a[M - 1], 0f32);
            for &a in self.a[..M - 1].iter().rev() {
                dp = dp.mul_add(x, p);
                p = p.mul_add(x, a);
            }
            let (mut s, mut ds) = (self.b[N - 1], 0f32);
            for &b in self.b[..N - 1].iter().rev() {
                ds = ds.mul_add(v, s);
                s = s.mul_add(v, b);
            }
            // Q = 1 + |x| s(|x|), so dQ/d|x| = s + |x| s'; in the paper's form Q = 1 + |x s(x)|
            let whole = s * v;
            let q = if PAPER { 1.0 + whole.abs() } else { s.mul_add(v, 1.0) };
            let inverse = if COARSE { coarse_reciprocal(q) } else { 1.0 / q };
            let y = p * inverse;
            value[l] = y;
            let slope = ds.mul_add(v, s);
            let sign = if PAPER { sign(whole) } else { 1.0 };
            let dq = if PAPER {
                sign * slope
            } else if x < 0.0 {
                -slope
            } else {
                slope
            };
            let mut t = d * inverse;
            dy[l] = t * (dp - y * dq);
            let mut u = if PAPER { -t * y * sign } else { -t * y };
            for sum in &mut sums.b {
                u *= v;
                sum[l] += u;
            }
            for sum in &mut sums.a {
                sum[l] += t;
                t *= x;
            }
        }
    }
}
