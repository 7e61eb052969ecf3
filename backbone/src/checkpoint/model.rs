//! Between a model and a [`TensorMap`]: its tensors out, a file's tensors in.

use super::transfer::{self, Expected, LeftoverPolicy, LoadPolicy, TransferOptions};
use super::{CheckpointError, HostTensor, LoadReport, TensorMap, check_finite, load_choosing, part, untold};
use crate::config::KatConfig;
use crate::device::Device;
use crate::kat::Kat;
use crate::nn::Module;
use std::path::Path;

/// The metadata key under which a file holds its model's configuration, as JSON.
pub const CONFIG_KEY: &str = "kat_config";
/// The metadata key under which a detector's file holds its configuration, of which `backbone` is the encoder's.
pub const DETECTOR_KEY: &str = "kat_detector_config";

/// Every tensor of a module, parameters and buffers, by name.
pub fn export<D: Device>(module: &impl Module<D>) -> TensorMap {
    let mut map = TensorMap::default();
    module.for_each(|name, _, tensor| {
        map.insert(name, HostTensor { shape: tensor.shape().axes().to_vec(), data: tensor.to_vec() });
    });
    map
}

/// The shape of every tensor of a module, by name.
pub fn expected<D: Device>(module: &impl Module<D>) -> Expected {
    let mut shapes = Expected::new();
    module.for_each(|name, _, tensor| {
        shapes.insert(name.to_owned(), tensor.shape().axes().to_vec());
    });
    shapes
}

/// Sets the module's tensors that `map` holds with the right number of values; returns how many were set.
///
/// # Errors
/// The device's, if it refuses the values.
pub fn assign<D: Device>(module: &mut impl Module<D>, map: &TensorMap) -> crate::Result<usize> {
    let mut set = 0;
    module.visit_mut("", &mut |name, _, tensor| {
        if let Some(found) = map.get(name).filter(|found| found.data.len() == tensor.numel()) {
            tensor.set(found.data.clone())?;
            set += 1;
        }
        Ok::<(), crate::Error>(())
    })?;
    Ok(set)
}

/// As [`assign`], of tensors that come from the file `path`.
///
/// # Errors
/// [`CheckpointError::Unsupported`] with the device's reason.
pub fn assign_from<D: Device>(
    module: &mut impl Module<D>,
    map: &TensorMap,
    path: &Path,
) -> Result<(), CheckpointError> {
    match assign(module, map) {
        Ok(_) => Ok(()),
        Err(e) => Err(CheckpointError::Unsupported { path: path.to_owned(), reason: e.to_string() }),
    }
}

impl<D: Device> Kat<D> {
    /// Writes the weights and the configuration to one safetensors file, atomically.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the file.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        let mut map = export(self);
        let config = serde_json::to_string(self.config()).map_err(|e| CheckpointError::Unsupported {
            path: path.to_owned(),
            reason: format!("the configuration cannot be written: {e}"),
        })?;
        map.metadata.insert(CONFIG_KEY.to_owned(), config);
        super::safetensors::save(path, &map)
    }

    /// Loads weights of any readable checkpoint into this model: KAT, ViT, DeiT, MAE encoder; another class count
    /// or position grid; from the encoder of a detector or segmentor too, and from averaged weights where a run has kept some.
    /// Returns what was done; nothing is set if the file does not fit.
    ///
    /// # Errors
    /// [`CheckpointError`] for a file that cannot be read, that leaves a tensor of the model without a value, or that has
    /// parts of an encoder that this model does not have (unless `policy` allows that).
    pub fn load(
        &mut self,
        path: &Path,
        policy: impl Into<LoadPolicy>,
    ) -> Result<LoadReport, CheckpointError> {
        let policy = policy.into();
        self.load_map(load_choosing(path, policy.averages)?, path, policy)
    }

    /// As [`Kat::load`], of a file that has been read; `path` is for messages.
    ///
    /// # Errors
    /// As [`Kat::load`].
    pub fn load_map(
        &mut self,
        source: TensorMap,
        path: &Path,
        policy: impl Into<LoadPolicy>,
    ) -> Result<LoadReport, CheckpointError> {
        let (policy, shapes) = (policy.into(), expected(self));
        let source = part::of_model(source, &shapes, policy.averages);
        let config = self.config();
        let source_grid = stored_config(&source).map(|config| config.grid());
        let vit_activation = untold::check(&source, config, path, policy.leftover)?;
        let options = TransferOptions {
            grid: config.grid(),
            source_grid,
            prefix_tokens: config.placed_tokens(),
            dense: config.prefix_tokens() == 0 && config.classes == 0,
            head: policy.head,
            vit_activation,
            denominator: config.denominator_form,
        };
        let (map, report) = transfer::adapt(source, &shapes, &options)?;
        let report = report.require_complete(path)?;
        let report = match policy.leftover {
            LeftoverPolicy::Refuse => report.require_used(path, config.depth)?,
            LeftoverPolicy::Allow => report,
        };
        check_finite(path, &map)?;
        assign_from(self, &map, path)?;
        Ok(report)
    }
}

