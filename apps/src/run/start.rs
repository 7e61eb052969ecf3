//! The rational functions that a model began with: those of its configuration, or of the file that it began from.

use kat_backbone::checkpoint::{HostTensor, TensorMap};
use kat_backbone::init::InitError;
use kat_backbone::init::tables::coefficients;
use kat_backbone::nn::{MixerKind, Module};
use kat_backbone::{Device, KatConfig};

/// The coefficients of `model` as they are now, by their names in its backbone: `blocks.0.mlp.act1.weight_numerator` …
pub fn of_model<D: Device>(model: &impl Module<D>) -> TensorMap {
    let mut map = TensorMap::default();
    model.for_each(|name, _, tensor| {
        let own = name.find("blocks.").map_or(name, |start| &name[start..]);
        if [".mlp.act1.weight_", ".mlp.act2.weight_"].iter().any(|part| own.contains(part)) {
            let shape = tensor.shape().axes().to_vec();
            map.insert(own, HostTensor { shape, data: tensor.to_vec() });
        }
    });
    map
}

/// Those of a model of this configuration that began from nothing.
///
/// # Errors
/// An order that no table has.
pub fn of_config(config: &KatConfig) -> Result<TensorMap, InitError> {
    let mut map = TensorMap::default();
    if config.mixer != MixerKind::GrKan {
        return Ok(map);
    }
    for (act, activation) in [("act1", config.act1), ("act2", config.act2)] {
        let table = coefficients(activation, config.order, config.denominator_form)?;
        for block in 0..config.depth {
            let parts = [("numerator", &table.numerator), ("denominator", &table.denominator)];
            for (part, values) in parts {
                let tensor = HostTensor { shape: vec![1, values.len()], data: values.clone() };
                map.insert(format!("blocks.{block}.mlp.{act}.weight_{part}"), tensor);
            }
        }
    }
    Ok(map)
}
