//! What hostile, damaged and doubled files come to: limits, checksums, names that are there twice.

use super::checksum::CHECKSUM_KEY;
use super::tests::{archive, data, tensor};
use super::*;
use std::io::{Cursor, Write};

/// {'w': tensor of `shape` and `stride` over storage 0 of floats}, and the same again for each more name.
fn tensors(names: &[String], tail: &[u8]) -> Vec<u8> {
    let mut p = b"\x80\x02}(".to_vec();
    for name in names {
        p.push(b'X');
        p.extend((name.len() as u32).to_le_bytes());
        p.extend(name.as_bytes());
        p.extend(tail);
    }
    p.extend(b"u.");
    p
}

/// A tensor over storage 0 of floats: offset 0, `shape`, `stride`.
fn one(shape: [i32; 2], stride: [i32; 2]) -> Vec<u8> {
    let int = |v: i32| [&b"J"[..], &v.to_le_bytes()].concat();
    let pair = |p: [i32; 2]| [int(p[0]), int(p[1]), vec![0x86]].concat();
    let mut p = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    p.extend(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ");
    p.extend([int(0), pair(shape), pair(stride)].concat());
    p.extend(b"\x89}tR");
    p
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("w{i}")).collect()
}

fn refused(bytes: &[u8]) -> String {
    parse(Path::new("f"), bytes).unwrap_err().to_string()
}

#[test]
fn views_that_span_a_large_storage_cost_what_they_hold() {
    // 2,000 views of two elements at the ends of a storage of a million: 8 GB if each converted its span.
    let storage = vec![0_u8; 4_000_000];
    let mut ends = storage.clone();
    ends[3_999_996..].copy_from_slice(&2.5_f32.to_le_bytes());
    let pickle = tensors(&names(2000), &one([2, 1], [999_999, 1]));
    let before = std::time::Instant::now();
    let map = parse(Path::new("f"), &archive(&pickle, &ends)).unwrap();
    assert!(before.elapsed().as_secs() < 5);
    assert!(map.tensors.len() == 2000 && map.tensors.values().all(|t| t.data == [0.0, 2.5]));
}

#[test]
fn values_that_a_pickle_refers_to_again_are_not_copied() {
    // A long text remembered once and recalled a million times, as a key of storages and as nothing at all.
    let long = vec![b'k'; 500_000];
    let mut pickle = b"\x80\x02X".to_vec();
    pickle.extend((long.len() as u32).to_le_bytes());
    pickle.extend(&long);
    pickle.extend(b"q\x000ctorch\nFloatStorage\nq\x010(");
    for _ in 0..50_000 {
        pickle.extend(b"(X\x07\x00\x00\x00storageh\x01h\x00tQ");
    }
    pickle.extend(b"t.");
    assert!(refused(&archive(&pickle, b"")).contains("no state dict"));
    // A list of 100,000 that torch.Size is called on 20,000 times.
    let mut pickle = b"\x80\x02](".to_vec();
    pickle.extend(vec![b'N'; 100_000]);
    pickle.extend(b"eq\x000ctorch\nSize\nq\x010(");
    (0..20_000).for_each(|_| pickle.extend(b"h\x01(h\x00tR"));
    pickle.extend(b"t.");
    assert!(refused(&archive(&pickle, b"")).contains("no state dict"));
}

#[test]
fn what_is_built_is_paid_for_first_and_the_error_says_how_to_raise_the_limit() {
    // Shapes of 64 dimensions by a call of 8 bytes: 1 KB each.
    let mut pickle = b"\x80\x02(".to_vec();
    (0..64).for_each(|_| pickle.extend(b"K\x01"));
    pickle.extend(b"tq\x020ctorch._utils\n_rebuild_tensor_v2\nq\x000(");
    pickle.extend(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000tQq\x010");
    pickle.extend(b"(h\x01K\x00h\x02h\x02tq\x030(");
    (0..120_000).for_each(|_| pickle.extend(b"h\x00h\x03R"));
    pickle.extend(b"t.");
    let bytes = archive(&pickle, b"");
    assert!(bytes.len() < 1 << 20);
    let error = refused(&bytes);
    assert!(
        error.contains("the limit for a file of its size") && error.contains("KAT_CHECKPOINT_MEMORY"),
        "{error}"
    );
    let raised = parse_within(Path::new("f"), &bytes, Budget::of(1 << 30)).unwrap_err().to_string();
    assert!(raised.contains("no state dict"), "{raised}");
    // Members that unpack to more than they should: 100 MB of zeros in 100 KB.
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a/data.pkl", zip::write::SimpleFileOptions::default()).unwrap();
    let zeros = vec![0_u8; 1 << 20];
    (0..100).for_each(|_| zip.write_all(&zeros).unwrap());
    let error = refused(&zip.finish().unwrap().into_inner());
    assert!(error.contains("KAT_CHECKPOINT_MEMORY"), "{error}");
}

#[test]
fn empty_arrays_of_endless_extents_are_refused_in_every_format() {
    let shapes = ["(0, 4294967296, 4294967296)", "(4294967296, 0, 4294967296)", "(18446744073709551615, 0)"];
    for (shape, name) in shapes.iter().flat_map(|s| [(s, "embedding/kernel"), (s, "head/kernel"), (s, "x")]) {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["embedding/kernel", name] {
            if zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).is_err() {
                continue;
            }
            let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(header.as_bytes()).unwrap();
        }
        let error = refused(&zip.finish().unwrap().into_inner());
        assert!(error.contains("tensor embedding/kernel: found shape ["), "{error}");
    }
    let header = br#"{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert!(refused(&[&(header.len() as u64).to_le_bytes()[..], header].concat()).contains("tensor a"));
    assert!(HostTensor::new(vec![usize::MAX, 0, 2], vec![]).is_none());
    assert!(HostTensor::new(vec![0, 4], vec![]).is_some());
    // Countable, but long to go through: the transposition of nothing takes no time.
    let before = std::time::Instant::now();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, shape) in [("embedding/kernel", "(1, 1, 3, 0)"), ("head/kernel", "(0, 100000000000)")] {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
    }
    let map = parse(Path::new("f"), &zip.finish().unwrap().into_inner()).unwrap();
    assert!(map.get("head.weight").unwrap().data.is_empty() && before.elapsed().as_secs() < 2);
}

