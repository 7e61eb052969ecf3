//! The scans of a sequential or progressive stream into coefficients (ITU T.81, F and G).

use super::super::baseline::bits::{Bits, Segments};
use super::super::baseline::header::Table;
use super::super::baseline::{read_first, read_others};
use super::header::{Frame, Scan};

/// The 64 coefficients of a block, in the order of the stream.
pub(super) type Block = [i16; 64];

/// The coefficients of one component.
pub(super) struct Coefficients {
    /// Blocks across, whole MCUs.
    pub(super) across: usize,
    pub(super) blocks: Vec<Block>,
    /// Blocks across and down that hold samples of the image.
    real: (usize, usize),
    /// For each coefficient the bits still to come, `None` before its first scan.
    pub(super) to_come: [Option<u32>; 64],
}

impl Coefficients {
    /// Zeros for each component of a frame.
    pub(super) fn of(frame: &Frame) -> Vec<Self> {
        let (across, down) = mcus(frame);
        (0..frame.components.len())
            .map(|c| {
                let (h, v) = frame.components[c].sampling;
                let (width, height) = frame.samples(c);
                Self {
                    across: across * h,
                    blocks: vec![[0; 64]; across * h * down * v],
                    real: (width.div_ceil(8), height.div_ceil(8)),
                    to_come: [None; 64],
                }
            })
            .collect()
    }
}

/// Across and down.
fn mcus(frame: &Frame) -> (usize, usize) {
    let (h, v) = frame.most();
    (frame.width.div_ceil(8 * h), frame.height.div_ceil(8 * v))
}

/// The blocks that a scan codes, in all.
pub(super) fn blocks_of(frame: &Frame, scan: &Scan<'_>) -> usize {
    if let [only] = &scan.components[..] {
        let (width, height) = frame.samples(only.index);
        return width.div_ceil(8) * height.div_ceil(8);
    }
    let (across, down) = mcus(frame);
    let each = |c: usize| frame.components[c].sampling.0 * frame.components[c].sampling.1;
    scan.components.iter().map(|c| each(c.index)).sum::<usize>() * across * down
}

/// Why a scan ends before its last block.
pub(super) enum Stop {
    /// The file ends.
    EndOfFile,
    /// Something that cannot be.
    Broken(&'static str),
}

/// Reads `scan` into `coefficients`; returns what follows it, and the number of bytes that no block needed.
pub(super) fn read<'a>(
    frame: &Frame,
    scan: &Scan<'a>,
    coefficients: &mut [Coefficients],
) -> Result<(&'a [u8], usize), Stop> {
    let (across, total) = match &scan.components[..] {
        [only] => (coefficients[only.index].real.0, blocks_of(frame, scan)),
        _ => (mcus(frame).0, mcus(frame).0 * mcus(frame).1),
    };
    let mut data = Segments::new(scan.data);
    let (mut done, mut left_over) = (0, 0);
    loop {
        let count = if scan.restart_interval == 0 { total } else { scan.restart_interval.min(total - done) };
        let mut reader = Reader { scan, bits: data.bits(), last_dc: [0; 4], end_of_band: 0 };
        for mcu in done..done + count {
            let read = reader.mcu(frame, (mcu % across, mcu / across), coefficients);
            if reader.bits.overrun() {
                let stop = Stop::Broken("a scan ends before its last block");
                return Err(if data.rest().is_empty() { Stop::EndOfFile } else { stop });
            }
            read.ok_or(Stop::Broken("a code that cannot be in the entropy-coded data"))?;
        }
        left_over += reader.bits.left_over();
        done += count;
        if done == total {
            break;
        }
        if data.restart().is_none() {
            let stop = Stop::Broken("a restart marker is missing or out of order");
            return Err(if data.rest().is_empty() { Stop::EndOfFile } else { stop });
        }
    }
    for component in &scan.components {
        let to_come = &mut coefficients[component.index].to_come;
        to_come[scan.spectrum.0..=scan.spectrum.1].fill(Some(scan.low));
    }
    Ok((data.rest(), left_over))
}

/// Reads the blocks between two restart markers. Its functions return `None` for codes that cannot be.
struct Reader<'r, 'a> {
    scan: &'r Scan<'a>,
    bits: Bits<'r>,
    last_dc: [i32; 4],
    /// Blocks to come that have no new coefficient in this scan.
    end_of_band: u32,
}

