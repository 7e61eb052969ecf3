//! Data of kind "shapes": generated where the configuration says, before a run that finds none there.

use std::path::Path;

use anyhow::Context;
use kat_datasets::shapes::{Layout, ShapesConfig, ShapesSummary, write_shapes};

use crate::config::raw;

/// Writes generated shapes to `dir`, which appears only when they are complete.
///
/// # Errors
/// Numbers out of range, or a folder that cannot be written.
pub fn generate(data: &raw::Data, dir: &Path, layout: Layout) -> anyhow::Result<ShapesSummary> {
    let side = u32::try_from(data.generate_size).unwrap_or(u32::MAX);
    let mut config = ShapesConfig {
        train_images: data.generate_train,
        val_images: data.generate_val,
        width: side,
        height: side,
        classes: data.generate_classes,
        ..ShapesConfig::default()
    };
    // An image to classify shows one shape, whatever this number.
    if layout != Layout::ImageFolders {
        config.max_objects = data.generate_objects;
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let partial = dir.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let summary = write_shapes(&partial, layout, &config)?;
    std::fs::rename(&partial, dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(summary)
}
