//! What [`pack`](super::pack) does without, on a processor that cannot have it.

use super::pack::Tile;

/// Never.
pub fn available() -> bool {
    false
}

/// Cannot be called.
pub fn rows<const REST: bool>(_: &[f32], _: usize, _: &mut Tile) {
    unreachable!("no AVX-512 here")
}

/// Cannot be called.
pub fn pairs<const REST: bool>(_: &[f32], _: usize, _: &mut Tile) {
    unreachable!("no AVX-512 here")
}

/// Cannot be called.
pub fn pairs_of_rows(_: [&Tile; 2], _: usize, _: &mut Tile) {
    unreachable!("no AVX-512 here")
}

/// Cannot be called.
pub fn transpose(_: &mut Tile) {
    unreachable!("no AVX-512 here")
}
