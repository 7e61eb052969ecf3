//! Checkpoints of every format: what is accepted has as many values as its shapes say.
#![no_main]

use std::path::Path;

use kat_backbone::checkpoint::{HostTensor, names, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut map) = parse(Path::new("case"), bytes) else { return };
    names::strip_wrappers(&mut map);
    for (name, tensor) in &map.tensors {
        assert!(HostTensor::new(tensor.shape.clone(), tensor.data.clone()).is_some(), "{name}: {:?}", tensor.shape);
    }
});
