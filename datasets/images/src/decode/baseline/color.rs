//! Chroma to full size by a triangle filter, and YCbCr to RGB, in libjpeg's integers.

use std::ops::Range;

use super::header::Frame;
use super::region::{Plane, Region};

#[inline(always)]
pub(in crate::decode) fn to_rgb(
    frame: &Frame<'_>,
    region: &Region,
    [luma, blue, red]: &[Plane; 3],
    out: &mut [u8],
) {
    let (h, v) = frame.luma;
    let chroma = Chroma {
        size: (frame.width.div_ceil(h), frame.height.div_ceil(v)),
        pixels: (h, v),
        columns: region.columns.start / h..region.columns.end.div_ceil(h),
    };
    let count = chroma.columns.len();
    // whole pairs, of which the region may lack the first half of the first
    let mut full = [vec![0; count * h], vec![0; count * h]];
    let first = region.columns.start - chroma.columns.start * h;
    let mut sums = vec![0; count + 2];
    for (y, line) in region.rows.clone().zip(out.chunks_exact_mut(region.columns.len() * 3)) {
        for (plane, full) in [blue, red].into_iter().zip(&mut full) {
            chroma.upsample_row(plane, y, &mut sums, full);
        }
        convert_row(luma.row(y, region.columns.clone()), &full[0][first..], &full[1][first..], line);
    }
}

/// Which samples of a chroma plane become pixels.
pub(in crate::decode) struct Chroma {
    /// Samples of the whole plane.
    pub(in crate::decode) size: (usize, usize),
    /// Pixels across and down that one sample stands for: 1 or 2 each.
    pub(in crate::decode) pixels: (usize, usize),
    /// Columns that are wanted.
    pub(in crate::decode) columns: Range<usize>,
}

impl Chroma {
    /// Row `y` of the image, of the columns wanted.
    ///
    /// A sample counts 3/4 in the nearer output and 1/4 in the farther, along each axis; where the sum ends on a
    /// half, every other output is rounded up.
    #[inline(always)]
    pub(in crate::decode) fn upsample_row(&self, plane: &Plane, y: usize, sums: &mut [u16], out: &mut [u8]) {
        let ((width, height), (h, v)) = (self.size, self.pixels);
        if (h, v) == (1, 1) {
            out.copy_from_slice(plane.row(y, self.columns.clone()));
            return;
        }
        // libjpeg copies planes of one or two columns
        if h == 2 && width <= 2 {
            for (pair, &value) in out.chunks_exact_mut(2).zip(plane.row(y / v, self.columns.clone())) {
                pair.fill(value);
            }
            return;
        }
        // with a neighbour on each side, where there is one
        let columns = self.columns.start.saturating_sub(h - 1)..(self.columns.end + h - 1).min(width);
        let first = 1 + columns.start - self.columns.start;
        let inner = &mut sums[first..first + columns.len()];
        let near = plane.row(y / v, columns.clone());
        if v == 2 {
            let far =
                if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(height - 1) };
            for ((sum, &near), &far) in inner.iter_mut().zip(near).zip(plane.row(far, columns)) {
                *sum = 3 * u16::from(near) + u16::from(far);
            }
        } else {
            for (sum, &near) in inner.iter_mut().zip(near) {
                *sum = u16::from(near);
            }
        }
        let count = self.columns.len();
        if h == 1 {
            let bias = 1 + (y % 2) as u16;
            for (out, &sum) in out.iter_mut().zip(&sums[1..=count]) {
                *out = ((sum + bias) >> 2) as u8;
            }
            return;
        }
        if self.columns.start == 0 {
            sums[0] = sums[1];
        }
        if self.columns.end == width {
            sums[count + 1] = sums[count];
        }
        if v == 2 { widen::<8, 7, 4>(sums, out) } else { widen::<1, 2, 2>(sums, out) }
    }
}

/// Two outputs for each sum but the first and last, which are there to be looked at.
#[inline(always)]
fn widen<const LEFT: u16, const RIGHT: u16, const SHIFT: u32>(sums: &[u16], out: &mut [u8]) {
    let neighbours = sums.iter().zip(&sums[1..]).zip(&sums[2..]);
    for (pair, ((&left, &middle), &right)) in out.chunks_exact_mut(2).zip(neighbours) {
        pair[0] = ((3 * middle + left + LEFT) >> SHIFT) as u8;
        pair[1] = ((3 * middle + right + RIGHT) >> SHIFT) as u8;
    }
}

/// The factors of JFIF in 16 bits of fraction.
#[inline(always)]
pub(in crate::decode) fn convert_row(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    let byte = |value: i32| value.clamp(0, 255) as u8;
    for (((pixel, &y), &cb), &cr) in out.chunks_exact_mut(3).zip(luma).zip(blue).zip(red) {
        let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
        pixel[0] = byte(y + ((91881 * cr + HALF) >> 16));
        pixel[1] = byte(y + ((HALF - 22554 * cb - 46802 * cr) >> 16));
        pixel[2] = byte(y + ((116130 * cb + HALF) >> 16));
    }
}
