//! Webdataset shards: tar files in which consecutive entries `key.jpg`, `key.cls` are one sample.
//!
//! A key is the path up to the first dot of the file name. `.cls` holds the class index as decimal text.
//! Entries of other endings, folders and links are passed over; a key without image or class is counted.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tar::Archive;

use kat_images::names::is_image;

use super::ImageNetError;
use kat_images::Rect;
use kat_images::decode::{DecodeOptions, decode_bytes_region};
use kat_images::loader::{BoxError, Choose, Dataset};
use kat_images::sample::{Sample, Target};

/// Largest image in bytes: a larger size in a header is damage.
const MOST_BYTES: u64 = 1 << 30;
/// Largest `.cls` entry in bytes.
const MOST_CLASS_BYTES: u64 = 64;

/// Where one sample lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key of the sample.
    pub key: String,
    /// Class index.
    pub class: u32,
    /// Offset of the image within its shard, in bytes.
    pub offset: u64,
    /// Length of the image in bytes.
    pub length: u64,
}

/// The samples of a shard in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shard {
    /// Complete samples.
    pub records: Vec<Record>,
    /// Keys that lack their image or their class.
    pub incomplete: Vec<String>,
}

/// Lists a shard: the headers are read in sequence, image data is jumped over.
///
/// # Errors
/// [`ImageNetError`] naming the shard and entry: damage to a header, a class that is no number or not below
/// `classes`, a size beyond any image, a key that appears twice, a file cut short.
pub fn read_shard<R: Read + Seek>(path: &Path, mut reader: R, classes: u32) -> Result<Shard, ImageNetError> {
    let size = reader.seek(SeekFrom::End(0)).map_err(ImageNetError::io(path))?;
    reader.seek(SeekFrom::Start(0)).map_err(ImageNetError::io(path))?;
    let mut archive = Archive::new(reader);
    let mut shard = Shard::default();
    let mut open: Option<Partial> = None;
    let mut seen = HashSet::new();
    for (number, entry) in archive.entries_with_seek().map_err(ImageNetError::io(path))?.enumerate() {
        let mut entry = entry.map_err(ImageNetError::io(path))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let at = || format!("entry {number} ({name})");
        let Some((key, ending)) = split_key(&name) else { continue };
        if open.as_ref().is_none_or(|p| p.key != key) {
            finish(open.take(), &mut shard);
            if !seen.insert(key.to_owned()) {
                return Err(ImageNetError::format(path, at(), key, "the files of a key one after another"));
            }
            open = Some(Partial { key: key.to_owned(), class: None, image: None });
        }
        let Some(partial) = open.as_mut() else { continue };
        if ending.eq_ignore_ascii_case("cls") {
            let mut text = String::new();
            let read = entry.by_ref().take(MOST_CLASS_BYTES).read_to_string(&mut text);
            let class = read.ok().and_then(|_| text.trim().parse().ok()).filter(|&c: &u32| c < classes);
            let expected = || format!("a class in 0..{classes}");
            partial.class = Some(class.ok_or_else(|| ImageNetError::format(path, at(), text, expected()))?);
        } else if is_image(&format!("x.{ending}")) {
            let (offset, length) = (entry.raw_file_position(), entry.size());
            if length > MOST_BYTES || offset.checked_add(length).is_none_or(|end| end > size) {
                let expected = format!("at most what is left of the file's {size}");
                return Err(ImageNetError::format(path, at(), format!("{length} bytes"), expected));
            }
            partial.image = Some((offset, length));
        }
    }
    finish(open, &mut shard);
    Ok(shard)
}

struct Partial {
    key: String,
    class: Option<u32>,
    image: Option<(u64, u64)>,
}

fn finish(partial: Option<Partial>, shard: &mut Shard) {
    match partial {
        Some(Partial { key, class: Some(class), image: Some((offset, length)) }) => {
            shard.records.push(Record { key, class, offset, length });
        }
        Some(Partial { key, .. }) => shard.incomplete.push(key),
        None => {}
    }
}

/// `dir/a.seg.png` → (`dir/a`, `seg.png`).
fn split_key(name: &str) -> Option<(&str, &str)> {
    let start = name.rfind('/').map_or(0, |i| i + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], &name[dot + 1..]))
}

/// A dataset of shards, in the order of the shards and of the samples within.
#[derive(Debug, Clone)]
pub struct Shards {
    paths: Vec<PathBuf>,
    /// Shard and place of each sample.
    records: Vec<(u32, Record)>,
    decode: DecodeOptions,
}

