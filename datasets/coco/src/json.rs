//! COCO's JSON files: instances (also LVIS), detection results, image info.
//! Format: <https://cocodataset.org/#format-data>, <https://cocodataset.org/#format-results>.
//!
//! The file is mapped, a scanner cuts its arrays into pieces of whole records, and the pieces are parsed by serde_json
//! on all threads into flat arenas ([`Annotations`]). The text is never held in memory as such, unknown keys are
//! skipped, and `NaN` as Python writes it is accepted for validation ([`super::check`]) to judge. Types are no stricter
//! than they need be ([`super::lenient`]).

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Deserialize;
use serde::de::DeserializeSeed;

use super::arena::Annotations;
use super::error::CocoError;
use super::lenient::{Id, Text, Whole};
use super::map::FileBytes;
use super::record::{Kind, RecordSeed, quoted_nan};
use super::scan::{ScanError, Scanner};

/// Text handed to one task: large enough that starting the task is nothing beside it.
const PIECE_BYTES: usize = 1 << 20;

/// An image as an annotation file knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageInfo {
    /// The image's id.
    pub id: u64,
    /// Path relative to the folder of images.
    pub file_name: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// A category as an annotation file knows it; ids may have gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// The category's id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// The group it belongs to; empty if none is given.
    pub supercategory: String,
}

/// An instances or image-info file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CocoFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Images, in file order; ids are unique.
    pub images: Vec<ImageInfo>,
    /// Annotations, in file order; empty in an image-info file.
    pub annotations: Annotations,
    /// Categories, in file order; ids are unique.
    pub categories: Vec<Category>,
    /// Annotations whose id an earlier one has, which were given another: position and the id in the file.
    pub renumbered: Vec<(usize, u64)>,
}

impl CocoFile {
    /// Reads an instances or image-info file.
    ///
    /// # Errors
    /// An unreadable file, text that is not COCO's JSON (with byte offset, or record, id and field), or an image or
    /// category id that appears twice.
    pub fn read(path: &Path) -> Result<Self, CocoError> {
        Self::parse(path, &open(path)?)
    }

    /// The same from text in memory; `path` is for messages.
    ///
    /// # Errors
    /// As [`CocoFile::read`].
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, CocoError> {
        let syntax = |error| syntax(path, error);
        let mut file = CocoFile { path: path.to_owned(), ..CocoFile::default() };
        let mut seen = Vec::new();
        let mut scan = Scanner::new(text);
        scan.expect(b'{', "an object with `images`, `annotations` and `categories`").map_err(syntax)?;
        let mut more = !scan.eat(b'}');
        while more {
            let key = key(path, &mut scan, &mut seen)?;
            match key {
                br#""images""# => {
                    file.images = records::<Vec<ImageInfo>>(path, "images", &mut scan)?;
                }
                br#""annotations""# => {
                    file.annotations = records::<Truth>(path, "annotations", &mut scan)?.0;
                }
                br#""categories""# => {
                    file.categories = records::<Vec<Category>>(path, "categories", &mut scan)?;
                }
                _ => {
                    scan.value().map_err(syntax)?;
                }
            }
            more = scan.eat(b',');
            if !more {
                scan.expect(b'}', "`,` or `}`").map_err(syntax)?;
            }
        }
        if !seen.contains(&&br#""images""#[..]) {
            return Err(syntax(scan.error("a key `images` in the file")));
        }
        if scan.peek().is_some() {
            return Err(syntax(scan.error("nothing after the closing `}`")));
        }
        unique(path, "images", file.images.iter().map(|i| i.id))?;
        unique(path, "categories", file.categories.iter().map(|c| c.id))?;
        file.renumbered = file.annotations.renumber();
        file.annotations.set_source(path);
        Ok(file)
    }
}

/// Reads a results file: a list of detections, or an object that has them under `annotations`.
///
/// # Errors
/// As [`CocoFile::read`].
pub fn read_results(path: &Path) -> Result<Annotations, CocoError> {
    parse_results(path, &open(path)?)
}

