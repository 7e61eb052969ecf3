//! Initialization: rational coefficient tables, variance-preserving weights, mimetic attention.
//!
//! Everything here works on plain `Vec<f32>` in row-major order with the dimensions beside it; the model
//! builder moves the numbers to the device.
//!
//! - [`tables`]: coefficients of the rational activations, fitted by [`fit`] and kept in `tables.toml`;
//! - [`variance`]: the gain of each activation and the standard deviations that follow from it;
//! - [`mimetic`]: attention weights whose products resemble those of trained transformers;
//! - [`random`]: seeded, order-independent random tensors.

pub mod fit;
pub mod least_squares;
mod matmul;
pub mod mimetic;
pub mod random;
pub mod svd;
pub mod tables;
pub mod variance;

pub use tables::{Activation, Coefficients, Order};

/// What can go wrong when initial values are asked for.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InitError {
    /// The name of an activation is not known.
    #[error("activation \"{found}\" is not known; known are {known}{hint}", known = tables::KNOWN)]
    UnknownActivation {
        /// The name as given.
        found: String,
        /// `; did you mean "…"?`, or empty when nothing is near.
        hint: String,
    },
    /// A rational function of this order cannot represent or approximate the activation.
    #[error("order ({numerator}, {denominator}) of the rational function: {reason}")]
    Order {
        /// Degree of the numerator.
        numerator: usize,
        /// Degree of the denominator.
        denominator: usize,
        /// The rule that the order breaks.
        reason: &'static str,
    },
    /// The coefficient table that is compiled in does not hold an entry, or holds a malformed one.
    #[error("tables.toml: {0}")]
    Table(String),
    /// Dimensions that do not fit together.
    #[error("{what}: found {found}, expected {expected}")]
    Dimension {
        /// Which dimension.
        what: &'static str,
        /// Its value.
        found: usize,
        /// The rule it must follow.
        expected: String,
    },
    /// A numeric routine met a number that is not finite, or did not converge.
    #[error("{0} did not converge to finite values")]
    NotFinite(&'static str),
}
