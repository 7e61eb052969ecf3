//! The images that `predict` is given: files, folders, stdin, a stream of them on stdin.

use std::collections::{BTreeSet, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use image::RgbImage;
use kat_images::decode::{DecodeOptions, ImageStream, decode_bytes, decode_file};
use kat_images::files::MAX_IMAGE_BYTES;
use kat_images::names::{is_image, is_unsupported_image};

use crate::config::Plan;
use crate::shell::printable::one_line;
use crate::shell::told;

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

/// The images to look at.
#[derive(Debug, Clone, Args)]
pub struct ImageInputs {
    /// Images, folders of images, or - for an image on stdin
    #[arg(required_unless_present = "stream", value_name = "IMAGE|DIR|-")]
    inputs: Vec<PathBuf>,
    /// Read JPEG or PNG images from stdin one after another, as `ffmpeg -f image2pipe` writes the frames of a video; a line
    /// for each as it comes
    #[arg(long, conflicts_with = "inputs")]
    stream: bool,
}

impl ImageInputs {
    /// Gives each image with its path to `look`, and what that finds to `show`, with a name for what is written about it: that
    /// of its file, or frame_000001 and so on. An image of which the first fails is told and left out.
    ///
    /// # Errors
    /// A folder or stream that cannot be read, what `show` fails at; at the end, if an image could not be looked at.
    pub(crate) fn for_each<T>(
        &self,
        options: &DecodeOptions,
        mut look: impl FnMut(&Path, RgbImage) -> anyhow::Result<T>,
        mut show: impl FnMut(&Path, &str, T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut seen, mut failed) = (0u64, 0u64);
        let mut one = |path: &Path, image: anyhow::Result<RgbImage>, name: &mut dyn FnMut() -> String| {
            seen += 1;
            match image.and_then(|image| look(path, image)) {
                Ok(found) => show(path, &name(), found),
                Err(error) => {
                    failed += 1;
                    tracing::error!("{}", one_line(&told(&error)));
                    Ok(())
                }
            }
        };
        if self.stream {
            let mut stream = ImageStream::new(std::io::BufReader::with_capacity(1 << 16, std::io::stdin()));
            for number in 1u64.. {
                let Some(bytes) = stream.next_image()? else { break };
                let name = format!("frame_{number:06}");
                let image = decode_bytes(bytes, options).with_context(|| name.clone());
                one(Path::new(&name), image, &mut || name.clone())?;
            }
        } else {
            let mut names = OutputNames::default();
            for path in image_files(&self.inputs)? {
                one(&path, decode(&path, options), &mut || names.of(&path))?;
            }
        }
        if failed > 0 {
            bail!("{failed} of {seen} images could not be read");
        }
        Ok(())
    }
}

/// The images named, folders opened; in each folder by name. "-" stands for stdin and stays.
///
/// # Errors
/// A folder that cannot be read or holds no images.
fn image_files(inputs: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let (before, mut unsupported, mut visited) = (files.len(), 0, BTreeSet::new());
        let mut open = vec![input.clone()];
        while let Some(folder) = open.pop() {
            // each real folder once, whatever links lead to it
            if !visited.insert(folder.canonicalize().unwrap_or_else(|_| folder.clone())) {
                continue;
            }
            let refused = || format!("cannot read {}", folder.display());
            let entries = std::fs::read_dir(&folder).with_context(refused)?.collect::<Result<Vec<_>, _>>();
            let mut inside: Vec<PathBuf> = entries.with_context(refused)?.iter().map(|e| e.path()).collect();
            inside.sort();
            for path in inside {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if name.starts_with('.') {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                } else if path.is_file() && is_image(&name) {
                    files.push(path);
                } else if path.is_file() && is_unsupported_image(&name) {
                    unsupported += 1;
                }
            }
        }
        let shown = input.display();
        if unsupported > 0 {
            tracing::warn!(
                "{shown}: {unsupported} images of kinds that are not decoded (AVIF, HEIC, JPEG 2000 …)"
            );
        }
        if files.len() == before {
            bail!("{shown}: no images");
        }
        files[before..].sort();
    }
    Ok(files)
}

/// Names for what is written about images: that of the image's file, with a number where an earlier one had the same.
#[derive(Debug, Default)]
struct OutputNames(HashSet<String>);

impl OutputNames {
    /// A name without an extension for what is written about the image of `path`; an image on stdin is called "stdin".
    fn of(&mut self, path: &Path) -> String {
        let stem = match path.file_stem() {
            Some(stem) if path != Path::new("-") => stem.to_string_lossy().into_owned(),
            _ => "stdin".to_owned(),
        };
        let numbered = (2..).map(|n| format!("{stem}_{n}"));
        let mut names = std::iter::once(stem.clone()).chain(numbered);
        let name = names.find(|name| !self.0.contains(name)).unwrap_or(stem);
        self.0.insert(name.clone());
        name
    }
}

/// The image of a file, or that on stdin.
///
/// # Errors
/// A file that cannot be read or decoded.
fn decode(path: &Path, options: &DecodeOptions) -> anyhow::Result<RgbImage> {
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        let most = MAX_IMAGE_BYTES + 1;
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("cannot read stdin")?;
        anyhow::ensure!((bytes.len() as u64) < most, "stdin: more than the limit of {MAX_IMAGE_BYTES} bytes");
        return decode_bytes(&bytes, options).context("stdin");
    }
    Ok(decode_file(path, options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_looked_through_once_and_files_of_one_name_do_not_overwrite_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("b/c")).unwrap();
        for name in ["z.jpg", "b/a.png", "b/c/a.JPG", "b/.hidden.png", "b/notes.txt"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root, root.join("b/c/loop")).unwrap();
        let files = image_files(&[root.to_owned(), "-".into()]).unwrap();
        let shown: Vec<_> =
            files.iter().map(|f| f.strip_prefix(root).unwrap_or(f).to_str().unwrap()).collect();
        assert_eq!(shown, ["b/a.png", "b/c/a.JPG", "z.jpg", "-"]);
        let mut names = OutputNames::default();
        let named: Vec<_> = files.iter().chain([&"x/a.tif".into()]).map(|path| names.of(path)).collect();
        assert_eq!(named, ["a", "a_2", "z", "stdin", "a_3"]);
        assert!(image_files(&[root.join("b/c/none")]).is_ok());
        std::fs::create_dir(root.join("empty")).unwrap();
        assert!(image_files(&[root.join("empty")]).unwrap_err().to_string().contains("no images"));
    }
}
