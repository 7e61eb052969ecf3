//! Every named model, at a small image size: shape, finite values, a gradient at every parameter, and the same
//! bits after saving and loading.

use kat_backbone::checkpoint::model::export;
use kat_backbone::checkpoint::transfer::HeadPolicy;
use kat_backbone::init::Activation;
use kat_backbone::nn::{Builder, Kind, LayerNorm, Mixer, Module as _};
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets, softmax_cross_entropy};
use kat_backbone::{Cpu, Graph, InitScheme, Kat, KatConfig, Pool, Size, Tensor, variants};

/// A named model's own structure (mixer, initialisation, coefficients) at a size that a test can afford.
fn reduced(config: &KatConfig) -> KatConfig {
    let image_size = Size::square(2 * config.patch_size.height);
    KatConfig { image_size, dim: config.dim / 2, depth: 2, classes: 11, ..config.clone() }
}

fn image(height: usize, width: usize) -> Tensor<Cpu> {
    let pixels = (0..2 * 3 * height * width).map(|i| ((i * 7919) % 1013) as f32 / 506.0 - 1.0).collect();
    Tensor::from_vec(&Cpu::default(), pixels, [2, 3, height, width]).unwrap()
}

#[test]
fn every_named_model_learns_everywhere_and_survives_saving() {
    let dir = tempfile::tempdir().unwrap();
    for variant in variants::all() {
        let name = &variant.name;
        let config = reduced(&variant.config);
        let model = Kat::new(&Cpu::default(), &config, 5).unwrap();
        let mut graph = Graph::training(1);
        let side = config.image_size.height;
        let logits = model.forward(&mut graph, &image(side, side)).unwrap();
        assert_eq!(logits.shape().axes(), [2, 11], "{name}");
        assert!(logits.to_vec().iter().all(|v| v.is_finite()), "{name}: logits");
        let targets = Targets::hard(vec![3, 10]);
        let loss = softmax_cross_entropy(&mut graph, &logits, &targets, &Options::smoothed(0.1)).unwrap();
        let mut gradients = graph.backward(&loss).unwrap();
        let mut named = Vec::new();
        model.for_each(|name, kind, t| named.push((name.to_owned(), kind, t.clone())));
        for (parameter, kind, tensor) in named {
            assert_eq!(kind, Kind::Parameter);
            let gradient = gradients.take_host(&tensor).unwrap();
            let gradient = gradient.unwrap_or_else(|| panic!("{name}: {parameter} has no gradient"));
            assert_eq!(gradient.len(), tensor.numel(), "{name}: {parameter}");
            assert!(gradient.iter().all(|v| v.is_finite()), "{name}: {parameter}");
            assert!(gradient.iter().any(|v| *v != 0.0), "{name}: {parameter}'s gradient is zero");
        }
        let path = dir.path().join(format!("{name}.safetensors"));
        model.save(&path).unwrap();
        let mut other = Kat::new(&Cpu::default(), &config, 6).unwrap();
        assert!(other.load(&path, HeadPolicy::Strict).unwrap().is_clean(), "{name}");
        assert_eq!(export(&model).tensors, export(&other).tensors, "{name}: bits after a round trip");
    }
}

#[test]
fn dense_features_have_the_stride_of_the_patch_at_any_size() {
    let plain = KatConfig { registers: 2, ..reduced(&KatConfig::default()) };
    let vitdet = KatConfig {
        class_token: false,
        pool: Pool::Average,
        depth: 4,
        window: Some(2),
        global_blocks: vec![1, 3],
        relative_positions: true,
        activation_checkpointing: true,
        image_size: Size { height: 48, width: 80 },
        ..reduced(&KatConfig::default())
    };
    for (config, blocks) in [(plain, vec![0, 1]), (vitdet, vec![1, 3])] {
        let model = Kat::new(&Cpu::default(), &config, 1).unwrap();
        for (height, width) in [(48, 80), (32, 16), (112, 64)] {
            let maps = model.feature_maps(&mut Graph::inference(), &image(height, width), &blocks).unwrap();
            assert_eq!(maps.len(), 2);
            for map in maps {
                assert_eq!(map.shape().axes(), [2, config.dim, height / 16, width / 16]);
                assert!(map.to_vec().iter().all(|v| v.is_finite()));
            }
        }
        let error = model.feature_maps(&mut Graph::inference(), &image(40, 48), &blocks).unwrap_err();
        assert!(error.to_string().contains("height 40"), "{error}");
    }
}

#[test]
fn activation_checkpointing_changes_no_gradient() {
    let config = KatConfig { drop_path: 0.3, ..reduced(&KatConfig::default()) };
    let run = |checkpointing: bool| {
        let config = KatConfig { activation_checkpointing: checkpointing, ..config.clone() };
        let model = Kat::new(&Cpu::default(), &config, 1).unwrap();
        let mut graph = Graph::training(9);
        let logits = model.forward(&mut graph, &image(32, 32)).unwrap();
        let targets = Targets::hard(vec![0, 1]);
        let loss = softmax_cross_entropy(&mut graph, &logits, &targets, &Options::default()).unwrap();
        let mut gradients = graph.backward(&loss).unwrap();
        model.parameters().iter().map(|p| gradients.take_host(p).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(run(true), run(false));
}

/// Mean square of the output of each of 12 GR-KAN layers at KAT-B's width, a layer norm before each as in a
/// block; the mean over `seeds`, since one sampled matrix of width d is itself off by about √(2/d).
fn variances(init: InitScheme, act2: Activation, seeds: u64) -> Vec<f64> {
    const DIM: usize = 768;
    let config = KatConfig { dim: DIM, heads: 12, init, act2, ..KatConfig::default() };
    let mut sums = vec![0.0; 12];
    for seed in 0..seeds {
        let builder = Builder::new(&Cpu::default(), seed);
        let mut graph = Graph::inference();
        let norm = LayerNorm::new(&builder, DIM).unwrap();
        let mut x = builder.normal("x", [32, DIM], 1.0).unwrap().detach();
        for (i, sum) in sums.iter_mut().enumerate() {
            let mixer = Mixer::new(&builder.at(i), DIM, &config.block(i).mixer).unwrap();
            let normed = norm.forward(&mut graph, &x).unwrap();
            x = mixer.forward(&mut graph, &normed).unwrap();
            let square: f64 = x.to_vec().iter().map(|v| f64::from(*v).powi(2)).sum();
            *sum += square / x.numel() as f64 / seeds as f64;
        }
    }
    sums
}

#[test]
fn variance_stays_within_ten_percent_through_twelve_layers() {
    for act2 in [Activation::Swish, Activation::Gelu] {
        let kept = variances(InitScheme::VariancePreserving, act2, 2);
        for (layer, variance) in kept.into_iter().enumerate() {
            assert!((variance - 1.0).abs() < 0.1, "{act2}, layer {layer}: {variance:.3}");
        }
        let published = variances(InitScheme::Published, act2, 1);
        assert!(published.iter().all(|v| *v < 0.6), "the published weights shrink: {published:?}");
    }
}
