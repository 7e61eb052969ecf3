//! Class names: the 150 of ADE20K SceneParsing, or those of a file.

use std::path::Path;

use crate::LabelError;
use kat_images::files::read_text;

/// The 150 SceneParsing classes in the order of their indices after `reduce_zero_label`.
pub const NAMES: [&str; 150] = [
    "wall",
    "building",
    "sky",
    "floor",
    "tree",
    "ceiling",
    "road",
    "bed",
    "windowpane",
    "grass",
    "cabinet",
    "sidewalk",
    "person",
    "earth",
    "door",
    "table",
    "mountain",
    "plant",
    "curtain",
    "chair",
    "car",
    "water",
    "painting",
    "sofa",
    "shelf",
    "house",
    "sea",
    "mirror",
    "rug",
    "field",
    "armchair",
    "seat",
    "fence",
    "desk",
    "rock",
    "wardrobe",
    "lamp",
    "bathtub",
    "railing",
    "cushion",
    "base",
    "box",
    "column",
    "signboard",
    "chest of drawers",
    "counter",
    "sand",
    "sink",
    "skyscraper",
    "fireplace",
    "refrigerator",
    "grandstand",
    "path",
    "stairs",
    "runway",
    "case",
    "pool table",
    "pillow",
    "screen door",
    "stairway",
    "river",
    "bridge",
    "bookcase",
    "blind",
    "coffee table",
    "toilet",
    "flower",
    "book",
    "hill",
    "bench",
    "countertop",
    "stove",
    "palm",
    "kitchen island",
    "computer",
    "swivel chair",
    "boat",
    "bar",
    "arcade machine",
    "hovel",
    "bus",
    "towel",
    "light",
    "truck",
    "tower",
    "chandelier",
    "awning",
    "streetlight",
    "booth",
    "television receiver",
    "airplane",
    "dirt track",
    "apparel",
    "pole",
    "land",
    "bannister",
    "escalator",
    "ottoman",
    "bottle",
    "buffet",
    "poster",
    "stage",
    "van",
    "ship",
    "fountain",
    "conveyer belt",
    "canopy",
    "washer",
    "plaything",
    "swimming pool",
    "stool",
    "barrel",
    "basket",
    "waterfall",
    "tent",
    "bag",
    "minibike",
    "cradle",
    "oven",
    "ball",
    "food",
    "step",
    "tank",
    "trade name",
    "microwave",
    "pot",
    "animal",
    "bicycle",
    "lake",
    "dishwasher",
    "screen",
    "blanket",
    "sculpture",
    "hood",
    "sconce",
    "vase",
    "traffic light",
    "tray",
    "ashcan",
    "fan",
    "pier",
    "crt screen",
    "plate",
    "monitor",
    "bulletin board",
    "shower",
    "radiator",
    "glass",
    "clock",
    "flag",
];

/// Class names of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// One name a line: of class 0, 1, 2, …
    Listed(Vec<String>),
    /// A table that says which label a name is of: 1, 2, 3, …
    FromOne(Vec<String>),
}

impl Names {
    /// The names alone.
    pub fn into_names(self) -> Vec<String> {
        match self {
            Self::Listed(names) | Self::FromOne(names) => names,
        }
    }
}

/// Reads class names: SceneParsing's table (`Idx`, `Ratio`, …, `Name`, tabs between), or one name a line.
///
/// # Errors
/// A file that cannot be read, a table whose `Idx` is not 1, 2, 3, …, or a file without names.
pub fn read_names(path: &Path) -> Result<Vec<String>, LabelError> {
    Ok(read(path)?.into_names())
}

/// As [`read_names`], with which labels the names are of.
///
/// # Errors
/// As [`read_names`].
pub fn read(path: &Path) -> Result<Names, LabelError> {
    let text = read_text(path).map_err(LabelError::io(path))?;
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let wrong = |found: &str, expected: &str| LabelError::Names {
        path: path.to_owned(),
        found: found.into(),
        expected: expected.into(),
    };
    let Some(first) = lines.first() else { return Err(wrong("an empty file", "class names")) };
    let columns: Vec<&str> = first.split('\t').map(str::trim).collect();
    let (Some(idx), Some(name)) =
        (columns.iter().position(|c| *c == "Idx"), columns.iter().position(|c| *c == "Name"))
    else {
        return Ok(Names::Listed(lines.iter().map(|l| l.trim().to_owned()).collect()));
    };
    let names: Result<Vec<String>, LabelError> = lines[1..]
        .iter()
        .enumerate()
        .map(|(i, line)| {
            let cells: Vec<&str> = line.split('\t').map(str::trim).collect();
            match (cells.get(idx), cells.get(name)) {
                (Some(number), Some(name)) if number.parse() == Ok(i + 1) => Ok((*name).to_owned()),
                _ => Err(wrong(line, &format!("a row with Idx {}", i + 1))),
            }
        })
        .collect();
    names.map(Names::FromOne)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_in_place() {
        let mut sorted = NAMES.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 150);
        assert_eq!((NAMES[0], NAMES[12], NAMES[149]), ("wall", "person", "flag"));
    }

    #[test]
    fn tables_and_lists() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read_names(file.path())
        };
        let table = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t5\t1\t0\twall\n2\t0.1\t5\t1\t0\tsky, air\n";
        assert_eq!(read(table).unwrap(), ["wall", "sky, air"]);
        assert_eq!(read("\u{feff}road\r\nside walk\r\n\r\n").unwrap(), ["road", "side walk"]);
        assert_eq!(read("road\nside walk\n").unwrap(), ["road", "side walk"]);
        assert!(read(&table.replace("\n2", "\n3")).unwrap_err().to_string().contains("a row with Idx 2"));
        assert!(read("").is_err());
    }
}
