//! From files and `--set` to one [`RawConfig`]: the files that a file extends, the file, overrides, each checked by itself
//! so that an error names the place it was typed. Later layers win.

use std::path::{Path, PathBuf};

use toml::Table;

use super::check::Check;
use super::data::DataPlan;
use super::error::ConfigError;
use super::overrides::{Override, merge};
use super::raw::{RawConfig, SECTIONS};
use super::suggest;
use super::task::TaskKind;

/// Key at the head of a file that names the file it builds on.
const EXTENDS: &str = "extends";
/// Key beside it: a list of keys of the files beneath that are taken back.
const UNSET: &str = "unset";
/// Keys that say one thing in two ways: the later of them counts.
const RIVALS: [[&str; 2]; 3] = [
    ["train.epochs", "train.steps"],
    ["data.classes", "segment.classes"],
    ["data.classes", "data.class_names"],
];

/// A configuration as read, and where from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// All values, defaults included.
    pub(super) raw: RawConfig,
    /// The file, or "defaults" where there was none; for messages.
    pub(super) origin: String,
}

impl Loaded {
    /// Where the run's files go.
    pub fn output(&self, task: TaskKind) -> PathBuf {
        self.raw.output.directory(task)
    }

    /// Images in a forward pass of training.
    pub fn batch_size(&self) -> usize {
        self.raw.train.batch_size
    }

    /// Itself, of one step where no length of training is given: for what trains nothing.
    #[must_use]
    pub fn of_any_length(mut self) -> Self {
        let train = &mut self.raw.train;
        if train.epochs.is_none() && train.steps.is_none() {
            train.steps = Some(1);
        }
        self
    }

    /// How data are read, of a configuration that need not be complete.
    ///
    /// # Errors
    /// A kind of data that the program does not read.
    pub fn data(&self, task: TaskKind) -> Result<DataPlan, ConfigError> {
        DataPlan::new(&self.raw, &Check { origin: &self.origin }, task)
    }
}

/// Reads `path` (or starts from the defaults), lays it on the file it extends, and applies `overrides` in order.
///
/// # Errors
/// A file that cannot be read, a key that there is none of, or a value of another type.
pub fn load(path: Option<&Path>, overrides: &[Override], task: TaskKind) -> Result<Loaded, ConfigError> {
    let (mut layers, mut files) = (Vec::new(), Vec::new());
    let mut next = path.map(Path::to_owned);
    while let Some(path) = next {
        let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
        if files.contains(&identity) {
            return Err(ConfigError::ExtendsItself { path });
        }
        files.push(identity);
        let layer = read_layer(&path, task)?;
        next = layer.extends.as_ref().map(|base| resolve(&path, base));
        layers.push(layer);
    }
    let mut table = Table::new();
    for layer in layers.iter().rev() {
        layer.unset.iter().for_each(|key| remove(&mut table, key));
        lay(&mut table, &layer.table);
    }
    let origin = path.map_or_else(|| "defaults".to_owned(), |p| p.display().to_string());
    change(table, overrides, origin, task)
}

/// Lays `overrides` on `table` in order.
fn change(
    mut table: Table,
    overrides: &[Override],
    origin: String,
    task: TaskKind,
) -> Result<Loaded, ConfigError> {
    for change in overrides {
        let Some(layer) = change.table() else {
            let key = change.key();
            known(&key, &change.origin(), task)?;
            remove(&mut table, &key);
            continue;
        };
        check_keys(&layer, &change.origin(), task)?;
        // Typed by itself first: an error then names this --set and no other.
        from_table(layer.clone(), &change.origin())?;
        lay(&mut table, &layer);
    }
    Ok(Loaded { raw: from_table(table, &origin)?, origin })
}

/// Reads a resolved configuration, such as a run directory or a checkpoint keeps.
///
/// # Errors
/// A key that there is none of, or a value of another type.
pub fn from_text(text: &str, origin: &str, task: TaskKind) -> Result<Loaded, ConfigError> {
    from_text_with(text, &[], origin, task)
}

/// As [`from_text`], with `overrides` applied in order.
///
/// # Errors
/// As [`from_text`].
pub fn from_text_with(
    text: &str,
    overrides: &[Override],
    origin: &str,
    task: TaskKind,
) -> Result<Loaded, ConfigError> {
    let Layer { table, .. } = parse(text, origin, task)?;
    change(table, overrides, origin.to_owned(), task)
}

/// Reads the resolved configuration of a run, written by whichever version, with `overrides` applied in order. A key
/// that a version did not know stands for what that version did, so that a run goes on as it began.
///
/// # Errors
/// As [`from_text_with`].
pub fn from_run(
    text: &str,
    overrides: &[Override],
    origin: &str,
    task: TaskKind,
) -> Result<Loaded, ConfigError> {
    let Layer { mut table, .. } = parse(text, origin, task)?;
    if let Some(train) = table.get_mut("train").and_then(toml::Value::as_table_mut) {
        train.entry("ema_warmup").or_insert_with(|| "none".into());
    }
    change(table, overrides, origin.to_owned(), task)
}