impl Reader<'_, '_> {
    fn mcu(&mut self, frame: &Frame, (x, y): (usize, usize), all: &mut [Coefficients]) -> Option<()> {
        let scan = self.scan;
        if let [only] = &scan.components[..] {
            let plane = &mut all[only.index];
            return self.block(frame, 0, &mut plane.blocks[y * plane.across + x]);
        }
        for (i, component) in scan.components.iter().enumerate() {
            let (h, v) = frame.components[component.index].sampling;
            let plane = &mut all[component.index];
            for y in y * v..(y + 1) * v {
                for x in x * h..(x + 1) * h {
                    self.block(frame, i, &mut plane.blocks[y * plane.across + x])?;
                }
            }
        }
        Some(())
    }

    /// A block of the scan's component `i`.
    fn block(&mut self, frame: &Frame, i: usize, block: &mut Block) -> Option<()> {
        let Scan { ref components, spectrum, high, low, .. } = *self.scan;
        if frame.progressive {
            return match (spectrum.0, high) {
                (0, 0) => {
                    read_first(&mut self.bits, components[i].dc.as_ref()?, &mut self.last_dc[i])?;
                    block[0] = (self.last_dc[i] << low) as i16;
                    Some(())
                }
                (0, _) => {
                    block[0] |= i16::from(self.bits.bit()) << low;
                    Some(())
                }
                (_, 0) => self.first_bits(components[0].ac.as_ref()?, block),
                _ => self.next_bit(components[0].ac.as_ref()?, block),
            };
        }
        read_first(&mut self.bits, components[i].dc.as_ref()?, &mut self.last_dc[i])?;
        *block = [0; 64];
        block[0] = self.last_dc[i] as i16;
        read_others(&mut self.bits, components[i].ac.as_ref()?, |k, value| block[k] = value as i16)
    }

    /// The next code of a band and, where it has one, the value after it: (run, size, value).
    fn code(&mut self, table: &Table) -> Option<(u32, u32, i32)> {
        self.bits.fill();
        let entry = self.bits.peek(table);
        let known = entry as i32 >> 16;
        let symbol = self.bits.symbol(table, entry)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let value = if known != 0 || size == 0 { known } else { self.bits.signed(size) };
        Some((run, size, value))
    }

    /// Coefficients of a band for the first time.
    fn first_bits(&mut self, table: &Table, block: &mut Block) -> Option<()> {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return Some(());
        }
        let (mut k, last) = self.scan.spectrum;
        while k <= last {
            let (run, size, value) = self.code(table)?;
            if size > 0 {
                k += run as usize;
                *block.get_mut(k).filter(|_| k <= last)? = (value << self.scan.low) as i16;
                k += 1;
            } else if run == 15 {
                k += 16;
            } else {
                self.end_of_band = (1 << run) - 1 + self.bits.take(run);
                break;
            }
        }
        Some(())
    }

    /// One more bit of each coefficient of a band that is not 0, and those that become so.
    fn next_bit(&mut self, table: &Table, block: &mut Block) -> Option<()> {
        let (mut k, last) = self.scan.spectrum;
        let one = 1i16 << self.scan.low;
        if self.end_of_band == 0 {
            while k <= last {
                let (mut run, size, value) = self.code(table)?;
                if size > 1 {
                    return None;
                }
                if size == 0 && run < 15 {
                    self.end_of_band = (1 << run) + self.bits.take(run);
                    break;
                }
                // over as many zeros as the run says, and the one it ends at
                while k <= last {
                    if block[k] != 0 {
                        self.refine(&mut block[k], one);
                    } else if run == 0 {
                        break;
                    } else {
                        run -= 1;
                    }
                    k += 1;
                }
                if size == 1 {
                    *block.get_mut(k).filter(|_| k <= last)? = one * value as i16;
                }
                k += 1;
            }
        }
        if self.end_of_band > 0 {
            for coefficient in block.get_mut(k..=last).unwrap_or_default() {
                if *coefficient != 0 {
                    self.refine(coefficient, one);
                }
            }
            self.end_of_band -= 1;
        }
        Some(())
    }

    fn refine(&mut self, coefficient: &mut i16, one: i16) {
        if self.bits.bit() && *coefficient & one == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -one } else { one });
        }
    }
}
