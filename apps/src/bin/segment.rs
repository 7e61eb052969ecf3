//! The program `segment`.

fn main() {}
