//! `--set section.key=value` and `--unset section.key`: single values changed from the command line.

use toml::{Table, Value};

use super::error::ConfigError;

/// A flag and what it takes.
type Form = (&'static str, &'static str);
const SET: Form = ("--set", "section.key=value, for example --set optimizer.lr=5e-4");
const UNSET: Form = ("--unset", "section.key, for example --unset train.steps");

fn bad((flag, form): Form, text: &str, reason: &str) -> ConfigError {
    ConfigError::BadOverride { flag, form, text: text.to_owned(), reason: reason.to_owned() }
}

/// One `--set` or `--unset`, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// As typed, for messages.
    pub text: String,
    /// Section name.
    pub section: String,
    /// Key in the section.
    pub key: String,
    /// The value, as TOML reads it; text that is not TOML is a string, so that quotes may be left out. None takes the value
    /// back.
    pub value: Option<Value>,
}

impl Override {
    /// Parses `section.key=value`.
    ///
    /// # Errors
    /// A text that is not `section.key=value`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let (path, value) = text.split_once('=').ok_or_else(|| bad(SET, text, "there is no \"=\""))?;
        Self::of(text, path, Some(parse_value(value.trim())))
    }

    /// Parses `section.key` of `--unset`.
    ///
    /// # Errors
    /// A text that is not `section.key`.
    pub fn unset(text: &str) -> Result<Self, ConfigError> {
        Self::of(text, text, None)
    }

    fn of(text: &str, path: &str, value: Option<Value>) -> Result<Self, ConfigError> {
        let form = if value.is_some() { SET } else { UNSET };
        let (section, key) = (path.trim().split_once('.'))
            .ok_or_else(|| bad(form, text, "the key has no section before a dot"))?;
        if section.is_empty() || key.is_empty() || key.contains('.') {
            return Err(bad(form, text, "the key is not of the form section.key"));
        }
        Ok(Override { text: text.to_owned(), section: section.to_owned(), key: key.to_owned(), value })
    }

    /// Where the value comes from, for messages.
    pub fn origin(&self) -> String {
        format!("--{}set {}", if self.value.is_none() { "un" } else { "" }, self.text)
    }

    /// `section.key`.
    pub fn key(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The value as a table of its own; none where one is taken back.
    pub fn table(&self) -> Option<Table> {
        let inner = Table::from_iter([(self.key.clone(), self.value.clone()?)]);
        Some(Table::from_iter([(self.section.clone(), Value::Table(inner))]))
    }
}

fn parse_value(text: &str) -> Value {
    // A one-key document, because TOML has no grammar for a lone value.
    match format!("v = {text}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => match table.remove("v") {
            Some(value) => value,
            None => Value::String(text.to_owned()),
        },
        _ => Value::String(text.to_owned()),
    }
}

/// Lays `over` on `under`: tables are merged key by key, any other value replaces.
pub fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(a)), Value::Table(b)) => merge(a, b),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_with_bare_words_as_strings() {
        let value = |text: &str| Override::parse(text).unwrap().value.unwrap();
        assert_eq!(value("optimizer.lr=5e-4"), Value::Float(5e-4));
        assert_eq!(value("train.epochs = 3"), Value::Integer(3));
        assert_eq!(value("model.name=kat_tiny"), Value::String("kat_tiny".into()));
        assert_eq!(value("model.name=\"kat_tiny\""), Value::String("kat_tiny".into()));
        assert_eq!(value("data.dir=/a b/c=d"), Value::String("/a b/c=d".into()));
        assert_eq!(value("optimizer.betas=[0.9, 0.95]").as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn malformed_overrides_are_told_how() {
        let message = Override::unset("steps").unwrap_err().to_string();
        assert!(
            message.starts_with("--unset steps: ") && message.contains("--unset train.steps"),
            "{message}"
        );
        for text in ["lr=3", "optimizer.lr", "optimizer.=3", "a.b.c=1", ".lr=1"] {
            let message = Override::parse(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("--set optimizer.lr=5e-4"), "{message}");
        }
    }

    #[test]
    fn merging_keeps_what_is_not_named() {
        let mut under: Table = "[a]\nx = 1\ny = [1, 2]\n[b]\nz = 3".parse().unwrap();
        merge(&mut under, &"[a]\ny = [7]".parse().unwrap());
        assert_eq!(under, "[a]\nx = 1\ny = [7]\n[b]\nz = 3".parse().unwrap());
    }
}
