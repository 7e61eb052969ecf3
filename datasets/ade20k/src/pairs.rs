//! Which label map belongs to which image: by the name before the ending.

use std::collections::HashMap;
use std::path::Path;

use crate::LabelError;
use crate::tree::{files, image_endings};

/// How many images the ending of label maps is found out from.
const LOOKED_AT: usize = 20;

/// An image and its label map, relative to their folders.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) image: String,
    pub(crate) label: String,
}

/// A folder and the ending of the files in it that count, in any case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) suffix: &'a str,
}

/// The images that have a label map, and those that have none ([`LabelError::Missing`] each). Where not one label map ends as
/// `labels` says, what follows the images' names does: `_L.png`, `_mask.png`, `.bmp` …
///
/// # Errors
/// A folder that cannot be read, or that has no image.
pub(crate) fn pair(
    images: Ending<'_>,
    labels: Ending<'_>,
) -> Result<(Vec<Pair>, Vec<LabelError>), LabelError> {
    let mut names = files(images.folder)?;
    names.retain(|path| ends_with(path, images.suffix));
    if names.is_empty() {
        let (path, suffix) = (images.folder.to_owned(), images.suffix.to_owned());
        return Err(LabelError::Empty { path, suffix });
    }
    let stem = |image: &str| image[..image.len() - images.suffix.len()].to_owned();
    let maps = files(labels.folder)?;
    let mut suffix = labels.suffix.to_owned();
    let mut label_of = by_stem(&maps, &suffix);
    if !names.iter().any(|image| label_of.contains_key(&stem(image))) {
        let stems: Vec<String> = names.iter().take(LOOKED_AT).map(|image| stem(image)).collect();
        if let Some(found) = common_ending(&stems, &maps) {
            tracing::info!("{}: label maps are taken to end in {found}", labels.folder.display());
            label_of = by_stem(&maps, &found);
            suffix = found;
        }
    }
    let (mut pairs, mut missing) = (Vec::new(), Vec::new());
    for image in names {
        let stem = stem(&image);
        match label_of.get(&stem) {
            Some(label) => pairs.push(Pair { label: (*label).to_owned(), image }),
            None => missing.push(LabelError::Missing {
                label: labels.folder.join(format!("{stem}{suffix}")),
                image: images.folder.join(&image),
            }),
        }
    }
    Ok((pairs, missing))
}

/// Label maps by what stands before their ending, which may be written in another case than configured.
fn by_stem<'m>(maps: &'m [String], suffix: &str) -> HashMap<String, &'m str> {
    let mut found = HashMap::new();
    for path in maps.iter().filter(|path| ends_with(path, suffix)) {
        let stem = path[..path.len() - suffix.len()].to_owned();
        if path.ends_with(suffix) {
            found.insert(stem, &path[..]);
        } else {
            found.entry(stem).or_insert(path);
        }
    }
    found
}

/// What follows most of `stems` in the names of `maps`; of equals the shortest. An ending has a point.
fn common_ending(stems: &[String], maps: &[String]) -> Option<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for stem in stems {
        let endings = maps.iter().filter_map(|map| map.strip_prefix(&stem[..]));
        for ending in endings.filter(|ending| ending.contains('.') && !ending.contains('/')) {
            *counts.entry(ending).or_default() += 1;
        }
    }
    let best = counts
        .into_iter()
        .max_by_key(|(ending, count)| (*count, std::cmp::Reverse(ending.len()), std::cmp::Reverse(*ending)));
    best.map(|(ending, _)| ending.to_owned())
}

fn ends_with(name: &str, suffix: &str) -> bool {
    let start = name.len().checked_sub(suffix.len());
    start.and_then(|s| name.get(s..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The ending of the images of a folder, the most frequent one; the others are said.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn image_suffix(images: &Path) -> Result<String, LabelError> {
    let counts = image_endings(images)?;
    // The first of equals: max_by_key would give the last.
    let Some((best, _)) = counts.iter().rev().max_by_key(|(_, count)| **count) else {
        return Ok(".jpg".to_owned());
    };
    let others: usize = counts.iter().filter(|(ending, _)| *ending != best).map(|(_, count)| count).sum();
    if others > 0 {
        tracing::warn!("{}: {others} images that do not end in {best} are not used", images.display());
    }
    Ok(best.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_of_label_maps_are_found_out() {
        let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let ending = |stems: &[&str], maps: &[&str]| common_ending(&words(stems), &words(maps));
        assert_eq!(ending(&["1", "10"], &["1_L.png", "10_L.png", "11_L.png"]).as_deref(), Some("_L.png"));
        assert_eq!(ending(&["a/b"], &["a/b_mask.png", "a/c_mask.png"]).as_deref(), Some("_mask.png"));
        assert_eq!(ending(&["a"], &["b.png"]), None);
    }
}
