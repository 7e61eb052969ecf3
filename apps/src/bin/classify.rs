//! The program `classify`.

fn main() {}
