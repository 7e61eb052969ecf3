//! Whether a checkpoint is of the run that is to go on from it: the same classes, the same images in the same order.

use std::path::{Path, PathBuf};

use kat_backbone::checkpoint::TensorMap;
use serde_json::Value;

use super::state::{self, Progress};
use crate::run::task::{Part, Task};

/// Names listed before the rest is only counted.
const LISTED: usize = 10;

/// Why a run cannot go on with these data.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The classes have other names or another order.
    #[error(
        "{} was trained on other classes than the data have now: {difference}. Give the data their names back, or \
         start a new run from these weights with model.init_from",
        path.display()
    )]
    Classes {
        /// The checkpoint.
        path: PathBuf,
        /// What is where.
        difference: String,
    },
    /// The list of training images is another one.
    #[error(
        "{}: the list of training images is not the one that the run was trained on so far (found {found}, expected \
         {expected}): files were added, removed or renamed, and with them the order of all others changes. Give the \
         data their files back, or start a new run from these weights with model.init_from",
        path.display()
    )]
    Samples {
        /// The checkpoint.
        path: PathBuf,
        /// Number and checksum of the names as found.
        found: String,
        /// As the checkpoint has them.
        expected: String,
    },
}

/// Reads the checkpoint to go on from and checks that it belongs to the task's data. Where the newest one is damaged
/// and the one before it is there, that is taken.
///
/// # Errors
/// A file that is damaged or holds no training state; [`ResumeError`].
pub fn read<T: Task>(task: &T, last: &Path, previous: &Path) -> anyhow::Result<(TensorMap, Progress)> {
    let (path, (map, progress)) = match state::load(last) {
        Ok(read) => (last, read),
        Err(error) if previous.is_file() => {
            tracing::warn!("{error:#}; going on from {}", previous.display());
            (previous, state::load(previous)?)
        }
        Err(error) => return Err(error),
    };
    let key = task.classes_key();
    match map.metadata.get(key).and_then(|text| names(text)) {
        Some(before) => {
            if let Some(difference) = difference(&before, &task.class_names(), ["then", "now"]) {
                return Err(ResumeError::Classes { path: path.to_owned(), difference }.into());
            }
        }
        None => tracing::warn!("{}: no \"{key}\" to compare the classes with", path.display()),
    }
    let found = fingerprint(task, Part::Train);
    match &progress.train_images {
        Some(expected) if *expected != found => {
            let (path, expected) = (path.to_owned(), expected.clone());
            return Err(ResumeError::Samples { path, found, expected }.into());
        }
        Some(_) => {}
        None => tracing::warn!(
            "{}: from before the list of images was recorded; that it is the same now cannot be checked",
            path.display()
        ),
    }
    if progress.held_out_images.as_ref().is_some_and(|before| *before != fingerprint(task, Part::HeldOut)) {
        tracing::warn!("the held-out images are not those of the run so far: its best figure is of others");
    }
    Ok((map, progress))
}

/// The number and a checksum of the names of the images, in their order.
pub fn fingerprint<T: Task>(task: &T, part: Part) -> String {
    let (mut crc, mut count) = (0, 0_u64);
    task.each_image(part, &mut |name| {
        crc = crc32c::crc32c_append(crc, &(name.len() as u64).to_le_bytes());
        crc = crc32c::crc32c_append(crc, name.as_bytes());
        count += 1;
    });
    format!("{count} crc32c:{crc:08x}")
}

/// Class names of a checkpoint: a JSON list of names, or of objects that have one.
fn names(text: &str) -> Option<Vec<String>> {
    let list: Vec<Value> = serde_json::from_str(text).ok()?;
    list.iter()
        .map(|entry| entry.as_str().or_else(|| entry.get("name")?.as_str()).map(str::to_owned))
        .collect()
}

/// How two lists of class names differ, in words; `None` where they do not. `called` says what the lists are.
pub fn difference(before: &[String], now: &[String], called: [&str; 2]) -> Option<String> {
    if before == now {
        return None;
    }
    let only = |these: &[String], others: &[String]| {
        let missing: Vec<&String> = these.iter().filter(|name| !others.contains(name)).collect();
        let shown: Vec<String> = missing.iter().take(LISTED).map(|name| format!("{name:?}")).collect();
        let more = missing.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (!missing.is_empty()).then(|| shown.join(", ") + &more)
    };
    let mut parts = Vec::new();
    if before.len() != now.len() {
        parts.push(format!("{} {}, {} {}", before.len(), called[0], now.len(), called[1]));
    }
    parts.extend(only(before, now).map(|names| format!("only {} {names}", called[0])));
    parts.extend(only(now, before).map(|names| format!("only {} {names}", called[1])));
    if let (true, Some(at)) = (parts.is_empty(), before.iter().zip(now).position(|(a, b)| a != b)) {
        let [first, second] = called;
        parts.push(format!(
            "another order, class {at} is {:?} {first} and {:?} {second}",
            before[at], now[at]
        ));
    }
    Some(parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn differences_name_both_sides() {
        let of = |a: &[&str], b: &[&str]| difference(&list(a), &list(b), ["then", "now"]);
        assert_eq!(of(&["a", "b"], &["a", "b"]), None);
        assert_eq!(of(&["cat", "dog"], &["cat", "wolf"]).unwrap(), "only then \"dog\"; only now \"wolf\"");
        assert_eq!(
            of(&["a", "b"], &["b", "a"]).unwrap(),
            "another order, class 0 is \"a\" then and \"b\" now"
        );
        assert_eq!(of(&["a"], &["a", "b"]).unwrap(), "1 then, 2 now; only now \"b\"");
        let many: Vec<String> = (0..30).map(|i| format!("class {i}")).collect();
        assert!(difference(&many, &list(&["x"]), ["then", "now"]).unwrap().contains("and 20 more"));
    }

    #[test]
    fn names_are_read_from_both_kinds_of_lists() {
        assert_eq!(names(r#"["a","b"]"#), Some(list(&["a", "b"])));
        assert_eq!(names(r#"[{"id":3,"name":"a"},{"id":9,"name":"b"}]"#), Some(list(&["a", "b"])));
        assert_eq!(names("{}"), None);
    }
}
