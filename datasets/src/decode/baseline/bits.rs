//! Bits and Huffman symbols of the entropy-coded data.

use super::header::{LOOKUP_BITS, Table};

/// Reads bits, first the highest of each byte. Past the end there are zeros, which [`Bits::overrun`] tells of.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, from the highest on.
    held: u64,
    count: u32,
    /// How many of the held bits, at the end, are not of the stream.
    invented: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0, invented: 0 }
    }

    /// At least 32 bits: a code of up to 16 and the value after it.
    #[inline(always)]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(&four) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<4>()) {
            let word = u32::from_be_bytes(four);
            // no byte is 0xff: a byte of the complement is 0 exactly there
            let complement = !word;
            if complement.wrapping_sub(0x0101_0101) & word & 0x8080_8080 == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.fill_bytewise();
    }

    #[cold]
    fn fill_bytewise(&mut self) {
        while self.count <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.invented += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.held <<= count;
        self.count -= count;
    }

    /// The symbol of the next code, with its value's bits held; `None` for a code not in the table.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        self.fill();
        let entry = table.lookup[(self.held >> (64 - LOOKUP_BITS)) as usize];
        if entry != 0 {
            self.skip(u32::from(entry >> 8));
            return Some(entry as u8);
        }
        let code = (self.held >> 48) as u32;
        let (symbol, length) = table.long_code(code)?;
        self.skip(length);
        Some(symbol)
    }

    /// The value of `size` bits after a symbol: those that start with 0 are negative. `size` is at most 15.
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        // two shifts, as size may be 0
        let value = ((self.held >> 1) >> (63 - size)) as i32;
        let negative = i32::from((self.held as i64) >= 0);
        self.skip(size);
        value - negative * ((1 << size) - 1)
    }

    /// Whether bits past the end were used.
    pub(super) fn overrun(&self) -> bool {
        self.count < self.invented
    }

    /// Goes on after the restart marker, which must come next.
    pub(super) fn restart(&mut self) -> Option<()> {
        // less than a byte of padding may be left before the marker
        let left = self.count.checked_sub(self.invented)?;
        let marker = self.bytes.get(self.at..self.at + 2)?;
        if left >= 8 || marker[0] != 0xff || !(0xd0..=0xd7).contains(&marker[1]) {
            return None;
        }
        *self = Self { at: self.at + 2, ..Self::new(self.bytes) };
        Some(())
    }
}
