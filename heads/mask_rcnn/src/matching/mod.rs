//! Which annotation a box is trained on: overlaps become labels, a few labels of each kind are sampled, and the offsets
//! from a box to its annotation are coded.

mod box_coder;
mod matcher;
mod sampler;

pub use box_coder::BoxCoder;
pub use matcher::{MatchLabel, Matcher, Matches};
pub use sampler::{Sampled, sample_labels};
