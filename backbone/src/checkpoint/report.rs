//! What became of each tensor when a checkpoint was loaded.

use super::{CheckpointError, names};
use std::fmt;
use std::path::Path;

/// A tensor whose shape is not the model's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Name in the model.
    pub name: String,
    /// Shape in the file.
    pub found: Vec<usize>,
    /// Shape in the model.
    pub expected: Vec<usize>,
}

/// The fate of every tensor of the file and of the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Taken from the file.
    pub loaded: Vec<String>,
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model.
    pub unexpected: Vec<String>,
    /// Of the unexpected ones, those of the encoder or of a head that the model has too: without them it is another model.
    pub left_over: Vec<String>,
    /// In both, with different shapes.
    pub mismatched: Vec<Mismatch>,
    /// Left at the model's own initial values, by a rule that the notes state (a new head, for instance).
    pub reinitialized: Vec<String>,
    /// What was chosen, converted or left out, in sentences.
    pub notes: Vec<String>,
}

impl LoadReport {
    /// Whether every tensor of the model has its value, and every tensor of the file its place.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// Adds what became of an encoder that stands under `prefix` in the whole model.
    pub fn add_part(&mut self, part: Self, prefix: &str) {
        let whole = |names: Vec<String>| names.into_iter().map(move |name| format!("{prefix}{name}"));
        self.loaded.extend(whole(part.loaded));
        self.reinitialized.extend(whole(part.reinitialized));
        self.notes.extend(part.notes);
    }

    /// The report itself if no tensor of the model is missing or mis-shaped.
    ///
    /// # Errors
    /// [`CheckpointError::Incomplete`] with the whole report.
    pub fn require_complete(self, path: &Path) -> Result<Self, CheckpointError> {
        if self.missing.is_empty() && self.mismatched.is_empty() {
            return Ok(self);
        }
        Err(CheckpointError::Incomplete { path: path.to_owned(), report: Box::new(self) })
    }

    /// The report itself if the file's encoder, of which the model has `blocks` blocks, was used whole.
    ///
    /// # Errors
    /// [`CheckpointError::LeftOver`] with the first names, their number and what they are a sign of.
    pub fn require_used(self, path: &Path, blocks: usize) -> Result<Self, CheckpointError> {
        const FIRST: usize = 3;
        if self.left_over.is_empty() {
            return Ok(self);
        }
        Err(CheckpointError::LeftOver {
            path: path.to_owned(),
            count: self.left_over.len(),
            first: self.left_over.iter().take(FIRST).cloned().collect::<Vec<_>>().join(", "),
            cause: names::likely_cause(&self.left_over, blocks),
        })
    }
}

/// Names table before the rest is only counted.
const SHOWN: usize = 12;

fn list(f: &mut fmt::Formatter<'_>, title: &str, hint: &str, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title} ({}): {hint}", names.len())?;
    for name in names.iter().take(SHOWN) {
        writeln!(f, "  {name}")?;
    }
    if names.len() > SHOWN {
        writeln!(f, "  … and {} more", names.len() - SHOWN)?;
    }
    Ok(())
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "loaded {} tensors", self.loaded.len())?;
        if !self.mismatched.is_empty() {
            writeln!(f, "mis-shaped ({}): the model was built with other sizes", self.mismatched.len())?;
            let width = self.mismatched.iter().take(SHOWN).map(|m| m.name.len()).max().unwrap_or(0);
            for m in self.mismatched.iter().take(SHOWN) {
                writeln!(f, "  {:width$}  file {:?}, model {:?}", m.name, m.found, m.expected)?;
            }
            if self.mismatched.len() > SHOWN {
                writeln!(f, "  … and {} more", self.mismatched.len() - SHOWN)?;
            }
        }
        list(f, "missing", "in the model, not in the file", &self.missing)?;
        list(f, "unexpected", "in the file, not in the model; ignored", &self.unexpected)?;
        list(f, "re-initialized", "kept at the model's initial values", &self.reinitialized)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
