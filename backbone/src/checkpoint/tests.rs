//! Readers on real, hostile and random files; adapting to a model.

use super::transfer::{Expected, HeadPolicy, TransferOptions, adapt};
use super::*;
use crate::config::Size;
use crate::ops::rational::Denominator;
use crate::{Kat, KatConfig};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::path::PathBuf;

pub(super) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

pub(super) fn tensor(shape: &[usize], start: f32) -> HostTensor {
    let count = shape.iter().product::<usize>();
    HostTensor::new(shape.to_vec(), (0..count).map(|i| start + i as f32).collect()).unwrap()
}

/// A torch-like archive around a pickle.
pub(super) fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("a/data.pkl", pickle), ("a/byteorder", &b"little"[..]), ("a/data/0", storage)] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_nested_training_checkpoint_of_pytorch() {
    let map = load_any(&data("nested.pth")).unwrap();
    assert_eq!(map.tensors.keys().collect::<Vec<_>>(), ["scalar", "slice", "steps", "t", "w"]);
    assert_eq!(
        map.notes,
        ["tensors read from \"model\" of the file", "prefix \"module.\" removed from every name"]
    );
    let w = map.get("w").unwrap();
    assert_eq!((w.shape.as_slice(), w.data[11]), (&[3, 4][..], 11.0 / 8.0));
    let t = map.get("t").unwrap();
    assert_eq!(t.shape, [4, 3]);
    assert_eq!(t.data[..4], [0.0, 0.5, 1.0, 0.125]);
    assert_eq!(map.get("slice").unwrap().data, [5.0 / 8.0, 0.75, 9.0 / 8.0, 1.25]);
    assert_eq!(map.get("scalar").unwrap(), &HostTensor { shape: vec![], data: vec![2.5] });
    assert_eq!(map.get("steps").unwrap().data, [7.0]);
}

#[test]
fn every_dtype_and_protocol_of_pytorch() {
    let map = load_any(&data("dtypes.pt")).unwrap();
    let eighths: Vec<f32> = (0..12).map(|i| i as f32 / 8.0).collect();
    for name in ["half", "bf16", "f64"] {
        assert_eq!(map.get(name).unwrap().data, eighths, "{name}");
    }
    assert_eq!(map.get("i32").unwrap().data[8..], [1.0; 4]);
    assert_eq!(map.get("u8").unwrap().data[11], 11.0);
    assert_eq!(map.get("bool").unwrap().data[3..6], [0.0, 0.0, 1.0]);
    assert_eq!(load_any(&data("protocol4.pth")).unwrap().get("w").unwrap().data, eighths);
    let parameters = load_any(&data("parameter.pth")).unwrap();
    assert_eq!(parameters.get("weight").unwrap().shape, [2, 3]);
}

#[test]
fn files_from_before_pytorch_1_6_are_read() {
    let map = load_any(&data("legacy.pth")).unwrap();
    assert_eq!(
        (&map.get("weight").unwrap().shape[..], &map.get("bias").unwrap().shape[..]),
        (&[2, 3][..], &[2][..])
    );
    let near = |value: f32, printed: f32| assert!((value - printed).abs() < 5e-5, "{value}");
    near(map.get("weight").unwrap().data[1], 0.3097);
    near(map.get("bias").unwrap().data[1], 0.4578);
}

#[test]
fn what_is_not_read_is_named() {
    let message = |name: &str| load_any(&data(name)).unwrap_err().to_string();
    let module = message("whole_module.pth");
    assert!(module.contains("torch.nn.modules.linear.Linear") && module.contains("state_dict"), "{module}");
    assert!(message("absent.pth").contains("absent.pth: cannot read"));
    assert!(parse(Path::new("x"), b"hello, world").unwrap_err().to_string().contains("not a checkpoint"));
    assert!(parse(Path::new("x"), b"").unwrap_err().to_string().contains("empty"));
}

