//! What can be wrong with a configuration; every variant says where, what was found and what would do.
//! Causes are in the error's chain: print with `{:#}` of anyhow.

use std::path::PathBuf;

/// A configuration that cannot be used. Programs exit with status 2 on it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type; the parser's message has line, column, found and expected.
    #[error("{origin}: {message}")]
    Syntax {
        /// File, or `--set …`.
        origin: String,
        /// The parser's message.
        message: String,
    },
    /// A key that no section has.
    #[error("{origin}: unknown key \"{key}\"; {hint}")]
    UnknownKey {
        /// File, or `--set …`.
        origin: String,
        /// Full key.
        key: String,
        /// Nearest key or the list of keys.
        hint: String,
    },
    /// A section of another program.
    #[error("{origin}: section [{section}] is not read by {program}; remove it")]
    ForeignSection {
        /// File, or `--set …`.
        origin: String,
        /// Section name.
        section: String,
        /// The running program.
        program: &'static str,
    },
    /// A file among those that it extends.
    #[error("{}: extends itself, by way of the files that it extends", path.display())]
    ExtendsItself {
        /// The file.
        path: PathBuf,
    },
    /// A `--set` that is not `key=value`, or an `--unset` that is no key.
    #[error("{flag} {text}: {reason}; write {flag} {form}")]
    BadOverride {
        /// `--set` or `--unset`.
        flag: &'static str,
        /// What it takes, with an example.
        form: &'static str,
        /// As typed.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A word that stands for nothing.
    #[error("{origin}: {key}: {source}")]
    Word {
        /// File the configuration came from.
        origin: String,
        /// Full key, "section.key".
        key: &'static str,
        /// What was found, and the nearest word.
        source: kat_backbone::init::InitError,
    },
    /// A value outside what makes sense.
    #[error("{origin}: {key} is {found}, expected {expected}")]
    BadValue {
        /// File the configuration came from.
        origin: String,
        /// Full key, "section.key".
        key: &'static str,
        /// The value.
        found: String,
        /// What would do.
        expected: String,
    },
}
