//! Files of weights that other programs wrote, with what those programs computed from them (`tests/parity`).

use crate::golden::{self, Golden};
use std::path::{Path, PathBuf};

/// The folder of such files: in `KAT_GOLDEN_DIR` if that has one, else the project's own.
pub fn dir() -> PathBuf {
    let given = golden::dir().join("parity");
    if given.is_dir() { given } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/parity") }
}

/// What one program wrote of one model.
pub struct Peer {
    /// The model's name.
    pub name: String,
    /// Its weights, as the program saves them.
    pub file: PathBuf,
    /// What went in and what came out.
    pub expected: Golden,
}

impl Peer {
    /// The model of this name.
    ///
    /// # Panics
    /// Without a file of weights, or without numbers.
    pub fn open(name: &str) -> Self {
        let folder = dir().join(name);
        let files = ["model.safetensors", "model.pth", "model.pkl"].map(|file| folder.join(file));
        let file = files.into_iter().find(|file| file.is_file());
        let file = file.unwrap_or_else(|| panic!("{}: no file of weights", folder.display()));
        // An absolute path, which joined to any folder is itself.
        let expected = Golden::open(&folder.join("expected.safetensors").to_string_lossy());
        Self { name: name.to_owned(), file, expected }
    }
}