#[test]
fn a_pickle_that_calls_something_is_refused_by_name() {
    let hostile = archive(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", b"");
    match parse(Path::new("evil.pth"), &hostile).unwrap_err() {
        CheckpointError::ForbiddenGlobal { global, .. } => assert_eq!(global, "posix.system"),
        other => panic!("{other}"),
    }
    // Protocol 4's way of naming, and a call of an allowed type with wrong arguments.
    let named = b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.";
    let error = parse(Path::new("evil.pth"), &archive(named, b"")).unwrap_err().to_string();
    assert!(error.contains("builtins.eval") && error.contains("nothing was executed"), "{error}");
    let wrong = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.";
    let error = parse(Path::new("evil.pth"), &archive(wrong, b"")).unwrap_err().to_string();
    assert!(error.contains("pickle byte"), "{error}");
}

/// {'w': tensor of `shape` and `stride` over storage 0 of floats}
fn one_tensor(offset: i32, shape: [i32; 2], stride: [i32; 2]) -> Vec<u8> {
    let int = |v: i32| [&b"J"[..], &v.to_le_bytes()].concat();
    let pair = |p: [i32; 2]| [int(p[0]), int(p[1]), vec![0x86]].concat();
    let mut p = b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    p.extend(b"X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ");
    p.extend([int(offset), pair(shape), pair(stride)].concat());
    p.extend(b"\x89}tRs.");
    p
}

#[test]
fn views_are_checked_against_their_storage() {
    let storage: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let read = |offset, shape, stride| {
        parse(Path::new("v.pth"), &archive(&one_tensor(offset, shape, stride), &storage))
    };
    assert_eq!(read(0, [3, 2], [1, 3]).unwrap().get("w").unwrap().data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(read(2, [2, 2], [2, 1]).unwrap().get("w").unwrap().data, [2.0, 3.0, 4.0, 5.0]);
    for (offset, shape, stride) in [
        (1, [3, 2], [2, 1]),
        (0, [i32::MAX, i32::MAX], [0, 0]),
        (0, [i32::MAX, 2], [0, 0]),
        (0, [2, 2], [i32::MAX, 1]),
        (-1, [2, 2], [2, 1]),
    ] {
        assert!(read(offset, shape, stride).is_err(), "{offset} {shape:?} {stride:?}");
    }
    let error = read(1, [3, 2], [2, 1]).unwrap_err().to_string();
    assert!(error.contains("tensor w: found shape [3, 2]") && error.contains("6 elements"), "{error}");
}

#[test]
fn safetensors_round_trip_gives_the_same_bits_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut map = TensorMap::default();
    map.insert("blocks.0.mlp.act1.weight_numerator", tensor(&[1, 6], 0.1));
    map.insert("odd", HostTensor::new(vec![3], vec![f32::MIN_POSITIVE / 2.0, -0.0, f32::INFINITY]).unwrap());
    map.insert("scalar", tensor(&[], 3.0));
    map.insert("none", tensor(&[0, 4], 0.0));
    map.metadata.insert("act_init".into(), "gelu \"x\"".into());
    let path = dir.path().join("a.safetensors");
    safetensors::save(&path, &map).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let back = load_any(&path).unwrap();
    assert_eq!(back, map);
    let bits = |m: &TensorMap| m.get("odd").unwrap().data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(&map));
    safetensors::save(&path, &back).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    for cut in [0, 7, 9, 40, bytes.len() - 1] {
        assert!(parse(&path, &bytes[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn half_types_of_safetensors_are_upcast() {
    let header = br#"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    // 1.0, -2.0 in half; 1.0 in bfloat16.
    bytes.extend([0x00, 0x3c, 0x00, 0xc0, 0x80, 0x3f]);
    let map = parse(Path::new("h"), &bytes).unwrap();
    assert_eq!(
        (map.get("h").unwrap().data.as_slice(), map.get("b").unwrap().data[0]),
        (&[1.0, -2.0][..], 1.0)
    );
}

fn kat(classes: usize, tokens: usize) -> Expected {
    let shapes: [(&str, &[usize]); 13] = [
        ("cls_token", &[1, 1, 4]),
        ("pos_embed", &[1, tokens, 4]),
        ("patch_embed.proj.weight", &[4, 3, 2, 2]),
        ("blocks.0.norm1.weight", &[4]),
        ("blocks.0.attn.qkv.weight", &[12, 4]),
        ("blocks.0.mlp.fc1.weight", &[16, 4]),
        ("blocks.0.mlp.fc2.weight", &[4, 16]),
        ("blocks.0.mlp.act1.weight_numerator", &[1, 6]),
        ("blocks.0.mlp.act1.weight_denominator", &[8, 4]),
        ("blocks.0.mlp.act2.weight_numerator", &[1, 6]),
        ("blocks.0.mlp.act2.weight_denominator", &[8, 4]),
        ("head.weight", &[classes, 4]),
        ("head.bias", &[classes]),
    ];
    shapes.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
}

/// The parts of `kat` that a ViT has.
fn vit(classes: usize, tokens: usize) -> TensorMap {
    let mut map = TensorMap::default();
    for (name, shape) in kat(classes, tokens).into_iter().filter(|(n, _)| !n.contains("act")) {
        map.insert(name, tensor(&shape, 1.0));
    }
    map
}

#[test]
fn a_vit_becomes_a_kat_with_its_own_function() {
    let (out, report) = adapt(vit(10, 5), &kat(10, 5), &TransferOptions::new(Size::new(2, 2))).unwrap();
    assert!(report.is_clean() && report.loaded.len() == 13, "{report}");
    assert_eq!(out.get("blocks.0.mlp.act1.weight_numerator").unwrap().data, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let start =
        |form| crate::init::tables::coefficients(crate::init::Activation::Gelu, Default::default(), form);
    let gelu = start(Denominator::Kernel).unwrap();
    let denominator = &out.get("blocks.0.mlp.act2.weight_denominator").unwrap().data;
    assert_eq!(denominator[28..], gelu.denominator[..]);
    assert_eq!(out.get("blocks.0.mlp.fc1.weight"), vit(10, 5).get("blocks.0.mlp.fc1.weight"));
    assert!(report.to_string().contains("ViT to KAT: 4 coefficient tensors"), "{report}");
    let options =
        TransferOptions { denominator: Denominator::Paper, ..TransferOptions::new(Size::new(2, 2)) };
    let (out, _) = adapt(vit(10, 5), &kat(10, 5), &options).unwrap();
    let denominator = &out.get("blocks.0.mlp.act2.weight_denominator").unwrap().data;
    assert_eq!(denominator[28..], start(Denominator::Paper).unwrap().denominator[..]);
}

#[test]
fn rational_functions_with_the_other_denominator_are_refused() {
    let config = KatConfig {
        image_size: Size::new(4, 4),
        patch_size: Size::new(2, 2),
        dim: 8,
        depth: 1,
        heads: 2,
        groups: 2,
        classes: 3,
        ..KatConfig::default()
    };
    let device = crate::Cpu::default();
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("f.safetensors");
    let own = Kat::new(&device, &config, 0).unwrap();
    own.save(path).unwrap();
    let paper = KatConfig { denominator_form: Denominator::Paper, ..config };
    let mut model = Kat::new(&device, &paper, 0).unwrap();
    let error = model.load(path, HeadPolicy::Strict).unwrap_err().to_string();
    assert!(error.contains("denominator") && error.contains("kernel") && error.contains("paper"), "{error}");
    model.save(path).unwrap();
    model.load(path, HeadPolicy::Strict).unwrap();
}

#[test]
fn another_class_count_and_grid_are_reported() {
    let mut options = TransferOptions::new(Size::new(3, 2));
    let (_, strict) = adapt(vit(10, 5), &kat(7, 7), &options).unwrap();
    assert_eq!(strict.mismatched.len(), 2);
    let error = strict.require_complete(Path::new("f.pth")).unwrap_err().to_string();
    assert!(error.contains("head.weight  file [10, 4], model [7, 4]"), "{error}");
    options.head = HeadPolicy::Reinitialize;
    let (out, report) = adapt(vit(10, 5), &kat(7, 7), &options).unwrap();
    assert_eq!(report.reinitialized, ["head.bias", "head.weight"]);
    assert_eq!(out.get("pos_embed").unwrap().shape, [1, 7, 4]);
    assert_eq!(out.get("pos_embed").unwrap().data[..4], vit(10, 5).get("pos_embed").unwrap().data[..4]);
    assert!(report.to_string().contains("from 2x2 to 3x2 patches"), "{report}");
    assert!(adapt(vit(10, 6), &kat(7, 7), &options).unwrap_err().to_string().contains("5 patches"));
}

#[test]
fn autoencoders_and_distilled_models_lose_their_extras_with_a_note() {
    let options = TransferOptions { head: HeadPolicy::Reinitialize, ..TransferOptions::new(Size::new(2, 2)) };
    let mut mae = vit(10, 5);
    mae.tensors.retain(|name, _| !names::is_head(name));
    for name in ["mask_token", "decoder_pos_embed", "decoder_blocks.0.norm1.weight"] {
        mae.insert(name, tensor(&[4], 0.0));
    }
    let (_, report) = adapt(mae, &kat(10, 5), &options).unwrap();
    assert!(report.is_clean() && report.reinitialized.len() == 2, "{report}");
    assert!(report.notes[0].contains("3 tensors of its decoder"));

    let mut deit = vit(10, 6);
    deit.insert("dist_token", tensor(&[1, 1, 4], 0.0));
    deit.insert("head_dist.weight", tensor(&[10, 4], 0.0));
    let (out, report) = adapt(deit, &kat(10, 5), &options).unwrap();
    assert!(report.is_clean(), "{report}");
    // Tokens of the file are 1..4, 5..8 (distillation), 9..12 …
    assert_eq!(out.get("pos_embed").unwrap().data[..8], [1.0, 2.0, 3.0, 4.0, 9.0, 10.0, 11.0, 12.0]);
}

#[test]
fn missing_unexpected_and_shared_coefficients() {
    let mut source = TensorMap::default();
    for (name, shape) in kat(10, 5) {
        source.insert(name, tensor(&shape, 0.5));
    }
    source.tensors.remove("blocks.0.norm1.weight");
    source.insert("blocks.1.extra", tensor(&[1], 0.0));
    let mut expected = kat(10, 5);
    expected.insert("blocks.0.mlp.act1.weight_numerator".into(), vec![8, 6]);
    let (out, report) = adapt(source, &expected, &TransferOptions::new(Size::new(2, 2))).unwrap();
    assert_eq!(report.missing, ["blocks.0.norm1.weight"]);
    assert_eq!(report.unexpected, ["blocks.1.extra"]);
    assert_eq!(
        out.get("blocks.0.mlp.act1.weight_numerator").unwrap().data[42..48],
        [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    );
    assert!(report.require_complete(Path::new("f")).is_err());
}

#[test]
fn original_vit_arrays_get_their_names() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, shape: &str, count: usize| {
        zip.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        (0..count).for_each(|i| zip.write_all(&(i as f32).to_le_bytes()).unwrap());
    };
    add("embedding/kernel", "(2, 2, 3, 4)", 48);
    add("head/kernel", "(4, 5)", 20);
    for part in ["query", "key", "value"] {
        let prefix = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1";
        add(&format!("{prefix}/{part}/kernel"), "(4, 2, 2)", 16);
        add(&format!("{prefix}/{part}/bias"), "(2, 2)", 4);
    }
    add("Transformer/encoderblock_0/MultiHeadDotProductAttention_1/out/kernel", "(2, 2, 4)", 16);
    let bytes = zip.finish().unwrap().into_inner();
    let map = parse(Path::new("v.npz"), &bytes).unwrap();
    let patch = map.get("patch_embed.proj.weight").unwrap();
    assert_eq!(patch.shape, [4, 3, 2, 2]);
    // Output 0, channel 0: pixels (0,0), (0,1), (1,0), (1,1) are 12 apart in the file.
    assert_eq!(patch.data[..5], [0.0, 12.0, 24.0, 36.0, 4.0]);
    assert_eq!(map.get("head.weight").unwrap().data[..5], [0.0, 5.0, 10.0, 15.0, 1.0]);
    let qkv = map.get("blocks.0.attn.qkv.weight").unwrap();
    assert_eq!((qkv.shape.as_slice(), &qkv.data[..4]), (&[12, 4][..], &[0.0, 4.0, 8.0, 12.0][..]));
    assert_eq!(map.get("blocks.0.attn.qkv.bias").unwrap().shape, [12]);
    assert_eq!(map.get("blocks.0.attn.proj.weight").unwrap().data[..4], [0.0, 4.0, 8.0, 12.0]);
    assert!(parse(Path::new("v.npz"), &bytes[..bytes.len() / 2]).is_err());
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let mut map = TensorMap::default();
    map.insert("head.weight", HostTensor::new(vec![2], vec![1.0, 2.0]).unwrap());
    check_finite(Path::new("a"), &map).unwrap();
    map.insert("head.bias", HostTensor::new(vec![2], vec![f32::NAN, f32::INFINITY]).unwrap());
    let error = check_finite(Path::new("a"), &map).unwrap_err().to_string();
    assert!(error.contains("2 of 2 values of the tensor head.bias"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// No bytes make a reader panic; what it accepts is consistent.
    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0..4) {
        match kind {
            0 => {}
            1 => bytes.splice(0..0, b"PK\x03\x04".iter().copied()).for_each(drop),
            2 => bytes = archive(&bytes, b"0123456789ab"),
            _ => {
                let length = bytes.len() as u64 / 2;
                bytes.splice(0..0, length.to_le_bytes().into_iter().chain(*b"{")).for_each(drop);
            }
        }
        if let Ok(map) = parse(Path::new("random"), &bytes) {
            for t in map.tensors.values() {
                prop_assert_eq!(element_count(&t.shape), Some(t.data.len()));
            }
        }
    }

    /// Real files with a few bytes changed or cut.
    #[test]
    fn mutated_files_never_panic(
        which in 0..4_usize,
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        keep in 1..=64_usize,
    ) {
        let mut bytes = match which {
            0 => std::fs::read(data("nested.pth")).unwrap(),
            1 => std::fs::read(data("dtypes.pt")).unwrap(),
            2 => archive(&one_tensor(0, [3, 2], [1, 3]), &[1; 24]),
            _ => {
                let header = br#"{"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;
                [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat()
            }
        };
        for (index, value) in edits {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if keep < 32 {
            bytes.truncate(bytes.len() * keep / 32);
        }
        if let Ok(map) = parse(Path::new("mutated"), &bytes) {
            for t in map.tensors.values() {
                prop_assert_eq!(element_count(&t.shape), Some(t.data.len()));
            }
        }
    }

    /// The pickle machine alone, on opcodes drawn from those it knows.
    #[test]
    fn random_pickles_never_panic(ops in proptest::collection::vec(
        proptest::sample::select(b"\x80\x02(.012NJKMG]}){ltdaesuqrhjcRbQ\x81\x85\x86\x87\x88\x89\x8a\x8c\x93\x94X\x00\x01\x05\n".to_vec()),
        0..200,
    )) {
        let _ = unpickle::unpickle(&ops, &mut Budget::for_file(ops.len()));
    }
}