/// The same from text in memory; `path` is for messages.
///
/// # Errors
/// As [`CocoFile::read`].
pub fn parse_results(path: &Path, text: &[u8]) -> Result<Annotations, CocoError> {
    let syntax = |error| syntax(path, error);
    let mut scan = Scanner::new(text);
    let (mut found, mut seen) = (None, Vec::new());
    if scan.peek() == Some(b'[') {
        found = Some(records::<Detections>(path, "results", &mut scan)?.0);
    } else {
        scan.expect(b'{', "a list of detections").map_err(syntax)?;
        let mut more = !scan.eat(b'}');
        while more {
            let key = key(path, &mut scan, &mut seen)?;
            if key == br#""annotations""# {
                found = Some(records::<Detections>(path, "annotations", &mut scan)?.0);
            } else {
                scan.value().map_err(syntax)?;
            }
            more = scan.eat(b',');
            if !more {
                scan.expect(b'}', "`,` or `}`").map_err(syntax)?;
            }
        }
    }
    let mut found = found.ok_or_else(|| syntax(scan.error("a key `annotations` in the file")))?;
    if scan.peek().is_some() {
        return Err(syntax(scan.error("nothing after the list of detections")));
    }
    found.number();
    found.set_source(path);
    Ok(found)
}

/// The next key of the file's object, up to its value. Which of two values of one key would count depends on the
/// reader, so that the second is an error.
fn key<'a>(path: &Path, scan: &mut Scanner<'a>, seen: &mut Vec<&'a [u8]>) -> Result<&'a [u8], CocoError> {
    let offset = scan.offset();
    let key = scan.string().map_err(|error| syntax(path, error))?;
    if seen.contains(&key) {
        let found = format!("a second `{}`", String::from_utf8_lossy(&key[1..key.len() - 1]).escape_debug());
        let expected = "each key of the file once";
        return Err(CocoError::Syntax { path: path.to_owned(), offset, expected, found });
    }
    // a file of countless keys is no reason to remember them all
    if seen.len() < 1000 {
        seen.push(key);
    }
    scan.expect(b':', "`:`").map_err(|error| syntax(path, error))?;
    Ok(key)
}

fn open(path: &Path) -> Result<FileBytes, CocoError> {
    FileBytes::open(path).map_err(|source| CocoError::Io { path: path.to_owned(), source })
}

fn syntax(path: &Path, error: ScanError) -> CocoError {
    let ScanError { offset, expected, found } = error;
    CocoError::Syntax { path: path.to_owned(), offset, expected, found }
}

fn unique(path: &Path, array: &'static str, ids: impl Iterator<Item = u64>) -> Result<(), CocoError> {
    let mut ids: Vec<u64> = ids.collect();
    ids.sort_unstable();
    match ids.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(CocoError::DuplicateId { path: path.to_owned(), array, id: w[0] }),
        None => Ok(()),
    }
}

/// What records of one array are gathered in.
trait Sink: Default + Send {
    /// Adds the record that `json` holds, or leaves the sink as it was.
    fn read<'de, D: serde::Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error>;
    /// Joins parts in order.
    fn join(parts: Vec<Self>) -> Self;
}

/// Reads the array at `scan`, in parallel by pieces.
fn records<S: Sink>(path: &Path, array: &'static str, scan: &mut Scanner) -> Result<S, CocoError> {
    let done: Mutex<Vec<(usize, Result<S, CocoError>)>> = Mutex::default();
    let walked = rayon::in_place_scope(|scope| -> Result<(), ScanError> {
        scan.expect(b'[', "a list")?;
        if scan.eat(b']') {
            return Ok(());
        }
        let mut next_index = 0;
        loop {
            let first = next_index;
            let start = scan.offset();
            let mut piece = Vec::new();
            let mut more = true;
            while more && scan.offset() - start < PIECE_BYTES {
                piece.push(scan.object()?);
                more = scan.eat(b',');
            }
            next_index += piece.len();
            let done = &done;
            scope.spawn(move |_| {
                let part = read_piece::<S>(path, array, first, &piece);
                done.lock().unwrap_or_else(|e| e.into_inner()).push((first, part));
            });
            if !more {
                return scan.expect(b']', "`,` or `]`");
            }
        }
    });
    let mut parts = done.into_inner().unwrap_or_else(|e| e.into_inner());
    parts.sort_unstable_by_key(|(first, _)| *first);
    // An unreadable record comes before a later fault of the text.
    let parts = parts.into_iter().map(|(_, part)| part).collect::<Result<Vec<S>, _>>()?;
    walked.map_err(|error| syntax(path, error))?;
    Ok(S::join(parts))
}

