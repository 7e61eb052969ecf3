//! Data of kind "shapes": generated where the configuration says, before a run that finds none there.

use std::path::Path;

use std::sync::Mutex;

use anyhow::Context;
use kat_datasets::shapes::{Layout, ShapesConfig, ShapesError, ShapesSummary, write_shapes_while};

use crate::config::TaskKind;
use crate::config::{Plan, raw};
use crate::run::signals::Interrupt;
use crate::shell::progress::{Screen, Style};

/// Generates the data of a configuration of kind "shapes" whose directory is not there, shows how far that is, and
/// stops within one image when asked to.
///
/// # Errors
/// Those of [`generate`]; [`crate::run::signals::Stopped`]. Nothing is left behind then.
pub fn prepare(plan: &Plan, screen: &Screen, interrupt: &Interrupt) -> anyhow::Result<()> {
    let data = &plan.raw.data;
    let Some(dir) = data.dir.as_deref().map(Path::new).filter(|dir| !dir.exists()) else { return Ok(()) };
    if data.dataset.as_deref() != Some("shapes") {
        return Ok(());
    }
    let layout = match plan.task {
        TaskKind::Classify => Layout::ImageFolders,
        TaskKind::Detect => Layout::Coco,
        TaskKind::Segment => Layout::SceneParsing,
    };
    let _held = interrupt.hold();
    match generate_while(data, dir, layout, screen, &|| !interrupt.requested()) {
        Err(_) if interrupt.requested() => {
            Err(interrupt.stopped("no data were generated, nothing was trained").into())
        }
        outcome => {
            let made = outcome?;
            let (images, shapes, classes) = (made.images, made.objects, made.classes.len());
            let dir = dir.display();
            tracing::info!("generated {images} images with {shapes} shapes of {classes} kinds in {dir}");
            Ok(())
        }
    }
}

/// Writes generated shapes to `dir`, which appears only when they are complete.
///
/// # Errors
/// Numbers out of range, or a folder that cannot be written.
pub fn generate(data: &raw::Data, dir: &Path, layout: Layout) -> anyhow::Result<ShapesSummary> {
    generate_while(data, dir, layout, &Screen::new(Style::Hidden), &|| true)
}

/// As [`generate`], as long as `go_on` says so.
fn generate_while(
    data: &raw::Data,
    dir: &Path,
    layout: Layout,
    screen: &Screen,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<ShapesSummary> {
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
    let total = config.train_images + config.val_images;
    let progress = Mutex::new(screen.progress("generating", "images", 0, total as u64));
    let written = write_shapes_while(&partial, layout, &config, &|| {
        progress.lock().unwrap_or_else(|e| e.into_inner()).advance(1);
        go_on()
    });
    progress.into_inner().unwrap_or_else(|e| e.into_inner()).finish();
    let moved = written.map_err(anyhow::Error::from).and_then(|summary| {
        std::fs::rename(&partial, dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(summary)
    });
    if let Err(error) = &moved
        && !matches!(error.downcast_ref(), Some(ShapesError::NotEmpty(_)))
    {
        // The error to report is the first; what cannot be removed is a hidden folder that says "partial".
        let _ = std::fs::remove_dir_all(&partial);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_are_cut_off_or_cannot_be_placed_leave_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("shapes");
        let data =
            raw::Data { generate_train: 40, generate_val: 4, generate_size: 32, ..raw::Data::default() };
        let screen = Screen::new(Style::Hidden);
        let left = std::sync::atomic::AtomicUsize::new(7);
        let go_on = || left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) > 1;
        for layout in [Layout::ImageFolders, Layout::Coco, Layout::SceneParsing] {
            left.store(7, std::sync::atomic::Ordering::SeqCst);
            let error = generate_while(&data, &dir, layout, &screen, &go_on).unwrap_err();
            assert!(matches!(error.downcast_ref(), Some(ShapesError::Stopped)), "{error:#}");
            assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        }
        assert_eq!(generate(&data, &dir, Layout::ImageFolders).unwrap().images, 44);
    }
}
