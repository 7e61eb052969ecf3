//! End-to-end tests of the programs and of parity with golden numbers.

pub mod device;
pub mod golden;
#[cfg(all(unix, feature = "mpi"))]
pub mod mpi;
pub mod parity;
pub mod place;
pub mod program;