fn read_piece<S: Sink>(
    path: &Path,
    array: &'static str,
    first: usize,
    piece: &[&[u8]],
) -> Result<S, CocoError> {
    let mut sink = S::default();
    for (i, text) in piece.iter().enumerate() {
        if read_one(&mut sink, text).is_ok() {
            continue;
        }
        // The slow way, for the few records that need it: once more with NaN as text, and with a path for the message.
        let fixed = quoted_nan(text);
        let text = fixed.as_deref().unwrap_or(text);
        let mut json = serde_json::Deserializer::from_slice(text);
        let mut track = serde_path_to_error::Track::new();
        let result = sink.read(serde_path_to_error::Deserializer::new(&mut json, &mut track));
        result.and_then(|()| json.end()).map_err(|error| CocoError::Record {
            path: path.to_owned(),
            array,
            index: first + i,
            id: id_of(text),
            field: track.path().to_string(),
            reason: error.to_string(),
        })?;
    }
    Ok(sink)
}

fn read_one<S: Sink>(sink: &mut S, text: &[u8]) -> serde_json::Result<()> {
    let mut json = serde_json::Deserializer::from_slice(text);
    sink.read(&mut json)?;
    json.end()
}

/// Whether a path is relative and has no part `..`, by the rules of any system.
fn stays_inside(path: &str) -> bool {
    let mut parts = path.split(['/', '\\']);
    let first = parts.next().unwrap_or_default();
    let drive = first.len() == 2 && first.ends_with(':');
    !first.is_empty() && !drive && first != ".." && parts.all(|part| part != "..") && !path.contains('\0')
}

fn id_of(text: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: u64,
    }
    serde_json::from_slice::<OnlyId>(text).ok().map(|r| r.id)
}

#[derive(Default)]
struct Truth(Annotations);

#[derive(Default)]
struct Detections(Annotations);

macro_rules! annotation_sink {
    ($type:ident, $kind:expr) => {
        impl Sink for $type {
            fn read<'de, D: serde::Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
                let mark = self.0.mark();
                let result = RecordSeed { arena: &mut self.0, kind: $kind }.deserialize(json);
                if result.is_err() {
                    self.0.rewind(mark);
                }
                result
            }

            fn join(parts: Vec<Self>) -> Self {
                $type(Annotations::join(parts.into_iter().map(|p| p.0).collect()))
            }
        }
    };
}

annotation_sink!(Truth, Kind::Truth);
annotation_sink!(Detections, Kind::Detection);

impl Sink for Vec<ImageInfo> {
    fn read<'de, D: serde::Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            id: Id,
            #[serde(default)]
            file_name: Text,
            #[serde(default)]
            coco_url: Text,
            width: Whole,
            height: Whole,
        }
        let raw = Raw::deserialize(json)?;
        let (file_name, url) = (raw.file_name.0.unwrap_or_default(), raw.coco_url.0.unwrap_or_default());
        // LVIS gives no file name but the address, whose last two parts are COCO's split folder and file.
        let file_name = if file_name.is_empty() {
            let mut parts = url.rsplitn(3, '/');
            match (parts.next(), parts.next()) {
                (Some(file), Some(split)) if !file.is_empty() => format!("{split}/{file}"),
                _ => return Err(serde::de::Error::missing_field("file_name")),
            }
        } else {
            file_name
        };
        // a file's name must not lead out of the folder of images
        if !stays_inside(&file_name) {
            let reason =
                format!("file_name {file_name:?} leads out of the folder of images, expected a path in it");
            return Err(serde::de::Error::custom(reason));
        }
        self.push(ImageInfo { id: raw.id.0, file_name, width: raw.width.0, height: raw.height.0 });
        Ok(())
    }

    fn join(parts: Vec<Self>) -> Self {
        parts.into_iter().flatten().collect()
    }
}

impl Sink for Vec<Category> {
    fn read<'de, D: serde::Deserializer<'de>>(&mut self, json: D) -> Result<(), D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            id: Id,
            name: Text,
            #[serde(default)]
            supercategory: Text,
        }
        let Raw { id, name, supercategory } = Raw::deserialize(json)?;
        let name = name.0.ok_or_else(|| serde::de::Error::custom("no name, expected a text"))?;
        self.push(Category { id: id.0, name, supercategory: supercategory.0.unwrap_or_default() });
        Ok(())
    }

    fn join(parts: Vec<Self>) -> Self {
        parts.into_iter().flatten().collect()
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
