//! TensorBoard event files, written by hand: TFRecord frames around protocol-buffer messages.
//!
//! A frame is: length (u64), masked CRC-32C of the length, the bytes, masked CRC-32C of the bytes; all little
//! endian (tensorflow/core/lib/io/record_writer.h). The messages are `Event` (event.proto) with its fields
//! wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5, session_log = 7, and
//! `Summary.Value` (summary.proto) with tag = 1 and simple_value = 2 (float).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    out: BufWriter<File>,
    path: PathBuf,
}

impl EventWriter {
    /// Starts an event file in `dir`, which is created if need be. A run that goes on after a step gives it, and
    /// TensorBoard then drops what an earlier file says of later ones.
    pub fn create(dir: &Path, resumed_at: Option<u64>) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let now = wall_time();
        let (path, file) = open_new(dir, now as u64)?;
        let mut writer = EventWriter { out: BufWriter::new(file), path };
        let mut version = event(now, 0);
        put_bytes(&mut version, 3, b"brain.Event:2");
        writer.frame(&version)?;
        if let Some(step) = resumed_at {
            // TensorBoard drops the step of the event itself too, whose point the resumed run does not write again.
            let mut start = event(now, step + 1);
            // SessionLog.status = START.
            put_bytes(&mut start, 7, &[0x08, 0x01]);
            writer.frame(&start)?;
        }
        writer.out.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records values at a step and hands them to the system.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> io::Result<()> {
        let bytes = scalar_event(wall_time(), step, values);
        self.frame(&bytes)?;
        self.out.flush()
    }

    fn frame(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = (bytes.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked_crc(&length).to_le_bytes())?;
        self.out.write_all(bytes)?;
        self.out.write_all(&masked_crc(bytes).to_le_bytes())
    }
}

/// TensorBoard orders files by name, so the time comes first; a number keeps two of one second apart.
fn open_new(dir: &Path, seconds: u64) -> io::Result<(PathBuf, File)> {
    let mut number = 0;
    loop {
        let path = dir.join(format!("events.out.tfevents.{seconds:010}.{number}.kat"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(e),
        }
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// CRCs of data that holds CRCs are weak, so TFRecord rotates and shifts them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// wall_time and step.
fn event(time: f64, step: u64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend(time.to_le_bytes());
    out.push(2 << 3);
    put_varint(&mut out, step);
    out
}

fn scalar_event(time: f64, step: u64, values: &[(&str, f64)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, value) in values {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, tag.as_bytes());
        entry.push(2 << 3 | 5);
        entry.extend((*value as f32).to_le_bytes());
        put_bytes(&mut summary, 1, &entry);
    }
    let mut out = event(time, step);
    put_bytes(&mut out, 5, &summary);
    out
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720 appendix B.4: 32 zero bytes; the mask is TFRecord's.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
        // The frame head that every file of a 24-byte first record starts with.
        assert_eq!(masked_crc(&24u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn messages_have_the_wire_bytes_of_the_schema() {
        let bytes = scalar_event(1.0, 300, &[("a", 0.5)]);
        let expected = [
            0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // wall_time = 1.0
            0x10, 0xac, 0x02, // step = 300
            0x2a, 0x0a, // summary, 10 bytes
            0x0a, 0x08, // value, 8 bytes
            0x0a, 0x01, b'a', // tag
            0x15, 0, 0, 0, 0x3f, // simple_value = 0.5
        ];
        assert_eq!(bytes, expected);
    }

    /// Frames of a file, checked.
    fn frames(path: &Path) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(path).unwrap();
        let (mut rest, mut out) = (&bytes[..], Vec::new());
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked_crc(&rest[..8]).to_le_bytes());
            let body = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked_crc(body).to_le_bytes());
            out.push(body.to_vec());
            rest = &rest[16 + length..];
        }
        out
    }

    #[test]
    fn files_read_back_frame_by_frame() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(&dir.path().join("tb"), None).unwrap();
        writer.scalars(7, &[("loss/train", 1.25), ("lr", 1e-3)]).unwrap();
        let read = frames(writer.path());
        assert_eq!(read.len(), 2);
        assert!(read[0].ends_with(b"brain.Event:2"));
        assert_eq!(read[1][9..11], [0x10, 7]);
        let at = read[1].windows(10).position(|w| w == b"loss/train").unwrap();
        assert_eq!(read[1][at + 10..at + 15], [0x15, 0, 0, 0xa0, 0x3f]);
        let second = EventWriter::create(&dir.path().join("tb"), Some(7)).unwrap();
        assert_ne!(second.path(), writer.path());
        let start = &frames(second.path())[1];
        assert!(start.ends_with(&[0x3a, 0x02, 0x08, 0x01]));
        assert_eq!(start[9..11], [0x10, 8], "the point of step 7 stays");
    }
}
