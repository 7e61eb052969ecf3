//! Coefficients to RGB, in the integers of libjpeg's default settings and PIL's way from CMYK to RGB.

use super::super::baseline::ZIGZAG;
use super::super::baseline::color::{Chroma, convert_row};
use super::super::baseline::idct;
use super::super::baseline::region::{Plane, Region};
use super::header::Frame;
use super::scan::{Block, Coefficients};

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gray,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

impl Kind {
    /// By libjpeg's rules: JFIF says YCbCr, else Adobe's marker decides, else the components' names.
    pub(super) fn of(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Self {
        let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
        match (ids.len(), jfif, adobe) {
            (1, ..) => Self::Gray,
            (3, false, Some(0)) => Self::Rgb,
            (3, false, None) if ids == b"RGB" => Self::Rgb,
            (3, ..) => Self::YCbCr,
            (_, _, None | Some(0)) => Self::Cmyk,
            _ => Self::Ycck,
        }
    }
}

/// The pixels of `region` into `out`, 3 bytes each.
pub(super) struct Output<'a> {
    pub(super) frame: &'a Frame,
    pub(super) kind: Kind,
    pub(super) coefficients: Vec<Coefficients>,
    /// For each component, in the order of the stream.
    pub(super) quant: Vec<[i32; 64]>,
    pub(super) region: Region,
    pub(super) out: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let size = (self.frame.width, self.frame.height);
        let mut planes = Vec::with_capacity(4);
        for (c, (coefficients, quant)) in self.coefficients.into_iter().zip(&self.quant).enumerate() {
            let mut plane = Plane::new(self.region.blocks(size, self.frame.pixels(c)));
            for y in plane.blocks.rows.clone() {
                for x in plane.blocks.columns.clone() {
                    let block = &coefficients.blocks[y * coefficients.across + x];
                    let stride = plane.stride;
                    if let Some(samples) = plane.block(x, y) {
                        transform(block, quant, samples, stride);
                    }
                }
            }
            planes.push(plane);
        }
        let mut full: Vec<Vec<u8>> = planes.iter().map(|_| vec![0; self.region.columns.len()]).collect();
        let (mut wide, mut sums) = (Vec::new(), Vec::new());
        let rows = self.region.rows.clone();
        for (y, line) in rows.zip(self.out.chunks_exact_mut(self.region.columns.len() * 3)) {
            for (c, (plane, full)) in planes.iter().zip(&mut full).enumerate() {
                upsample_row(self.frame, c, plane, &self.region, y, (&mut wide, &mut sums), full);
            }
            match (self.kind, &full[..]) {
                (Kind::YCbCr, [luma, blue, red]) => convert_row(luma, blue, red, line),
                (Kind::Cmyk, [c, m, y, k]) => cmyk_row([c, m, y, k], line),
                (Kind::Ycck, [luma, blue, red, black]) => {
                    convert_row(luma, blue, red, line);
                    // what YCC turns into is the ink that is not there
                    for (pixel, &black) in line.chunks_exact_mut(3).zip(black) {
                        let inks = [pixel[0], pixel[1], pixel[2]].map(|light| 255 - light);
                        pixel.copy_from_slice(&inks.map(|ink| without_black(ink, black)));
                    }
                }
                (_, all) => {
                    for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
                        for (c, value) in pixel.iter_mut().enumerate() {
                            *value = all[c.min(all.len() - 1)][x];
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn transform(block: &Block, quant: &[i32; 64], out: &mut [u8], stride: usize) {
    let mut values = [[0; 8]; 8];
    let mut flat = true;
    for (k, (&coefficient, quant)) in block.iter().zip(quant).enumerate() {
        if coefficient != 0 {
            let place = ZIGZAG[k];
            values[usize::from(place >> 3)][usize::from(place & 7)] =
                i32::from(coefficient).wrapping_mul(*quant);
            flat &= k == 0;
        }
    }
    idct::write(&values, flat, out, stride);
}

/// Row `y` of component `c`, one value a pixel of the region. Factors of 1 and 2 have libjpeg's triangle filter, all
/// others repeat the sample.
#[inline(always)]
fn upsample_row(
    frame: &Frame,
    c: usize,
    plane: &Plane,
    region: &Region,
    y: usize,
    (wide, sums): (&mut Vec<u8>, &mut Vec<u16>),
    out: &mut [u8],
) {
    let (h, v) = frame.pixels(c);
    let columns = region.columns.start / h..region.columns.end.div_ceil(h);
    if h > 2 || v > 2 {
        let row = plane.row(y / v, columns.clone());
        for (x, out) in region.columns.clone().zip(out) {
            *out = row[x / h - columns.start];
        }
        return;
    }
    let first = region.columns.start - columns.start * h;
    wide.resize(columns.len() * h, 0);
    sums.resize(columns.len() + 2, 0);
    let chroma = Chroma { size: frame.samples(c), pixels: (h, v), columns };
    chroma.upsample_row(plane, y, sums, wide);
    out.copy_from_slice(&wide[first..][..out.len()]);
}

/// Inks as Adobe stores them, 255 for none.
fn cmyk_row([cyan, magenta, yellow, black]: [&[u8]; 4], out: &mut [u8]) {
    for (x, pixel) in out.chunks_exact_mut(3).enumerate() {
        pixel.copy_from_slice(&[cyan, magenta, yellow].map(|ink| without_black(ink[x], black[x])));
    }
}

/// One of red, green and blue under black, both as Adobe stores them; PIL's rounding.
fn without_black(ink: u8, black: u8) -> u8 {
    let product = (255 - u32::from(ink)) * u32::from(black) + 128;
    black.saturating_sub((((product >> 8) + product) >> 8) as u8)
}