impl Shards {
    /// Lists all shards.
    ///
    /// # Errors
    /// Those of [`read_shard`], a shard that cannot be opened, or no complete sample at all.
    pub fn open(paths: &[PathBuf], classes: u32, decode: DecodeOptions) -> Result<Self, ImageNetError> {
        let mut records = Vec::new();
        for (i, path) in paths.iter().enumerate() {
            let file = File::open(path).map_err(ImageNetError::io(path))?;
            let shard = read_shard(path, BufReader::new(file), classes)?;
            if let Some(first) = shard.incomplete.first() {
                let n = shard.incomplete.len();
                tracing::warn!("{}: {n} keys lack an image or a class; the first: {first}", path.display());
            }
            records.extend(shard.records.into_iter().map(|r| (i as u32, r)));
        }
        if records.is_empty() {
            let path = paths.first().cloned().unwrap_or_default();
            return Err(ImageNetError::Empty { path, expected: "shards of key.jpg and key.cls" });
        }
        Ok(Self { paths: paths.to_vec(), records, decode })
    }
}

impl Dataset for Shards {
    fn len(&self) -> usize {
        self.records.len()
    }
    fn name(&self, index: usize) -> String {
        let (shard, record) = &self.records[index];
        format!("{}: {}", self.paths[*shard as usize].display(), record.key)
    }
    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        self.get_region(index, &mut Rect::whole)
    }
    fn get_region(&self, index: usize, choose: Choose<'_>) -> Result<Sample, BoxError> {
        let (shard, record) = &self.records[index];
        let mut file = File::open(&self.paths[*shard as usize])?;
        file.seek(SeekFrom::Start(record.offset))?;
        let mut bytes = vec![0; record.length as usize];
        file.read_exact(&mut bytes)?;
        let image = decode_bytes_region(&bytes, &self.decode, choose)?;
        Ok(Sample { image, target: Target::Class(record.class), id: record.key.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn shard(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Shard, ImageNetError> {
        read_shard(Path::new("a.tar"), Cursor::new(bytes), 10)
    }

    const GOOD: [(&str, &[u8]); 6] = [
        ("x/0001.jpg", b"first"),
        ("x/0001.cls", b"3\n"),
        ("x/0001.json", b"{}"),
        ("x/0002.cls", b"0"),
        ("x/0002.jpg", b"second"),
        ("x/0003.jpg", b"third"),
    ];

    #[test]
    fn samples_come_in_sequence() {
        let bytes = shard(&GOOD);
        let shard = read(&bytes).unwrap();
        assert_eq!(shard.incomplete, ["x/0003"]);
        let found: Vec<(&str, u32, &[u8])> = shard
            .records
            .iter()
            .map(|r| (r.key.as_str(), r.class, &bytes[r.offset as usize..(r.offset + r.length) as usize]))
            .collect();
        assert_eq!(found, [("x/0001", 3, b"first".as_slice()), ("x/0002", 0, b"second")]);
    }

    #[test]
    fn damage_is_named() {
        for (entries, part) in [
            (
                vec![("1.jpg", b"".as_slice()), ("1.cls", b"10")],
                "entry 1 (1.cls): found \"10\", expected a class in 0..10",
            ),
            (vec![("1.cls", b"cat".as_slice())], "found \"cat\""),
            (vec![("1.cls", b"1".as_slice()), ("2.cls", b"1"), ("1.jpg", b"")], "entry 2 (1.jpg)"),
        ] {
            let error = read(&shard(&entries)).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let bytes = shard(&[("1.cls", b"1".as_slice()), ("1.jpg", &[7; 2000])]);
        assert!(read(&bytes[..bytes.len() - 2500]).is_err(), "cut short");
        assert!(matches!(Shards::open(&[], 10, DecodeOptions::default()), Err(ImageNetError::Empty { .. })));
    }

    #[test]
    fn a_sample_is_read_at_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let mut png = Cursor::new(Vec::new());
        image::RgbImage::from_pixel(2, 1, image::Rgb([1, 2, 3]))
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        let path = dir.path().join("0.tar");
        std::fs::write(
            &path,
            shard(&[("a.cls", b"4"), ("a.png", png.get_ref()), ("b.cls", b"5"), ("b.png", b"no")]),
        )
        .unwrap();
        let decode = DecodeOptions::default();
        let data = Shards::open(&[path], 10, decode).unwrap();
        let sample = data.get(0).unwrap();
        assert_eq!((sample.image.dimensions(), sample.id.as_str()), ((2, 1), "a"));
        assert!(matches!(sample.target, Target::Class(4)));
        assert!(data.get(1).is_err());
    }

    proptest! {
        #[test]
        fn mutated_shards_never_panic(changes in prop::collection::vec((0usize..10_000, any::<u8>()), 1..20), cut in 0usize..10_000) {
            let mut bytes = shard(&GOOD);
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut % 3000));
            if let Ok(shard) = read(&bytes) {
                for record in shard.records {
                    prop_assert!(record.offset + record.length <= bytes.len() as u64 && record.class < 10);
                }
            }
        }
    }
}
