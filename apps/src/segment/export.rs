//! `export` of a segmentor.

use kat_backbone::checkpoint::TensorMap;
use kat_backbone::checkpoint::model::export;
use kat_backbone::{Cpu, Size};

use super::trained::Trained;
use crate::onnx::graph::GraphBuilder;
use crate::onnx::weights::Weights;
use crate::onnx::{About, segment};
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
        args.refuse_images("a segmentor", "--size")?;
        let size = args.size.unwrap_or(Size::square(self.plan.segment.crop));
        let map = export(&self.model);
        let normalize = self.plan.data.normalize;
        let graph = segment::segmentor(&self.model, &Weights::new(&map), (args.input, size), &normalize)?;
        let about =
            About { task: "segment", classes: &self.classes, input: args.input, normalize, crop: None };
        write(graph, &about)
    }
}
