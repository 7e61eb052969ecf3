//! Bare pickles: PyTorch's format from before version 1.6 (a pickle that describes tensors, the keys of their storages, then
//! the storages), and pickles of numpy arrays, as detectron2's model zoo has them.

use super::pickle_nodes::{Node, Pickle};
use super::state_dict::named_tensors;
use super::unpickle::unpickle;
use super::{Averages, Budget, CheckpointError, TensorMap};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

/// What a pickle of PyTorch's old format begins with: a number of ten bytes.
const MAGIC: [u8; 15] =
    [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];

/// Parses the bytes of a bare pickle.
///
/// # Errors
/// As those of the zip format; never panics and executes nothing.
pub(super) fn parse_within(
    path: &Path,
    bytes: &[u8],
    mut budget: Budget,
    averages: Averages,
) -> Result<TensorMap, CheckpointError> {
    if !bytes.starts_with(&MAGIC) {
        let pickle = next(path, bytes, &mut budget, "pickle")?;
        return named_tensors(path, &pickle, averages)?.gather(path, (bytes, &BTreeMap::new()), &mut budget);
    }
    let mut rest = &bytes[MAGIC.len()..];
    let mut read = |rest: &mut &[u8]| {
        let pickle = next(path, rest, &mut budget, FORMAT)?;
        *rest = &rest[pickle.length..];
        Ok::<_, CheckpointError>(pickle)
    };
    read(&mut rest)?; // the version of the format
    read(&mut rest)?; // of the machine
    let described = rest;
    let pickle = read(&mut rest)?;
    let keys = read(&mut rest)?;
    let all = storages(&pickle, &keys, rest).map_err(|reason| CheckpointError::Corrupt {
        path: path.to_owned(),
        format: FORMAT,
        reason,
    })?;
    let found = named_tensors(path, &pickle, averages)?;
    found.gather(path, (&described[..pickle.length], &all), &mut budget)
}

/// Its name in messages.
const FORMAT: &str = "PyTorch";

fn next(
    path: &Path,
    bytes: &[u8],
    budget: &mut Budget,
    format: &'static str,
) -> Result<Pickle, CheckpointError> {
    unpickle(bytes, budget).map_err(|refusal| refusal.error(path, format))
}

/// The storages by key: after the list of keys, in its order, the number of elements and then these.
fn storages<'b>(
    pickle: &'b Pickle,
    keys: &Pickle,
    mut rest: &'b [u8],
) -> Result<BTreeMap<&'b str, Cow<'b, [u8]>>, String> {
    let known: BTreeMap<&str, usize> = pickle
        .nodes
        .iter()
        .filter_map(|node| match node {
            Node::Storage(storage) => Some((&*storage.key, storage.dtype.size())),
            _ => None,
        })
        .collect();
    let Node::List(order) = &keys.nodes[keys.root] else { return Err("no list of its storages".into()) };
    let mut storages = BTreeMap::new();
    for &key in order {
        let Node::Str(key) = &keys.nodes[key] else { return Err("a storage whose key is no text".into()) };
        let Some((&key, &size)) = known.get_key_value(&**key) else {
            return Err("a storage that no tensor is in".into());
        };
        let Some((count, after)) = rest.split_first_chunk::<8>() else {
            return Err("it ends before its last storage".into());
        };
        let length =
            usize::try_from(i64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(size));
        let Some(storage) = length.and_then(|length| after.get(..length)) else {
            return Err("a storage that is cut short (was the download or copy cut short?)".into());
        };
        rest = &after[storage.len()..];
        storages.insert(key, Cow::Borrowed(storage));
    }
    Ok(storages)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.save({"w": torch.tensor([1., 2.])}, …, _use_new_zipfile_serialization=False)`, shortened.
    fn old_file(count: i64, values: &[f32]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(b"\x80\x02M\xe9\x03.");
        file.extend(b"\x80\x02}.");
        file.extend(b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n(");
        file.extend(
            b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x007X\x03\x00\x00\x00cpuK\x02NtQ",
        );
        file.extend(b"K\x00K\x02\x85K\x01\x85\x89}tRs.");
        file.extend(b"\x80\x02]X\x01\x00\x00\x007a.");
        file.extend(count.to_le_bytes());
        values.iter().for_each(|value| file.extend(value.to_le_bytes()));
        file
    }

    fn read(bytes: &[u8]) -> Result<TensorMap, String> {
        super::super::parse(Path::new("old.pth"), bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn files_from_before_1_6_are_read_and_checked() {
        let map = read(&old_file(2, &[1.0, 2.0])).unwrap();
        assert_eq!(map.get("w").unwrap().data, [1.0, 2.0]);
        assert!(read(&old_file(3, &[1.0, 2.0])).unwrap_err().contains("cut short"));
        assert!(read(&old_file(-1, &[1.0, 2.0])).is_err());
        assert!(read(&old_file(1, &[1.0, 2.0])).unwrap_err().contains("a view inside its storage of 1"));
        let whole = old_file(2, &[1.0, 2.0]);
        (0..whole.len()).for_each(|cut| assert!(read(&whole[..cut]).is_err(), "{cut}"));
    }

    /// An array as numpy pickles it, with `content` for its bytes.
    fn array(content: &[u8], fortran: bool) -> Vec<u8> {
        let mut file = b"\x80\x03}X\x05\x00\x00\x00model}X\x01\x00\x00\x00w".to_vec();
        file.extend(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R");
        file.extend(b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R");
        file.extend(b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
        file.push(if fortran { 0x88 } else { 0x89 });
        file.extend(content);
        file.extend(b"tbss.");
        file
    }

    #[test]
    fn arrays_of_numpy_are_read_in_either_order_and_as_text() {
        let bytes: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let content = [&b"C\x18"[..], &bytes].concat();
        let map = read(&array(&content, false)).unwrap();
        assert_eq!(map.get("w").unwrap().shape, [2, 3]);
        assert_eq!(map.get("w").unwrap().data, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(
            read(&array(&content, true)).unwrap().get("w").unwrap().data,
            [0.0, 2.0, 4.0, 1.0, 3.0, 5.0]
        );
        // Python 2's text, and Python 3's in protocol 2
        let text = [&b"U\x18"[..], &bytes].concat();
        assert_eq!(read(&array(&text, false)).unwrap().tensors, map.tensors);
        let utf8: String = bytes.iter().map(|&b| char::from(b)).collect();
        let mut encoded = b"c_codecs\nencode\nX".to_vec();
        encoded.extend((utf8.len() as u32).to_le_bytes());
        encoded.extend(utf8.as_bytes());
        encoded.extend(b"X\x06\x00\x00\x00latin1\x86R");
        assert_eq!(read(&array(&encoded, false)).unwrap().tensors, map.tensors);
        let short = [&b"C\x14"[..], &bytes[..20]].concat();
        assert!(read(&array(&short, false)).unwrap_err().contains("shape [2, 3] with 20 bytes"));
        let error = read(b"\x80\x03cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").unwrap_err();
        assert!(error.contains("os.system") && error.contains("nothing was"), "{error}");
    }
}
