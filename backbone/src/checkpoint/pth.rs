//! PyTorch's zip format (.pth, .pt): a pickle that describes tensors, and one archive member a storage.

use super::state_dict::{named_tensors, shown};
use super::unpickle::unpickle;
use super::{Averages, Budget, CheckpointError, TensorMap};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::path::Path;
use zip::ZipArchive;

/// Parses the bytes of a .pth or .pt file in the zip format.
///
/// # Errors
/// [`CheckpointError::Corrupt`], [`CheckpointError::ForbiddenGlobal`], [`CheckpointError::Tensor`],
/// [`CheckpointError::OverBudget`] or [`CheckpointError::Unsupported`]; never panics and executes nothing.
pub fn parse_within(
    path: &Path,
    bytes: &[u8],
    budget: Budget,
    averages: Averages,
) -> Result<TensorMap, CheckpointError> {
    let mut archive = Archive::open(path, bytes, budget)?;
    let pickle = archive.member("data.pkl")?;
    if archive.names.contains(&format!("{}byteorder", archive.root))
        && archive.member("byteorder")?.starts_with(b"big")
    {
        return Err(archive.unsupported("the tensors are stored big-endian, which is not read"));
    }
    let parsed = unpickle(&pickle, &mut archive.budget).map_err(|refusal| refusal.error(path, "PyTorch"))?;
    let found = named_tensors(path, &parsed, averages)?;
    let mut storages = BTreeMap::new();
    for key in found.storages() {
        storages.insert(key, Cow::Owned(archive.member(&format!("data/{key}"))?));
    }
    found.gather(path, (&pickle, &storages), &mut archive.budget)
}

/// The zip archive and the name of the folder inside that holds everything.
struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    names: BTreeSet<String>,
    root: String,
    budget: Budget,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, bytes: &'a [u8], budget: Budget) -> Result<Self, CheckpointError> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| CheckpointError::Corrupt {
            path: path.to_owned(),
            format: "PyTorch",
            reason: format!("{e} (was the download or copy cut short?)"),
        })?;
        let names: BTreeSet<String> = zip.file_names().flatten().map(|n| n.into_owned()).collect();
        let pickle = names.iter().find(|n| *n == "data.pkl" || n.ends_with("/data.pkl"));
        let Some(pickle) = pickle else {
            return Err(CheckpointError::Unsupported {
                path: path.to_owned(),
                reason: "a zip file without data.pkl: not written by torch.save".into(),
            });
        };
        let root = pickle.trim_end_matches("data.pkl").to_owned();
        if names.contains(&format!("{root}constants.pkl")) {
            return Err(CheckpointError::Unsupported {
                path: path.to_owned(),
                reason: "a TorchScript program; save the state dict with torch.save instead".into(),
            });
        }
        Ok(Self { path, zip, names, root, budget })
    }

    fn corrupt(&self, reason: String) -> CheckpointError {
        CheckpointError::Corrupt { path: self.path.to_owned(), format: "PyTorch", reason }
    }

    fn unsupported(&self, reason: &str) -> CheckpointError {
        CheckpointError::Unsupported { path: self.path.to_owned(), reason: reason.to_owned() }
    }

    /// The bytes of a member. Grows with what is read, not with the announced size.
    fn member(&mut self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let full = format!("{}{name}", self.root);
        let limit = self.budget.left();
        let mut bytes = Vec::new();
        let read = match self.zip.by_name(&full) {
            Ok(member) => {
                member.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.to_string()),
        };
        match read {
            Ok(length) => self.budget.take(length).map(|()| bytes).map_err(|over| over.error(self.path)),
            Err(reason) => Err(self.corrupt(format!("member {}: {reason}", shown(&full)))),
        }
    }
}
