//! Feeds damaged and hostile files to the readers of checkpoints:
//! `cargo run --release -p kat-backbone --example fuzz_checkpoints -- SECONDS [SEED]`.
//!
//! Case n is made by the seed SEED + n: a valid file with bytes changed, or a pickle of opcodes in an order that a
//! program might write but did not. A reader may refuse or accept; what it accepts must be consistent, and no case may
//! take more than two seconds. Ends with the number of cases and the process's highest memory, or at the first failure
//! with exit code 1 and the seed that gives this case first.

use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kat_backbone::checkpoint::{HostTensor, TensorMap, names, parse, safetensors};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The most that one case may take.
const LIMIT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Some(Ok(seconds)), first) = (arguments.next(), arguments.next().and_then(Result::ok).unwrap_or(0))
    else {
        eprintln!("usage: fuzz_checkpoints SECONDS [SEED]");
        return ExitCode::from(2);
    };
    let seeds = seeds();
    let (begun, mut cases, mut accepted) = (Instant::now(), 0, 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut rng = ChaCha8Rng::seed_from_u64(first + cases);
        let bytes = case(&mut rng, &seeds);
        let started = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| read(&bytes))) {
            Ok(Ok(read)) => accepted += u64::from(read),
            Ok(Err(reason)) => return failed(first + cases, &reason),
            Err(_) => return failed(first + cases, "a panic"),
        }
        if started.elapsed() > LIMIT {
            return failed(first + cases, &format!("{:?}", started.elapsed()));
        }
        cases += 1;
    }
    println!("{cases} cases from seed {first}, {accepted} accepted, no failure{}", highest_memory());
    ExitCode::SUCCESS
}

fn failed(seed: u64, reason: &str) -> ExitCode {
    eprintln!("seed {seed}: {reason}");
    ExitCode::FAILURE
}

/// Reads; whether the file was accepted.
fn read(bytes: &[u8]) -> Result<bool, String> {
    let Ok(mut map) = parse(Path::new("case"), bytes) else { return Ok(false) };
    names::strip_wrappers(&mut map);
    for (name, tensor) in &map.tensors {
        if HostTensor::new(tensor.shape.clone(), tensor.data.clone()).is_none() {
            return Err(format!("{name} of shape {:?} has {} values", tensor.shape, tensor.data.len()));
        }
    }
    Ok(true)
}

/// Valid files of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut seeds: Vec<Vec<u8>> = ["nested.pth", "dtypes.pt", "protocol4.pth", "parameter.pth"]
        .iter()
        .map(|name| std::fs::read(folder.join(name)).expect("the test data"))
        .collect();
    let mut map = TensorMap::default();
    for (name, shape) in [("module.a.weight", vec![2, 3]), ("module.b", vec![]), ("module.c", vec![0, 4])] {
        let count = shape.iter().product();
        map.insert(name, HostTensor { shape, data: vec![0.5; count] });
    }
    map.metadata.insert("kat_classes".into(), "[\"a\"]".into());
    let file = std::env::temp_dir().join(format!("fuzz_checkpoints.{}", std::process::id()));
    safetensors::save(&file, &map).expect("a temporary file");
    seeds.push(std::fs::read(&file).expect("the file just written"));
    std::fs::remove_file(&file).expect("the file just read");
    let parts = ["embedding/kernel", "head/kernel", "Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"];
    let arrays: Vec<(String, Vec<u8>)> =
        parts.iter().map(|name| (format!("{name}.npy"), array("(2, 2, 3, 4)", 48))).collect();
    seeds.push(zip(&arrays));
    seeds
}

fn array(shape: &str, count: usize) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; 4 * count]);
    bytes
}

fn zip(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        if zip.start_file(name, zip::write::SimpleFileOptions::default()).is_ok() {
            zip.write_all(content).expect("memory");
        }
    }
    zip.finish().expect("memory").into_inner()
}

fn case(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    match rng.random_range(0..4) {
        0 => damaged(rng, seeds),
        1 => arrays(rng),
        _ => {
            let members = [
                ("a/data.pkl".to_owned(), pickle(rng)),
                ("a/data/0".to_owned(), vec![0; rng.random_range(0..100_000)]),
            ];
            zip(&members)
        }
    }
}

fn damaged(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).cloned().unwrap_or_default();
    for _ in 0..rng.random_range(0..8) {
        let at = rng.random_range(0..bytes.len());
        bytes[at] = if rng.random() { rng.random() } else { bytes[at] ^ (1 << rng.random_range(0..8)) };
    }
    if rng.random_range(0..8) == 0 {
        bytes.truncate(rng.random_range(0..bytes.len()));
    }
    bytes
}

/// Arrays of shapes that do not go together with what is in them.
fn arrays(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let names = [
        "embedding/kernel",
        "head/kernel",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/key/kernel",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/value/kernel",
        "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel",
    ];
    let extents = [0_u64, 1, 2, 3, 4, 1 << 32, 1 << 62, u64::MAX];
    let members: Vec<(String, Vec<u8>)> = names
        .iter()
        .map(|name| {
            let rank = rng.random_range(0..6);
            let shape: Vec<u64> = (0..rank).map(|_| *extents.choose(rng).unwrap_or(&1)).collect();
            let count = shape.iter().try_fold(1_u64, |n, d| n.checked_mul(*d)).filter(|n| *n < 10_000);
            let text: String = shape.iter().map(|d| format!("{d},")).collect();
            (format!("{name}.npy"), array(&format!("({text})"), count.unwrap_or(0) as usize))
        })
        .collect();
    zip(&members)
}

/// A pickle that has the means of tensors at hand and uses them at random, up to many thousand times.
fn pickle(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let long = rng.random_range(1..20_000_usize);
    let mut p = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x000X".to_vec();
    p.extend((long as u32).to_le_bytes());
    p.extend(vec![b'k'; long]);
    p.extend(b"q\x010ctorch\nFloatStorage\nq\x020X\x07\x00\x00\x00storageq\x030");
    p.extend(b"(h\x03h\x02X\x01\x00\x00\x000tQq\x040ctorch\nSize\nq\x050(");
    (0..rng.random_range(1..64)).for_each(|_| p.extend([b'K', rng.random_range(0..4)]));
    p.extend(b"tq\x060(h\x04K\x00h\x06h\x06tq\x070ctorch._utils\n_rebuild_parameter\nq\x080}q\x09");
    let pieces: [&[u8]; 16] = [
        b"h\x00h\x07R",
        b"h\x05h\x06\x85R",
        b"h\x08h\x00h\x07R\x85R",
        b"(h\x03h\x02h\x01tQ",
        b"h\x01",
        b"h\x09",
        b"2",
        b"0",
        b"(",
        b"t",
        b"]",
        b"}",
        b"\x86",
        b"s",
        b"K\x07",
        b"q\x0a",
    ];
    let few: Vec<&[u8]> = (0..rng.random_range(1..6)).filter_map(|_| pieces.choose(rng).copied()).collect();
    for i in 0..rng.random_range(0..30_000_u32) {
        p.extend(*few.choose(rng).unwrap_or(&&b"0"[..]));
        if rng.random_range(0..50) == 0 {
            // An entry of the outermost dictionary, if the stack still has it.
            p.extend(b"X\x04\x00\x00\x00");
            p.extend(i.to_le_bytes().map(|b| b'a' + b % 26));
            p.extend(b"h\x00h\x07Rs");
        }
    }
    p.extend(b"h\x09.");
    p
}

fn highest_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(String::new, |kb| format!("; at most {} resident", kb.trim()))
}
