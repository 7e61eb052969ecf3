//! metrics.csv: the records of metrics.jsonl as a table, for spreadsheets. A column keeps its place: values that appear later
//! in a run get columns to the right of those that are there, and the file is then written anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::metrics_log::Record;
use super::run_dir::write_atomic;

/// The table of a run under way.
#[derive(Debug)]
pub struct MetricsCsv {
    path: PathBuf,
    file: File,
    /// Beside "step", in the order in which they appeared.
    columns: Vec<String>,
}

impl MetricsCsv {
    /// A table of the `records` so far: none for a run from the start. One that is there already keeps its columns.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn of(path: &Path, records: &[Record]) -> io::Result<Self> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let columns = text.lines().next().map(names).unwrap_or_default();
        Self::with(path, columns, records)
    }

    /// A table with these columns first.
    fn with(path: &Path, mut columns: Vec<String>, records: &[Record]) -> io::Result<Self> {
        records.iter().for_each(|record| add_new(&mut columns, record));
        let mut text = head(&columns);
        records.iter().for_each(|record| text += &line(&columns, record));
        write_atomic(path, text.as_bytes())?;
        Ok(Self { path: path.to_owned(), file: OpenOptions::new().append(true).open(path)?, columns })
    }

    /// Adds a record, in one write; `all` gives those so far, this one among them, should there be a column that is new.
    ///
    /// # Errors
    /// A full disk or the like.
    pub fn push(&mut self, record: &Record, all: impl FnOnce() -> io::Result<Vec<Record>>) -> io::Result<()> {
        if record.values.iter().all(|(name, _)| self.columns.contains(name)) {
            return self.file.write_all(line(&self.columns, record).as_bytes());
        }
        add_new(&mut self.columns, record);
        *self = Self::with(&self.path, std::mem::take(&mut self.columns), &all()?)?;
        Ok(())
    }
}

fn add_new(columns: &mut Vec<String>, record: &Record) {
    for (name, _) in &record.values {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
}

fn head(columns: &[String]) -> String {
    let names: String = columns.iter().map(|name| format!(",{}", quoted(name))).collect();
    format!("step{names}\n")
}

/// A value that was not measured is empty, one that is no number is "nan".
fn line(columns: &[String], record: &Record) -> String {
    let value = |name: &String| match record.get(name) {
        None => ",".to_owned(),
        Some(v) if v.is_nan() => ",nan".to_owned(),
        Some(v) => format!(",{v}"),
    };
    format!("{}{}\n", record.step, columns.iter().map(value).collect::<String>())
}

/// The columns beside "step" of a head that [`head`] wrote.
fn names(head: &str) -> Vec<String> {
    let (mut names, mut name, mut inside) = (Vec::new(), String::new(), false);
    let mut characters = head.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if inside && characters.peek() == Some(&'"') => name.extend(characters.next()),
            '"' => inside = !inside,
            ',' if !inside => names.push(std::mem::take(&mut name)),
            c => name.push(c),
        }
    }
    names.push(name);
    names.split_off(1)
}

fn quoted(name: &str) -> String {
    match name.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_places_and_new_ones_come_to_the_right() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.csv");
        let mut all = Vec::new();
        let mut csv = MetricsCsv::of(&path, &all).unwrap();
        for record in [
            Record::new(1, &[("loss", 2.5), ("lr", 1e-3)]),
            Record::new(2, &[("loss", f64::NAN), ("lr", 2e-3)]),
            Record::new(2, &[("val/top1", 0.5), ("a,\"b\"", 1.0)]),
            Record::new(3, &[("loss", 1.0)]),
        ] {
            all.push(record.clone());
            csv.push(&record, || Ok(all.clone())).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let expected =
            "step,loss,lr,val/top1,\"a,\"\"b\"\"\"\n1,2.5,0.001,,\n2,nan,0.002,,\n2,,,0.5,1\n3,1,,,\n";
        assert_eq!(text, expected);
        // a run that goes on has the same columns, without the records that it makes again
        MetricsCsv::of(&path, &all[..3]).unwrap();
        let resumed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(resumed, text.split_inclusive('\n').take(4).collect::<String>());
    }
}