/// The configuration that a file carries, if it does.
pub fn stored_config(map: &TensorMap) -> Option<KatConfig> {
    serde_json::from_str(map.metadata.get(CONFIG_KEY)?).ok()
}

/// The configuration of the encoder in a file, which may be a whole detector's: its image size is then that of the canvas, and not
/// of the position embedding.
pub fn stored_encoder(map: &TensorMap) -> Option<KatConfig> {
    stored_config(map).or_else(|| {
        let mut detector: serde_json::Value = serde_json::from_str(map.metadata.get(DETECTOR_KEY)?).ok()?;
        serde_json::from_value(detector["backbone"].take()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::load_any;
    use crate::checkpoint::transfer::HeadPolicy;
    use crate::{Cpu, Graph, Size, Tensor, nn::MixerKind};

    fn small() -> KatConfig {
        KatConfig {
            image_size: Size::square(32),
            patch_size: Size::square(8),
            dim: 32,
            depth: 2,
            heads: 2,
            classes: 5,
            ..KatConfig::default()
        }
    }

    #[test]
    fn a_saved_model_is_the_same_bits_and_brings_its_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let dev = Cpu::default();
        let model = Kat::new(&dev, &small(), 1).unwrap();
        model.save(&path).unwrap();
        assert_eq!(stored_config(&load_any(&path).unwrap()), Some(small()));
        let mut other = Kat::new(&dev, &small(), 2).unwrap();
        assert_ne!(export(&model).tensors, export(&other).tensors);
        assert!(other.load(&path, HeadPolicy::Strict).unwrap().is_clean());
        assert_eq!(export(&model).tensors, export(&other).tensors);
    }

    #[test]
    fn a_vit_becomes_a_kat_with_the_same_logits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vit.safetensors");
        let dev = Cpu::default();
        let vit_config = KatConfig { mixer: MixerKind::Mlp, ..small() };
        let vit = Kat::new(&dev, &vit_config, 3).unwrap();
        vit.save(&path).unwrap();
        let mut kat = Kat::new(&dev, &small(), 4).unwrap();
        let report = kat.load(&path, HeadPolicy::Strict).unwrap();
        assert!(report.missing.is_empty());
        let pixels = (0..2 * 3 * 32 * 32).map(|i| (i % 101) as f32 / 50.0 - 1.0).collect();
        let image = Tensor::from_vec(&dev, pixels, [2, 3, 32, 32]).unwrap();
        let logits = |model: &Kat<Cpu>| model.forward(&mut Graph::inference(), &image).unwrap().to_vec();
        let (from, to) = (logits(&vit), logits(&kat));
        let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let difference: Vec<f32> = from.iter().zip(&to).map(|(a, b)| a - b).collect();
        let relative = norm(&difference) / norm(&from);
        assert!(relative < 2e-2, "relative difference {relative:.2e}");
    }

    #[test]
    fn another_image_size_resamples_positions_and_another_class_count_is_refused_or_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let dev = Cpu::default();
        Kat::new(&dev, &small(), 1).unwrap().save(&path).unwrap();
        let larger = KatConfig { image_size: Size { height: 40, width: 64 }, classes: 7, ..small() };
        let mut model = Kat::new(&dev, &larger, 2).unwrap();
        let before = export(&model);
        let error = model.load(&path, HeadPolicy::Strict).unwrap_err().to_string();
        assert!(error.contains("head.weight") && error.contains("[5, 32]"), "{error}");
        assert_eq!(export(&model), before, "nothing is set when the file does not fit");
        let report = model.load(&path, HeadPolicy::Reinitialize).unwrap();
        assert!(report.reinitialized.contains(&"head.weight".to_owned()));
    }

    #[test]
    fn another_patch_size_is_for_starting_from_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let dev = Cpu::default();
        Kat::new(&dev, &small(), 1).unwrap().save(&path).unwrap();
        let coarse = KatConfig { patch_size: Size::square(16), image_size: Size::square(64), ..small() };
        let mut model = Kat::new(&dev, &coarse, 2).unwrap();
        let error = model.load(&path, HeadPolicy::Strict).unwrap_err().to_string();
        assert!(error.contains("patch_embed.proj.weight") && error.contains("[32, 3, 8, 8]"), "{error}");
        let report = model.load(&path, HeadPolicy::Reinitialize).unwrap();
        assert!(report.to_string().contains("patches of 8x8 pixels resized to 16x16"), "{report}");
    }
}
