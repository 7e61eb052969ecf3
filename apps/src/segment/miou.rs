//! `segment miou`: mean IoU of a folder of predicted label maps.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use kat_ade20k::label_png;
use kat_ade20k::miou::{ConfusionMatrix, LabelConfig, SegmentationScores};
use rayon::prelude::*;

/// Pixel accuracy and IoU of predicted label maps: PNGs of class indices, named as the labels.
#[derive(Debug, Clone, Args)]
pub struct MiouArgs {
    /// Folder of label PNGs
    #[arg(long, value_name = "DIR")]
    pub labels: PathBuf,
    /// Folder of predicted PNGs, 0 the first class
    #[arg(long, value_name = "DIR")]
    pub predictions: PathBuf,
    /// Number of classes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub classes: u16,
    /// Label 0 is "other" and does not count, label 1 is the first class (ADE20K)
    #[arg(long)]
    pub reduce_zero_label: bool,
    /// Label of pixels that do not count
    #[arg(long, value_name = "VALUE", default_value_t = 255)]
    pub ignore: u8,
    /// Print one JSON object instead of the table
    #[arg(long)]
    pub json: bool,
}

impl MiouArgs {
    /// Evaluates and prints to stdout.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or holds values that are no class.
    pub fn run(&self) -> anyhow::Result<()> {
        crate::shell::printable::print(&self.report()?)
    }

    /// The text that is printed.
    ///
    /// # Errors
    /// As [`MiouArgs::run`].
    pub fn report(&self) -> anyhow::Result<String> {
        let config = LabelConfig {
            ignore: Some(self.ignore),
            reduce_zero_label: self.reduce_zero_label,
            ..LabelConfig::new(usize::from(self.classes))
        };
        let names = self.pairs()?;
        let empty = ConfusionMatrix::new(config)?;
        let matrix = names
            .par_iter()
            .try_fold(
                || empty.clone(),
                |mut matrix, name| {
                    self.count(&mut matrix, name)?;
                    anyhow::Ok(matrix)
                },
            )
            .try_reduce(
                || empty.clone(),
                |mut a, b| {
                    a.merge(&b)?;
                    Ok(a)
                },
            )?;
        let scores = matrix.scores();
        if !self.json {
            return Ok(as_text(&scores, names.len()));
        }
        let mut object = serde_json::to_value(&scores)?;
        object["images"] = names.len().into();
        Ok(serde_json::to_string_pretty(&object)? + "\n")
    }

    fn count(&self, matrix: &mut ConfusionMatrix, name: &Path) -> anyhow::Result<()> {
        let path = self.predictions.join(name);
        let label = label_png::read(&self.labels.join(name))?;
        let prediction = label_png::read(&path)?;
        let ((lw, lh), (pw, ph)) = (label.dimensions(), prediction.dimensions());
        if (lw, lh) != (pw, ph) {
            bail!("{}: {pw}x{ph} pixels, its label has {lw}x{lh}", path.display());
        }
        matrix.update(label.as_raw(), prediction.as_raw()).with_context(|| name.display().to_string())
    }

    /// Paths relative to both folders. Every label must have a prediction, or the figures would be of a subset.
    fn pairs(&self) -> anyhow::Result<Vec<PathBuf>> {
        let labels = pngs(&self.labels)?;
        let predictions = pngs(&self.predictions)?;
        if labels.is_empty() {
            bail!("{}: no PNG in it or its subfolders", self.labels.display());
        }
        let missing: Vec<_> = labels.difference(&predictions).collect();
        if let Some(first) = missing.first() {
            bail!(
                "{}: {} of {} labels have no prediction of the same name, first {}",
                self.predictions.display(),
                missing.len(),
                labels.len(),
                first.display()
            );
        }
        Ok(labels.into_iter().collect())
    }
}

/// PNGs under `root`, relative to it.
fn pngs(root: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        for entry in std::fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry.with_context(|| path.display().to_string())?;
            let name = folder.join(entry.file_name());
            // By metadata, so that linked files count; a linked folder is not entered, since it may lead back.
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else if name.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
                found.insert(name);
            }
        }
    }
    Ok(found)
}

fn as_text(scores: &SegmentationScores, images: usize) -> String {
    let mut out = String::new();
    let percent = |v: f64| if v.is_nan() { "-".to_string() } else { format!("{:.2}", 100.0 * v) };
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{:>5} {:>7} {:>7}", "class", "IoU", "Acc");
    for (class, (iou, acc)) in scores.iou.iter().zip(&scores.acc).enumerate() {
        let _ = writeln!(out, "{class:>5} {:>7} {:>7}", percent(*iou), percent(*acc));
    }
    let (a, i, c) = (percent(scores.a_acc), percent(scores.m_iou), percent(scores.m_acc));
    let _ = writeln!(out, "\naAcc {a}  mIoU {i}  mAcc {c}  ({images} images, percent)");
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use image::GrayImage;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: MiouArgs,
    }

    fn parse(dir: &Path, more: &[&str]) -> Result<MiouArgs, clap::Error> {
        let (labels, predictions) = (dir.join("l"), dir.join("p"));
        let flags =
            ["x", "--labels", labels.to_str().unwrap(), "--predictions", predictions.to_str().unwrap()];
        Cli::try_parse_from(flags.iter().chain(more)).map(|c| c.args)
    }

    fn save(path: PathBuf, pixels: [u8; 4]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        GrayImage::from_raw(2, 2, pixels.to_vec()).unwrap().save(path).unwrap();
    }

    #[test]
    fn folders_are_paired_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        save(root.join("l/a.png"), [1, 1, 2, 0]);
        save(root.join("p/a.png"), [0, 0, 1, 9]);
        save(root.join("l/sub/b.png"), [1, 2, 2, 255]);
        save(root.join("p/sub/b.png"), [0, 0, 1, 9]);
        let flags = ["--classes", "2", "--reduce-zero-label"];
        let text = parse(root, &flags).unwrap().report().unwrap();
        // 5 of 6 pixels right; class 0: 3 of 3 found, 4 predicted; class 1: 2 of 3 found, 2 predicted.
        assert!(text.contains("aAcc 83.33  mIoU 70.83  mAcc 83.33  (2 images"), "{text}");
        let json = parse(root, &["--classes", "3", "--reduce-zero-label", "--json"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json.report().unwrap()).unwrap();
        assert_eq!((&json["iou"][0], &json["iou"][2]), (&0.75.into(), &serde_json::Value::Null));
    }

    #[test]
    fn faults_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let report = |more: &[&str]| format!("{:#}", parse(root, more).unwrap().report().unwrap_err());
        assert!(report(&["--classes", "2"]).contains("l"));
        save(root.join("l/a.png"), [0, 1, 2, 0]);
        std::fs::create_dir_all(root.join("p")).unwrap();
        assert!(report(&["--classes", "3"]).contains("first a.png"));
        GrayImage::new(3, 2).save(root.join("p/a.png")).unwrap();
        assert!(report(&["--classes", "3"]).contains("3x2"));
        save(root.join("p/a.png"), [0, 1, 1, 0]);
        let error = report(&["--classes", "2"]);
        assert!(error.contains("a.png") && error.contains("label 2"), "{error}");
        assert!(parse(root, &["--classes", "0"]).is_err());
        assert!(parse(root, &[]).is_err());
    }
}
