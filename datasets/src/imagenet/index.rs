//! The scan of a folder dataset, cached on disk: listing 1.28 million files takes far longer than asking
//! 1,000 folders for their modification time.
//!
//! The cache of `data/train` is `data/.kat-index/train.json`, beside and not inside the scanned folder, whose
//! modification time it would change. It is used only if every folder scanned has the modification time it had
//! then. A folder changed less than [`SETTLED`] before the scan could change again within the resolution of
//! the clock, so its cache is not trusted. A cache that cannot be read is rebuilt; where none can be written
//! (read-only data) the scan goes on without.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ImageNetError, is_image};

/// Age that a folder's last change must have at the time of the scan.
pub const SETTLED: Duration = Duration::from_millis(1500);
/// Raised when the meaning of the file changes.
const VERSION: u32 = 1;

/// All images below a folder of class folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    version: u32,
    scanned: u64,
    modified: u64,
    /// Class folders, sorted by name, those without images included.
    pub classes: Vec<String>,
    /// Every folder below, sorted by path.
    pub folders: Vec<Folder>,
}

/// A folder of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Path relative to the root, with `/`.
    pub path: String,
    /// Index of the class.
    pub class: u32,
    /// Image files, sorted by name.
    pub files: Vec<String>,
    modified: u64,
}

/// Whether to use the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Read and write it.
    On,
    /// Scan, and write nothing.
    Off,
}

/// Where an index came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Cache,
    /// From a scan, which was then cached.
    Scan,
    /// From a scan; no cache was written.
    Uncached,
}

impl Index {
    /// The index of `root`, from the cache if it is still right.
    ///
    /// # Errors
    /// Only those of [`Index::scan`]: trouble with the cache is logged, not returned.
    pub fn open(root: &Path, caching: Caching) -> Result<(Self, Origin), ImageNetError> {
        let Some(cache) = cache_path(root).filter(|_| caching == Caching::On) else {
            return Ok((Self::scan(root)?, Origin::Uncached));
        };
        match Self::read(&cache) {
            Ok(Some(index)) if index.is_current(root) => return Ok((index, Origin::Cache)),
            Ok(_) => {}
            Err(reason) => tracing::warn!("{}: {reason}; the index is rebuilt", cache.display()),
        }
        let index = Self::scan(root)?;
        match index.write(&cache) {
            Ok(()) => Ok((index, Origin::Scan)),
            Err(reason) => {
                tracing::info!("{}: {reason}; going on without a cached index", cache.display());
                Ok((index, Origin::Uncached))
            }
        }
    }

    /// Lists `root/<class>/**`; names starting with a dot and files that are not images are passed over.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn scan(root: &Path) -> Result<Self, ImageNetError> {
        let scanned = nanos(SystemTime::now());
        let modified = modified(root).map_err(ImageNetError::io(root))?;
        let (classes, _) = list(root)?;
        let nested: Vec<Vec<Folder>> = classes
            .par_iter()
            .enumerate()
            .map(|(class, name)| {
                let mut found = Vec::new();
                let mut open = vec![name.clone()];
                while let Some(path) = open.pop() {
                    let full = root.join(&path);
                    // before listing: a change in between makes the index old, not wrong
                    let modified = self::modified(&full).map_err(ImageNetError::io(&full))?;
                    let (below, files) = list(&full)?;
                    open.extend(below.iter().map(|b| format!("{path}/{b}")));
                    found.push(Folder { path, class: class as u32, files, modified });
                }
                found.sort_by(|a, b| a.path.cmp(&b.path));
                Ok(found)
            })
            .collect::<Result<_, ImageNetError>>()?;
        let folders = nested.into_iter().flatten().collect();
        Ok(Self { version: VERSION, scanned, modified, classes, folders })
    }

    /// The cache, if there is one of this version.
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let index: Self = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        if index.folders.iter().any(|f| f.class as usize >= index.classes.len()) {
            return Err("a class out of range".into());
        }
        Ok((index.version == VERSION).then_some(index))
    }

    fn is_current(&self, root: &Path) -> bool {
        let same = |path: &Path, then: u64| {
            then.saturating_add(SETTLED.as_nanos() as u64) < self.scanned
                && modified(path).is_ok_and(|now| now == then)
        };
        same(root, self.modified) && self.folders.par_iter().all(|f| same(&root.join(&f.path), f.modified))
    }

    /// Written under another name and renamed: a reader sees the old file or the new one, whole.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let written = (|| {
            let mut file = fs::File::create(&part)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            fs::rename(&part, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&part);
        }
        written
    }
}

