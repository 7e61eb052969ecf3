//! What `data check` reports of one split of any dataset.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::Size;
use crate::names::spelling;

/// Counts, sizes and faults of one split.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Survey {
    /// Name of the split.
    pub split: String,
    /// Images listed.
    pub images: usize,
    /// Images without a single usable label.
    pub unlabelled: usize,
    /// Labels: objects, labelled images or label maps, usable or not.
    pub labels: usize,
    /// Usable labels of each class, in order of class.
    pub classes: Vec<ClassCount>,
    /// Least and greatest width of the images that could be read.
    pub width: Option<[u32; 2]>,
    /// Least and greatest height.
    pub height: Option<[u32; 2]>,
    /// Files that are missing, damaged or not what the annotations say.
    pub broken: Vec<BrokenFile>,
    /// Stored values of label maps, with the number of images that have each.
    pub values: BTreeMap<u16, usize>,
    /// What is wrong with the split as a whole.
    pub problems: Vec<String>,
    /// What is worth knowing though nothing is wrong with it.
    pub notes: Vec<String>,
    /// How many labels have each kind of fault.
    pub faults: BTreeMap<String, usize>,
    /// A few faults of each kind in words.
    pub examples: Vec<String>,
}

/// How often a class is labelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The class's name.
    pub name: String,
    /// Labels of it.
    pub count: usize,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BrokenFile {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Holds the classes of each split against those of the first, which is trained on: one that it does not have makes
/// evaluation fail or count for nothing, and often is the same under another spelling.
pub fn compare_classes(surveys: &mut [Survey]) {
    let Some((first, others)) = surveys.split_first_mut() else { return };
    for other in others {
        for class in other.classes.iter().filter(|class| class.count > 0) {
            let known = |c: &&ClassCount| c.name == class.name;
            if first.classes.iter().any(|c| known(&c)) {
                continue;
            }
            let near = first.classes.iter().find_map(|c| Some((&c.name, spelling(&c.name, &class.name)?)));
            let near =
                near.map_or_else(String::new, |(name, how)| format!("; {name:?} there differs by {how}"));
            let text = format!("class {:?} is none of the classes of {}{near}", class.name, first.split);
            other.problems.push(text);
        }
        let absent: Vec<&str> = first
            .classes
            .iter()
            .filter(|c| c.count > 0 && !other.classes.iter().any(|o| o.name == c.name && o.count > 0))
            .map(|c| c.name.as_str())
            .collect();
        if !absent.is_empty() {
            other.notes.push(format!("of the classes of {}, never here: {}", first.split, few(&absent)));
        }
    }
}

/// The first of these names.
pub fn few(names: &[&str]) -> String {
    let shown = names.iter().take(12).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > 12 { format!("{shown} and {} more", names.len() - 12) } else { shown }
}

impl Survey {
    /// Notes what never occurs and values that tell of another coding of the labels than the one they are read by.
    pub fn judge_labels(&mut self, ignored_zero: bool) {
        let never: Vec<&str> =
            self.classes.iter().filter(|c| c.count == 0).map(|c| c.name.as_str()).collect();
        if !never.is_empty() {
            self.notes.push(format!("classes that never occur: {}", few(&never)));
        }
        let values: Vec<u16> = self.values.keys().copied().collect();
        let scale = [&[0, 255][..], &[255]].contains(&&values[..]);
        if scale && self.classes.len() >= 2 {
            let text =
                "the only labels are 0 and 255, and 255 is ignored: a second class would be stored as 1";
            self.problems.push(text.to_owned());
        } else if !values.is_empty() && self.classes.iter().all(|c| c.count == 0) {
            let rule = if ignored_zero { " (segment.reduce_zero_label is on)" } else { "" };
            self.problems.push(format!("every label is ignored or no class{rule}"));
        }
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.faults.is_empty() && self.problems.is_empty()
    }

    /// Widens the ranges of width and height.
    pub fn add_size(&mut self, size: Size) {
        let (width, height) = size.dimensions();
        let widen = |range: Option<[u32; 2]>, v: u32| {
            Some(range.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]))
        };
        self.width = widen(self.width, width);
        self.height = widen(self.height, height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(name: &str, classes: &[(&str, usize)]) -> Survey {
        let count = |(name, count): &(&str, usize)| ClassCount { name: (*name).to_owned(), count: *count };
        Survey { split: name.into(), classes: classes.iter().map(count).collect(), ..Survey::default() }
    }

    #[test]
    fn classes_that_differ_by_spelling_are_named() {
        let mut surveys = [
            split("train", &[("cat", 3), ("caf\u{e9}", 2)]),
            split("val", &[("Cat", 1), ("cafe\u{301}", 1)]),
        ];
        compare_classes(&mut surveys);
        let [train, val] = surveys;
        assert!(train.is_clean() && !val.is_clean());
        assert_eq!(val.problems.len(), 2);
        assert!(val.problems[0].contains("upper and lower case"), "{:?}", val.problems);
        assert!(val.problems[1].contains("Unicode form"), "{:?}", val.problems);
        assert!(val.notes[0].contains("never here: \"cat\", \"caf\u{e9}\""), "{:?}", val.notes);
    }

    #[test]
    fn labels_of_another_coding_are_told() {
        let mut survey = split("val", &[("no", 4), ("yes", 0)]);
        survey.values = BTreeMap::from([(0, 4), (255, 4)]);
        survey.judge_labels(false);
        assert!(!survey.is_clean() && survey.notes[0].contains("\"yes\""));
        let mut survey = split("val", &[("a", 0)]);
        survey.values = BTreeMap::from([(0, 4)]);
        survey.judge_labels(true);
        assert!(survey.problems[0].contains("reduce_zero_label"));
    }
}
