//! What can be wrong with the input of a head.

use kat_backbone::ops::nms::NmsError;
use thiserror::Error;

/// An input that a head cannot use; the text names the field, what was found and what was expected.
#[derive(Debug, Error)]
pub enum HeadError {
    /// Two lists that belong together differ in length.
    #[error("{what}: found {found} entries, expected {expected}")]
    Length {
        /// The list.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// A value outside its range.
    #[error("{what}: found {found}, expected {expected}")]
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        found: String,
        /// The rule it breaks.
        expected: &'static str,
    },
    /// From an op or module on tensors.
    #[error(transparent)]
    Tensor(#[from] kat_backbone::Error),
    /// From a mask.
    #[error(transparent)]
    Mask(#[from] kat_images::MaskError),
    /// From non-maximum suppression.
    #[error(transparent)]
    Nms(#[from] NmsError),
}

impl HeadError {
    pub(crate) fn value(what: &'static str, found: impl std::fmt::Debug, expected: &'static str) -> Self {
        Self::Value { what, found: format!("{found:?}"), expected }
    }
}

/// Checks that `found == expected`.
pub(crate) fn same_length(what: &'static str, found: usize, expected: usize) -> Result<(), HeadError> {
    if found == expected { Ok(()) } else { Err(HeadError::Length { what, found, expected }) }
}
