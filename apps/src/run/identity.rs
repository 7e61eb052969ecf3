//! Which directory a name leads to.

use std::path::Path;

/// Device and number of a directory; its path alone where the system has no such numbers.
pub(super) type Identity = (u64, u64);

#[cfg(unix)]
/// That of `path`; none where there is no such directory.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
/// That of `path`; none where there is no such directory.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    path.is_dir().then_some((0, 0))
}
