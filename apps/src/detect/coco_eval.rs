//! `detect coco-eval`: COCO's figures for a results file, as pycocotools prints them.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kat_coco::evaluate::{EvalConfig, Evaluation, IouType, evaluate};
use kat_coco::json::{CocoFile, read_results};
use serde_json::json;

/// Average precision and recall of a COCO results file.
#[derive(Debug, Clone, Args)]
pub struct CocoEvalArgs {
    /// Ground truth: an instances file
    #[arg(long, value_name = "FILE")]
    pub gt: PathBuf,
    /// Detections: a results file
    #[arg(long, value_name = "FILE")]
    pub dets: PathBuf,
    /// Overlap of boxes or of masks
    #[arg(long, value_enum, default_value_t = Overlap::Bbox)]
    pub iou_type: Overlap,
    /// Detections of a category considered in an image
    #[arg(long, value_name = "N", num_args = 3, default_values_t = [1, 10, 100])]
    pub max_dets: Vec<usize>,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

/// What overlap is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlap {
    /// Boxes
    Bbox,
    /// Masks
    Segm,
}

impl CocoEvalArgs {
    /// Evaluates and prints to stdout.
    ///
    /// # Errors
    /// If a file cannot be read or evaluated.
    pub fn run(&self) -> anyhow::Result<()> {
        crate::shell::printable::print(&self.report()?)
    }

    /// The text that is printed.
    ///
    /// # Errors
    /// If a file cannot be read or evaluated.
    pub fn report(&self) -> anyhow::Result<String> {
        let iou_type = match self.iou_type {
            Overlap::Bbox => IouType::Bbox,
            Overlap::Segm => IouType::Segm,
        };
        let max_dets = self.max_dets[..].try_into();
        let max_dets: [usize; 3] = max_dets.map_err(|_| anyhow::anyhow!("--max-dets wants 3 numbers"))?;
        let truth = CocoFile::read(&self.gt)?;
        if !truth.renumbered.is_empty() {
            let count = truth.renumbered.len();
            tracing::warn!(
                "{}: {count} annotations have an id used before and get another",
                self.gt.display()
            );
        }
        let found = read_results(&self.dets)?;
        let config = EvalConfig { max_dets, ..EvalConfig::coco(iou_type) };
        let result = evaluate(&truth, &found, &config)?;
        if self.json {
            Ok(serde_json::to_string_pretty(&as_json(&result))? + "\n")
        } else {
            Ok(as_text(&result))
        }
    }
}

/// An evaluation as one object.
pub fn as_json(result: &Evaluation) -> serde_json::Value {
    let stats: serde_json::Map<_, _> =
        result.stat_names().into_iter().zip(result.stats()).map(|(n, v)| (n, json!(v))).collect();
    json!({
        "iou_type": result.config().iou_type,
        "max_dets": result.config().max_dets,
        "stats": stats,
        "categories": result.categories(),
        "detections_of_unknown_category": result.dropped(),
    })
}

/// pycocotools' twelve lines and a table of the categories.
pub fn as_text(result: &Evaluation) -> String {
    let mut out = String::new();
    for line in result.lines() {
        out += line;
        out.push('\n');
    }
    let figure = |v: Option<f64>| v.map_or_else(|| "-".to_string(), |v| format!("{v:.3}"));
    let categories = result.categories();
    let wide = categories.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(8);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "\n {:<wide$} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "category", "AP", "AP50", "AP75", "small", "medium", "large", "AR"
    );
    for c in &categories {
        let _ = write!(out, " {:<wide$}", c.name);
        for v in [c.ap, c.ap50, c.ap75, c.ap_small, c.ap_medium, c.ap_large, c.ar] {
            let _ = write!(out, " {:>6}", figure(v));
        }
        out.push('\n');
    }
    if result.dropped() > 0 {
        let dropped = result.dropped();
        let _ = writeln!(out, "\n {dropped} detections are of categories the ground truth does not have");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: CocoEvalArgs,
    }

    fn parse(dir: &Path, more: &[&str]) -> Result<CocoEvalArgs, clap::Error> {
        let (gt, dets) = (dir.join("gt.json"), dir.join("dt.json"));
        let files = ["x", "--gt", gt.to_str().unwrap(), "--dets", dets.to_str().unwrap()];
        Cli::try_parse_from(files.iter().chain(more)).map(|c| c.args)
    }

    #[test]
    fn the_table_and_the_json_agree() {
        let dir = tempfile::tempdir().unwrap();
        let gt = r#"{"images": [{"id": 1, "file_name": "a", "width": 99, "height": 99}],
            "categories": [{"id": 2, "name": "cat"}, {"id": 4, "name": "elephant"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 40, 40], "area": 1600}]}"#;
        let dt = r#"[{"image_id": 1, "category_id": 2, "bbox": [0, 0, 40, 40], "score": 0.5},
            {"image_id": 1, "category_id": 3, "bbox": [0, 0, 40, 40], "score": 0.5}]"#;
        std::fs::write(dir.path().join("gt.json"), gt).unwrap();
        std::fs::write(dir.path().join("dt.json"), dt).unwrap();
        let text = parse(dir.path(), &[]).unwrap().report().unwrap();
        let first = " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 1.000";
        assert_eq!(text.lines().next(), Some(first));
        assert_eq!(text.lines().count(), 12 + 2 + 2 + 2);
        assert!(text.contains(" elephant      -"), "{text}");
        assert!(text.contains("1 detections are of categories"));
        let json = parse(dir.path(), &["--json"]).unwrap().report().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        // tp / (tp + fp + 2⁻⁵²) in COCO's definition: a perfect AP is one ulp below 1
        assert!((json["stats"]["AP"].as_f64().unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(json["categories"][1]["ap"], serde_json::Value::Null);
    }

    #[test]
    fn misuse_is_told_by_the_parser_and_failure_by_the_run() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cli::try_parse_from(["x", "--gt", "a"]).is_err());
        assert!(parse(dir.path(), &["--iou-type", "keypoints"]).is_err());
        let error = parse(dir.path(), &[]).unwrap().run().unwrap_err().to_string();
        assert!(error.contains("gt.json"), "{error}");
    }
}
