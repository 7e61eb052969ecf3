//! A detector from elsewhere: ViTDet as detectron2's model zoo and training programs save it, and as mmdetection does.

use std::fmt::Write as _;

use kat_backbone::Device;
use kat_coco::categories::CATEGORIES;
use kat_coco::json::Category;
use kat_mask_rcnn::recognize::{Detector, recognize};
use kat_mask_rcnn::{MaskRcnn, MaskRcnnConfig};

use super::model::detector_config;
use super::trained::Trained;
use super::{CATEGORIES_KEY, CategoryName, DETECTOR_KEY};
use crate::config::{Override, TaskKind, sections};
use crate::shell::weights::WeightsArgs;

/// Reads it, recognizes its model by its tensors, and names its categories.
///
/// # Errors
/// A file that cannot be read or is of no detector that is known, or numbers that it does not tell.
pub fn open<D: Device>(device: &D, args: &WeightsArgs) -> anyhow::Result<Trained<D>> {
    let (path, overrides) = (&args.checkpoint, args.overrides()?);
    let shown = path.display();
    let file = args.read()?;
    let found =
        recognize(&file).map_err(|reason| anyhow::anyhow!("{shown}: not a detect checkpoint: {reason}"))?;
    args.tell(&found.backbone.notes);
    let text = configuration(&found, &overrides)?;
    let plan = args.plan(&text, &overrides, TaskKind::Detect)?;
    let config = detector_config(&plan, found.config.classes)?;
    let usual: Vec<&str> = CATEGORIES.iter().map(|(_, name)| *name).collect();
    let names = args.names(&file, config.classes, &usual)?;
    let coco =
        names.iter().zip(CATEGORIES).all(|(name, (_, own))| name == own) && names.len() == CATEGORIES.len();
    let id = |class: usize| if coco { CATEGORIES[class].0 } else { class as u64 + 1 };
    let categories: Vec<Category> = names
        .into_iter()
        .enumerate()
        .map(|(class, name)| Category { id: id(class), name, supercategory: String::new() })
        .collect();
    let mut model = MaskRcnn::new(device, &config, 0)?;
    let report = model.load_map(file, path, args.policy())?;
    let kept: Vec<CategoryName> =
        categories.iter().map(|c| CategoryName { id: c.id, name: c.name.clone() }).collect();
    let metadata = [
        (DETECTOR_KEY, serde_json::to_string(model.config())?),
        (CATEGORIES_KEY, serde_json::to_string(&kept)?),
    ];
    let map = args.described(&model, &report, &plan, metadata);
    Ok(Trained { model, categories, plan, map })
}

/// The configuration as TOML.
fn configuration(found: &Detector, overrides: &[Override]) -> anyhow::Result<String> {
    let MaskRcnnConfig { backbone, .. } = &found.config;
    let c = &found.config;
    let mut text = sections(&found.backbone, overrides)?;
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "[train]\nepochs = 1\n[detect]\nwindow = {}\nglobal_blocks = {:?}\nrel_pos = {}\npretrain_size = {}\n\
         channels = {}\nrpn_convs = {}\nbox_head = {}\nbox_hidden = {}\nbox_regression = {}\nanchor_sizes = {:?}\n\
         masks = {}\n",
        backbone.window.unwrap_or(0),
        backbone.global_blocks,
        backbone.relative_positions,
        c.pretrain_size.height,
        c.channels,
        c.rpn_convs,
        serde_json::to_string(&c.box_head)?,
        c.box_hidden,
        serde_json::to_string(&c.box_regression)?,
        c.anchors.sizes,
        c.masks,
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::checkpoint::{model, safetensors};
    use kat_backbone::nn::MixerKind;
    use kat_backbone::{Cpu, KatConfig, Pool, Size};

    #[test]
    fn a_detector_without_a_description_is_recognized_and_described() {
        let dir = tempfile::tempdir().unwrap();
        let backbone = KatConfig {
            image_size: Size::square(96),
            dim: 32,
            heads: 2,
            depth: 2,
            classes: 0,
            class_token: false,
            pool: Pool::Average,
            mixer: MixerKind::Mlp,
            window: Some(2),
            global_blocks: vec![1],
            relative_positions: true,
            ..KatConfig::default()
        };
        let config = MaskRcnnConfig {
            channels: 8,
            box_hidden: 12,
            pretrain_size: Size::square(64),
            ..MaskRcnnConfig::vitdet(backbone, 80)
        };
        let detector = MaskRcnn::new(&Cpu::default(), &config, 3).unwrap();
        let path = dir.path().join("model.safetensors");
        let weights = model::export(&detector);
        safetensors::save(&path, &weights).unwrap();
        let args = WeightsArgs::own(&path);
        assert!(!args.is_described());
        let opened = open(&Cpu::default(), &args).unwrap();
        assert_eq!(model::export(&opened.model), weights);
        assert_eq!((opened.categories[79].id, &opened.categories[79].name[..]), (90, "toothbrush"));
        // what it says of itself is enough to open it again
        let described = dir.path().join("described.safetensors");
        safetensors::save(&described, &opened.map).unwrap();
        let again = Trained::open(&Cpu::default(), &WeightsArgs::own(&described)).unwrap();
        assert_eq!(model::export(&again.model), weights);
        let mut broken = weights.clone();
        broken.tensors.remove("roi_heads.box_head.fc1.bias");
        safetensors::save(&path, &broken).unwrap();
        let error = open(&Cpu::default(), &args).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("roi_heads.box_head.fc1.bias"), "{error}");
        let classifier = dir.path().join("classifier.safetensors");
        let vit = KatConfig { depth: 1, dim: 32, heads: 2, groups: 4, ..KatConfig::default() };
        let vit = kat_backbone::Kat::new(&Cpu::default(), &vit, 0).unwrap();
        safetensors::save(&classifier, &model::export(&vit)).unwrap();
        let error =
            open(&Cpu::default(), &WeightsArgs::own(&classifier)).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("not a detect checkpoint"), "{error}");
    }
}
