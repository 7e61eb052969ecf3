//! Tile products on a machine that cannot have them.

use super::pack::Tile;

/// 2 × 2 tiles of sums.
#[derive(Clone, Copy, Debug)]
pub struct Sums(pub [[[f32; 16]; 16]; 4]);

impl Sums {
    /// Zeros.
    pub const ZERO: Self = Self([[[0.0; 16]; 16]; 4]);
}

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
    pub fn multiply(&self, _: &[Tile], _: &[Tile], _: &mut Sums, _: bool, _: [bool; 2]) {
        match self.0 {}
    }
}
