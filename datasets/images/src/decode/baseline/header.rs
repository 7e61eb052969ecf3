//! The segments before the scan.

use std::sync::Arc;

use super::bits::signed;
use crate::Rect;

/// Codes up to this length are looked up at once.
pub(in crate::decode) const LOOKUP_BITS: u32 = 11;

/// A Huffman table.
pub(in crate::decode) struct Table {
    /// By the next bits: the symbol in the lowest byte, the length of its code in the second, 0 where it is longer. If
    /// the symbol's value lies within the bits too, it is in the upper half, and the length is of both.
    pub(in crate::decode) lookup: Vec<u32>,
    symbols: Vec<u8>,
    /// For each code length: one past the last code of it, left-aligned in 16 bits, and what to add to a code of it
    /// for the index of its symbol.
    ends: [(u32, i32); 17],
}

/// Which coefficients a table is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The first: a symbol is the size of a value, at most 11.
    First,
    /// The others: a run of zeros in the high half of a symbol, the size in the low.
    Others,
}

impl Table {
    fn new(class: Class, counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut lookup = vec![0; 1 << LOOKUP_BITS];
        let mut ends = [(0, 0); 17];
        let (mut code, mut index) = (0u32, 0usize);
        for length in 1..=16u32 {
            let count = usize::from(counts[length as usize - 1]);
            let offset = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + count)? {
                if length <= LOOKUP_BITS {
                    let first = (code << (LOOKUP_BITS - length)) as usize;
                    let entries = lookup.get_mut(first..first + (1 << (LOOKUP_BITS - length)))?;
                    fill_entries(class, entries, length, symbol);
                }
                code += 1;
            }
            index += count;
            if code > 1 << length {
                return None;
            }
            ends[length as usize] = (code << (16 - length), offset);
            code <<= 1;
        }
        Some(Self { lookup, symbols: symbols.to_vec(), ends })
    }

    /// Symbol and length of the code at the start of 16 bits, longer than the lookup's.
    #[cold]
    pub(in crate::decode) fn long_code(&self, bits: u32) -> Option<(u8, u32)> {
        let length = (LOOKUP_BITS + 1..=16).find(|&length| bits < self.ends[length as usize].0)?;
        let index = (bits >> (16 - length)) as i32 + self.ends[length as usize].1;
        let &symbol = self.symbols.get(usize::try_from(index).ok()?)?;
        Some((symbol, length))
    }
}

/// The entries of a code of `length` bits: they differ in the bits after it.
fn fill_entries(class: Class, entries: &mut [u32], length: u32, symbol: u8) {
    let size = u32::from(symbol & 15);
    let known = if class == Class::First { (1..=11).contains(&symbol) } else { size > 0 };
    if !known || length + size > LOOKUP_BITS {
        entries.fill(length << 8 | u32::from(symbol));
        return;
    }
    let of_one_value = entries.len() >> size;
    for (value, entries) in entries.chunks_exact_mut(of_one_value).enumerate() {
        let value = signed((value as u64) << (64 - size), size);
        entries.fill((value as u32) << 16 | (length + size) << 8 | u32::from(symbol));
    }
}

/// What one component's blocks are decoded with.
pub(in crate::decode) struct Component {
    /// For the first coefficient.
    pub(in crate::decode) dc: Arc<Table>,
    /// For the others.
    pub(in crate::decode) ac: Arc<Table>,
    /// Quantisers in the order of the stream.
    pub(in crate::decode) quant: [i32; 64],
}

/// All that is needed to decode a scan.
pub(in crate::decode) struct Frame<'a> {
    pub(in crate::decode) width: usize,
    pub(in crate::decode) height: usize,
    /// The EXIF block, without the name before it.
    pub(in crate::decode) exif: Option<&'a [u8]>,
    /// Luma samples per chroma sample, across and down: 1 or 2 each.
    pub(in crate::decode) luma: (usize, usize),
    pub(in crate::decode) components: [Component; 3],
    /// MCUs between restart markers, 0 for none.
    pub(in crate::decode) restart_interval: usize,
    /// From the first entropy-coded byte to the end of the file.
    pub(in crate::decode) scan: &'a [u8],
}

/// Tables as they come by.
#[derive(Default)]
pub(in crate::decode) struct Tables {
    pub(in crate::decode) dc: [Option<Arc<Table>>; 4],
    pub(in crate::decode) ac: [Option<Arc<Table>>; 4],
    /// In the order of the stream.
    pub(in crate::decode) quant: [Option<[i32; 64]>; 4],
}

struct Shape {
    width: usize,
    height: usize,
    luma: (usize, usize),
    ids: [u8; 3],
    quant: [usize; 3],
}

