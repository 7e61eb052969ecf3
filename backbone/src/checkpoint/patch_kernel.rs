//! The patch projection for patches of another size, as FlexiViT resizes it (arXiv 2212.08013, section 3.4).
//!
//! Resampling a kernel as if it were a picture changes what it answers. With R the matrix that resizes a patch bilinearly, the
//! kernel that answers to R·x what the old one answers to x is the old one times the pseudo-inverse of R: exactly so where
//! patches grow, nearest in the mean square over white noise where they shrink.

use super::HostTensor;
use crate::config::Size;
use crate::init::least_squares::solve;
use crate::ops::resize::{Interpolation, grid};

/// Resizes each kernel; `None` if `kernel` is not four axes of that many values, a side is 0 or a number is not finite.
///
/// # Shapes
/// `kernel`: (C, channels, h, w) → (C, channels, h', w').
pub fn resize(kernel: &HostTensor, to: Size) -> Option<HostTensor> {
    let &[outputs, channels, height, width] = &kernel.shape[..] else { return None };
    if [height, width, to.height, to.width].contains(&0)
        || kernel.data.len() != outputs * channels * height * width
        || kernel.data.iter().any(|value| !value.is_finite())
    {
        return None;
    }
    // R resizes rows and columns one after the other, and so does its pseudo-inverse.
    let (by_row, by_col) = (inverse(height, to.height)?, inverse(width, to.width)?);
    let mut data = Vec::with_capacity(outputs * channels * to.area());
    for old in kernel.data.chunks_exact(height * width) {
        let mut rows = vec![0.0; to.height * width];
        for (line, weights) in old.chunks_exact(width).zip(by_row.chunks_exact(to.height)) {
            for (sums, weight) in rows.chunks_exact_mut(width).zip(weights) {
                sums.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * f64::from(*value));
            }
        }
        for line in rows.chunks_exact(width) {
            let mut sums = vec![0.0; to.width];
            for (value, weights) in line.iter().zip(by_col.chunks_exact(to.width)) {
                sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight * value);
            }
            data.extend(sums.iter().map(|sum| *sum as f32));
        }
    }
    Some(HostTensor { shape: vec![outputs, channels, to.height, to.width], data })
}

/// The pseudo-inverse of resizing a line of `from` pixels to `to`: from × to, by rows.
fn inverse(from: usize, to: usize) -> Option<Vec<f64>> {
    let resizing: Vec<f64> =
        grid::weights(Interpolation::BilinearAntialias, from, to).into_iter().map(f64::from).collect();
    let mut out = vec![0.0; from * to];
    let unit = |length, at| (0..length).map(|i| f64::from(u8::from(i == at))).collect::<Vec<_>>();
    if to >= from {
        for column in 0..to {
            let solved = solve(&mut resizing.clone(), &mut unit(to, column), from)?;
            solved.iter().enumerate().for_each(|(row, value)| out[row * to + column] = *value);
        }
    } else {
        // The pseudo-inverse of a wide matrix is the transpose of its transpose's.
        let tall: Vec<f64> = (0..from * to).map(|i| resizing[i % to * from + i / to]).collect();
        for row in 0..from {
            let solved = solve(&mut tall.clone(), &mut unit(from, row), to)?;
            out[row * to..(row + 1) * to].copy_from_slice(&solved);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, factor: usize) -> Vec<f32> {
        (0..count).map(|i| (i * factor % 29) as f32 / 14.0 - 1.0).collect()
    }

    /// A patch enlarged by plain loops.
    fn bilinear(patch: &[f32], from: Size, to: Size) -> Vec<f64> {
        let at = |index: usize, from: usize, to: usize| {
            let x = ((index as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, from as f64 - 1.0);
            (x.floor() as usize, x - x.floor())
        };
        let mut out = Vec::new();
        for row in 0..to.height {
            for column in 0..to.width {
                let ((y, dy), (x, dx)) = (at(row, from.height, to.height), at(column, from.width, to.width));
                let value = |y: usize, x: usize| {
                    f64::from(patch[y.min(from.height - 1) * from.width + x.min(from.width - 1)])
                };
                let top = value(y, x) * (1.0 - dx) + value(y, x + 1) * dx;
                let bottom = value(y + 1, x) * (1.0 - dx) + value(y + 1, x + 1) * dx;
                out.push(top * (1.0 - dy) + bottom * dy);
            }
        }
        out
    }

    #[test]
    fn an_enlarged_patch_gets_the_same_answer() {
        for (from, to) in [(Size::square(14), Size::square(16)), (Size::new(4, 5), Size::new(8, 7))] {
            let area = from.area();
            let kernel = HostTensor::new(vec![2, 3, from.height, from.width], values(6 * area, 7)).unwrap();
            let resized = resize(&kernel, to).unwrap();
            assert_eq!(resized.shape, [2, 3, to.height, to.width]);
            let patch = values(area, 11);
            let large = bilinear(&patch, from, to);
            for (old, new) in kernel.data.chunks(area).zip(resized.data.chunks(to.area())) {
                let before: f64 = old.iter().zip(&patch).map(|(k, x)| f64::from(*k) * f64::from(*x)).sum();
                let after: f64 = new.iter().zip(&large).map(|(k, x)| f64::from(*k) * x).sum();
                assert!((before - after).abs() < 1e-4, "{before} {after}");
            }
        }
    }

    #[test]
    fn a_kernel_that_sees_a_patch_as_shrunk_is_found_again() {
        let small = values(6, 5);
        let shrink = |from, to| grid::weights(Interpolation::BilinearAntialias, from, to);
        let (rows, columns) = (shrink(7, 2), shrink(4, 3));
        let large = (0..28).map(|at| {
            let term = |i: usize| small[i] * rows[i / 3 * 7 + at / 4] * columns[i % 3 * 4 + at % 4];
            (0..6).map(term).sum()
        });
        let kernel = HostTensor::new(vec![1, 1, 7, 4], large.collect()).unwrap();
        let found = resize(&kernel, Size::new(2, 3)).unwrap();
        assert!(
            found.data.iter().zip(&small).all(|(a, b)| (a - b).abs() < 1e-4),
            "{:?} {small:?}",
            found.data
        );
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let kernel = HostTensor::new(vec![1, 1, 4, 4], values(16, 5)).unwrap();
        assert!(resize(&kernel, Size::new(0, 4)).is_none());
        assert!(resize(&HostTensor { shape: vec![16], ..kernel.clone() }, Size::square(4)).is_none());
        let mut broken = kernel;
        broken.data[3] = f32::NAN;
        assert!(resize(&broken, Size::square(8)).is_none());
    }
}
