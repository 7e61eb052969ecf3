//! Tile products on a machine that cannot have them.

use super::pack::{Block, Tile};

/// Never.
pub fn available() -> bool {
    false
}

/// Registers that are not there.
pub struct Registers(std::convert::Infallible);

impl Registers {
    /// # Panics
    /// Always: [`available`] is false.
    pub fn configured() -> Self {
        panic!("tile products need a processor that has them")
    }

    /// Cannot be called.
    pub fn multiply(&self, _: &[Tile], _: &[Tile], _: &mut Block, _: bool, _: [bool; 2], _: *const Tile) {
        match self.0 {}
    }
}
