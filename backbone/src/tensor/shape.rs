//! Run-time shapes of up to five axes, and the letters used for them everywhere.
//!
//! B images in a batch, N tokens, C channels, H × W the grid of a feature map, G groups of a group rational,
//! D channels a head, K classes.

use super::error::{Error, Result};
use std::fmt;

/// The most axes a tensor can have: (B, groups, C, H, W) and the like.
pub const MAX_RANK: usize = 5;

/// The sizes of a tensor's axes, outermost first; data is always contiguous in this order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    sizes: [usize; MAX_RANK],
    rank: usize,
}

impl Shape {
    /// A shape from its axes; at most [`MAX_RANK`] of them.
    ///
    /// # Errors
    /// Too many axes.
    pub fn new(axes: &[usize]) -> Result<Self> {
        if axes.len() > MAX_RANK {
            return Err(Error::config("shape", format!("{axes:?} has more than {MAX_RANK} axes")));
        }
        let mut sizes = [1; MAX_RANK];
        sizes[..axes.len()].copy_from_slice(axes);
        Ok(Self { sizes, rank: axes.len() })
    }

    /// Whether `found` values are as many as the shape has elements.
    ///
    /// # Errors
    /// [`Error::Length`] if not.
    pub(crate) fn check_len(self, found: usize) -> Result<()> {
        match self.numel() {
            expected if expected == found => Ok(()),
            expected => Err(Error::Length { shape: self, expected, found }),
        }
    }

    /// The sizes of the axes.
    pub fn axes(&self) -> &[usize] {
        &self.sizes[..self.rank]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.axes().iter().product()
    }

    /// The size of the last axis; 1 for a scalar.
    pub fn last(&self) -> usize {
        self.axes().last().copied().unwrap_or(1)
    }

    /// The number of rows when all axes but the last are taken together.
    pub fn rows(&self) -> usize {
        self.axes()[..self.rank.saturating_sub(1)].iter().product()
    }

    /// The same shape with another last axis.
    pub fn with_last(mut self, size: usize) -> Self {
        if self.rank > 0 {
            self.sizes[self.rank - 1] = size;
        }
        self
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(axes: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK) };
        let mut sizes = [1; MAX_RANK];
        sizes[..N].copy_from_slice(&axes);
        Self { sizes, rank: N }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.axes())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.axes())
    }
}
