//! Readable class names from the files users have.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::ImageNetError;
use kat_images::files::read_text;

/// Class names as a file gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassNames {
    /// Name of class 0, 1, …
    Listed(Vec<String>),
    /// Name of a wnid (the folder name), as in `n01440764 tench, Tinca tinca`.
    ByWnid(BTreeMap<String, String>),
}

impl ClassNames {
    /// Reads a JSON list of names, a JSON object (`{"0": "tench"}`, `{"0": ["n01440764", "tench"]}` or
    /// `{"n01440764": "tench"}`), or text: `wnid name` a line where every line starts with a wnid, else one
    /// name a line.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, ImageNetError> {
        Self::parse(path, &read_text(path).map_err(ImageNetError::io(path))?)
    }

    /// As [`ClassNames::read`], from text; `path` is for errors.
    ///
    /// # Errors
    /// Text that cannot be understood.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ImageNetError> {
        if text.trim_start().starts_with(['[', '{']) {
            let value: Value = serde_json::from_str(text).map_err(|e| {
                ImageNetError::format(path, format!("line {}", e.line()), e.to_string(), "valid JSON")
            })?;
            return Self::from_json(path, value);
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        if lines.is_empty() {
            return Err(ImageNetError::format(path, "line 1", "", "class names"));
        }
        let split: Vec<Option<(&str, &str)>> =
            lines.iter().map(|l| l.split_once(char::is_whitespace).filter(|(id, _)| is_wnid(id))).collect();
        if split.iter().all(Option::is_some) {
            let pairs = split.into_iter().flatten();
            return Ok(Self::ByWnid(pairs.map(|(id, name)| (id.into(), name.trim().into())).collect()));
        }
        Ok(Self::Listed(lines.into_iter().map(Into::into).collect()))
    }

    fn from_json(path: &Path, value: Value) -> Result<Self, ImageNetError> {
        let wrong =
            |at: String, found: &Value| ImageNetError::format(path, at, found.to_string(), "a class name");
        match value {
            Value::Array(list) => {
                let name = |(i, v): (usize, &Value)| {
                    v.as_str().map(Into::into).ok_or_else(|| wrong(format!("entry {i}"), v))
                };
                Ok(Self::Listed(list.iter().enumerate().map(name).collect::<Result<_, _>>()?))
            }
            Value::Object(map) => {
                let mut pairs = Vec::with_capacity(map.len());
                for (key, value) in &map {
                    let name = value.as_str().or_else(|| value.as_array()?.last()?.as_str());
                    let name = name.ok_or_else(|| wrong(format!("key \"{key}\""), value))?;
                    pairs.push((key.clone(), name.to_owned()));
                }
                let numbered: Option<BTreeMap<usize, String>> =
                    pairs.iter().map(|(k, n)| Some((k.parse().ok()?, n.clone()))).collect();
                match numbered {
                    Some(names) if names.keys().copied().eq(0..map.len()) => {
                        Ok(Self::Listed(names.into_values().collect()))
                    }
                    Some(names) => {
                        let gap = (0..map.len()).find(|i| !names.contains_key(i)).unwrap_or(0);
                        let expected = format!("keys 0..{} without a gap", map.len());
                        Err(ImageNetError::format(path, format!("key \"{gap}\""), "no entry", expected))
                    }
                    None => Ok(Self::ByWnid(pairs.into_iter().collect())),
                }
            }
            other => Err(wrong("the whole".into(), &other)),
        }
    }

    /// The readable names of `classes` (folder names in the order of their indices).
    ///
    /// # Errors
    /// A list of another length, or a class that the file does not name.
    pub fn of(&self, path: &Path, classes: &[String]) -> Result<Vec<String>, ImageNetError> {
        match self {
            Self::Listed(names) if names.len() == classes.len() => Ok(names.clone()),
            Self::Listed(names) => Err(ImageNetError::format(
                path,
                "the list",
                format!("{} names", names.len()),
                format!("{}, one a class", classes.len()),
            )),
            Self::ByWnid(names) => classes
                .iter()
                .map(|c| {
                    let missing = || ImageNetError::format(path, format!("class {c}"), "no line", "its name");
                    names.get(c).cloned().ok_or_else(missing)
                })
                .collect(),
        }
    }
}

/// `n` and eight digits.
pub(super) fn is_wnid(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClassNames, ImageNetError> {
        ClassNames::parse(Path::new("names"), text)
    }

    fn listed(names: &[&str]) -> ClassNames {
        ClassNames::Listed(names.iter().map(|s| s.to_string()).collect())
    }

    #[test]
    fn every_kind_of_file() {
        let synsets = parse("n01440764 tench, Tinca tinca\nn01443537 goldfish\n").unwrap();
        let folders = ["n01443537".to_owned(), "n01440764".to_owned()];
        assert_eq!(synsets.of(Path::new("names"), &folders).unwrap(), ["goldfish", "tench, Tinca tinca"]);
        assert_eq!(parse("[\"a\", \"b c\"]").unwrap(), listed(&["a", "b c"]));
        assert_eq!(parse("{\"1\": \"b\", \"0\": [\"n01440764\", \"a\"]}").unwrap(), listed(&["a", "b"]));
        assert_eq!(parse("a\r\n\r\nb c\r\n").unwrap(), listed(&["a", "b c"]));
        assert!(matches!(parse("{\"n01440764\": \"a\"}").unwrap(), ClassNames::ByWnid(_)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, part) in [
            ("[1]", "entry 0: found \"1\""),
            ("{\"0\": \"a\", \"2\": \"b\"}", "key \"1\""),
            ("[\"a\"", "expected valid JSON"),
            (" \n", "expected class names"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let error = listed(&["a"]).of(Path::new("names"), &["x".into(), "y".into()]).unwrap_err();
        assert!(error.to_string().contains("found \"1 names\", expected 2"), "{error}");
    }
}
