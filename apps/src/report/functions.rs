//! The learned functions of a backbone.

use kat_backbone::checkpoint::TensorMap;
use kat_backbone::ops::rational::Denominator;
use kat_backbone::{Device, Kat};
use ndarray::ArrayView2;

use crate::plot::Plot;
use crate::plot::rationals::{Rational, RationalLayer, rational_panels, rows};
use crate::run::start;

/// The rational functions of every layer, nothing for models without; beside them those of `start`, where that is known.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn functions<D: Device>(model: &Kat<D>, start: Option<&TensorMap>) -> anyhow::Result<Option<Plot>> {
    let layers = layers(model, start);
    Ok((!layers.is_empty()).then(|| rational_panels(&layers, 4)).transpose()?)
}

fn layers<D: Device>(model: &Kat<D>, start: Option<&TensorMap>) -> Vec<RationalLayer> {
    let (now, config) = (start::of_model(model), model.config());
    let layer = |name: String| {
        let of = |map: &TensorMap| of_layer(map, &name, config.denominator_form);
        let initial = start.and_then(of).unwrap_or_default();
        of(&now).map(|groups| RationalLayer { groups, initial, name })
    };
    let acts = |block| ["act1", "act2"].map(|act| format!("blocks.{block}.mlp.{act}"));
    (0..config.depth).flat_map(acts).filter_map(layer).collect()
}

/// The functions of one activation, one for each group.
fn of_layer(map: &TensorMap, name: &str, form: Denominator) -> Option<Vec<Rational>> {
    let table = |part: &str| {
        let tensor = map.get(&format!("{name}.weight_{part}"))?;
        let [rows, columns] = tensor.shape[..].try_into().ok()?;
        ArrayView2::from_shape((rows, columns), &tensor.data[..]).ok()
    };
    rows(table("numerator")?, table("denominator")?, form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::checkpoint::transfer::HeadPolicy;
    use kat_backbone::init::Activation;
    use kat_backbone::nn::MixerKind;
    use kat_backbone::{Cpu, KatConfig, Size};

    #[test]
    fn a_kat_made_of_a_vit_began_as_its_activation() {
        let kat = KatConfig {
            image_size: Size::square(16),
            patch_size: Size::square(8),
            dim: 16,
            depth: 2,
            heads: 2,
            groups: 4,
            classes: 3,
            act2: Activation::Swish,
            ..KatConfig::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vit.safetensors");
        let vit = KatConfig { mixer: MixerKind::Mlp, activation: Activation::Gelu, ..kat.clone() };
        Kat::new(&Cpu::default(), &vit, 1).unwrap().save(&file).unwrap();
        let mut model = Kat::new(&Cpu::default(), &kat, 2).unwrap();
        let at = |start: Option<&TensorMap>, model: &Kat<Cpu>| {
            let layers = layers(model, start);
            assert_eq!((layers.len(), layers[1].name.as_str()), (4, "blocks.0.mlp.act2"));
            layers[1].initial.first().map(|first| first.at(-1.0))
        };
        let (gelu, swish) = (-0.158_66, -0.268_94);
        let near = |value: Option<f64>, expected: f64| assert!((value.unwrap() - expected).abs() < 5e-3);
        // from nothing it begins as its configuration says
        near(at(Some(&start::of_config(&kat).unwrap()), &model), swish);
        near(at(Some(&start::of_model(&model)), &model), swish);
        model.load(&file, HeadPolicy::Reinitialize).unwrap();
        near(at(Some(&start::of_model(&model)), &model), gelu);
        assert_eq!(at(None, &model), None);
        assert!(functions(&model, None).unwrap().is_some());
        let vit = Kat::new(&Cpu::default(), &vit, 1).unwrap();
        assert!(functions(&vit, Some(&start::of_config(&kat).unwrap())).unwrap().is_none());
    }
}
