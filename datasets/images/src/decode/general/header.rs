//! The segments of a JPEG stream, one scan after another.

use std::sync::Arc;

use super::super::DecodeError;
use super::super::baseline::header::{Table, Tables};

/// The image as its frame header has it.
pub(in crate::decode) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<FrameComponent>,
}

/// One component of a frame.
pub(super) struct FrameComponent {
    pub(super) id: u8,
    /// Samples across and down an MCU holds, in blocks.
    pub(super) sampling: (usize, usize),
    /// Which quantisers.
    pub(super) quant: usize,
}

impl Frame {
    /// The largest factors, across and down.
    pub(super) fn most(&self) -> (usize, usize) {
        self.components.iter().fold((1, 1), |most, c| (most.0.max(c.sampling.0), most.1.max(c.sampling.1)))
    }

    /// Pixels that one sample of component `c` stands for, across and down.
    pub(super) fn pixels(&self, c: usize) -> (usize, usize) {
        let (most, sampling) = (self.most(), self.components[c].sampling);
        (most.0 / sampling.0, most.1 / sampling.1)
    }

    /// Samples of component `c`, across and down.
    pub(super) fn samples(&self, c: usize) -> (usize, usize) {
        let (h, v) = self.pixels(c);
        (self.width.div_ceil(h), self.height.div_ceil(v))
    }

    fn parse(body: &[u8], progressive: bool) -> Result<Self, DecodeError> {
        let &[bits, h1, h0, w1, w0, count, ref rest @ ..] = body else { return Err(broken("frame header")) };
        if bits != 8 {
            return Err(unsupported(format!("{bits} bits a sample")));
        }
        if rest.len() != 3 * usize::from(count) {
            return Err(broken("frame header"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(unsupported(format!("{count} components")));
        }
        let components: Vec<_> = rest
            .chunks_exact(3)
            .map(|c| FrameComponent {
                id: c[0],
                // the factors of a single component say nothing: it has a scan to itself
                sampling: if count == 1 { (1, 1) } else { (usize::from(c[1] >> 4), usize::from(c[1] & 15)) },
                quant: c[2].into(),
            })
            .collect();
        let frame = Self {
            width: u16::from_be_bytes([w1, w0]).into(),
            height: u16::from_be_bytes([h1, h0]).into(),
            progressive,
            components,
        };
        let most = frame.most();
        for c in &frame.components {
            let (h, v) = c.sampling;
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err(broken("frame header: a sampling factor is not 1 to 4"));
            }
            if !most.0.is_multiple_of(h) || !most.1.is_multiple_of(v) {
                let (across, down) = most;
                return Err(unsupported(format!("sampling of {h}x{v} beside {across}x{down}")));
            }
        }
        Ok(frame)
    }
}

/// What a scan holds.
pub(super) struct Scan<'a> {
    /// Index and Huffman tables of each component.
    pub(super) components: Vec<ScanComponent>,
    /// First and last coefficient, in the order of the stream.
    pub(super) spectrum: (usize, usize),
    /// Bits that came in the scan before, 0 in a first scan.
    pub(super) high: u32,
    /// Bits that are still to come.
    pub(super) low: u32,
    pub(super) restart_interval: usize,
    /// From the first entropy-coded byte to the end of the file.
    pub(super) data: &'a [u8],
}

/// One component of a scan.
pub(super) struct ScanComponent {
    pub(super) index: usize,
    pub(super) dc: Option<Arc<Table>>,
    pub(super) ac: Option<Arc<Table>>,
}

