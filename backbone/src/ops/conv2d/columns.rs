//! im2col for a tile: the inputs under each tap of the kernel, as a (channels · taps) × positions matrix that is
//! never larger than a tile.

use super::Geometry;
use super::tiles::Segment;
use crate::cpu::gemm::Mat;
use std::ops::Range;

/// Columns of some channels of a tile, as a matrix with a row for each tap of each channel.
///
/// Where the kernel stands still over the pixels (1×1) they are x itself; where rows of the kernel are long and
/// apart (patch embedding) they are gathered position by position; else tap by tap, by copies of shifted rows.
pub fn columns<'a>(
    x: &'a [f32],
    g: &Geometry,
    segments: &[Segment],
    channels: Range<usize>,
    buffer: &'a mut Vec<f32>,
) -> Mat<'a> {
    let rows = channels.len() * g.taps();
    let positions: usize = segments.iter().map(|s| s.len).sum();
    let pointwise = g.taps() == 1 && g.placement.stride == [1, 1] && g.placement.padding == [0, 0];
    if let (true, [only]) = (pointwise, segments) {
        let first = (only.image * g.in_channels + channels.start) * g.input_plane() + only.start;
        return Mat::strided(&x[first..], rows, positions, g.input_plane());
    }
    if buffer.len() < rows * positions {
        buffer.resize(rows * positions, 0.0);
    }
    let matrix = &mut buffer[..rows * positions];
    if g.kernel[1] >= 8 && g.placement.stride[1] > 1 {
        gather_positions(x, g, segments, channels, matrix);
        return Mat::new(matrix, positions, rows).transposed();
    }
    for (c, taps) in channels.zip(matrix.chunks_exact_mut((g.taps() * positions).max(1))) {
        for (tap, row) in taps.chunks_exact_mut(positions.max(1)).enumerate() {
            let tap = [tap / g.kernel[1], tap % g.kernel[1]];
            for segment in segments {
                let start = (segment.image * g.in_channels + c) * g.input_plane();
                let plane = &x[start..start + g.input_plane()];
                let row = &mut row[segment.offset..segment.offset + segment.len];
                if g.placement.stride == [1, 1] && g.input[1] == g.output[1] {
                    shifted_plane(plane, g, tap, segment.start, row);
                } else {
                    gather_tap(plane, g, tap, segment.start, row);
                }
            }
        }
    }
    Mat::new(matrix, rows, positions)
}

/// The signed row and column offset of a tap from its window's output position at stride 1.
fn offset(g: &Geometry, tap: [usize; 2]) -> [isize; 2] {
    [0, 1].map(|i| tap[i] as isize - g.placement.padding[i] as isize)
}

/// One tap of a convolution that keeps the width: the plane, shifted; pixels that came in over the left or right
/// border are cleared after.
fn shifted_plane(plane: &[f32], g: &Geometry, tap: [usize; 2], start: usize, row: &mut [f32]) {
    let width = g.input[1];
    let [down, right] = offset(g, tap);
    let shift = down * width as isize + right;
    let first = start as isize + shift;
    let missing = (-first).clamp(0, row.len() as isize) as usize;
    let available = (plane.len() as isize - first).clamp(missing as isize, row.len() as isize) as usize;
    row[..missing].fill(0.0);
    if available > missing {
        let from = (first + missing as isize) as usize;
        row[missing..available].copy_from_slice(&plane[from..from + available - missing]);
    }
    row[available..].fill(0.0);
    let outside = if right < 0 {
        0..(right.unsigned_abs()).min(width)
    } else {
        width - (right as usize).min(width)..width
    };
    if outside.is_empty() {
        return;
    }
    // rows of the plane that this run touches, the first of them perhaps only in part
    let mut line = start / width * width;
    while line < start + row.len() {
        let from = (line + outside.start).max(start) - start;
        let to = (line + outside.end).clamp(start, start + row.len()) - start;
        if from < to {
            row[from..to].fill(0.0);
        }
        line += width;
    }
}

/// Calls `f` with (pixel in the run, row of y, column of y, length) for every row of y in a run of positions.
fn for_each_row(g: &Geometry, start: usize, len: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    let width = g.output[1];
    let mut done = 0;
    while done < len {
        let (i, j) = ((start + done) / width, (start + done) % width);
        let run = (width - j).min(len - done);
        f(done, i, j, run);
        done += run;
    }
}

