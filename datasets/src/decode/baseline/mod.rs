//! The common kind of JPEG, baseline YCbCr with one interleaved scan, decoded to the very values of libjpeg's default
//! settings: its accurate inverse DCT, triangle upsampling and 16-bit colour conversion. What pretrained weights saw
//! in training came through these, and the errors of other decoders add up to 4 levels.
//!
//! Strict by design: anything unusual or damaged makes [`decode`] return `None`, and the caller hands the stream to a
//! decoder that knows all kinds and says what is wrong.

mod bits;
mod color;
mod header;
mod idct;

use bits::Bits;
use header::{Frame, Table, Tables};

/// Samples of one component, padded to whole blocks of whole MCUs.
struct Plane {
    samples: Vec<u8>,
    stride: usize,
}

impl Plane {
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y * self.stride..][..self.stride]
    }
}

/// Decodes into `out`, `size.0 * size.1 * 3` bytes of RGB; `None` if the stream is not plain enough.
pub(super) fn decode(bytes: &[u8], size: (u32, u32), out: &mut [u8]) -> Option<()> {
    let mut tables = Tables::default();
    let frame = Frame::parse(bytes, &mut tables)?;
    let size = (size.0 as usize, size.1 as usize);
    if (frame.width, frame.height) != size || out.len() != size.0 * size.1 * 3 {
        return None;
    }
    // one dispatch for all of it: entropy decoding gains from the newer shifts too
    pulp::Arch::new().dispatch(Decode { frame: &frame, out })
}

/// A type of its own and no closure: the call of a closure is not always inlined into the function compiled for the
/// newer instructions, and then gains nothing.
struct Decode<'a> {
    frame: &'a Frame<'a>,
    out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Decode<'_> {
    type Output = Option<()>;

    #[inline(always)]
    fn call(self) -> Option<()> {
        let planes = scan(self.frame)?;
        color::to_rgb(self.frame, &planes, self.out);
        Some(())
    }
}

#[inline(always)]
fn scan(frame: &Frame<'_>) -> Option<[Plane; 3]> {
    let (h, v) = frame.luma;
    let across = frame.width.div_ceil(8 * h);
    let down = frame.height.div_ceil(8 * v);
    let plane = |h: usize, v: usize| {
        let stride = across * h * 8;
        Plane { samples: vec![0; stride * down * v * 8], stride }
    };
    let mut planes = [plane(h, v), plane(1, 1), plane(1, 1)];
    let mut bits = Bits::new(frame.scan);
    let mut last_dc = [0; 3];
    let mut until_restart = frame.restart_interval;
    for mcu_y in 0..down {
        for mcu_x in 0..across {
            if frame.restart_interval > 0 {
                if until_restart == 0 {
                    bits.restart()?;
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
                        let mut block = [[0; 8]; 8];
                        let flat = read_block(
                            &mut bits,
                            component.tables,
                            component.quant,
                            &mut last_dc[c],
                            &mut block,
                        )?;
                        let at = (mcu_y * v + block_y) * 8 * plane.stride + (mcu_x * h + block_x) * 8;
                        idct::write(&block, flat, &mut plane.samples[at..], plane.stride);
                    }
                }
            }
        }
        if bits.overrun() {
            return None;
        }
    }
    Some(planes)
}

/// The place in a block, row by row, of each coefficient in the order of the stream.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Coefficients times their quantisers; true if only the first is not 0.
#[inline(always)]
fn read_block(
    bits: &mut Bits<'_>,
    (dc, ac): (&Table, &Table),
    quant: &[i32; 64],
    last_dc: &mut i32,
    block: &mut [[i32; 8]; 8],
) -> Option<bool> {
    let size = bits.symbol(dc)?;
    if size > 11 {
        return None;
    }
    *last_dc += bits.signed(size.into());
    if last_dc.abs() > 1 << 14 {
        return None;
    }
    block[0][0] = *last_dc * quant[0];
    let mut k = 1;
    let mut flat = true;
    while k < 64 {
        let symbol = bits.symbol(ac)?;
        let (run, size) = (usize::from(symbol >> 4), symbol & 15);
        if size == 0 {
            if run < 15 {
                break;
            }
            k += 16;
            continue;
        }
        k += run;
        let &place = ZIGZAG.get(k)?;
        flat = false;
        block[usize::from(place >> 3)][usize::from(place & 7)] = bits.signed(size.into()) * quant[k];
        k += 1;
    }
    Some(flat)
}
