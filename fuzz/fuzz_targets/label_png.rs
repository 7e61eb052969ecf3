//! Label maps.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = kat_ade20k::label_png::parse(bytes);
});