/// Columns of y, of those from `j` on, whose tap lies inside x: (first, end), relative to `j`.
fn inside(g: &Geometry, tap: usize, j: usize, len: usize) -> (usize, usize) {
    let (stride, padding, width) = (g.placement.stride[1], g.placement.padding[1], g.input[1]);
    let first = padding.saturating_sub(tap).div_ceil(stride).saturating_sub(j).min(len);
    let end = (width + padding).saturating_sub(tap).div_ceil(stride).saturating_sub(j).min(len);
    (first, end.max(first))
}

fn gather_tap(plane: &[f32], g: &Geometry, tap: [usize; 2], start: usize, row: &mut [f32]) {
    let ([sy, sx], [py, px]) = (g.placement.stride, g.placement.padding);
    for_each_row(g, start, row.len(), |at, i, j, len| {
        let row = &mut row[at..at + len];
        let line = (i * sy + tap[0]).checked_sub(py).filter(|y| *y < g.input[0]);
        let (first, end) = inside(g, tap[1], j, len);
        let Some(line) = line.filter(|_| first < end) else { return row.fill(0.0) };
        row[..first].fill(0.0);
        row[end..].fill(0.0);
        let from = line * g.input[1] + (j + first) * sx + tap[1] - px;
        let row = &mut row[first..end];
        match sx {
            1 => row.copy_from_slice(&plane[from..from + row.len()]),
            _ => row.iter_mut().zip(plane[from..].iter().step_by(sx)).for_each(|(r, x)| *r = *x),
        }
    });
}

/// Rows of the matrix are positions: each takes whole rows of the kernel.
fn gather_positions(
    x: &[f32],
    g: &Geometry,
    segments: &[Segment],
    channels: Range<usize>,
    matrix: &mut [f32],
) {
    let ([sy, sx], [py, px], [kh, kw]) = (g.placement.stride, g.placement.padding, g.kernel);
    let mut rows = matrix.chunks_exact_mut(channels.len() * g.taps());
    for segment in segments {
        for (pixel, row) in (segment.start..segment.start + segment.len).zip(&mut rows) {
            let (i, j) = (pixel / g.output[1], pixel % g.output[1]);
            for (k, line) in row.chunks_exact_mut(kw).enumerate() {
                let (c, u) = (channels.start + k / kh, k % kh);
                let Some(y) = (i * sy + u).checked_sub(py).filter(|y| *y < g.input[0]) else {
                    line.fill(0.0);
                    continue;
                };
                let from = ((segment.image * g.in_channels + c) * g.input[0] + y) * g.input[1];
                let source = &x[from..from + g.input[1]];
                let first = px.saturating_sub(j * sx).min(kw);
                let end = (g.input[1] + px).saturating_sub(j * sx).clamp(first, kw);
                line[..first].fill(0.0);
                line[end..].fill(0.0);
                if first < end {
                    let from = j * sx + first - px;
                    line[first..end].copy_from_slice(&source[from..from + end - first]);
                }
            }
        }
    }
}

/// Whether windows lie side by side and leave no pixel out: every input is under exactly one tap.
pub fn tiles_exactly(g: &Geometry) -> bool {
    g.kernel == g.placement.stride
        && g.placement.padding == [0, 0]
        && (0..2).all(|i| g.output[i] * g.kernel[i] == g.input[i])
}

/// The reverse of [`columns`] for one channel and a run of positions of one image: adds each tap's row to the
/// pixels under it, or, where no two share one, sets them to `base` plus it.
pub fn scatter(taps: &[f32], g: &Geometry, start: usize, len: usize, base: f32, plane: &mut [f32]) {
    let ([sy, sx], [py, px]) = (g.placement.stride, g.placement.padding);
    let exact = tiles_exactly(g);
    for (u, lines) in taps.chunks_exact(g.kernel[1] * len).enumerate() {
        for_each_row(g, start, len, |at, i, j, run| {
            let Some(line) = (i * sy + u).checked_sub(py).filter(|y| *y < g.input[0]) else { return };
            let line = &mut plane[line * g.input[1]..(line + 1) * g.input[1]];
            if exact && sx == 2 {
                let (even, odd) = (&lines[at..at + run], &lines[len + at..len + at + run]);
                for ((x, a), b) in line[2 * j..].as_chunks_mut::<2>().0.iter_mut().zip(even).zip(odd) {
                    *x = [base + a, base + b];
                }
                return;
            }
            for (v, row) in lines.chunks_exact(len).enumerate() {
                let (first, end) = inside(g, v, j, run);
                if first == end {
                    continue;
                }
                let pixels = line[(j + first) * sx + v - px..].iter_mut().step_by(sx);
                let row = &row[at + first..at + end];
                match exact {
                    true => pixels.zip(row).for_each(|(x, r)| *x = base + r),
                    false => pixels.zip(row).for_each(|(x, r)| *x += r),
                }
            }
        });
    }
}
