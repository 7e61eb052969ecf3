//! One folder of images with the labels in a text file.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::classes::is_wnid;
use crate::folder::ImageFolder;
use kat_images::names::is_image;

use super::ImageNetError;
use kat_images::decode::DecodeOptions;

/// ILSVRC's validation folder: line `i` of `ground_truth` is the ILSVRC id (from 1) of the `i`-th image by
/// name, and `synset_map` gives the wnid of each id (`1 n02119789 …` or `n02119789 1 …` a line). Class indices
/// follow `known` (the training folders), or the sorted wnids.
///
/// # Errors
/// Files that cannot be read, a number of lines other than that of the images, an id without a wnid, a wnid
/// that is not in `known`.
pub fn open_ilsvrc(
    images: &Path,
    ground_truth: &Path,
    synset_map: &Path,
    known: Option<&[String]>,
    decode: DecodeOptions,
) -> Result<ImageFolder, ImageNetError> {
    let wnids = read_synset_map(synset_map)?;
    let classes = known.map_or_else(
        || {
            let mut sorted: Vec<String> = wnids.values().cloned().collect();
            sorted.sort_unstable();
            sorted
        },
        <[String]>::to_vec,
    );
    let names = list_images(images)?;
    let text = read_text(ground_truth)?;
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if lines.len() != names.len() {
        let expected = format!("{}, one for each image in {}", names.len(), images.display());
        return Err(ImageNetError::format(
            ground_truth,
            "the file",
            format!("{} lines", lines.len()),
            expected,
        ));
    }
    let mut items = Vec::with_capacity(names.len());
    for (i, (name, line)) in names.into_iter().zip(lines).enumerate() {
        let wnid = line.parse().ok().and_then(|id: u32| wnids.get(&id)).ok_or_else(|| {
            let expected = format!("an id listed in {}", synset_map.display());
            ImageNetError::format(ground_truth, format!("line {}", i + 1), line, expected)
        })?;
        let class = classes.iter().position(|c| c == wnid);
        let class = class.ok_or_else(|| ImageNetError::unknown_class(ground_truth, wnid, &classes))?;
        items.push((name, class as u32));
    }
    Ok(ImageFolder { root: images.to_owned(), classes, items, decode, unsupported: 0 })
}

/// Images named by a list, `file label` a line (space, tab or comma between them, `#` starts a comment). A
/// label is a class name of `classes`, or the index of one.
///
/// # Errors
/// A list that cannot be read, a line without label, a label that is no class, a file listed twice. Whether
/// the files exist is found out when they are read.
pub fn open_list(
    images: &Path,
    list: &Path,
    classes: &[String],
    decode: DecodeOptions,
) -> Result<ImageFolder, ImageNetError> {
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    for (i, line) in read_text(list)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = || format!("line {}", i + 1);
        let separator = |c: char| c.is_whitespace() || c == ',';
        let (name, label) = line
            .rsplit_once(separator)
            .map(|(name, label)| (name.trim_end_matches(separator), label))
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| ImageNetError::format(list, at(), line, "`file label`"))?;
        let class = match classes.iter().position(|c| c == label) {
            Some(class) => class,
            None => match label.parse::<usize>() {
                Ok(class) if class < classes.len() => class,
                Ok(_) => {
                    let expected = format!("a label in 0..{}", classes.len());
                    return Err(ImageNetError::format(list, at(), label, expected));
                }
                Err(_) => return Err(ImageNetError::unknown_class(list, label, classes)),
            },
        };
        if !seen.insert(name.to_owned()) {
            return Err(ImageNetError::format(list, at(), name, "each file once"));
        }
        items.push((name.to_owned(), class as u32));
    }
    if items.is_empty() {
        return Err(ImageNetError::Empty { path: list.to_owned(), expected: "`file label` a line" });
    }
    Ok(ImageFolder { root: images.to_owned(), classes: classes.to_vec(), items, decode, unsupported: 0 })
}

/// ILSVRC id → wnid.
fn read_synset_map(path: &Path) -> Result<BTreeMap<u32, String>, ImageNetError> {
    let mut map = BTreeMap::new();
    for (i, line) in read_text(path)?.lines().enumerate() {
        let mut words = line.split_whitespace();
        let (Some(a), b) = (words.next(), words.next().unwrap_or_default()) else { continue };
        let (id, wnid) = if is_wnid(a) { (b, a) } else { (a, b) };
        let wrong = || ImageNetError::format(path, format!("line {}", i + 1), line, "`id wnid` or `wnid id`");
        let id: u32 = id.parse().map_err(|_| wrong())?;
        if !is_wnid(wnid) || map.insert(id, wnid.to_owned()).is_some() {
            return Err(wrong());
        }
    }
    Ok(map)
}

fn list_images(folder: &Path) -> Result<Vec<String>, ImageNetError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(ImageNetError::io(folder))? {
        let name = entry.map_err(ImageNetError::io(folder))?.file_name();
        names.extend(name.into_string().ok().filter(|n| is_image(n) && !n.starts_with('.')));
    }
    names.sort_unstable();
    if names.is_empty() {
        return Err(ImageNetError::Empty { path: folder.to_owned(), expected: "image files" });
    }
    Ok(names)
}

fn read_text(path: &Path) -> Result<String, ImageNetError> {
    kat_images::files::read_text(path).map_err(ImageNetError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn ilsvrc_ids_become_sorted_wnids() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("val")).unwrap();
        ["ILSVRC2012_val_00000002.JPEG", "ILSVRC2012_val_00000001.JPEG", "notes.txt"]
            .iter()
            .for_each(|n| fs::write(at("val").join(n), "").unwrap());
        fs::write(at("truth"), "2\n1\n").unwrap();
        for map in ["1 n00000002 b\n2 n00000001 a\n", "n00000002 1 b\nn00000001 2 a\n"] {
            fs::write(at("map"), map).unwrap();
            let data =
                open_ilsvrc(&at("val"), &at("truth"), &at("map"), None, DecodeOptions::default()).unwrap();
            assert_eq!(data.items[0], ("ILSVRC2012_val_00000001.JPEG".into(), 0));
            assert_eq!(data.items[1].1, 1);
        }
        fs::write(at("truth"), "2\n3\n").unwrap();
        let error = open_ilsvrc(&at("val"), &at("truth"), &at("map"), None, DecodeOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2: found \"3\""), "{error}");
        fs::write(at("truth"), "2\n").unwrap();
        let error = open_ilsvrc(&at("val"), &at("truth"), &at("map"), None, DecodeOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("\"1 lines\", expected 2"), "{error}");
    }

    #[test]
    fn lists_take_names_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let list = dir.path().join("list.txt");
        let classes = ["cat".to_owned(), "dog".to_owned()];
        let open = |text: &str| {
            fs::write(&list, text).unwrap();
            open_list(dir.path(), &list, &classes, DecodeOptions::default())
        };
        let data = open("# made by hand\na b.jpg dog\nc.jpg\t0\nd.jpg, 1\n").unwrap();
        let expected = [("a b.jpg".to_owned(), 1), ("c.jpg".to_owned(), 0), ("d.jpg".to_owned(), 1)];
        assert_eq!(data.items, expected);
        for (text, part) in [
            ("a.jpg 2", "line 1: found \"2\", expected a label in 0..2"),
            ("a.jpg Dog", "nearest: \"dog\""),
            ("a.jpg", "expected `file label`"),
            ("a.jpg 0\na.jpg 1", "line 2: found \"a.jpg\", expected each file once"),
            ("", "no images"),
        ] {
            let error = open(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
