//! What a reader may build from a file: memory is asked for before it is taken, so that no small file grows large.

use super::CheckpointError;
use std::path::Path;

/// The environment variable that raises the limit, in bytes.
pub const LIMIT_VARIABLE: &str = "KAT_CHECKPOINT_MEMORY";
/// Bytes that any file may take.
const BASE: u64 = 64 << 20;
/// Bytes beyond those for each byte of the file: 1-bit values widen to 32 bits, and members may be compressed.
const RATIO: u64 = 16;

/// Memory that is left to what is built from one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    left: u64,
    limit: u64,
}

/// More was asked for than was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Bytes that were to be had in all.
    pub limit: u64,
}

impl Budget {
    /// The usual budget of a file of `length` bytes.
    pub fn for_file(length: usize) -> Self {
        Self::of(BASE.saturating_add((length as u64).saturating_mul(RATIO)))
    }

    /// A budget of `limit` bytes.
    pub fn of(limit: u64) -> Self {
        Self { left: limit, limit }
    }

    /// As [`Budget::for_file`], or what [`LIMIT_VARIABLE`] says where that is more.
    ///
    /// # Errors
    /// [`CheckpointError::Unsupported`] for a value that is not a number of bytes.
    pub fn from_environment(path: &Path, length: usize) -> Result<Self, CheckpointError> {
        let usual = Self::for_file(length);
        let Some(text) = std::env::var_os(LIMIT_VARIABLE) else { return Ok(usual) };
        match text.to_str().and_then(|text| text.trim().parse::<u64>().ok()) {
            Some(limit) => Ok(Self::of(limit.max(usual.limit))),
            None => Err(CheckpointError::Unsupported {
                path: path.to_owned(),
                reason: format!("{LIMIT_VARIABLE} is {text:?}, expected a number of bytes"),
            }),
        }
    }

    /// Bytes that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes `bytes`, before they are allocated.
    ///
    /// # Errors
    /// [`OverBudget`] where fewer are left; nothing is taken then.
    pub fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(OverBudget { limit: self.limit }),
        }
    }

    /// Takes room for `count` values of `T`.
    ///
    /// # Errors
    /// As [`Budget::take`], also where the product is beyond the machine's numbers.
    pub fn take_values<T>(&mut self, count: usize) -> Result<(), OverBudget> {
        let over = OverBudget { limit: self.limit };
        self.take(count.checked_mul(size_of::<T>()).ok_or(over)?)
    }
}

impl OverBudget {
    /// The error of a reader.
    pub fn error(self, path: &Path) -> CheckpointError {
        CheckpointError::OverBudget { path: path.to_owned(), limit: self.limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once_and_products_do_not_wrap() {
        let mut budget = Budget::of(100);
        assert_eq!(budget.take(60), Ok(()));
        assert_eq!(budget.take(41), Err(OverBudget { limit: 100 }));
        assert_eq!(budget.take_values::<f32>(10), Ok(()));
        assert_eq!(budget.left(), 0);
        assert!(budget.take_values::<u64>(usize::MAX / 4).is_err());
        assert_eq!(Budget::for_file(usize::MAX).left(), u64::MAX);
    }
}
