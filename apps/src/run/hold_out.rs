//! Which images are held out where the data have no held-out part.

use std::path::Path;

use crate::config::HoldOut;
use crate::shell::Misuse;

/// For each of the images called `names` in the part at `path`, whether it is held out; says how many are.
///
/// # Errors
/// No share is to be held out, or one that leaves nothing to train on.
pub fn hold_out(settings: HoldOut, path: &Path, names: &[&str]) -> anyhow::Result<Vec<bool>> {
    let shown = path.display();
    if settings.share == 0.0 {
        return Err(Misuse(format!("{shown}: {NO_HELD_OUT}")).into());
    }
    let held = kat_images::hold_out(names, settings.share, settings.seed)
        .map_err(|error| Misuse(format!("{shown}: {error}; name a held-out part with data.val")))?;
    tell(path, held.iter().filter(|held| **held).count(), names.len());
    Ok(held)
}

/// What is missing, and what to do.
pub const NO_HELD_OUT: &str =
    "no held-out images to evaluate on: name a part with data.val, or hold more out with data.val_fraction";

/// Says how many images are held out.
pub fn tell(path: &Path, held: usize, all: usize) {
    let shown = path.display();
    tracing::info!("{shown}: no held-out part, {held} of {all} images are held out (data.val_fraction)");
}
