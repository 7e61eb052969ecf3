//! Bits and Huffman symbols of the entropy-coded data.

use memchr::memchr;

use super::header::{LOOKUP_BITS, Table};

/// Zeros after a segment, so that its last bytes are read eight at a time as all others are.
const PADDING: usize = 8;

/// The data between two markers, one segment at a time, with the bytes stuffed after each 0xff taken out.
pub(in crate::decode) struct Segments<'a> {
    /// From the marker at the end of the segment on.
    rest: &'a [u8],
    /// The number of the next restart marker, which tells whether one is lost.
    next: u8,
    /// The segment and [`PADDING`].
    clean: Vec<u8>,
}

impl<'a> Segments<'a> {
    /// Stands at the first segment of a scan.
    pub(in crate::decode) fn new(scan: &'a [u8]) -> Self {
        let mut segments = Self { rest: scan, next: 0, clean: Vec::with_capacity(scan.len() + PADDING) };
        segments.read();
        segments
    }

    fn read(&mut self) {
        self.clean.clear();
        loop {
            let end = memchr(0xff, self.rest).unwrap_or(self.rest.len());
            // any number of 0xff may fill the space before a marker
            let fill = self.rest[end..].iter().take_while(|&&byte| byte == 0xff).count();
            let stuffed = self.rest.get(end + fill) == Some(&0);
            self.clean.extend_from_slice(&self.rest[..end + usize::from(stuffed)]);
            if !stuffed {
                self.rest = &self.rest[end + fill.saturating_sub(1)..];
                break;
            }
            self.rest = &self.rest[end + fill + 1..];
        }
        self.clean.extend_from_slice(&[0; PADDING]);
    }

    /// The bits of the segment.
    pub(in crate::decode) fn bits(&self) -> Bits<'_> {
        Bits { bytes: &self.clean, at: 0, held: 0, count: 0 }
    }

    /// Goes on after the restart marker, which must come next and have the right number.
    pub(in crate::decode) fn restart(&mut self) -> Option<()> {
        let [0xff, marker, rest @ ..] = self.rest else { return None };
        if *marker != 0xd0 + self.next {
            return None;
        }
        self.next = (self.next + 1) % 8;
        self.rest = rest;
        self.read();
        Some(())
    }

    /// From the marker at the end of the segment on; empty where the file ends.
    pub(in crate::decode) fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Reads bits, first the highest of each byte. Past the end there are zeros, which [`Bits::overrun`] tells of.
#[derive(Clone, Copy)]
pub(in crate::decode) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes taken.
    at: usize,
    /// The next bits, from the highest on; those past `count` are of the byte at `at`.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// At least 56 bits: a code of up to 16 and the value after it, without a branch on how many are left.
    #[inline(always)]
    pub(in crate::decode) fn fill(&mut self) {
        let next = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>());
        self.held |= next.map_or(0, |&bytes| u64::from_be_bytes(bytes)) >> self.count;
        self.at += (63 - self.count as usize) >> 3;
        self.count |= 56;
    }

    #[inline(always)]
    pub(in crate::decode) fn skip(&mut self, count: u32) {
        self.held <<= count;
        self.count -= count;
    }

    /// The entry of `table` for the next code, which must be held.
    #[inline(always)]
    pub(in crate::decode) fn peek(&self, table: &Table) -> u32 {
        table.lookup[(self.held >> (64 - LOOKUP_BITS)) as usize]
    }

    /// The symbol of the next code, given its entry, with its value's bits held; `None` for a code not in the table.
    #[inline(always)]
    pub(in crate::decode) fn symbol(&mut self, table: &Table, entry: u32) -> Option<u8> {
        let length = entry >> 8 & 0xff;
        if length != 0 {
            self.skip(length);
            return Some(entry as u8);
        }
        let (symbol, length) = table.long_code((self.held >> 48) as u32)?;
        self.skip(length);
        Some(symbol)
    }

    /// The value of `size` bits after a symbol: those that start with 0 are negative. `size` is at most 15.
    #[inline(always)]
    pub(in crate::decode) fn signed(&mut self, size: u32) -> i32 {
        let value = signed(self.held, size);
        self.skip(size);
        value
    }

    /// The next `count` bits, at most 16.
    #[inline(always)]
    pub(in crate::decode) fn take(&mut self, count: u32) -> u32 {
        self.fill();
        let value = ((self.held >> 1) >> (63 - count)) as u32;
        self.skip(count);
        value
    }

    /// The next bit.
    #[inline(always)]
    pub(in crate::decode) fn bit(&mut self) -> bool {
        if self.count == 0 {
            self.fill();
        }
        let bit = (self.held as i64) < 0;
        self.skip(1);
        bit
    }

    fn end(&self) -> usize {
        (self.bytes.len() - PADDING) * 8
    }

    fn used(&self) -> usize {
        self.at * 8 - self.count as usize
    }

    /// Whether bits past the end were used.
    pub(in crate::decode) fn overrun(&self) -> bool {
        self.used() > self.end()
    }

    /// Whole bytes that are left.
    pub(in crate::decode) fn left_over(&self) -> usize {
        self.end().saturating_sub(self.used()) / 8
    }

    /// Whether no more is left than the padding of the last byte.
    pub(in crate::decode) fn finished(&self) -> bool {
        !self.overrun() && self.end() - self.used() < 8
    }
}

/// The value of the highest `size` bits.
#[inline(always)]
pub(in crate::decode) fn signed(bits: u64, size: u32) -> i32 {
    // two shifts, as size may be 0
    let value = ((bits >> 1) >> (63 - size)) as i32;
    let negative = i32::from((bits as i64) >= 0);
    value - negative * ((1 << size) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffing_goes_and_markers_end_a_segment() {
        let mut segments = Segments::new(&[1, 0xff, 0, 2, 0xff, 0xff, 0xd0, 0xff, 0xff, 0, 0xff]);
        assert_eq!(segments.clean[..3], [1, 0xff, 2]);
        assert_eq!(segments.clean.len(), 3 + PADDING);
        let mut bits = segments.bits();
        for expected in [1, 0xff, 2] {
            assert!(!bits.finished());
            bits.fill();
            assert_eq!(bits.held >> 56, expected);
            bits.skip(8);
        }
        assert!(bits.finished());
        bits.skip(1);
        assert!(bits.overrun() && !bits.finished());
        segments.restart().unwrap();
        assert_eq!(segments.clean[..1], [0xff]);
        assert!(segments.restart().is_none());
    }

    #[test]
    fn values_by_hand() {
        // ITU T.81, table F.1: of two bits, 00 01 10 11 are -3 -2 2 3
        let found = [0u64, 1, 2, 3].map(|bits| signed(bits << 62, 2));
        assert_eq!(found, [-3, -2, 2, 3]);
        assert_eq!(signed(u64::MAX, 0), 0);
    }
}
