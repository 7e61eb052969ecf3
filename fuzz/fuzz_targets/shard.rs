//! Tar shards: every record lies inside the file.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use kat_imagenet::tar::read_shard;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(shard) = read_shard(Path::new("0.tar"), Cursor::new(bytes), 10) {
        assert!(shard.records.iter().all(|r| r.offset + r.length <= bytes.len() as u64 && r.class < 10));
    }
});
