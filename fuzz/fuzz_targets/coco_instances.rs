//! COCO annotations, and the checks of them.
#![no_main]

use std::path::Path;

use kat_coco::check::{OnProblem, check};
use kat_coco::json::CocoFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = CocoFile::parse(Path::new("instances.json"), bytes) {
        let _ = check(&file, OnProblem::Skip);
        let _ = check(&file, OnProblem::Fail);
    }
});
