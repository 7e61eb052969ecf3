//! `export`: the weights of a run in one file that eval and predict need nothing beside, or the network as an ONNX file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use kat_backbone::Size;
use kat_backbone::checkpoint::{TensorMap, safetensors};

use super::Misuse;
use super::weights::WeightsArgs;
use crate::onnx::graph::GraphBuilder;
use crate::onnx::pixels::Input;
use crate::onnx::{self, About};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One safetensors file, which eval and predict need nothing beside
    Safetensors,
    /// The network in ONNX's operators (opset 18), for other runtimes
    Onnx,
}

/// How an ONNX file takes images.
#[derive(Debug, Clone, Copy, Args)]
pub struct OnnxArgs {
    /// What the network of --format onnx takes
    #[arg(long, value_enum, default_value_t = Input::Planes)]
    pub input: Input,
    /// Size of the images that a segmentor of --format onnx takes [default: the training crop]
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    pub size: Option<Size>,
}

impl OnnxArgs {
    /// Refuses images of any size for `model`, which takes planes or pixels of `what`.
    ///
    /// # Errors
    /// --input image.
    pub fn refuse_images(&self, model: &str, what: &str) -> Result<(), Misuse> {
        match self.input {
            Input::Image => {
                Err(Misuse(format!("--input image is classify's: {model} takes planes or pixels of {what}")))
            }
            Input::Planes | Input::Pixels => Ok(()),
        }
    }
}

fn size(text: &str) -> Result<Size, String> {
    let sides =
        text.split_once('x').and_then(|(height, width)| Some((height.parse().ok()?, width.parse().ok()?)));
    let (height, width) = sides.ok_or("expected HEIGHTxWIDTH in pixels, such as 512x512")?;
    Ok(Size::new(height, width))
}

/// A trained model that can be written.
pub trait Exported: Sized {
    /// Weights and description.
    fn into_map(self) -> TensorMap;

    /// The network, handed to `write` with what stands beside it.
    ///
    /// # Errors
    /// Those of `write`; a model with parts that have no ONNX operator; a size that does not fit.
    fn onnx(
        &self,
        args: &OnnxArgs,
        write: impl FnOnce(GraphBuilder, &About) -> anyhow::Result<()>,
    ) -> anyhow::Result<()>;
}

/// Write a checkpoint's weights, class names and configuration to one small file, or the network to an ONNX file
#[derive(Debug, Args)]
pub struct ExportCommand {
    #[command(flatten)]
    weights: WeightsArgs,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,
    #[command(flatten)]
    onnx: OnnxArgs,
    /// File to write
    #[arg(value_name = "FILE.safetensors|FILE.onnx")]
    to: PathBuf,
}

impl ExportCommand {
    /// Writes the averaged weights where the checkpoint has them, else the weights; `open` reads it.
    ///
    /// # Errors
    /// Those of `open`, a file that cannot be written, or that is there already.
    pub fn run<E: Exported>(
        &self,
        open: impl FnOnce(&WeightsArgs) -> anyhow::Result<E>,
    ) -> anyhow::Result<()> {
        let open = || open(&self.weights);
        match self.format {
            Format::Safetensors => write(&self.to, || Ok(open()?.into_map())),
            Format::Onnx => write_onnx(&self.to, &self.onnx, open),
        }
    }
}

/// Writes what `read` gives to a file that is not there yet.
///
/// # Errors
/// Those of `read`, a file of another extension, one that is there already or cannot be written.
pub fn write(to: &Path, read: impl FnOnce() -> anyhow::Result<TensorMap>) -> anyhow::Result<()> {
    check_name(to, "safetensors")?;
    safetensors::save(to, &read()?)?;
    tracing::info!("wrote {}", to.display());
    Ok(())
}

/// Writes the network of the model that `open` gives to a file that is not there yet.
///
/// # Errors
/// Those of `open` and of [`Exported::onnx`], a file of another extension, one that is there already or cannot be written.
pub fn write_onnx<E: Exported>(
    to: &Path,
    args: &OnnxArgs,
    open: impl FnOnce() -> anyhow::Result<E>,
) -> anyhow::Result<()> {
    check_name(to, "onnx")?;
    open()?.onnx(args, |graph, about| onnx::save(to, graph, about))?;
    tracing::info!("wrote {}", to.display());
    Ok(())
}

/// A file of this extension that is not there yet.
fn check_name(to: &Path, extension: &str) -> anyhow::Result<()> {
    let shown = to.display();
    let found = to.extension().map(|found| found.to_string_lossy().to_lowercase()).unwrap_or_default();
    if found != extension {
        let reason = match &found[..] {
            "onnx" => "export writes safetensors unless --format onnx is given",
            _ => "name the file so",
        };
        return Err(Misuse(format!("{shown}: {reason} (FILE.{extension})")).into());
    }
    if to.exists() {
        return Err(Misuse(format!("{shown} exists already")).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_what_is_in_it() {
        for (name, extension, part) in [
            ("y.onnx", "safetensors", "--format onnx"),
            ("y.pth", "safetensors", "FILE.safetensors"),
            ("y", "onnx", "FILE.onnx"),
            ("y.safetensors", "onnx", "FILE.onnx"),
        ] {
            let error = check_name(Path::new(name), extension).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(crate::shell::status(&error), 2);
        }
        check_name(Path::new("no/such/y.onnx"), "onnx").unwrap();
        assert_eq!(size("512x384").unwrap(), Size::new(512, 384));
        assert!(size("512").is_err() && size("ax3").is_err());
    }
}
