//! `export` of a detector.

use kat_backbone::Cpu;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::checkpoint::model::export;

use super::trained::Trained;
use crate::onnx::graph::GraphBuilder;
use crate::onnx::weights::Weights;
use crate::onnx::{About, detect};
use crate::shell::Misuse;
use crate::shell::export::{Exported, OnnxArgs};

impl Exported for Trained<Cpu> {
    fn into_map(self) -> TensorMap {
        self.map
    }

    fn onnx(
        &self,
        args: &OnnxArgs,
        write: impl FnOnce(GraphBuilder, &About) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        args.refuse_images("a detector", "its canvas")?;
        if args.size.is_some() {
            let reason = "--size is segment's: a detector takes its canvas, model.image_size";
            return Err(Misuse(reason.to_owned()).into());
        }
        let map = export(&self.model);
        let normalize = self.plan.data.normalize;
        let graph = detect::detector(&self.model, &Weights::new(&map), args.input, &normalize)?;
        let classes: Vec<String> = self.categories.iter().map(|category| category.name.clone()).collect();
        write(graph, &About { task: "detect", classes: &classes, input: args.input, normalize, crop: None })
    }
}
