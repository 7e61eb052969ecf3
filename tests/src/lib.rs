//! End-to-end tests of the programs and of parity with golden numbers.

pub mod device;
pub mod golden;
pub mod parity;
pub mod place;
pub mod program;
