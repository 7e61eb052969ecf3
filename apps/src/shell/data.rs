//! `data check`, `data convert` and `data make-shapes`, in each program for its own kind of dataset.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand};
use kat_images::Size;
use kat_images::decode::{DecodeOptions, check_file};
use kat_images::shapes::{Layout, ShapesConfig, ShapesSummary, write_shapes};
use kat_images::survey::{Survey, compare_classes};

use super::convert::ConvertArgs;
use super::printable::{one_line, print};
use crate::config::{DataPlan, Override, TaskKind, load};

/// Looks through datasets and makes sample data.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// The subcommands of `data`.
#[derive(Debug, Clone, Subcommand)]
pub enum DataCommand {
    /// Counts, classes and sizes of a dataset, its broken files and annotation problems
    Check(CheckArgs),
    /// Writes generated sample data
    MakeShapes(MakeShapesArgs),
    /// Converts the annotations of other tools (YOLO, Pascal VOC, LabelMe, COCO files of any layout …) to what is trained on
    Convert(ConvertArgs),
}

/// `data check DIR`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Root folder of the dataset
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Exit with status 1 if anything is wrong
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON list instead of text
    #[arg(long)]
    pub json: bool,
    /// Configuration of the training that the data are for
    #[arg(short, long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Change one value of it; may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Memory in MiB that decoding one image may take [default: as configured, 1024]
    #[arg(long, value_name = "MIB")]
    pub max_image_mb: Option<usize>,
}

