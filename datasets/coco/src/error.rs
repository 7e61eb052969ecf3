//! What can go wrong with a COCO file, each variant naming the file and the place in it.

use std::path::PathBuf;

/// Failure to read, parse, check or write COCO data.
#[derive(Debug, thiserror::Error)]
pub enum CocoError {
    /// The file could not be opened, mapped or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// File concerned.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text is not the JSON of a COCO file, outside of any record.
    #[error("{}: byte {offset}: expected {expected}, found {found}", path.display())]
    Syntax {
        /// File concerned.
        path: PathBuf,
        /// Where, in bytes from the start of the file.
        offset: usize,
        /// What the format asks for there.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// One record of an array could not be read.
    #[error("{}: {array}[{index}]{}{}: {reason}", path.display(), id_text(*id), field_text(field))]
    Record {
        /// File concerned.
        path: PathBuf,
        /// Name of the array: `images`, `annotations`, `categories` or `results`.
        array: &'static str,
        /// Position in that array, from 0.
        index: usize,
        /// The record's id, where it could be read.
        id: Option<u64>,
        /// Path of the field within the record; `.` is the record itself.
        field: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Two records of an array have the same id where the id must tell them apart.
    #[error("{}: {array}: id {id} appears more than once", path.display())]
    DuplicateId {
        /// File concerned.
        path: PathBuf,
        /// Name of the array.
        array: &'static str,
        /// The repeated id.
        id: u64,
    },
    /// An annotation is unusable and the caller asked for none to be skipped.
    #[error("{}: annotation {annotation} (image {image}), field `{field}`: {reason}", path.display())]
    Annotation {
        /// File concerned.
        path: PathBuf,
        /// The annotation's id.
        annotation: u64,
        /// The id of its image.
        image: u64,
        /// Field at fault.
        field: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A detection of a results file cannot be evaluated.
    #[error("{}: results[{index}], field `{field}`: {reason}", source_text(path))]
    Detection {
        /// The results file; empty for detections in memory.
        path: PathBuf,
        /// Position in the file, from 0.
        index: usize,
        /// Field at fault.
        field: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
    /// A category that was asked for by name is not in the file.
    #[error("{}: no category is called {name:?}; there are {found}", path.display())]
    NoCategory {
        /// The annotation file.
        path: PathBuf,
        /// The name.
        name: String,
        /// The first categories that there are.
        found: String,
    },
    /// Detections of which none can match anything.
    #[error(
        "{}: none of its {detections} detections is of a category of {}; its category ids are {found}, those of the \
         ground truth {expected}", source_text(path), truth.display()
    )]
    NoSharedCategory {
        /// The results file; empty for detections in memory.
        path: PathBuf,
        /// The ground truth.
        truth: PathBuf,
        /// How many detections there are.
        detections: usize,
        /// Category ids of the detections, the first few.
        found: String,
        /// Category ids of the ground truth, the first few.
        expected: String,
    },
    /// An image on disk is not of the size that the annotations were drawn on.
    #[error(
        "{}: the image is {found_width}x{found_height}, its annotations (image {image}) are for \
         {width}x{height}{}", path.display(), rotation_text(*rotated)
    )]
    ImageSize {
        /// The image file.
        path: PathBuf,
        /// COCO image id.
        image: u64,
        /// Width by the annotation file.
        width: u32,
        /// Height by the annotation file.
        height: u32,
        /// Width as decoded.
        found_width: u32,
        /// Height as decoded.
        found_height: u32,
        /// Whether width and height are exchanged, which points at EXIF orientation.
        rotated: bool,
    },
    /// A mask is malformed.
    #[error(transparent)]
    Mask(#[from] kat_images::MaskError),
    /// A value that a results file cannot hold.
    #[error("result for image {image}: `{field}` is {found}, expected {expected}")]
    Result {
        /// COCO image id.
        image: u64,
        /// Field at fault.
        field: &'static str,
        /// What was given.
        found: String,
        /// What is allowed.
        expected: String,
    },
}

fn id_text(id: Option<u64>) -> String {
    id.map(|id| format!(" (id {id})")).unwrap_or_default()
}

/// The record itself is no field.
fn field_text(field: &str) -> String {
    if matches!(field, "" | ".") { String::new() } else { format!(", field `{field}`") }
}

fn source_text(path: &std::path::Path) -> String {
    if path.as_os_str().is_empty() { "detections".to_string() } else { path.display().to_string() }
}

fn rotation_text(rotated: bool) -> &'static str {
    if rotated {
        ": width and height are exchanged, so the annotations were drawn before the EXIF rotation \
         was applied (or after it was stripped)"
    } else {
        ""
    }
}
