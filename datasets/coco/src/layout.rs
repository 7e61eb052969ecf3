//! Where a COCO folder keeps what: `annotations/instances_<split>.json` and the images in `<split>/`, `images/<split>/` or
//! `images/`; `<split>/_annotations.coco.json` beside the images (Roboflow); `result.json` (Label Studio); or one file.

use std::path::{Path, PathBuf};

use super::check::OnProblem;
use super::dataset::CocoDataset;
use super::error::CocoError;
use super::json::CocoFile;

/// Roboflow's file in each part's folder.
pub const ROBOFLOW: &str = "_annotations.coco.json";
/// Label Studio's file.
const LABEL_STUDIO: &str = "result.json";
/// How many images of a file say which folder they are in.
const LOOKED_FOR: usize = 8;

/// One annotation file with the folders that its images may be in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What follows `instances_` in the file's name, e.g. `val2017`, or the folder it is in.
    pub name: String,
    /// The annotation file.
    pub annotations: PathBuf,
    /// Folders that its file names may be relative to, the usual first.
    pub folders: Vec<PathBuf>,
}

impl Split {
    /// The split of one annotation file, wherever it is.
    pub fn of_file(file: &Path) -> Self {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = stem.strip_prefix("instances_").unwrap_or(&stem).to_owned();
        let beside = file.parent().unwrap_or(Path::new("")).to_owned();
        let mut folders = below(&beside, &name);
        folders.insert(0, beside.clone());
        if let Some(above) = beside.parent().filter(|_| beside.ends_with("annotations")) {
            folders.extend(below(above, &name));
            folders.push(above.to_owned());
        }
        Self { name, annotations: file.to_owned(), folders }
    }

    /// Reads and checks the file; its images are in the folder that has the first of them.
    ///
    /// # Errors
    /// As [`CocoDataset::open`].
    pub fn read(&self, on_problem: OnProblem) -> Result<CocoDataset, CocoError> {
        let file = self.file()?;
        let folder = self.folder(&file);
        CocoDataset::new(file, &folder, on_problem)
    }

    /// Reads the file, without headings where it is Roboflow's.
    ///
    /// # Errors
    /// As [`CocoFile::read`].
    pub fn file(&self) -> Result<CocoFile, CocoError> {
        let mut file = CocoFile::read(&self.annotations)?;
        if self.annotations.ends_with(ROBOFLOW) {
            file.drop_headings();
        }
        Ok(file)
    }

    /// The folder that has the most of the file's first images; where none has one, the first that is there.
    pub fn folder(&self, file: &CocoFile) -> PathBuf {
        let first = || file.images.iter().take(LOOKED_FOR);
        let has = |folder: &PathBuf| first().filter(|image| folder.join(&image.file_name).is_file()).count();
        let best = self.folders.iter().rev().max_by_key(|folder| has(folder));
        let there = || self.folders.iter().find(|folder| folder.is_dir());
        best.filter(|folder| has(folder) > 0).or_else(there).cloned().unwrap_or_default()
    }
}

/// Where the images of a split usually are below `root`.
fn below(root: &Path, name: &str) -> Vec<PathBuf> {
    vec![root.join(name), root.join("images").join(name), root.join("images")]
}

