//! Checks of a caller's input; each error names the field, what was found and what was expected.

use kat_backbone::{Error, Result};

/// An error about a value outside its range.
pub(crate) fn value(what: &'static str, found: impl std::fmt::Debug, expected: &'static str) -> Error {
    Error::config(what, format!("found {found:?}, expected {expected}"))
}

/// Checks that `found == expected`.
pub(crate) fn same_length(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::config(what, format!("found {found} entries, expected {expected}")))
}
