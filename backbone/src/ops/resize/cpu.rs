//! Resizing on the CPU: planes in parallel. Columns first, so that where a map grows the part that goes pixel by
//! pixel sees the fewer rows of the input; then rows, in vectors.

use super::{Axis, ResizeKernel};
use crate::cpu::simd::vectorized;
use crate::cpu::{Cpu, Unwritten, build};
use crate::error::Result;
use rayon::prelude::*;

impl ResizeKernel for Cpu {
    fn resize_forward(&self, x: &[f32], rows: &Axis, columns: &Axis) -> Result<Vec<f32>> {
        let (plane, out_plane) = planes(rows, columns);
        Ok(build(x.len() / plane * out_plane, |y| {
            y.par_chunks(out_plane).zip(x.par_chunks_exact(plane)).for_each_init(
                Vec::new,
                |narrow: &mut Vec<f32>, (y, x)| {
                    narrow.resize(rows.input_size * columns.output_size(), 0.0);
                    vectorized(
                        #[inline(always)]
                        || {
                            let lines = narrow.chunks_exact_mut(columns.output_size());
                            for (line, x) in lines.zip(x.chunks_exact(columns.input_size)) {
                                match columns.taps {
                                    1 => take_pixels::<1>(columns, x, line),
                                    2 => take_pixels::<2>(columns, x, line),
                                    4 => take_pixels::<4>(columns, x, line),
                                    _ => take_any_pixels(columns, x, line),
                                }
                            }
                            take_lines(rows, narrow, y);
                        },
                    );
                },
            );
        }))
    }

    fn resize_backward(&self, dy: &[f32], rows: &Axis, columns: &Axis) -> Result<Vec<f32>> {
        let (plane, out_plane) = planes(rows, columns);
        let mut dx = vec![0.0; dy.len() / out_plane * plane];
        dx.par_chunks_exact_mut(plane).zip(dy.par_chunks_exact(out_plane)).for_each_init(
            Vec::new,
            |narrow: &mut Vec<f32>, (dx, dy)| {
                narrow.clear();
                narrow.resize(rows.input_size * columns.output_size(), 0.0);
                vectorized(
                    #[inline(always)]
                    || {
                        give_lines(rows, dy, narrow);
                        let lines = narrow.chunks_exact(columns.output_size());
                        for (dx, line) in dx.chunks_exact_mut(columns.input_size).zip(lines) {
                            for ((start, weights), d) in columns.rows().zip(line) {
                                let dx = &mut dx[start..start + weights.len()];
                                dx.iter_mut().zip(weights).for_each(|(dx, w)| *dx += w * d);
                            }
                        }
                    },
                );
            },
        );
        Ok(dx)
    }
}

fn planes(rows: &Axis, columns: &Axis) -> (usize, usize) {
    (rows.input_size * columns.input_size, rows.output_size() * columns.output_size())
}

/// One line of the output of the column pass, with the number of weights known to the compiler.
#[inline(always)]
fn take_pixels<const TAPS: usize>(columns: &Axis, x: &[f32], line: &mut [f32]) {
    let weights = columns.weights.as_chunks::<TAPS>().0;
    for ((y, start), weights) in line.iter_mut().zip(&columns.starts).zip(weights) {
        let x = &x[*start..*start + TAPS];
        let mut sum = x[0] * weights[0];
        for k in 1..TAPS {
            sum = x[k].mul_add(weights[k], sum);
        }
        *y = sum;
    }
}

#[inline(always)]
fn take_any_pixels(columns: &Axis, x: &[f32], line: &mut [f32]) {
    for ((start, weights), y) in columns.rows().zip(line) {
        *y = x[start..start + weights.len()].iter().zip(weights).map(|(x, w)| x * w).sum();
    }
}

#[inline(always)]
fn take_lines(rows: &Axis, narrow: &[f32], y: Unwritten<'_>) {
    let width = y.len() / rows.output_size();
    let line = |i: usize| &narrow[i * width..(i + 1) * width];
    // Inlined, or it would be compiled without the vector instructions that its caller has.
    y.write_rows(
        width,
        #[inline(always)]
        |i, y| {
            let start = rows.starts[i];
            match rows.weights[i * rows.taps..(i + 1) * rows.taps] {
                [one] => y.write(line(start).iter().map(|a| one * a)),
                [first, second] => {
                    let lines = line(start).iter().zip(line(start + 1));
                    y.write(lines.map(|(a, b)| b.mul_add(second, a * first)))
                }
                ref weights => {
                    let y = y.write(line(start).iter().map(|a| weights[0] * a));
                    for (k, w) in weights.iter().enumerate().skip(1).filter(|(_, w)| **w != 0.0) {
                        y.iter_mut().zip(line(start + k)).for_each(|(y, a)| *y = a.mul_add(*w, *y));
                    }
                    y
                }
            }
        },
    );
}

#[inline(always)]
fn give_lines(rows: &Axis, dy: &[f32], narrow: &mut [f32]) {
    let width = dy.len() / rows.output_size();
    for ((start, weights), dy) in rows.rows().zip(dy.chunks_exact(width)) {
        let lines = narrow[start * width..(start + weights.len()) * width].chunks_exact_mut(width);
        for (line, w) in lines.zip(weights).filter(|(_, w)| **w != 0.0) {
            line.iter_mut().zip(dy).for_each(|(l, d)| *l = d.mul_add(*w, *l));
        }
    }
}
