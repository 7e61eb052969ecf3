//! A detector's first weights from a file: a classifier's for the backbone alone, or another detector's.

use std::path::Path;

use kat_backbone::Device;
use kat_backbone::checkpoint::transfer::LoadPolicy;
use kat_backbone::checkpoint::whole::{self, Parts};
use kat_backbone::checkpoint::{CheckpointError, LoadReport, TensorMap, load_choosing};

use crate::MaskRcnn;

/// The parts of a detector's checkpoint.
const PARTS: Parts<'static> = Parts {
    encoder: "backbone.net.",
    mark: "roi_heads.",
    heads: &["roi_heads.", "proposal_generator.", "backbone.simfp_"],
    by_class: &[
        "roi_heads.box_predictor.cls_score.",
        "roi_heads.box_predictor.bbox_pred.",
        "roi_heads.mask_head.predictor.",
    ],
    // older files hold their anchors
    computed: &["anchor_generator"],
};

impl<D: Device> MaskRcnn<D> {
    /// Loads a classification checkpoint (KAT, ViT, DeiT, masked autoencoder) into the backbone, or a detector's, with
    /// detectron2's names, into the whole model. `policy` says what becomes of predictors for another number of classes.
    ///
    /// # Errors
    /// [`CheckpointError`] for a file that cannot be read, or that leaves a tensor without a value: of the backbone, and
    /// of the heads where the file has heads.
    pub fn load(
        &mut self,
        path: &Path,
        policy: impl Into<LoadPolicy>,
    ) -> Result<LoadReport, CheckpointError> {
        let policy = policy.into();
        self.load_map(load_choosing(path, policy.averages)?, path, policy)
    }

    /// As the loading of a file, of one that has been read; `path` is for messages.
    ///
    /// # Errors
    /// As that.
    pub fn load_map(
        &mut self,
        source: TensorMap,
        path: &Path,
        policy: LoadPolicy,
    ) -> Result<LoadReport, CheckpointError> {
        let place = (path, self.config().backbone.depth);
        whole::load(self, source, PARTS, policy, place, |model, net, _| {
            model.backbone.net.load_dense_map(net, path, policy.leftover)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MaskRcnnConfig;
    use kat_backbone::checkpoint::model::{DETECTOR_KEY, export};
    use kat_backbone::checkpoint::safetensors;
    use kat_backbone::checkpoint::transfer::HeadPolicy;
    use kat_backbone::ops::rational::Denominator;
    use kat_backbone::{Cpu, Kat, KatConfig, Pool, Size};

    fn detector(classes: usize, seed: u64) -> MaskRcnn<Cpu> {
        let backbone = KatConfig {
            image_size: Size::square(64),
            dim: 32,
            heads: 2,
            depth: 2,
            classes: 0,
            class_token: false,
            mimetic: false,
            ..KatConfig::default()
        };
        let config = MaskRcnnConfig {
            channels: 8,
            box_hidden: 12,
            pretrain_size: Size::square(64),
            ..MaskRcnnConfig::vitdet(backbone, classes)
        };
        MaskRcnn::new(&Cpu::default(), &config, seed).unwrap()
    }

    #[test]
    fn another_detector_gives_all_but_predictors_of_other_classes() {
        let path = std::env::temp_dir().join(format!("kat-detector-{}.safetensors", std::process::id()));
        let trained = detector(5, 1);
        safetensors::save(&path, &export(&trained)).unwrap();
        let mut same = detector(5, 2);
        assert!(same.load(&path, HeadPolicy::Strict).unwrap().is_clean());
        assert_eq!(export(&same), export(&trained));
        let mut other = detector(3, 3);
        let before = export(&other);
        let error = other.load(&path, HeadPolicy::Strict).unwrap_err().to_string();
        assert!(error.contains("roi_heads.box_predictor.cls_score.weight"), "{error}");
        assert_eq!(export(&other), before, "nothing is set when the file does not fit");
        let report = other.load(&path, HeadPolicy::Reinitialize).unwrap();
        assert_eq!(report.reinitialized.len(), 6, "{report}");
        let (found, expected) = (export(&other), export(&trained));
        for (name, tensor) in &found.tensors {
            let own = PARTS.by_class.iter().any(|start| name.starts_with(start));
            assert_eq!(if own { before.get(name) } else { expected.get(name) }, Some(tensor), "{name}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_detector_of_the_other_denominator_is_refused() {
        let trained = detector(5, 1);
        let mut config = trained.config().clone();
        let mut file = export(&trained);
        file.metadata.insert(DETECTOR_KEY.to_owned(), serde_json::to_string(&config).unwrap());
        let path = Path::new("detector.safetensors");
        let backbone = config.backbone.clone();
        config.backbone.denominator_form = Denominator::Paper;
        let mut other = MaskRcnn::new(&Cpu::default(), &config, 2).unwrap();
        let before = export(&other);
        let policy = LoadPolicy::from(HeadPolicy::Reinitialize);
        let error = other.load_map(file.clone(), path, policy).unwrap_err().to_string();
        assert!(
            error.contains("denominator") && error.contains("kernel") && error.contains("paper"),
            "{error}"
        );
        assert_eq!(export(&other), before);
        assert!(detector(5, 3).load_map(file.clone(), path, policy).unwrap().is_clean());
        // its encoder, in a classifier or a segmentor
        let config = KatConfig { classes: 4, pool: Pool::Average, ..backbone };
        let classifier = |denominator_form| {
            let config = KatConfig { denominator_form, ..config.clone() };
            let loaded = Kat::new(&Cpu::default(), &config, 0).unwrap().load_map(file.clone(), path, policy);
            loaded.map_or_else(|error| error.to_string(), |report| report.to_string())
        };
        assert!(classifier(Denominator::Paper).contains("denominator"));
        assert!(!classifier(Denominator::Kernel).contains("denominator"));
    }
}
