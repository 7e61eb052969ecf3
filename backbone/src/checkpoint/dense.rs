//! A classifier's weights for a dense backbone (ViTDet's): without class token, final norm and head.

use super::transfer::{self, HeadPolicy, LeftoverPolicy, TransferOptions};
use super::{Averages, CheckpointError, LoadReport, TensorMap, check_finite, load_any, model, part, untold};
use crate::config::Size;
use crate::device::Device;
use crate::kat::Kat;
use std::path::Path;

impl<D: Device> Kat<D> {
    /// Weights of a classification checkpoint: KAT, ViT, DeiT or a masked autoencoder. Relative positions, which no
    /// classifier has, keep their first values; class token, final norm and head are left out.
    ///
    /// # Errors
    /// [`CheckpointError`] for a file that cannot be read, that leaves any other tensor without a value, or that has parts
    /// of an encoder that this model does not have (unless `leftover` allows that).
    pub fn load_dense(
        &mut self,
        path: &Path,
        leftover: LeftoverPolicy,
    ) -> std::result::Result<LoadReport, CheckpointError> {
        self.load_dense_map(load_any(path)?, path, leftover)
    }

    /// As [`Kat::load_dense`], of a file that has been read; `path` is for messages.
    ///
    /// # Errors
    /// As [`Kat::load_dense`].
    pub fn load_dense_map(
        &mut self,
        source: TensorMap,
        path: &Path,
        leftover: LeftoverPolicy,
    ) -> std::result::Result<LoadReport, CheckpointError> {
        let shapes = model::expected(self);
        let mut source = part::of_model(source, &shapes, Averages::Prefer);
        let activation = untold::check(&source, self.config(), path, leftover)?;
        let grid = model::stored_config(&source).map(|config| config.grid());
        drop_prefix(&mut source, grid);
        let options = TransferOptions {
            source_grid: grid,
            prefix_tokens: 0,
            dense: true,
            vit_activation: activation,
            denominator: self.config().denominator_form,
            head: HeadPolicy::Reinitialize,
            ..TransferOptions::new(self.position_grid())
        };
        let (map, mut report) = transfer::adapt(source, &shapes, &options)?;
        let (relative, missing): (Vec<_>, Vec<_>) =
            std::mem::take(&mut report.missing).into_iter().partition(|name| name.contains(".rel_pos_"));
        report.missing = missing;
        report.reinitialized.extend(relative);
        let mut report = report.require_complete(path)?;
        if leftover == LeftoverPolicy::Refuse {
            report = report.require_used(path, self.config().depth)?;
        }
        check_finite(path, &map)?;
        model::assign_from(self, &map, path)?;
        Ok(report)
    }
}

