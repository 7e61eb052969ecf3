//! Measurements of speed that the programs' `bench` commands print.

pub mod coco;