#[test]
fn a_tensor_that_is_there_twice_is_an_error() {
    let twice = [names(1), names(1)].concat();
    let pickle = tensors(&twice, &one([2, 1], [1, 1]));
    assert!(refused(&archive(&pickle, &[0; 24])).contains("tensor w0 is there twice"));
    let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!(r#"{{"w":{entry},"w":{entry}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    assert!(refused(&file).contains("tensor \"w\" is there twice"), "{}", refused(&file));
}

#[test]
fn prefixes_are_taken_off_a_few_times_only() {
    let mut map = TensorMap::default();
    map.insert("module.".repeat(200_000) + "w", tensor(&[1], 0.0));
    names::strip_wrappers(&mut map);
    assert_eq!(map.notes.len(), 16);
}

#[test]
fn no_pipe_or_device_is_read() {
    for path in ["/dev/zero", "/dev/null", "/tmp"] {
        let error = load_any(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("not a regular file"), "{error}");
        assert!(safetensors::load(Path::new(path)).is_err());
    }
}

fn saved(dir: &Path) -> (std::path::PathBuf, TensorMap) {
    let mut map = TensorMap::default();
    map.insert("a.weight", tensor(&[2, 3], 0.5));
    map.insert("b", tensor(&[], -1.0));
    map.insert("none", tensor(&[0, 4], 0.0));
    map.metadata.insert("kat_classes".into(), "[\"cat\",\"dog\"]".into());
    let path = dir.join("a.safetensors");
    safetensors::save(&path, &map).unwrap();
    (path, map)
}

#[test]
fn every_flipped_bit_of_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, map) = saved(dir.path());
    let good = std::fs::read(&path).unwrap();
    assert_eq!(parse(&path, &good).unwrap(), map);
    let mut noticed = 0;
    for bit in 0..8 * good.len() {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match parse(&path, &bytes) {
            Err(_) => noticed += 1,
            // Not one value or word of it may differ: a blank of the header that is now another blank.
            Ok(read) => assert_eq!(read, map, "bit {bit}"),
        }
    }
    assert!(noticed * 100 >= 99 * 8 * good.len(), "{noticed} of {}", 8 * good.len());
    // Values exchanged, a run of zeros, and one value of another sign.
    let at = good.len() - 28;
    for (from, bytes) in [(at, [1_u8; 4]), (at + 8, [0; 4]), (at + 20, [0xff; 4])] {
        let mut changed = good.clone();
        changed[from..from + 4].copy_from_slice(&bytes);
        let error = refused(&changed);
        assert!(error.contains("checksum") && error.contains("expected crc32c:"), "{error}");
    }
}

#[test]
fn files_without_a_checksum_load_with_a_note_and_others_without() {
    let dir = tempfile::tempdir().unwrap();
    let header = |metadata: &str| {
        let text = format!(
            r#"{{"__metadata__":{{{metadata}}},"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
        );
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &1.5_f32.to_le_bytes()].concat()
    };
    let ours = parse(Path::new("f"), &header(r#""kat_config":"{}""#)).unwrap();
    assert!(ours.notes[0].contains("no checksum") && ours.get("w").unwrap().data == [1.5]);
    assert!(parse(Path::new("f"), &header(r#""format":"pt""#)).unwrap().notes.is_empty());
    // The checksum is no part of what is read, and another reader sees it as metadata.
    let (path, map) = saved(dir.path());
    assert!(!load_any(&path).unwrap().metadata.contains_key(CHECKSUM_KEY));
    let bytes = std::fs::read(&path).unwrap();
    let (_, raw) = ::safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert!(raw.metadata().as_ref().unwrap()[CHECKSUM_KEY].starts_with("crc32c:"));
    assert_eq!(load_any(&path).unwrap(), map);
    // PyTorch's files and others keep their notes.
    assert_eq!(load_any(&data("nested.pth")).unwrap().notes.len(), 2);
}