/// Leaves out the distillation token with its position (as [`transfer::adapt`] does where a class token stays), then
/// the positions of class token and registers.
fn drop_prefix(source: &mut TensorMap, grid: Option<Size>) {
    let distilled = source.tensors.remove("dist_token").is_some();
    source.tensors.retain(|name, _| !name.starts_with("head_dist."));
    let registers = source.get("reg_token").and_then(|t| t.shape.get(1).copied()).unwrap_or(0);
    let class = usize::from(source.get("cls_token").is_some());
    let Some(embed) = source.tensors.get_mut("pos_embed") else { return };
    let &[1, tokens, channels] = &embed.shape[..] else { return };
    let square = |count: usize| count > 0 && count.isqrt().pow(2) == count;
    let before = class.max(1) + usize::from(distilled) + registers;
    let prefix = match grid {
        Some(grid) => tokens.saturating_sub(grid.area()),
        None if tokens > before && square(tokens - before) => before,
        None if square(tokens) => 0,
        None => before,
    };
    if prefix > 0 && prefix < tokens {
        embed.data.drain(..prefix * channels);
        embed.shape[1] -= prefix;
        source.notes.push(format!("positions of {prefix} tokens before the patches left out"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Builder, MixerKind, Module as _};
    use crate::{Cpu, Graph, KatConfig, Tensor, ops};

    fn config() -> KatConfig {
        KatConfig {
            image_size: Size::square(64),
            patch_size: Size::square(8),
            dim: 32,
            heads: 2,
            depth: 2,
            classes: 0,
            class_token: false,
            window: Some(3),
            global_blocks: vec![1],
            relative_positions: true,
            ..KatConfig::default()
        }
    }

    fn image(height: usize, width: usize) -> Tensor {
        let values = (0..3 * height * width).map(|i| (i % 37) as f32 / 18.0 - 1.0).collect();
        Tensor::from_vec(&Cpu::default(), values, [1, 3, height, width]).unwrap()
    }

    #[test]
    fn any_size_gives_a_map_and_recomputing_changes_no_bit() {
        let builder = Builder::new(&Cpu::default(), 1);
        let vit = Kat::dense(&builder, &config(), Size::square(40)).unwrap();
        let again = KatConfig { activation_checkpointing: true, ..config() };
        let again = Kat::dense(&builder, &again, Size::square(40)).unwrap();
        for (height, width, rows, columns) in [(64, 64, 8, 8), (33, 50, 5, 7), (8, 200, 1, 25), (1, 1, 1, 1)]
        {
            let run = |vit: &Kat<Cpu>| {
                let mut graph = Graph::training(0);
                let y = vit.last_map(&mut graph, &image(height, width)).unwrap();
                assert_eq!(y.shape().axes(), [1, 32, rows, columns]);
                let loss = ops::mean(&mut graph, &ops::gelu(&mut Graph::inference(), &y).unwrap()).unwrap();
                assert!(loss.scalar().unwrap().is_finite());
                let loss = ops::mean(&mut graph, &y).unwrap();
                let mut gradients = graph.backward(&loss).unwrap();
                let all: Vec<_> =
                    vit.parameters().iter().map(|p| gradients.take_host(p).unwrap().unwrap()).collect();
                (y.to_vec(), all)
            };
            let (plain, recomputed) = (run(&vit), run(&again));
            assert_eq!(plain.0, recomputed.0);
            let same = |a: &Vec<f32>, b: &Vec<f32>| {
                a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + a.abs()))
            };
            // every parameter has a gradient, the same either way
            assert!(plain.1.iter().zip(&recomputed.1).all(|(a, b)| same(a, b)));
        }
    }

    #[test]
    fn windows_without_padding_see_only_their_own_pixels() {
        let config = KatConfig { window: Some(4), global_blocks: vec![], ..config() };
        let vit = Kat::dense(&Builder::new(&Cpu::default(), 1), &config, Size::square(64)).unwrap();
        let run = |image: &Tensor| vit.last_map(&mut Graph::inference(), image).unwrap().to_vec();
        let first = image(64, 64);
        let mut changed = first.to_vec();
        changed[0] += 1.0; // in the window at the top left
        let changed = Tensor::from_vec(&Cpu::default(), changed, [1, 3, 64, 64]).unwrap();
        let (a, b) = (run(&first), run(&changed));
        for c in 0..32 {
            for y in 0..8 {
                for x in 0..8 {
                    let at = (c * 8 + y) * 8 + x;
                    if y >= 4 || x >= 4 {
                        assert_eq!(a[at], b[at], "channel {c}, ({y}, {x})");
                    }
                }
            }
        }
        assert_ne!(a, b);
    }

    #[test]
    fn a_classifier_gives_it_its_weights() {
        let dir = std::env::temp_dir().join(format!("kat-vit-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("model.safetensors");
        for (mixer, registers) in [(MixerKind::GrKan, 0), (MixerKind::Mlp, 2)] {
            let classifier = KatConfig {
                image_size: Size::square(32),
                window: None,
                global_blocks: vec![],
                relative_positions: false,
                class_token: true,
                classes: 3,
                mixer,
                registers,
                ..config()
            };
            let trained = Kat::new(&Cpu::default(), &classifier, 5).unwrap();
            trained.save(&path).unwrap();
            let mut vit = Kat::dense(&Builder::new(&Cpu::default(), 1), &config(), Size::square(32)).unwrap();
            let report = vit.load_dense(&path, LeftoverPolicy::Refuse).unwrap();
            assert_eq!(report.reinitialized.len(), 4, "two tables a block: {report}");
            assert_eq!(vit.blocks[1].attn.qkv.weight.to_vec(), trained.blocks[1].attn.qkv.weight.to_vec());
            assert_eq!(vit.pos_embed.to_vec(), trained.pos_embed.to_vec()[(1 + registers) * 32..]);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
