//! A segmentor from elsewhere: mmsegmentation's ViT or DeiT with UperNet.

use std::fmt::Write as _;

use kat_ade20k::classes::NAMES;
use kat_backbone::Device;
use kat_backbone::checkpoint::model::CONFIG_KEY;
use kat_backbone::ops::batch_norm;
use kat_upernet::recognize::{Recognition, recognize};
use kat_upernet::{FinalNorm, NeckKind, Segmentor};

use super::CLASSES_KEY;
use super::model::segmentor_config;
use super::trained::Trained;
use crate::config::{Override, TaskKind, sections};
use crate::shell::weights::WeightsArgs;

/// Reads it, recognizes its model by its tensors, and names its classes.
///
/// # Errors
/// A file that cannot be read or is of no segmentor that is known, or numbers that it does not tell.
pub fn open<D: Device>(device: &D, args: &WeightsArgs) -> anyhow::Result<Trained<D>> {
    let (path, overrides) = (&args.checkpoint, args.overrides()?);
    let shown = path.display();
    let file = args.read()?;
    let found =
        recognize(&file).map_err(|reason| anyhow::anyhow!("{shown}: not a segment checkpoint: {reason}"))?;
    args.tell(&found.backbone.notes);
    let text = configuration(&found, &overrides)?;
    let plan = args.plan(&text, &overrides, TaskKind::Segment)?;
    let classes = args.names(&file, found.config.classes, &NAMES)?;
    let config = segmentor_config(&plan, classes.len())?;
    let mut model = Segmentor::new(device, &config, &batch_norm::Options::default(), 0)?;
    let report = model.load_map(file, path, args.policy())?;
    let metadata = [
        (CONFIG_KEY, serde_json::to_string(model.backbone.config())?),
        (CLASSES_KEY, serde_json::to_string(&classes)?),
    ];
    let map = args.described(&model, &report, &plan, metadata);
    Ok(Trained { model, classes, plan, map })
}

/// The configuration as TOML: as the peer computes.
fn configuration(found: &Recognition, overrides: &[Override]) -> anyhow::Result<String> {
    let c = &found.config;
    let mut text = sections(&found.backbone, overrides)?;
    text = text.replacen("[model]\n", "[model]\nposition_resampling = \"plain\"\n", 1);
    let neck = match c.neck {
        NeckKind::MultiLevel | NeckKind::MultiLevelByTwo => "multi_level",
        NeckKind::Plain => "plain",
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "[train]\nepochs = 1\n[segment]\nout_blocks = {:?}\nneck = {neck:?}\nfinal_norm = {}\nchannels = {}\n\
         pool_scales = {:?}\naux_weight = {}\naux_channels = {}\ncrop = {}\nas_mmsegmentation = true\n",
        c.blocks,
        c.final_norm == FinalNorm::Last,
        c.channels,
        c.pool_grids,
        if c.auxiliary_channels.is_some() { 0.4 } else { 0.0 },
        c.auxiliary_channels.unwrap_or(256),
        c.backbone.image_size.height,
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::checkpoint::{TensorMap, model, safetensors};
    use kat_backbone::nn::MixerKind;
    use kat_backbone::{Cpu, KatConfig, Size};
    use kat_upernet::SegmentorConfig;

    /// The names that mmsegmentation has for the backbone's.
    fn foreign(map: &TensorMap) -> TensorMap {
        let mut out = TensorMap::default();
        for (name, tensor) in &map.tensors {
            let name = match name.strip_prefix("backbone.") {
                None => name.clone(),
                Some(own) => {
                    let own = own
                        .replace("blocks.", "layers.")
                        .replace(".norm1.", ".ln1.")
                        .replace(".norm2.", ".ln2.");
                    let own = own.replace("patch_embed.proj.", "patch_embed.projection.");
                    let own = own
                        .replace(".attn.qkv.", ".attn.attn.in_proj_")
                        .replace(".attn.proj.", ".attn.attn.out_proj.");
                    let own =
                        own.replace(".mlp.fc1.", ".ffn.layers.0.0.").replace(".mlp.fc2.", ".ffn.layers.1.");
                    format!(
                        "backbone.{}",
                        if own.starts_with("norm.") { own.replace("norm.", "ln1.") } else { own }
                    )
                }
            };
            out.insert(name, tensor.clone());
        }
        out
    }

    #[test]
    fn a_segmentor_under_its_peers_names_is_recognized_and_described() {
        let dir = tempfile::tempdir().unwrap();
        let backbone = KatConfig {
            image_size: Size::square(32),
            patch_size: Size::square(8),
            dim: 24,
            heads: 3,
            depth: 4,
            classes: 0,
            mixer: MixerKind::Mlp,
            ..KatConfig::default()
        };
        let config = SegmentorConfig {
            backbone,
            blocks: vec![0, 1, 2, 3],
            neck: NeckKind::MultiLevel,
            final_norm: FinalNorm::Last,
            channels: 8,
            pool_grids: vec![1, 2, 3, 6],
            auxiliary_channels: Some(6),
            dropout: 0.1,
            classes: 150,
        };
        let trained = Segmentor::new(&Cpu::default(), &config, &batch_norm::Options::default(), 5).unwrap();
        let weights = model::export(&trained);
        let path = dir.path().join("theirs.safetensors");
        safetensors::save(&path, &foreign(&weights)).unwrap();
        let args = WeightsArgs::own(&path);
        let error = open(&Cpu::default(), &args).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("--set model.heads=…"), "{error}");
        let args = WeightsArgs { set: vec!["model.heads=3".into()], ..args };
        let opened = open(&Cpu::default(), &args).unwrap();
        assert_eq!(model::export(&opened.model), weights);
        assert_eq!(opened.classes[0], "wall");
        let described = dir.path().join("described.safetensors");
        safetensors::save(&described, &opened.map).unwrap();
        let again = Trained::open(&Cpu::default(), &WeightsArgs::own(&described)).unwrap();
        assert_eq!(model::export(&again.model), weights);
        let mut more = foreign(&weights);
        more.insert(
            "backbone.layers.4.ln1.weight",
            more.get("backbone.layers.3.ln1.weight").unwrap().clone(),
        );
        safetensors::save(&path, &more).unwrap();
        let error = open(&Cpu::default(), &args).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("theirs.safetensors"), "{error}");
    }
}