/// `data make-shapes DIR`.
#[derive(Debug, Clone, Args)]
pub struct MakeShapesArgs {
    /// Folder to write to
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Number of images
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub images: usize,
    /// Same seed, same bytes
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

impl MakeShapesArgs {
    /// Writes images of `side` pixels, a fifth of them held out.
    ///
    /// # Errors
    /// A folder that cannot be written or holds files already.
    pub fn write(&self, layout: Layout, side: u32) -> anyhow::Result<ShapesSummary> {
        let val_images = self.images / 5;
        let config = ShapesConfig {
            train_images: self.images - val_images,
            val_images,
            width: side,
            height: side,
            seed: self.seed,
            ..ShapesConfig::default()
        };
        Ok(write_shapes(&self.dir, layout, &config)?)
    }
}

/// Surveys each split under a folder as training would read it.
pub type Check = fn(&Path, &DataPlan) -> anyhow::Result<Vec<Survey>>;

/// What a program does for its kind of dataset.
#[derive(Debug, Clone, Copy)]
pub struct DataTools {
    /// Whose configuration it reads.
    pub task: TaskKind,
    /// Surveys each split under a folder, the one to train on first.
    pub check: Check,
    /// Writes sample data; what was written, in words.
    pub make_shapes: fn(&MakeShapesArgs) -> anyhow::Result<String>,
    /// Converts other tools' annotations; what was written, in words.
    pub convert: fn(&ConvertArgs) -> anyhow::Result<String>,
}

impl DataArgs {
    /// Runs the subcommand with the program's tools.
    ///
    /// # Errors
    /// If the dataset cannot be read or written; with `--strict`, if anything is wrong with it.
    pub fn run(&self, tools: &DataTools) -> anyhow::Result<()> {
        match &self.command {
            DataCommand::Check(args) => args.run(tools),
            DataCommand::MakeShapes(args) => print(&((tools.make_shapes)(args)? + "\n")),
            DataCommand::Convert(args) => args.run(tools.convert),
        }
    }
}

impl CheckArgs {
    /// Surveys and prints to stdout.
    ///
    /// # Errors
    /// As [`DataArgs::run`].
    pub fn run(&self, tools: &DataTools) -> anyhow::Result<()> {
        let overrides = self.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let loaded = load(self.config.as_deref(), &overrides, tools.task)?;
        let mut data = loaded.data(tools.task)?;
        if let Some(mebibytes) = self.max_image_mb {
            data.limit_memory(mebibytes as u64);
        }
        let mut surveys = (tools.check)(&self.dir, &data)?;
        compare_classes(&mut surveys);
        // without a configuration the batch is nobody's choice
        let chosen = self.config.is_some() || self.set.iter().any(|set| set.starts_with("train.batch_size"));
        if let Some(first) = surveys.first_mut().filter(|s| chosen && s.images < loaded.batch_size()) {
            let (images, batch) = (first.images, loaded.batch_size());
            let fits = images.max(1);
            first.problems.push(format!(
                "{images} images give no batch of {batch}: take a smaller one, --set train.batch_size={fits}"
            ));
        }
        if self.json {
            print(&(serde_json::to_string_pretty(&surveys)? + "\n"))?;
        } else {
            print(&surveys.iter().map(as_text).collect::<String>())?;
        }
        let bad: Vec<&str> = surveys.iter().filter(|s| !s.is_clean()).map(|s| s.split.as_str()).collect();
        if self.strict && !bad.is_empty() {
            bail!("{}: problems in {}", self.dir.display(), bad.join(", "));
        }
        Ok(())
    }
}

/// Width and height of an image once decoded and upright.
///
/// # Errors
/// Why it cannot be decoded, or what is odd about it although it can.
pub(crate) fn decoded_size(path: &Path, options: &DecodeOptions) -> Result<Size, String> {
    match check_file(path, options) {
        Ok((image, None)) => Ok(Size::of(&image)),
        Ok((_, Some(note))) => Err(note),
        Err(error) => Err(error.to_string()),
    }
}

/// Names listed before the rest is only counted.
const LISTED: usize = 20;

fn as_text(survey: &Survey) -> String {
    let mut out = String::new();
    let size = |range: Option<[u32; 2]>| {
        range.map_or_else(|| "-".to_string(), |[low, high]| format!("{low} to {high}"))
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {} images ({} without labels), {} labels of {} classes",
        survey.split,
        survey.images,
        survey.unlabelled,
        survey.labels,
        survey.classes.len()
    );
    let _ = writeln!(out, "  width {}, height {}", size(survey.width), size(survey.height));
    let classes = survey.classes.iter().map(|c| format!("{} {}", one_line(&c.name), c.count));
    let _ = writeln!(out, "  labels by class: {}", classes.collect::<Vec<_>>().join(", "));
    if !survey.values.is_empty() {
        let values = survey.values.iter().take(LISTED).map(|(value, images)| format!("{value} in {images}"));
        let more = if survey.values.len() > LISTED { " …" } else { "" };
        let _ = writeln!(out, "  stored labels, images: {}{more}", values.collect::<Vec<_>>().join(", "));
    }
    for note in &survey.notes {
        let _ = writeln!(out, "  {}", one_line(note));
    }
    if survey.is_clean() {
        out += "  nothing is wrong\n";
        return out;
    }
    for problem in &survey.problems {
        let _ = writeln!(out, "  {}", one_line(problem));
    }
    for (fault, count) in &survey.faults {
        let _ = writeln!(out, "  {count} annotations: {}", one_line(fault));
    }
    for example in &survey.examples {
        let _ = writeln!(out, "    {}", one_line(example));
    }
    if !survey.broken.is_empty() {
        let _ = writeln!(out, "  {} broken files:", survey.broken.len());
    }
    for broken in survey.broken.iter().take(LISTED) {
        let path = broken.path.display().to_string();
        let _ = writeln!(out, "    {}: {}", one_line(&path), one_line(&broken.reason));
    }
    if survey.broken.len() > LISTED {
        let _ = writeln!(out, "    and {} more (--json lists all)", survey.broken.len() - LISTED);
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use image::RgbImage;

    use super::*;
    use crate::detect::check;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: DataArgs,
    }

    fn written(args: &MakeShapesArgs) -> anyhow::Result<String> {
        Ok(format!("{} {} {}", args.dir.display(), args.images, args.seed))
    }

    const TOOLS: DataTools = DataTools {
        task: TaskKind::Detect,
        check: check::check_coco,
        make_shapes: written,
        convert: crate::detect::convert::convert,
    };

    fn check_coco(dir: &Path) -> anyhow::Result<Vec<Survey>> {
        check::check_coco(dir, &DataPlan::unconfigured(TaskKind::Detect))
    }

    fn run(args: &[&str]) -> anyhow::Result<()> {
        Cli::try_parse_from([&["x"], args].concat())?.args.run(&TOOLS)
    }

    fn coco_folder(annotations: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("annotations")).unwrap();
        std::fs::create_dir_all(root.join("val")).unwrap();
        let text = format!(
            r#"{{"images": [{{"id": 1, "file_name": "a.png", "width": 6, "height": 4}}],
                "categories": [{{"id": 3, "name": "cat"}}], "annotations": {annotations}}}"#
        );
        std::fs::write(root.join("annotations/instances_val.json"), text).unwrap();
        RgbImage::new(6, 4).save(root.join("val/a.png")).unwrap();
        dir
    }

    #[test]
    fn a_clean_folder_and_a_broken_one() {
        let good = r#"[{"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 2]}]"#;
        let dir = coco_folder(good);
        let root = dir.path().to_str().unwrap();
        run(&["check", root, "--strict"]).unwrap();
        let text = as_text(&check_coco(dir.path()).unwrap()[0]);
        assert!(text.contains("1 images (0 without labels), 1 labels of 1 classes"), "{text}");
        assert!(text.contains("cat 1") && text.contains("nothing is wrong"), "{text}");

        std::fs::write(dir.path().join("val/a.png"), b"").unwrap();
        let text = as_text(&check_coco(dir.path()).unwrap()[0]);
        assert!(text.contains("1 broken files") && text.contains("a.png"), "{text}");
        run(&["check", root, "--json"]).unwrap();
        assert!(run(&["check", root, "--strict"]).unwrap_err().to_string().contains("in val"));

        let faulty = coco_folder(&good.replace("\"category_id\": 3", "\"category_id\": 8"));
        let text = as_text(&check_coco(faulty.path()).unwrap()[0]);
        assert!(text.contains("1 annotations: no category has this id"), "{text}");
    }

    #[test]
    fn misuse_and_missing_folders() {
        assert!(Cli::try_parse_from(["x", "check"]).is_err());
        assert!(Cli::try_parse_from(["x", "make-shapes", "d", "--images", "-1"]).is_err());
        let error = format!("{:#}", run(&["check", "no/such"]).unwrap_err());
        assert!(error.contains("no/such") && error.contains("instances_"), "{error}");
        run(&["make-shapes", "d", "--images", "3", "--seed", "9"]).unwrap();
    }
}
