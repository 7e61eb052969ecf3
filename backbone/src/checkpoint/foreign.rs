//! Files that are no checkpoint of a kind that is read: what they are, and what to do instead.

/// What a file of another kind is, in words, with the way on.
pub(super) fn describe(bytes: &[u8], extension: Option<&str>) -> &'static str {
    let text = bytes.trim_ascii_start();
    let starts =
        |with: &str| text.get(..with.len()).is_some_and(|head| head.eq_ignore_ascii_case(with.as_bytes()));
    let has = |extensions: &[&str]| {
        extension.is_some_and(|own| extensions.iter().any(|known| own.eq_ignore_ascii_case(known)))
    };
    match bytes {
        [] => "the file is empty",
        _ if starts("<!doctype html") || starts("<html") || starts("<head") => {
            "this is a web page, not the file it offers: download the weights themselves (on Hugging Face the address \
             with /resolve/ in place of /blob/; some hosts ask for a login or a confirmation first)"
        }
        _ if starts("version https://git-lfs") => {
            "this is a Git LFS pointer, not the file it stands for: run `git lfs pull` in its repository, or download \
             the file from the repository's web page"
        }
        _ if starts("<?xml") || starts("<error") => {
            "this is XML, most likely a server's error message, not a checkpoint: download the file again"
        }
        [0x80, 1, ..] => {
            "this is a pickle of protocol 1, which is not read; load it in Python and save its tensors with torch.save \
             or safetensors"
        }
        [0x89, b'H', b'D', b'F', ..] => {
            "this is an HDF5 file (Keras), which is not read; convert it to safetensors"
        }
        [b'G', b'G', b'U', b'F', ..] => {
            "this is a GGUF file, which is not read; take the model's safetensors"
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            "this is a single array (.npy); expected an .npz, whose arrays have names"
        }
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => {
            "this is a TensorFlow Lite model, which is not read; take the model's safetensors or .pth"
        }
        [0x1f, 0x8b, ..] => "this is a gzip archive: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "this is a zstd archive: unpack it first",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "this is an xz archive: unpack it first",
        [b'7', b'z', 0xbc, 0xaf, ..] => "this is a 7z archive: unpack it first",
        [b'R', b'a', b'r', b'!', ..] => "this is a RAR archive: unpack it first",
        _ if is_tar(bytes) && OLD_TORCH.iter().any(|name| bytes.starts_with(name)) => {
            "this is in the tar format that PyTorch wrote before version 0.2 (2017), which is not read: in Python, \
             torch.save(torch.load(FILE, weights_only=False), NEW) writes it anew; that executes what is in the file, so do \
             it only with one you trust"
        }
        _ if is_tar(bytes) => "this is a tar archive: unpack it, and give the file of weights in it",
        [0xff, 0xd8, 0xff, ..] | [0x89, b'P', b'N', b'G', ..] | [b'G', b'I', b'F', b'8', ..] => {
            "this is an image, not a checkpoint"
        }
        [0x08, 1..=0x14, ..] if has(&["onnx"]) => {
            "this is an ONNX model, which is not read: take the weights it was exported from"
        }
        _ if has(&["pb", "index", "ckpt"]) || extension.is_some_and(|own| own.starts_with("data-")) => {
            "this is a TensorFlow file, which is not read; the original ViT's weights are read as .npz"
        }
        _ if starts("{") || starts("[") => {
            "this is text (JSON), perhaps a config.json or an index of shards: give the file of weights itself"
        }
        _ => {
            "not a checkpoint: expected safetensors, PyTorch's formats (.pth, .pt), a pickle of arrays or npz"
        }
    }
}

/// What PyTorch's tar format consists of; any may come first.
const OLD_TORCH: [&[u8]; 4] = [b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0"];

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_said() {
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        let mut torch = tar.clone();
        torch[..9].copy_from_slice(b"sys_info\0");
        for (bytes, extension, part) in [
            (&b"\n<!DOCTYPE html><html>"[..], Some("pth"), "web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", None, "Git LFS pointer"),
            (b"<?xml version=\"1.0\"?><Error>", None, "XML"),
            (&[0x80, 1, 0x95, 0], Some("pkl"), "pickle of protocol 1"),
            (b"\x89HDF\r\n\x1a\n", Some("h5"), "HDF5"),
            (b"\x93NUMPY\x01\x00", Some("npy"), "single array"),
            (b"\x08\x07\x12\x07pytorch", Some("onnx"), "ONNX"),
            (b"\x0a\x20\x08", Some("pb"), "TensorFlow"),
            (b"\x1f\x8b\x08", Some("gz"), "gzip"),
            (&tar, Some("tar"), "tar archive"),
            (&torch, Some("pth"), "PyTorch wrote before version 0.2"),
            (b"{\"model_type\": \"vit\"}", Some("json"), "JSON"),
            (b"\xff\xd8\xff\xe0", Some("jpg"), "image"),
            (b"", None, "empty"),
            (b"hello", None, "not a checkpoint"),
        ] {
            let found = describe(bytes, extension);
            assert!(found.contains(part), "{part}: {found}");
        }
    }
}
