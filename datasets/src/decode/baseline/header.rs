//! The segments before the scan.

/// Codes up to this length are looked up at once.
pub(super) const LOOKUP_BITS: u32 = 10;

/// A Huffman table.
pub(super) struct Table {
    /// Length of the code in the high byte and symbol in the low, 0 where the code is longer.
    pub(super) lookup: Vec<u16>,
    symbols: Vec<u8>,
    /// For each code length: one past the last code of it, left-aligned in 16 bits, and what to add to a code of it
    /// for the index of its symbol.
    ends: [(u32, i32); 17],
}

impl Table {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
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
                    entries.fill((length as u16) << 8 | u16::from(symbol));
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
    pub(super) fn long_code(&self, bits: u32) -> Option<(u8, u32)> {
        let length = (LOOKUP_BITS + 1..=16).find(|&length| bits < self.ends[length as usize].0)?;
        let index = (bits >> (16 - length)) as i32 + self.ends[length as usize].1;
        let &symbol = self.symbols.get(usize::try_from(index).ok()?)?;
        Some((symbol, length))
    }
}

/// What one component's blocks are decoded with.
pub(super) struct Component<'a> {
    /// For the first coefficient and for the others.
    pub(super) tables: (&'a Table, &'a Table),
    /// Quantisers in the order of the stream.
    pub(super) quant: &'a [i32; 64],
}

/// All that is needed to decode a scan.
pub(super) struct Frame<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Luma samples per chroma sample, across and down: 1 or 2 each.
    pub(super) luma: (usize, usize),
    pub(super) components: [Component<'a>; 3],
    /// MCUs between restart markers, 0 for none.
    pub(super) restart_interval: usize,
    /// From the first entropy-coded byte to the end of the file.
    pub(super) scan: &'a [u8],
}

/// Tables as they come by; leaves the borrowing to [`Frame`].
#[derive(Default)]
pub(super) struct Tables {
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    quant: [Option<[i32; 64]>; 4],
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
    pub(super) fn parse(bytes: &'a [u8], tables: &'a mut Tables) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        let (mut shape, mut restart_interval) = (None, 0);
        let (mut jfif, mut adobe) = (false, None);
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
                    return Self::with_scan(&shape, body, tables, restart_interval, rest);
                }
                0xe0 => jfif |= body.starts_with(b"JFIF\0"),
                0xee if body.starts_with(b"Adobe") => adobe = Some(*body.get(11)?),
                0xe1..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }

    fn with_scan(
        shape: &Shape,
        body: &[u8],
        tables: &'a Tables,
        restart_interval: usize,
        scan: &'a [u8],
    ) -> Option<Self> {
        let &[3, id0, t0, id1, t1, id2, t2, 0, 63, 0] = body else { return None };
        if [id0, id1, id2] != shape.ids {
            return None;
        }
        let component = |selectors: u8, quant: usize| {
            let dc = tables.dc.get(usize::from(selectors >> 4))?.as_ref()?;
            let ac = tables.ac.get(usize::from(selectors & 15))?.as_ref()?;
            Some(Component { tables: (dc, ac), quant: tables.quant.get(quant)?.as_ref()? })
        };
        let [q0, q1, q2] = shape.quant;
        Some(Self {
            width: shape.width,
            height: shape.height,
            luma: shape.luma,
            components: [component(t0, q0)?, component(t1, q1)?, component(t2, q2)?],
            restart_interval,
            scan,
        })
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
}

impl Tables {
    fn read_huffman(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&c| usize::from(c)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let tables = match kind >> 4 {
                0 => &mut self.dc,
                1 => &mut self.ac,
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, symbols)?);
            body = rest;
        }
        Some(())
    }

    fn read_quantisers(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = body.split_first() {
            let (values, rest) = rest.split_first_chunk::<64>().filter(|_| kind < 4)?;
            self.quant[usize::from(kind)] = Some(values.map(i32::from));
            body = rest;
        }
        Some(())
    }
}