fn cache_path(root: &Path) -> Option<PathBuf> {
    // `data/train/..` and the like have no name of their own
    let root = root.canonicalize().ok()?;
    let name = root.file_name()?.to_str()?;
    Some(root.parent()?.join(".kat-index").join(format!("{name}.json")))
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

fn modified(path: &Path) -> std::io::Result<u64> {
    Ok(nanos(fs::metadata(path)?.modified()?))
}

/// Sorted folders and images in a folder; links are followed.
fn list(path: &Path) -> Result<(Vec<String>, Vec<String>), ImageNetError> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).map_err(ImageNetError::io(path))? {
        let entry = entry.map_err(ImageNetError::io(path))?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!("{}: passed over, its name is not UTF-8", entry.path().display());
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(ImageNetError::io(&entry.path()))?;
        // only a link costs a second look
        if kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()) {
            folders.push(name);
        } else if is_image(&name) {
            files.push(name);
        }
    }
    folders.sort_unstable();
    files.sort_unstable();
    Ok((folders, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(path: &Path) {
        let old = SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(path).unwrap().set_modified(old).unwrap();
    }

    fn dataset() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("train");
        for name in ["b/1.JPEG", "a/2.png", "a/deep/3.Jpg", "a/notes.txt", ".git/4.jpg"] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        ["", "a", "a/deep", "b"].iter().for_each(|f| settle(&root.join(f)));
        (dir, root)
    }

    #[test]
    fn the_cache_is_used_until_a_folder_changes() {
        let (_dir, root) = dataset();
        let (first, origin) = Index::open(&root, Caching::On).unwrap();
        assert_eq!(origin, Origin::Scan);
        assert_eq!(first.classes, ["a", "b"]);
        let files: usize = first.folders.iter().map(|f| f.files.len()).sum();
        assert_eq!(files, 3);
        assert_eq!(Index::open(&root, Caching::On).unwrap(), (first.clone(), Origin::Cache));

        fs::write(root.join("a/deep/5.jpg"), "").unwrap();
        let (second, origin) = Index::open(&root, Caching::On).unwrap();
        assert_eq!(origin, Origin::Scan);
        assert_eq!(second.folders[1].files, ["3.Jpg", "5.jpg"]);
        // just changed: not trusted yet
        assert_eq!(Index::open(&root, Caching::On).unwrap().1, Origin::Scan);
        settle(&root.join("a/deep"));
        Index::open(&root, Caching::On).unwrap();
        assert_eq!(Index::open(&root, Caching::On).unwrap().1, Origin::Cache);
        fs::create_dir(root.join("c")).unwrap();
        assert_eq!(Index::open(&root, Caching::On).unwrap().0.classes, ["a", "b", "c"]);
    }

    #[test]
    fn a_broken_cache_is_rebuilt() {
        let (dir, root) = dataset();
        Index::open(&root, Caching::On).unwrap();
        let cache = dir.path().join(".kat-index/train.json");
        let good = fs::read_to_string(&cache).unwrap();
        for bad in ["", "{", "[]", &good[..good.len() / 2], &good.replace("\"class\":1", "\"class\":9")] {
            fs::write(&cache, bad).unwrap();
            let (index, origin) = Index::open(&root, Caching::On).unwrap();
            assert_eq!((index.classes.len(), origin), (2, Origin::Scan), "{bad}");
            assert_eq!(Index::open(&root, Caching::On).unwrap().1, Origin::Cache);
        }
    }

    #[test]
    fn without_a_place_for_the_cache_it_goes_on() {
        let (dir, root) = dataset();
        // a file where the cache's folder should be: unwritable for every user, root included
        fs::write(dir.path().join(".kat-index"), "").unwrap();
        assert_eq!(Index::open(&root, Caching::On).unwrap().1, Origin::Uncached);
        assert_eq!(Index::open(&root, Caching::Off).unwrap().1, Origin::Uncached);
        assert!(matches!(Index::open(&dir.path().join("none"), Caching::On), Err(ImageNetError::Io { .. })));
    }
}
