//! The scan of a folder dataset, cached on disk: listing 1.28 million files takes far longer than asking
//! 1,000 folders for their modification time.
//!
//! The cache of `data/train` is `data/.kat-index/train.json`, beside and not inside the scanned folder, whose
//! modification time it would change. It is used only if every folder scanned has the modification time it had
//! then. A folder changed less than [`SETTLED`] before the scan could change again within the resolution of
//! the clock, so its cache is not trusted. A cache that cannot be read is rebuilt; where none can be written
//! (read-only data) the scan goes on without.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use kat_images::names::{is_image, is_unsupported_image};

use super::ImageNetError;
use kat_images::files::read_regular;

/// Age that a folder's last change must have at the time of the scan.
pub const SETTLED: Duration = Duration::from_millis(1500);
/// Greatest length of a cache; a hundred million files take less.
const MAX_CACHE_BYTES: u64 = 8 << 30;
/// Raised when the meaning of the file changes.
const VERSION: u32 = 2;

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

/// What every version of the file says.
#[derive(Deserialize)]
struct Version {
    version: u32,
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
    /// Files that end like images of a kind that is not decoded.
    pub unsupported: usize,
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

    /// Lists `root/<class>/**`; names starting with a dot, `__MACOSX` and files that are not images are passed over.
    /// Links are followed, but each real folder is listed once, where it stands by itself or else where the first link
    /// by name leads to it: a link back up would otherwise count images again and again.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn scan(root: &Path) -> Result<Self, ImageNetError> {
        let scanned = nanos(SystemTime::now());
        let modified = modified(root).map_err(ImageNetError::io(root))?;
        let real = root.canonicalize().map_err(ImageNetError::io(root))?;
        let top = list(root)?;
        let mut classes: Vec<String> = top.folders.iter().chain(&top.links).cloned().collect();
        classes.sort_unstable();
        let walks: Vec<Walk> = classes
            .par_iter()
            .enumerate()
            .map(|(class, name)| match top.links.contains(name) {
                true => Ok((Vec::new(), vec![(class as u32, name.clone())])),
                false => walk(root, class as u32, name),
            })
            .collect::<Result<_, ImageNetError>>()?;
        let (nested, links): (Vec<_>, Vec<_>) = walks.into_iter().unzip();
        let mut folders: Vec<Folder> = nested.into_iter().flatten().collect();
        let mut links: VecDeque<(u32, String)> = links.into_iter().flatten().collect();
        let mut seen: HashSet<PathBuf> = HashSet::new();
        if !links.is_empty() {
            seen.extend(folders.iter().map(|f| real.join(&f.path)));
        }
        while let Some((class, path)) = links.pop_front() {
            let full = root.join(&path);
            let target = full.canonicalize().map_err(ImageNetError::io(&full))?;
            if real.starts_with(&target) || seen.contains(&target) {
                tracing::warn!("{}: passed over, {} is listed already", full.display(), target.display());
                continue;
            }
            let (found, more) = walk(root, class, &path)?;
            // a link may lead to a folder above one that is listed already
            let new = |folder: &Folder| {
                let inner = folder.path.strip_prefix(&path).unwrap_or_default().trim_start_matches('/');
                seen.insert(if inner.is_empty() { target.clone() } else { target.join(inner) })
            };
            folders.extend(found.into_iter().filter(new));
            links.extend(more);
        }
        folders.sort_by(|a, b| (a.class, &a.path).cmp(&(b.class, &b.path)));
        Ok(Self { version: VERSION, scanned, modified, classes, folders })
    }

    /// The cache, if there is one of this version.
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match read_regular(path, MAX_CACHE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        // one of another version is no fault: it may lack what this one has
        if serde_json::from_slice(&bytes).is_ok_and(|other: Version| other.version != VERSION) {
            return Ok(None);
        }
        let index: Self = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        if index.folders.iter().any(|f| f.class as usize >= index.classes.len()) {
            return Err("a class out of range".into());
        }
        Ok(Some(index))
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

/// Folders, and the links to others among them with the class that they stand in.
type Walk = (Vec<Folder>, Vec<(u32, String)>);

/// A class folder, or what a link in it leads to, and everything below: its folders, and the links among them.
fn walk(root: &Path, class: u32, name: &str) -> Result<Walk, ImageNetError> {
    let (mut found, mut links) = (Vec::new(), Vec::new());
    let mut open = vec![name.to_owned()];
    while let Some(path) = open.pop() {
        let full = root.join(&path);
        // before listing: a change in between makes the index old, not wrong
        let modified = modified(&full).map_err(ImageNetError::io(&full))?;
        let listed = list(&full)?;
        open.extend(listed.folders.iter().map(|name| format!("{path}/{name}")));
        links.extend(listed.links.iter().map(|name| (class, format!("{path}/{name}"))));
        found.push(Folder { path, class, files: listed.files, unsupported: listed.unsupported, modified });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((found, links))
}

/// What a folder holds, sorted.
#[derive(Default)]
struct Listed {
    folders: Vec<String>,
    /// Links to folders.
    links: Vec<String>,
    files: Vec<String>,
    unsupported: usize,
}

fn list(path: &Path) -> Result<Listed, ImageNetError> {
    let mut listed = Listed::default();
    for entry in fs::read_dir(path).map_err(ImageNetError::io(path))? {
        let entry = entry.map_err(ImageNetError::io(path))?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::warn!("{}: passed over, its name is not UTF-8", entry.path().display());
            continue;
        };
        // the second is what macOS leaves in archives
        if name.starts_with('.') || name == "__MACOSX" {
            continue;
        }
        let kind = entry.file_type().map_err(ImageNetError::io(&entry.path()))?;
        // only a link costs a second look
        if kind.is_dir() {
            listed.folders.push(name);
        } else if kind.is_symlink() && entry.path().is_dir() {
            listed.links.push(name);
        } else if is_image(&name) {
            listed.files.push(name);
        } else {
            listed.unsupported += usize::from(is_unsupported_image(&name));
        }
    }
    listed.folders.sort_unstable();
    listed.links.sort_unstable();
    listed.files.sort_unstable();
    Ok(listed)
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
    fn a_cache_of_another_version_is_rebuilt_without_a_word() {
        let (_dir, root) = dataset();
        let (first, _) = Index::open(&root, Caching::On).unwrap();
        let path = cache_path(&root).unwrap();
        // as the first version had it, without what came later
        let text = fs::read_to_string(&path).unwrap().replace("\"version\":2", "\"version\":1");
        fs::write(&path, text.replace(",\"unsupported\":0", "")).unwrap();
        assert_eq!(Index::read(&path), Ok(None));
        let (again, origin) = Index::open(&root, Caching::On).unwrap();
        assert_eq!((again.folders, origin), (first.folders, Origin::Scan));
        fs::write(&path, "{").unwrap();
        assert!(Index::read(&path).is_err());
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

    #[test]
    #[cfg(unix)]
    fn a_link_back_up_is_followed_once() {
        use std::os::unix::fs::symlink;
        let (dir, root) = dataset();
        symlink(&root, root.join("a/loop")).unwrap();
        symlink("..", root.join("b/up")).unwrap();
        symlink(root.join("a"), root.join("a/deep/again")).unwrap();
        symlink(dir.path(), root.join("out")).unwrap();
        let index = Index::scan(&root).unwrap();
        assert_eq!(index.folders.iter().map(|f| f.files.len()).sum::<usize>(), 3);
        // a class that is a link to images elsewhere is a class
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir(elsewhere.path().join("more")).unwrap();
        ["1.jpg", "more/2.jpg", "more/3.avif"]
            .iter()
            .for_each(|n| fs::write(elsewhere.path().join(n), "").unwrap());
        symlink(elsewhere.path(), root.join("c")).unwrap();
        symlink(elsewhere.path().join("more"), root.join("d")).unwrap();
        let index = Index::scan(&root).unwrap();
        let of = |class: &str| -> usize {
            let class = index.classes.iter().position(|c| c == class).unwrap() as u32;
            index.folders.iter().filter(|f| f.class == class).map(|f| f.files.len()).sum()
        };
        assert_eq!((of("a"), of("b"), of("c"), of("d"), of("out")), (2, 1, 2, 0, 0));
        assert_eq!(index.folders.iter().map(|f| f.unsupported).sum::<usize>(), 1);
    }
}
