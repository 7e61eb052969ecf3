//! A segmentor's first weights from a file: a classifier's for the backbone alone, or another segmentor's.

use std::path::Path;

use kat_backbone::Device;
use kat_backbone::checkpoint::transfer::{HeadPolicy, LoadPolicy};
use kat_backbone::checkpoint::whole::{self, Alone, Parts};
use kat_backbone::checkpoint::{CheckpointError, LoadReport, TensorMap, load_choosing};

use crate::Segmentor;

/// The parts of a segmentor's checkpoint.
const PARTS: Parts<'static> = Parts {
    encoder: "backbone.",
    mark: "decode_head.",
    heads: &["decode_head.", "auxiliary_head.", "neck."],
    by_class: &["decode_head.conv_seg.", "auxiliary_head.conv_seg."],
    // PyTorch counts the batches that its norms have seen
    computed: &["num_batches_tracked"],
};

impl<D: Device> Segmentor<D> {
    /// Loads a classification checkpoint (KAT, ViT, DeiT, masked autoencoder) into the backbone, or a segmentor's into the
    /// whole model, averaged weights where a run has kept some. `policy` says what becomes of classifiers for another number
    /// of classes.
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
        whole::load(self, source, PARTS, policy, place, |model, encoder, alone| {
            // a classifier's head is never this model's
            let head = if alone == Alone::Yes { HeadPolicy::Reinitialize } else { policy.head };
            model.backbone.load_map(encoder, path, LoadPolicy { head, ..policy })
        })
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::checkpoint::{model, safetensors};
    use kat_backbone::{Cpu, KatConfig};

    use super::*;
    use crate::SegmentorConfig;
    use crate::segmentor::tests::small;

    fn segmentor(classes: usize, seed: u64) -> Segmentor<Cpu> {
        let config = SegmentorConfig { classes, ..small() };
        Segmentor::new(&Cpu::default(), &config, &Default::default(), seed).unwrap()
    }

    #[test]
    fn another_segmentor_gives_all_but_classifiers_of_other_classes_and_averages_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.safetensors");
        let (trained, averaged) = (model::export(&segmentor(5, 1)), model::export(&segmentor(5, 2)));
        let mut run = trained.clone();
        averaged.tensors.iter().for_each(|(name, tensor)| run.insert(format!("ema.{name}"), tensor.clone()));
        safetensors::save(&path, &run).unwrap();
        let mut same = segmentor(5, 3);
        let report = same.load(&path, HeadPolicy::Strict).unwrap();
        assert_eq!(model::export(&same), averaged, "{report}");
        let mut other = segmentor(3, 4);
        let error = other.load(&path, HeadPolicy::Strict).unwrap_err().to_string();
        assert!(error.contains("decode_head.conv_seg.weight"), "{error}");
        let report = other.load(&path, HeadPolicy::Reinitialize).unwrap();
        assert_eq!(report.reinitialized.len(), 4, "{report}");
        let name = "decode_head.fpn_bottleneck.conv.weight";
        assert_eq!(model::export(&other).get(name), averaged.get(name));
        // the backbone alone, into a classifier of the same size
        let config = KatConfig { classes: 7, ..small().backbone };
        let mut classifier = kat_backbone::Kat::new(&Cpu::default(), &config, 0).unwrap();
        let report = classifier.load(&path, HeadPolicy::Reinitialize).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("\"ema.backbone.\"")), "{report}");
    }
}
