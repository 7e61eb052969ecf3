//! The crate's error: which op or tensor, what was expected, what was found.

use super::shape::Shape;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an op, a module or a model could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor does not have the rank or the sizes an op needs.
    #[error("{op}: {what} has shape {found}, expected {expected}")]
    Shape {
        /// The op or module.
        op: &'static str,
        /// Which of its inputs.
        what: &'static str,
        /// The shape in words or letters.
        expected: String,
        /// The shape as it came.
        found: Shape,
    },
    /// The number of values does not fit the shape.
    #[error("{found} values were given for a tensor of shape {shape}, which holds {expected}")]
    Length {
        /// The shape asked for.
        shape: Shape,
        /// Its number of elements.
        expected: usize,
        /// The number of values given.
        found: usize,
    },
    /// A setting of an op or a model that cannot be.
    #[error("{context}: {reason}")]
    Config {
        /// The op, model or field.
        context: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A name that is not known, with the nearest one that is.
    #[error("unknown {kind} {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    Unknown {
        /// What the name is of: a model, an activation …
        kind: &'static str,
        /// The name given.
        name: String,
        /// The nearest known name, if one is near.
        nearest: Option<String>,
    },
    /// Initial values could not be made.
    #[error(transparent)]
    Init(#[from] crate::init::InitError),
    /// Another process failed.
    #[error(transparent)]
    Collective(#[from] crate::collective::CollectiveError),
    /// The device refused: memory, most often.
    #[error("{op}: the device failed: {reason}")]
    Device {
        /// What was being done.
        op: &'static str,
        /// The device's own words.
        reason: String,
    },
}

impl Error {
    /// A [`Error::Config`] from its parts.
    pub fn config(context: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { context: context.into(), reason: reason.into() }
    }

    /// A [`Error::Shape`] from its parts.
    pub fn shape(op: &'static str, what: &'static str, expected: impl Into<String>, found: Shape) -> Self {
        Self::Shape { op, what, expected: expected.into(), found }
    }

    /// A [`Error::Unknown`] with the nearest of `known`.
    pub fn unknown<'a>(kind: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let nearest = kat_images::names::nearest(name, known).map(str::to_owned);
        Self::Unknown { kind, name: name.to_owned(), nearest }
    }
}
