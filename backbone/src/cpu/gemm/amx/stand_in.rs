//! Tile instructions for tests on a machine that has none: the processor stops at each, and a signal handler does what it
//! would have done, to the bit of Intel's description. Slow, and in tests only (or with the feature `amx-stand-in`, where the
//! environment asks for it: `KAT_AMX_STAND_IN=1`).

#[cfg(any(test, feature = "amx-stand-in"))]
mod handler;

#[cfg(any(test, feature = "amx-stand-in"))]
pub use handler::{attend, wanted};

/// Never, in a program.
#[cfg(not(any(test, feature = "amx-stand-in")))]
pub fn wanted() -> bool {
    false
}

/// Nothing to do, in a program.
#[cfg(not(any(test, feature = "amx-stand-in")))]
pub fn attend() {}
