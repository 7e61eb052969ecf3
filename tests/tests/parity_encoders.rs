//! Classifiers of other programs, from their own files: recognized, loaded, and computing what those programs computed; and no
//! file that was changed loads without a word.

use kat_backbone::checkpoint::recognize::recognize;
use kat_backbone::checkpoint::transfer::HeadPolicy;
use kat_backbone::checkpoint::{TensorMap, load_any};
use kat_backbone::nn::MixerKind;
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Pool, Shape, Tensor};
use kat_tests::golden::{assert_close, relative_error};
use kat_tests::parity::Peer;

const PEERS: [&str; 15] = [
    "timm_vit",
    "timm_deit_distilled",
    "timm_deit3",
    "timm_dinov2",
    "timm_dinov2_reg4",
    "timm_mae",
    "timm_clip",
    "timm_siglip_gap",
    "hf_vit",
    "hf_deit",
    "hf_deit_teacher",
    "hf_dinov2",
    "hf_dinov2_registers",
    "hf_clip",
    "torchvision_vit",
];

/// The model of a file; heads, which torchvision's files do not tell, are given.
fn recognized(map: &TensorMap, name: &str) -> KatConfig {
    let found = recognize(map).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    let asked: Vec<&str> = found.undecided.iter().map(|(key, _)| *key).collect();
    let expected: &[&str] = if name == "torchvision_vit" { &["heads"] } else { &[] };
    assert_eq!(asked, expected, "{name}: {:?}", found.notes);
    KatConfig { heads: 3, ..found.config }
}

/// Logits, or what a head would read.
fn output(model: &Kat<Cpu>, peer: &Peer) -> Vec<f32> {
    let image = peer.expected.get("image");
    let image = Tensor::from_vec(&Cpu::default(), image.f32(), Shape::new(&image.shape).unwrap()).unwrap();
    let mut graph = Graph::inference();
    if model.head.is_some() {
        return model.forward(&mut graph, &image).unwrap().to_vec();
    }
    assert_eq!(model.config().pool, Pool::ClassToken);
    let tokens = model.tokens(&mut graph, &image).unwrap();
    let shape = tokens.shape();
    let [_, count, dim] = shape.axes() else { panic!("{shape}") };
    tokens.to_vec().chunks(count * dim).flat_map(|tokens| tokens[..*dim].to_vec()).collect()
}

#[test]
fn every_family_computes_what_its_program_does() {
    for name in PEERS {
        let peer = Peer::open(name);
        let map = load_any(&peer.file).unwrap();
        let config = recognized(&map, name);
        let mut model = Kat::new(&Cpu::default(), &config, 1).unwrap();
        let report =
            model.load(&peer.file, HeadPolicy::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = output(&model, &peer);
        assert_close(&format!("{name}: {report}"), &out, peer.expected.get("output"), 1e-5);
        let expected = &peer.expected.get("output").data;
        let largest = out.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        println!("{name}: relative {:.1e}, largest {largest:.1e}", relative_error(&out, expected));
    }
}

#[test]
fn a_vit_of_every_family_becomes_a_kat() {
    for name in PEERS {
        let peer = Peer::open(name);
        let config = recognized(&load_any(&peer.file).unwrap(), name);
        let kat = KatConfig { mixer: MixerKind::GrKan, groups: 8, ..config };
        let mut model = Kat::new(&Cpu::default(), &kat, 1).unwrap();
        let report =
            model.load(&peer.file, HeadPolicy::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
        let note = format!("act2 {}", kat.activation);
        assert!(
            report.notes.iter().any(|n| n.contains("ViT to KAT") && n.contains(&note)),
            "{name}: {report}"
        );
        let error = relative_error(&output(&model, &peer), &peer.expected.get("output").data);
        assert!(error < 2e-2, "{name}: relative error {error:.2e}");
    }
}

/// Loads a changed file into the model of the unchanged one.
fn load_changed(name: &str, change: impl FnOnce(&mut TensorMap)) -> Result<(), String> {
    let peer = Peer::open(name);
    let mut map = load_any(&peer.file).unwrap();
    let mut model = Kat::new(&Cpu::default(), &recognized(&map, name), 1).unwrap();
    change(&mut map);
    model.load_map(map, &peer.file, HeadPolicy::Strict).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn no_changed_file_loads_without_a_word() {
    for name in PEERS {
        load_changed(name, |_| {}).unwrap();
        let map = load_any(&Peer::open(name).file).unwrap();
        let own = |tensor: &str| !tensor.contains("mask_token") && !tensor.contains("pooler");
        for tensor in map.tensors.keys().filter(|tensor| own(tensor)) {
            let missing = load_changed(name, |map| drop(map.tensors.remove(tensor)));
            assert!(missing.is_err(), "{name} without {tensor}");
            let renamed = load_changed(name, |map| {
                let value = map.tensors.remove(tensor).unwrap();
                map.insert(format!("{tensor}x"), value);
            });
            assert!(renamed.is_err(), "{name} with {tensor} under another name");
            let shape = &map.get(tensor).unwrap().shape;
            if let &[rows, columns] = &shape[..]
                && rows != columns
            {
                let turned = load_changed(name, |map| {
                    map.tensors.get_mut(tensor).unwrap().shape = vec![columns, rows];
                });
                assert!(turned.unwrap_err().contains(tensor), "{name} with {tensor} turned");
            }
        }
        let fewer =
            load_changed(name, |map| map.tensors.retain(|tensor, _| !tensor.starts_with("blocks.1.")));
        assert!(fewer.is_err(), "{name} with a block less");
        let more = load_changed(name, |map| {
            let block: Vec<_> =
                map.tensors.iter().filter(|(tensor, _)| tensor.starts_with("blocks.1.")).collect();
            let block: Vec<_> =
                block.into_iter().map(|(tensor, value)| (tensor.clone(), value.clone())).collect();
            block
                .into_iter()
                .for_each(|(tensor, value)| map.insert(tensor.replace("blocks.1.", "blocks.2."), value));
        });
        assert!(more.unwrap_err().contains("has 3 blocks"), "{name} with a block more");
        let extra = load_changed(name, |map| {
            let norm = map.get("blocks.0.norm1.weight").unwrap().clone();
            map.insert("blocks.0.attn.q_norm.weight", norm);
        });
        assert!(extra.unwrap_err().contains("queries and keys"), "{name}");
    }
}

#[test]
fn what_the_tensors_do_not_show_is_held_against_the_model() {
    let peer = Peer::open("hf_clip");
    let map = load_any(&peer.file).unwrap();
    let config = recognized(&map, "hf_clip");
    for (key, other) in [
        ("heads", KatConfig { heads: 2, ..config.clone() }),
        ("activation", KatConfig { activation: kat_backbone::init::Activation::Gelu, ..config.clone() }),
    ] {
        let mut model = Kat::new(&Cpu::default(), &other, 1).unwrap();
        let error = model.load(&peer.file, HeadPolicy::Strict).unwrap_err().to_string();
        assert!(error.contains(&format!("model.{key}")) && error.contains("config.json"), "{error}");
    }
}
