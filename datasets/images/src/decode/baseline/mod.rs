//! The common kind of JPEG, baseline YCbCr with one interleaved scan, decoded to the very values of libjpeg's default
//! settings: its accurate inverse DCT, triangle upsampling and 16-bit colour conversion. What pretrained weights saw
//! in training came through these, and the errors of other decoders add up to 4 levels.
//!
//! Of a part of the image, only what it needs is decoded: the codes above and beside it are stepped over, what lies
//! below is not read, and damage there goes unnoticed.
//!
//! Strict by design: anything unusual or damaged in what is read makes [`decode`] return `None`, and the caller hands
//! the stream to a decoder that knows all kinds and says what is wrong.

pub(super) mod bits;
pub(super) mod color;
pub(super) mod header;
pub(super) mod idct;
pub(super) mod region;

use bits::{Bits, Segments};
use header::{Component, Table};
use region::{Plane, Region};

use crate::Rect;

pub(super) use header::Frame;

/// Decodes the part `rect` into `out`, its width * height * 3 bytes of RGB. Returns the number of bytes that no block
/// needed, which is 0 too if the image goes on below the part; `None` if the stream is not plain enough,
/// or `rect` is empty or not inside the image.
pub(super) fn decode(frame: &Frame<'_>, rect: Rect, out: &mut [u8]) -> Option<usize> {
    let region = Region::new(rect, (frame.width, frame.height))?;
    if out.len() != region.columns.len() * region.rows.len() * 3 {
        return None;
    }
    // one dispatch for all of it: entropy decoding gains from the newer shifts too
    pulp::Arch::new().dispatch(Decode { frame, region, out })
}

/// A type of its own and no closure: the call of a closure is not always inlined into the function compiled for the
/// newer instructions, and then gains nothing.
struct Decode<'a> {
    frame: &'a Frame<'a>,
    region: Region,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Decode<'_> {
    type Output = Option<usize>;

    #[inline(always)]
    fn call(self) -> Option<usize> {
        let (planes, left_over) = scan(self.frame, &self.region)?;
        color::to_rgb(self.frame, &self.region, &planes, self.out);
        Some(left_over)
    }
}

#[inline(always)]
fn scan(frame: &Frame<'_>, region: &Region) -> Option<([Plane; 3], usize)> {
    let (h, v) = frame.luma;
    let across = frame.width.div_ceil(8 * h);
    let mut planes =
        [(1, 1), (h, v), (h, v)].map(|pixels| Plane::new(region.blocks((frame.width, frame.height), pixels)));
    let [luma, blue, red] = planes.each_ref().map(|plane| plane.blocks.rows.end);
    let down = luma.div_ceil(v).max(blue).max(red);
    let mut segments = Segments::new(frame.scan);
    let mut bits = segments.bits();
    let mut last_dc = [0; 3];
    let mut until_restart = frame.restart_interval;
    for mcu_y in 0..down {
        for mcu_x in 0..across {
            if frame.restart_interval > 0 {
                if until_restart == 0 {
                    if !bits.finished() {
                        return None;
                    }
                    segments.restart()?;
                    bits = segments.bits();
                    last_dc = [0; 3];
                    until_restart = frame.restart_interval;
                }
                until_restart -= 1;
            }
            for (c, plane) in planes.iter_mut().enumerate() {
                let (h, v) = if c == 0 { frame.luma } else { (1, 1) };
                let component = &frame.components[c];
                for block_y in 0..v {
                    for block_x in 0..h {
                        read_block(
                            &mut bits,
                            component,
                            &mut last_dc[c],
                            plane,
                            (mcu_x * h + block_x, mcu_y * v + block_y),
                        )?;
                    }
                }
            }
        }
        if bits.overrun() {
            return None;
        }
    }
    let whole = down == frame.height.div_ceil(8 * v);
    Some((planes, if whole { bits.left_over() } else { 0 }))
}

/// The place in a block, row by row, of each coefficient in the order of the stream.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The samples of the block at `(x, y)`, or a step over it if the plane does not hold it.
#[inline(always)]
fn read_block(
    bits: &mut Bits<'_>,
    component: &Component,
    last_dc: &mut i32,
    plane: &mut Plane,
    (x, y): (usize, usize),
) -> Option<()> {
    read_first(bits, &component.dc, last_dc)?;
    let stride = plane.stride;
    let Some(samples) = plane.block(x, y) else {
        return read_others(bits, &component.ac, |_, _| {});
    };
    let mut block = [[0; 8]; 8];
    let mut flat = true;
    read_others(bits, &component.ac, |k, value| {
        let place = ZIGZAG[k];
        block[usize::from(place >> 3)][usize::from(place & 7)] = value * component.quant[k];
        flat = false;
    })?;
    block[0][0] = *last_dc * component.quant[0];
    idct::write(&block, flat, samples, stride);
    Some(())
}

/// The first coefficient, which is coded as the difference to the last block's.
#[inline(always)]
pub(super) fn read_first(bits: &mut Bits<'_>, table: &Table, last: &mut i32) -> Option<()> {
    bits.fill();
    let entry = bits.peek(table);
    let known = entry as i32 >> 16;
    let size = bits.symbol(table, entry)?;
    if known != 0 {
        *last += known;
    } else if size > 11 {
        return None;
    } else {
        *last += bits.signed(size.into());
    }
    (last.abs() <= 1 << 14).then_some(())
}

/// The other coefficients, each given to `store` with its place in the order of the stream.
#[inline(always)]
pub(super) fn read_others(
    bits: &mut Bits<'_>,
    table: &Table,
    mut store: impl FnMut(usize, i32),
) -> Option<()> {
    let mut k = 1;
    while k < 64 {
        bits.fill();
        let entry = bits.peek(table);
        let mut value = entry as i32 >> 16;
        let symbol = bits.symbol(table, entry)?;
        let (run, size) = (usize::from(symbol >> 4), symbol & 15);
        if value == 0 {
            if size == 0 {
                if run < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            value = bits.signed(size.into());
        }
        k += run;
        if k > 63 {
            return None;
        }
        store(k, value);
        k += 1;
    }
    Some(())
}
