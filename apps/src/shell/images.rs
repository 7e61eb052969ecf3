//! The images that `predict` is given: files, folders, stdin.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use image::RgbImage;
use kat_images::decode::{DecodeOptions, decode_bytes, decode_file};
use kat_images::files::MAX_IMAGE_BYTES;
use kat_images::names::{is_image, is_unsupported_image};

use crate::config::Plan;

/// How much one image may take.
#[derive(Debug, Clone, Args)]
pub struct ImageLimits {
    /// Memory in MiB that decoding one image may take [default: as trained, 1024]
    #[arg(long, value_name = "MIB")]
    pub max_image_mb: Option<u64>,
}

impl ImageLimits {
    /// How images are decoded: as the flag says, else as `plan` does.
    pub fn options(&self, plan: &Plan) -> DecodeOptions {
        let mut data = plan.data.clone();
        if let Some(mebibytes) = self.max_image_mb {
            data.limit_memory(mebibytes);
        }
        data.decode
    }
}

/// The images named, folders opened; in each folder by name. "-" stands for stdin and stays.
///
/// # Errors
/// A folder that cannot be read or holds no images.
pub(crate) fn image_files(inputs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let refused = || format!("cannot read {}", input.display());
        let entries = std::fs::read_dir(input).with_context(refused)?.collect::<Result<Vec<_>, _>>();
        let mut inside: Vec<PathBuf> = entries.with_context(refused)?.iter().map(|e| e.path()).collect();
        let ends = |p: &Path, kind: fn(&str) -> bool| {
            p.is_file()
                && p.file_name()
                    .is_some_and(|n| !n.as_encoded_bytes().starts_with(b".") && kind(&n.to_string_lossy()))
        };
        let other = inside.iter().filter(|p| ends(p, is_unsupported_image)).count();
        if other > 0 {
            let input = input.display();
            tracing::warn!("{input}: {other} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)");
        }
        inside.retain(|p| ends(p, is_image));
        if inside.is_empty() {
            bail!("{}: no images", input.display());
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// The image of a file, or that on stdin.
///
/// # Errors
/// A file that cannot be read or decoded.
pub(crate) fn decode(path: &Path, options: &DecodeOptions) -> anyhow::Result<RgbImage> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let most = MAX_IMAGE_BYTES + 1;
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("cannot read stdin")?;
        anyhow::ensure!((bytes.len() as u64) < most, "stdin: more than the limit of {MAX_IMAGE_BYTES} bytes");
        return decode_bytes(&bytes, options).context("stdin");
    }
    Ok(decode_file(path, options)?)
}