/// The splits under `root`, by name, or the one that `root` is the file of.
///
/// # Errors
/// There are none, or `root` cannot be listed.
pub fn splits(root: &Path) -> std::io::Result<Vec<Split>> {
    if root.is_file() {
        return Ok(vec![Split::of_file(root)]);
    }
    let mut found = Vec::new();
    let annotations = root.join("annotations");
    if annotations.is_dir() {
        for entry in std::fs::read_dir(&annotations)? {
            let annotations = entry?.path();
            let stem = annotations.file_stem().and_then(|s| s.to_str());
            let is_json = annotations.extension().is_some_and(|e| e == "json");
            let Some(name) = stem.filter(|_| is_json).and_then(|s| s.strip_prefix("instances_")) else {
                continue;
            };
            // LVIS file names begin with the split folder, so the root itself is right when none of these exists.
            let folders = below(root, name).into_iter().chain([root.to_owned()]).collect();
            found.push(Split { name: name.to_owned(), annotations, folders });
        }
    }
    if found.is_empty() && root.is_dir() {
        found = beside_images(root)?;
    }
    if found.is_empty() {
        let what = if root.is_dir() { "no annotations" } else { "no such folder or file" };
        let reason = format!(
            "{what}: expected annotations/instances_<split>.json, <split>/{ROBOFLOW}, {LABEL_STUDIO}, or the \
             annotation file itself (data convert reads other formats)"
        );
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, reason));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Roboflow's and Label Studio's files.
fn beside_images(root: &Path) -> std::io::Result<Vec<Split>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let folder = entry?.path();
        let annotations = folder.join(ROBOFLOW);
        if let Some(name) = folder.file_name().filter(|_| annotations.is_file()) {
            found.push(Split {
                name: name.to_string_lossy().into_owned(),
                annotations,
                folders: vec![folder.clone()],
            });
        }
    }
    let alone = [ROBOFLOW, LABEL_STUDIO].map(|name| root.join(name));
    if let Some(file) = alone.iter().find(|file| found.is_empty() && file.is_file()) {
        found.push(Split { name: "all".to_owned(), ..Split::of_file(file) });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of these files, `.json` ones of one image each called as the second word says.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, image) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                r#"{{"images": [{{"id": 1, "file_name": "{image}", "width": 1, "height": 1}}], "annotations": [],
                    "categories": [{{"id": 0, "name": "pets"}}, {{"id": 1, "name": "cat", "supercategory": "pets"}}]}}"#
            );
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn images(split: &Split, root: &Path) -> String {
        let folder = split.folder(&split.file().unwrap());
        folder.strip_prefix(root).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn splits_are_found_with_their_images() {
        let dir = folder(&[
            ("annotations/instances_val2017.json", "a.jpg"),
            ("annotations/instances_train.json", "b.jpg"),
            ("annotations/captions_val2017.json", "c.jpg"),
        ]);
        let root = dir.path();
        for sub in ["val2017", "images/train"] {
            std::fs::create_dir_all(root.join(sub)).unwrap();
        }
        let found = splits(root).unwrap();
        let found: Vec<_> = found.iter().map(|s| (s.name.as_str(), images(s, root))).collect();
        assert_eq!(found, [("train", "images/train".to_owned()), ("val2017", "val2017".to_owned())]);
        let error = splits(&root.join("val2017")).unwrap_err().to_string();
        assert!(error.contains("instances_<split>.json") && error.contains(ROBOFLOW), "{error}");
        assert!(splits(&root.join("nothing")).is_err());
    }

    #[test]
    fn roboflow_label_studio_and_one_file() {
        let dir = folder(&[
            ("train/_annotations.coco.json", "a.jpg"),
            ("valid/_annotations.coco.json", "b.jpg"),
            ("train/a.jpg", ""),
            ("mine/labels.json", "x/c.jpg"),
            ("mine/images/x/c.jpg", ""),
            ("studio/result.json", "images/d.jpg"),
            ("studio/images/d.jpg", ""),
        ]);
        let root = dir.path();
        let found = splits(root).unwrap();
        assert_eq!(found.iter().map(|s| &s.name[..]).collect::<Vec<_>>(), ["train", "valid"]);
        assert_eq!((images(&found[0], root), images(&found[1], root)), ("train".into(), "valid".into()));
        // the heading of the others is no category
        assert_eq!(found[0].file().unwrap().categories.len(), 1);
        let one = splits(&root.join("mine/labels.json")).unwrap().remove(0);
        assert_eq!((&one.name[..], &images(&one, root)[..]), ("labels", "mine/images"));
        assert_eq!(one.file().unwrap().categories.len(), 2);
        let studio = splits(&root.join("studio")).unwrap().remove(0);
        assert_eq!((&studio.name[..], &images(&studio, root)[..]), ("all", "studio"));
    }
}