impl<'a> Frame<'a> {
    /// Reads up to the scan; `None` for all but baseline YCbCr in one interleaved scan.
    pub(in crate::decode) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        let mut tables = Tables::default();
        let (mut shape, mut restart_interval) = (None, 0);
        let (mut jfif, mut adobe, mut exif) = (false, None, None);
        loop {
            let [0xff, marker, high, low, ..] = *rest else { return None };
            let length = usize::from(u16::from_be_bytes([high, low]));
            let body = rest.get(4..2 + length)?;
            rest = &rest[2 + length..];
            match marker {
                0xc0 | 0xc1 if shape.is_none() => shape = Some(Shape::parse(body)?),
                0xc4 => tables.read_huffman(body)?,
                0xdb => tables.read_quantisers(body)?,
                0xdd => restart_interval = usize::from(u16::from_be_bytes(*body.first_chunk()?)),
                0xda => {
                    let shape = shape?;
                    let rgb_names = shape.ids == *b"RGB" && !jfif;
                    if adobe.map_or(rgb_names, |transform| transform != 1) {
                        return None;
                    }
                    return Some(Self {
                        width: shape.width,
                        height: shape.height,
                        exif,
                        luma: shape.luma,
                        components: shape.components(body, &tables)?,
                        restart_interval,
                        scan: rest,
                    });
                }
                0xe0 => jfif |= body.starts_with(b"JFIF\0"),
                0xe1 => exif = body.strip_prefix(b"Exif\0\0").or(exif),
                0xee if body.starts_with(b"Adobe") => adobe = Some(*body.get(11)?),
                0xe2..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }
}

impl Frame<'_> {
    /// Whether the scan is long enough for all down to `rect`: a block takes two codes of a bit at least. False for
    /// a header that claims what no byte stands for, before memory is asked for.
    pub(in crate::decode) fn may_hold(&self, rect: Rect) -> bool {
        let (h, v) = self.luma;
        let down = (rect.y as usize + rect.height as usize).div_ceil(8 * v);
        let blocks = self.width.div_ceil(8 * h) * down * (h * v + 2);
        blocks.div_ceil(4) <= self.scan.len()
    }
}

impl Shape {
    fn parse(body: &[u8]) -> Option<Self> {
        let &[8, h1, h0, w1, w0, 3, id0, s0, q0, id1, 0x11, q1, id2, 0x11, q2] = body else { return None };
        let luma = (usize::from(s0 >> 4), usize::from(s0 & 15));
        if !(1..=2).contains(&luma.0) || !(1..=2).contains(&luma.1) {
            return None;
        }
        Some(Self {
            width: usize::from(u16::from_be_bytes([w1, w0])),
            height: usize::from(u16::from_be_bytes([h1, h0])),
            luma,
            ids: [id0, id1, id2],
            quant: [q0.into(), q1.into(), q2.into()],
        })
    }

    /// What the header of the scan says the components are decoded with.
    fn components(&self, scan_header: &[u8], tables: &Tables) -> Option<[Component; 3]> {
        let &[3, id0, t0, id1, t1, id2, t2, 0, 63, 0] = scan_header else { return None };
        if [id0, id1, id2] != self.ids {
            return None;
        }
        let component = |selectors: u8, quant: usize| {
            let dc = tables.dc.get(usize::from(selectors >> 4))?.clone()?;
            let ac = tables.ac.get(usize::from(selectors & 15))?.clone()?;
            Some(Component { dc, ac, quant: (*tables.quant.get(quant)?)? })
        };
        let [q0, q1, q2] = self.quant;
        Some([component(t0, q0)?, component(t1, q1)?, component(t2, q2)?])
    }
}

impl Tables {
    /// `None` for tables that cannot be.
    pub(in crate::decode) fn read_huffman(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let (class, tables) = match kind >> 4 {
                0 => (Class::First, &mut self.dc),
                1 => (Class::Others, &mut self.ac),
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(class, counts, symbols)?.into());
            body = rest;
        }
        Some(())
    }

    /// `None` for tables that cannot be.
    pub(in crate::decode) fn read_quantisers(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = body.split_first() {
            // of 8 bits each, or of 16
            let (values, rest) = match kind >> 4 {
                0 => {
                    let (values, rest) = rest.split_first_chunk::<64>()?;
                    (values.map(i32::from), rest)
                }
                1 => {
                    let (values, rest) = rest.split_first_chunk::<128>()?;
                    let value = |k| i32::from(u16::from_be_bytes([values[2 * k], values[2 * k + 1]]));
                    (std::array::from_fn(value), rest)
                }
                _ => return None,
            };
            *self.quant.get_mut(usize::from(kind & 15))? = Some(values);
            body = rest;
        }
        Some(())
    }
}
