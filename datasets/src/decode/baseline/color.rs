//! Chroma to full size by a triangle filter, and YCbCr to RGB, in libjpeg's integers.

use super::Plane;
use super::header::Frame;

#[inline(always)]
pub(super) fn to_rgb(frame: &Frame<'_>, [luma, blue, red]: &[Plane; 3], out: &mut [u8]) {
    let (h, v) = frame.luma;
    let size = (frame.width.div_ceil(h), frame.height.div_ceil(v));
    // room for an odd width's last pair
    let mut full = [vec![0; size.0 * h], vec![0; size.0 * h]];
    let mut sums = vec![0; size.0 + 2];
    for (y, line) in out.chunks_exact_mut(frame.width * 3).enumerate() {
        for (plane, full) in [blue, red].into_iter().zip(&mut full) {
            upsample_row(plane, size, (h, v), y, &mut sums, full);
        }
        convert_row(luma.row(y), &full[0], &full[1], line);
    }
}

/// Row `y` of a chroma plane of `size` samples at full size.
///
/// A sample counts 3/4 in the nearer output and 1/4 in the farther, along each axis; where the sum ends on a half,
/// every other output is rounded up.
#[inline(always)]
fn upsample_row(
    plane: &Plane,
    size: (usize, usize),
    (h, v): (usize, usize),
    y: usize,
    sums: &mut [u16],
    out: &mut [u8],
) {
    let near = &plane.row(y / v)[..size.0];
    // libjpeg copies planes of one or two columns
    let smooth = h == 1 || size.0 > 2;
    if (h, v) == (1, 1) {
        out.copy_from_slice(near);
        return;
    }
    if !smooth {
        for (pair, &value) in out.chunks_exact_mut(2).zip(near) {
            pair.fill(value);
        }
        return;
    }
    let inner = &mut sums[1..=size.0];
    if v == 2 {
        let far = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { (y / 2 + 1).min(size.1 - 1) };
        for ((sum, &near), &far) in inner.iter_mut().zip(near).zip(plane.row(far)) {
            *sum = 3 * u16::from(near) + u16::from(far);
        }
    } else {
        for (sum, &near) in inner.iter_mut().zip(near) {
            *sum = u16::from(near);
        }
    }
    if h == 1 {
        let bias = 1 + (y % 2) as u16;
        for (out, &sum) in out.iter_mut().zip(&*inner) {
            *out = ((sum + bias) >> 2) as u8;
        }
        return;
    }
    sums[0] = sums[1];
    sums[size.0 + 1] = sums[size.0];
    if v == 2 { widen::<8, 7, 4>(sums, out) } else { widen::<1, 2, 2>(sums, out) }
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
fn convert_row(luma: &[u8], blue: &[u8], red: &[u8], out: &mut [u8]) {
    const HALF: i32 = 1 << 15;
    let byte = |value: i32| value.clamp(0, 255) as u8;
    for (((pixel, &y), &cb), &cr) in out.chunks_exact_mut(3).zip(luma).zip(blue).zip(red) {
        let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
        pixel[0] = byte(y + ((91881 * cr + HALF) >> 16));
        pixel[1] = byte(y + ((HALF - 22554 * cb - 46802 * cr) >> 16));
        pixel[2] = byte(y + ((116130 * cb + HALF) >> 16));
    }
}