/// A stream read segment by segment.
pub(super) struct Segments<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
    pub(super) tables: Tables,
    restart_interval: usize,
    frame: Option<Arc<Frame>>,
    pub(super) jfif: bool,
    pub(super) adobe: Option<u8>,
    pub(super) exif: Option<&'a [u8]>,
    /// Bytes that belong to no segment.
    pub(super) strays: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or_else(|| DecodeError::unknown(bytes))?;
        Ok(Self {
            bytes,
            rest,
            tables: Tables::default(),
            restart_interval: 0,
            frame: None,
            jfif: false,
            adobe: None,
            exif: None,
            strays: 0,
        })
    }

    /// The frame whose scans these are.
    pub(super) fn frame(&self) -> Result<Arc<Frame>, DecodeError> {
        self.frame.clone().ok_or_else(|| broken("a scan before the frame header"))
    }

    /// Goes on behind a scan.
    pub(super) fn go_on(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// That the file ends within `what`.
    pub(super) fn truncated(&self, what: &str) -> DecodeError {
        DecodeError::TruncatedJpeg { length: self.bytes.len(), reason: what.to_owned() }
    }

    /// Reads on up to the next scan; `None` at the end marker.
    pub(super) fn next_scan(&mut self) -> Result<Option<Scan<'a>>, DecodeError> {
        loop {
            let marker = self.marker()?;
            // these have no length
            match marker {
                0xd9 => return Ok(None),
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let (length, rest) =
                self.rest.split_first_chunk::<2>().ok_or_else(|| self.truncated("a segment's length"))?;
            let length = usize::from(u16::from_be_bytes(*length));
            let length = length.checked_sub(2).ok_or_else(|| broken("segment length"))?;
            let Some((body, rest)) = rest.split_at_checked(length) else {
                return Err(self.truncated("a segment of the header"));
            };
            self.rest = rest;
            match marker {
                0xc0..=0xc2 if self.frame.is_some() => return Err(broken("two frame headers")),
                0xc0..=0xc2 => {
                    self.frame = Some(Frame::parse(body, marker == 0xc2)?.into());
                }
                0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(unsupported_process(marker)),
                0xc4 => self.tables.read_huffman(body).ok_or_else(|| broken("Huffman table"))?,
                0xdb => self.tables.read_quantisers(body).ok_or_else(|| broken("quantisation table"))?,
                0xdd => {
                    let interval = body.first_chunk().ok_or_else(|| broken("restart interval"))?;
                    self.restart_interval = u16::from_be_bytes(*interval).into();
                }
                0xda => return self.scan(body).map(Some),
                0xe0 => self.jfif |= body.starts_with(b"JFIF\0"),
                0xe1 => self.exif = body.strip_prefix(b"Exif\0\0").or(self.exif),
                0xee if body.starts_with(b"Adobe") => self.adobe = body.get(11).copied().or(self.adobe),
                _ => {}
            }
        }
    }

    /// The next marker, over whatever stands before it.
    fn marker(&mut self) -> Result<u8, DecodeError> {
        loop {
            let at = memchr::memchr(0xff, self.rest).unwrap_or(self.rest.len());
            self.strays += at;
            let fill = self.rest[at..].iter().take_while(|&&byte| byte == 0xff).count();
            let Some(&marker) = self.rest.get(at + fill) else {
                return Err(self.truncated("no end marker"));
            };
            self.rest = &self.rest[at + fill + 1..];
            if marker != 0 {
                return Ok(marker);
            }
            self.strays += 2;
        }
    }

    fn scan(&self, body: &[u8]) -> Result<Scan<'a>, DecodeError> {
        let frame = self.frame()?;
        let header = || broken("scan header");
        let (&count, rest) = body.split_first().ok_or_else(header)?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(header)?;
        let &[start, end, bits] = rest else { return Err(header()) };
        let mut components: Vec<ScanComponent> = Vec::with_capacity(4);
        for pair in selectors.chunks_exact(2) {
            let index = frame.components.iter().position(|c| c.id == pair[0]).ok_or_else(header)?;
            if components.iter().any(|c| c.index == index) {
                return Err(header());
            }
            let table = |tables: &[Option<Arc<Table>>; 4], which: u8| {
                tables.get(usize::from(which)).cloned().flatten()
            };
            let (dc, ac) = (table(&self.tables.dc, pair[1] >> 4), table(&self.tables.ac, pair[1] & 15));
            components.push(ScanComponent { index, dc, ac });
        }
        let (spectrum, high, low) = if frame.progressive {
            ((start.into(), end.into()), u32::from(bits >> 4), u32::from(bits & 15))
        } else {
            ((0, 63), 0, 0)
        };
        let (start, end) = spectrum;
        let fits = match start {
            0 => end == 0 || !frame.progressive,
            _ => start <= end && end < 64 && count == 1,
        };
        if !fits || !(1..=4).contains(&count) || low > 13 || (high != 0 && high != low + 1) {
            return Err(header());
        }
        let data = self.rest;
        Ok(Scan { components, spectrum, high, low, restart_interval: self.restart_interval, data })
    }
}

fn unsupported_process(marker: u8) -> DecodeError {
    unsupported(match marker {
        0xc3 => "lossless coding".to_owned(),
        0xc9..=0xcb => "arithmetic coding".to_owned(),
        _ => format!("hierarchical coding (SOF{})", marker - 0xc0),
    })
}

pub(super) fn unsupported(what: String) -> DecodeError {
    DecodeError::Unsupported { format: "JPEG", what }
}

pub(super) fn broken(what: &str) -> DecodeError {
    DecodeError::Jpeg(what.to_owned())
}
