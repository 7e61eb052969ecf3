//! ADE20K in the SceneParsing layout, and any other pair of an image folder and a label folder; mean IoU.

pub mod classes;
pub mod colors;
pub mod convert;
pub mod folder;
pub mod label_png;
pub mod miou;
mod pairs;
pub mod palette;
mod pixels;
pub mod tree;

use kat_images::Size;
use kat_images::decode::DecodeError;
use std::path::{Path, PathBuf};

pub use colors::ColorTable;
pub use folder::{LabelFolders, LabelScheme, Scan};

/// Why a segmentation dataset cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// A label file, or the header of an image, cannot be decoded.
    #[error("{}: {source}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Reason.
        source: DecodeError,
    },
    /// A label file does not hold one index a pixel.
    #[error("{}: label maps are 8- or 16-bit gray or palette PNGs, or pictures of the colors of a table (data.colors), this one is {found}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// Its pixel type.
        found: String,
    },
    /// A value that is no class.
    #[error("{}: label {value} at x {x}, y {y}; {classes} classes allow {allowed}", path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// The value as stored.
        value: u16,
        /// Column of the first such pixel.
        x: u32,
        /// Row of the first such pixel.
        y: u32,
        /// Number of classes.
        classes: u32,
        /// Values allowed in the file.
        allowed: String,
    },
    /// A color that stands for no class.
    #[error("{}: the color {rgb:?} at x {x}, y {y} is none of the table's", path.display())]
    Color {
        /// The file.
        path: PathBuf,
        /// Red, green, blue.
        rgb: [u8; 3],
        /// Column of the first such pixel.
        x: u32,
        /// Row of the first such pixel.
        y: u32,
    },
    /// Image and label map differ in size.
    #[error("{}: {}x{} pixels, but {} has {}x{}", label.display(), label_size.width, label_size.height, image.display(), image_size.width, image_size.height)]
    Size {
        /// The label file.
        label: PathBuf,
        /// Its size.
        label_size: Size,
        /// The image.
        image: PathBuf,
        /// Its size.
        image_size: Size,
    },
    /// An image without label file.
    #[error("{}: no label file {}", image.display(), label.display())]
    Missing {
        /// The image.
        image: PathBuf,
        /// The file looked for.
        label: PathBuf,
    },
    /// There is no image.
    #[error("{}: no file ends in \"{suffix}\"", path.display())]
    Empty {
        /// The image folder.
        path: PathBuf,
        /// Ending looked for.
        suffix: String,
    },
    /// The number of classes does not fit 8 bits beside the ignored label.
    #[error("{0} classes; 1..=255 are possible, as label 255 is ignored")]
    Classes(u32),
    /// A file of class names that cannot be understood.
    #[error("{}: found \"{found}\", expected {expected}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
}

impl LabelError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