/// The configuration as TOML, without the sections that other programs read.
pub(super) fn to_text(raw: &RawConfig, task: TaskKind) -> String {
    let sections = [
        ("model", toml::to_string(&raw.model)),
        ("data", toml::to_string(&raw.data)),
        ("train", toml::to_string(&raw.train)),
        ("optimizer", toml::to_string(&raw.optimizer)),
        ("schedule", toml::to_string(&raw.schedule)),
        ("augment", toml::to_string(&raw.augment)),
        ("eval", toml::to_string(&raw.eval)),
        ("output", toml::to_string(&raw.output)),
        ("detect", toml::to_string(&raw.detect)),
        ("segment", toml::to_string(&raw.segment)),
    ];
    let mut out = String::new();
    for (name, keys) in sections.into_iter().filter(|(name, _)| task.reads(name)) {
        let Ok(keys) = keys else {
            unreachable!("sections hold numbers, strings and lists only, all of which TOML can say");
        };
        out += &format!("{}[{name}]\n{keys}", if out.is_empty() { "" } else { "\n" });
    }
    out
}

/// "section.key: before -> now" for each value in which two configurations differ.
pub(super) fn differences(before: &RawConfig, now: &RawConfig) -> Vec<String> {
    let flat = |raw: &RawConfig| -> Vec<(String, String)> {
        let json = serde_json::to_value(raw).unwrap_or_default();
        let sections = json.as_object().into_iter().flatten();
        sections
            .flat_map(|(s, keys)| {
                keys.as_object().into_iter().flatten().map(move |(k, v)| (format!("{s}.{k}"), v.to_string()))
            })
            .collect()
    };
    flat(before)
        .into_iter()
        .zip(flat(now))
        .filter(|(a, b)| a != b)
        .map(|((key, a), (_, b))| format!("{key}: {a} -> {b}"))
        .collect()
}

/// A file by itself.
struct Layer {
    table: Table,
    /// The file beneath it, as written.
    extends: Option<String>,
    /// Keys of the files beneath it that are taken back.
    unset: Vec<String>,
}

/// Lays `over` on `under`; a key takes those that contradict it away, so that the later one counts.
fn lay(under: &mut Table, over: &Table) {
    for pair in RIVALS {
        let given =
            |key: &str| path_of(key).is_some_and(|(s, k)| over.get(s).and_then(|keys| keys.get(k)).is_some());
        match pair.map(given) {
            [true, false] => remove(under, pair[1]),
            [false, true] => remove(under, pair[0]),
            _ => {}
        }
    }
    merge(under, over);
}

fn path_of(key: &str) -> Option<(&str, &str)> {
    key.split_once('.')
}

fn remove(table: &mut Table, key: &str) {
    if let Some((section, key)) = path_of(key)
        && let Some(keys) = table.get_mut(section).and_then(toml::Value::as_table_mut)
    {
        keys.remove(key);
    }
}

/// Whether there is a key of this name.
fn known(key: &str, origin: &str, task: TaskKind) -> Result<(), ConfigError> {
    let (section, name) = path_of(key).unwrap_or((key, ""));
    let table =
        Table::from_iter([(section.to_owned(), Table::from_iter([(name.to_owned(), true.into())]).into())]);
    check_keys(&table, origin, task)
}

fn read_layer(path: &Path, task: TaskKind) -> Result<Layer, ConfigError> {
    let text = kat_images::files::read_text(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(&text, &path.display().to_string(), task)
}

fn parse(text: &str, origin: &str, task: TaskKind) -> Result<Layer, ConfigError> {
    let syntax = |e: toml::de::Error| ConfigError::Syntax {
        origin: origin.to_owned(),
        message: e.to_string().trim_end().to_owned(),
    };
    let mut table: Table = text.parse().map_err(syntax)?;
    table.remove(EXTENDS);
    table.remove(UNSET);
    check_keys(&table, origin, task)?;
    // From the text and not from the table, because only then does the message have line and column.
    let typed: RawConfig = toml::from_str(text).map_err(syntax)?;
    typed.unset.iter().try_for_each(|key| known(key, origin, task))?;
    Ok(Layer { table, extends: typed.extends, unset: typed.unset })
}

fn from_table(table: Table, origin: &str) -> Result<RawConfig, ConfigError> {
    table.try_into::<RawConfig>().map_err(|e| ConfigError::Syntax {
        origin: origin.to_owned(),
        message: e.to_string().trim_end().replace('\n', "; "),
    })
}

/// Names in `table` that no section has, or that belong to another program.
fn check_keys(table: &Table, origin: &str, task: TaskKind) -> Result<(), ConfigError> {
    let unknown = |key: String| ConfigError::UnknownKey {
        origin: origin.to_owned(),
        hint: suggest::hint(&key, SECTIONS),
        key,
    };
    for (section, value) in table {
        let Some((_, keys)) = SECTIONS.iter().find(|(name, _)| name == section) else {
            return Err(unknown(section.clone()));
        };
        if !task.reads(section) {
            return Err(ConfigError::ForeignSection {
                origin: origin.to_owned(),
                section: section.clone(),
                program: task.program(),
            });
        }
        for key in value.as_table().into_iter().flat_map(Table::keys) {
            if !keys.iter().any(|k| k.name == key) {
                return Err(unknown(format!("{section}.{key}")));
            }
        }
    }
    Ok(())
}

/// `base` as written in `path`: relative to that file.
fn resolve(path: &Path, base: &str) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(base)
}

#[cfg(test)]
mod tests;
