//! Data of kind "shapes": generated where the configuration says, before a run that finds none there.

use std::path::Path;

use std::sync::Mutex;

use anyhow::Context;
use kat_images::shapes::{Layout, ShapesConfig, ShapesError, ShapesSummary, write_shapes_while};

use crate::config::TaskKind;
use crate::config::{DataPlan, DatasetKind, Generate, Plan};
use crate::run::signals::Interrupt;
use crate::shell::Misuse;
use crate::shell::progress::{Screen, Style};

/// Generates the data of a configuration of kind "shapes" whose directory is not there, shows how far that is, and
/// stops within one image when asked to.
///
/// # Errors
/// Those of [`generate`]; [`crate::run::signals::Stopped`]. Nothing is left behind then.
pub fn prepare(plan: &Plan, screen: &Screen, interrupt: &Interrupt) -> anyhow::Result<()> {
    let Some(dir) = missing(&plan.data) else { return Ok(()) };
    let _held = interrupt.hold();
    match generate_while(&plan.data.generate, dir, layout(plan.task), screen, &|| !interrupt.requested()) {
        Err(_) if interrupt.requested() => {
            Err(interrupt.stopped("no data were generated, nothing was trained").into())
        }
        outcome => {
            say(&outcome?, dir);
            Ok(())
        }
    }
}

/// The root directory of a configuration's data, which are generated first where they are to be and are not there.
///
/// # Errors
/// No directory was named; those of [`generate`].
pub fn root(plan: &Plan) -> anyhow::Result<&Path> {
    if let Some(dir) = missing(&plan.data) {
        say(&generate(&plan.data.generate, dir, layout(plan.task))?, dir);
    }
    let dir = plan.data.dir.as_deref();
    dir.ok_or_else(|| Misuse("no data: name a directory with --data DIR".into()).into())
}

/// Where data of kind "shapes" are missing.
fn missing(data: &DataPlan) -> Option<&Path> {
    data.dir.as_deref().filter(|dir| data.dataset == Some(DatasetKind::Shapes) && !dir.exists())
}

fn layout(task: TaskKind) -> Layout {
    match task {
        TaskKind::Classify => Layout::ImageFolders,
        TaskKind::Detect => Layout::Coco,
        TaskKind::Segment => Layout::SceneParsing,
    }
}

fn say(made: &ShapesSummary, dir: &Path) {
    let (images, shapes, classes, dir) = (made.images, made.objects, made.classes.len(), dir.display());
    tracing::info!("generated {images} images with {shapes} shapes of {classes} kinds in {dir}");
}

/// Writes generated shapes to `dir`, which appears only when they are complete.
///
/// # Errors
/// Numbers out of range, or a folder that cannot be written.
fn generate(data: &Generate, dir: &Path, layout: Layout) -> anyhow::Result<ShapesSummary> {
    generate_while(data, dir, layout, &Screen::new(Style::Hidden), &|| true)
}

/// As [`generate`], as long as `go_on` says so.
fn generate_while(
    data: &Generate,
    dir: &Path,
    layout: Layout,
    screen: &Screen,
    go_on: &(dyn Fn() -> bool + Sync),
) -> anyhow::Result<ShapesSummary> {
    let side = u32::try_from(data.size).unwrap_or(u32::MAX);
    let mut config = ShapesConfig {
        train_images: data.train,
        val_images: data.val,
        width: side,
        height: side,
        classes: data.classes,
        ..ShapesConfig::default()
    };
    // An image to classify shows one shape, whatever this number.
    if layout != Layout::ImageFolders {
        config.max_objects = data.objects;
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
            Generate { train: 40, val: 4, size: 32, ..DataPlan::unconfigured(TaskKind::Detect).generate };
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
