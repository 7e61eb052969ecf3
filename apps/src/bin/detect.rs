//! The program `detect`.

fn main() {}
