//! Label maps as PNG: the class index of each pixel, gray or palette (the index counts, not the colour it stands for).

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::GrayImage;
use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use kat_images::files::{MAX_IMAGE_BYTES, read_regular};

/// More pixels than any annotated image has; a header that claims more is taken for damaged.
const MOST_PIXELS: u64 = 1 << 28;

/// A label map that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct LabelError {
    /// The file.
    pub path: PathBuf,
    /// What was found and what was expected.
    pub reason: String,
}

/// Reads a label map.
///
/// # Errors
/// If the file cannot be read, is no PNG, is damaged, or is neither palette nor gray of at most 8 bits.
pub fn read(path: &Path) -> Result<GrayImage, LabelError> {
    let fail = |reason| LabelError { path: path.to_owned(), reason };
    let bytes = read_regular(path, MAX_IMAGE_BYTES).map_err(|e| fail(e.to_string()))?;
    parse(&bytes).map_err(fail)
}

/// The same from bytes in memory.
///
/// # Errors
/// What is wrong with the bytes.
pub fn parse(bytes: &[u8]) -> Result<GrayImage, String> {
    let limits = Limits { bytes: MOST_PIXELS as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let info = reader.info();
    let (width, height) = (info.width, info.height);
    if !matches!(info.color_type, ColorType::Grayscale | ColorType::Indexed) {
        let found = info.color_type;
        return Err(format!("{found:?} PNG, expected a palette or gray one of class indices"));
    }
    let bits = match info.bit_depth {
        BitDepth::One => 1,
        BitDepth::Two => 2,
        BitDepth::Four => 4,
        BitDepth::Eight => 8,
        BitDepth::Sixteen => return Err("16 bits a pixel, expected at most 8".to_string()),
    };
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("{width}x{height} pixels, expected at most {MOST_PIXELS} in all"));
    }
    let size = reader.output_buffer_size().ok_or("more pixels than memory can hold")?;
    let mut packed = vec![0; size];
    let line = reader.next_frame(&mut packed).map_err(|e| e.to_string())?.line_size;
    let labels = if bits == 8 {
        packed
    } else {
        let mask = (1u8 << bits) - 1;
        let unpack = |row: &[u8]| -> Vec<u8> {
            let pixels = (0..width as usize).map(|x| {
                let bit = x * bits;
                row[bit / 8] >> (8 - bits - bit % 8) & mask
            });
            pixels.collect()
        };
        packed.chunks_exact(line.max(1)).flat_map(unpack).collect()
    };
    let found = labels.len();
    GrayImage::from_raw(width, height, labels)
        .ok_or_else(|| format!("{found} bytes of pixels for {width}x{height}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(width: u32, color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![200u8; 3 * 16]);
        }
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    #[test]
    fn indices_not_colours_at_every_depth() {
        let eight = encode(3, ColorType::Indexed, BitDepth::Eight, &[1, 2, 3, 4, 5, 15]);
        assert_eq!(parse(&eight).unwrap().as_raw(), &[1, 2, 3, 4, 5, 15]);
        let four = encode(3, ColorType::Indexed, BitDepth::Four, &[0x12, 0x30, 0x45, 0xf0]);
        assert_eq!(parse(&four).unwrap().as_raw(), &[1, 2, 3, 4, 5, 15]);
        let one = encode(3, ColorType::Grayscale, BitDepth::One, &[0b1010_0000, 0b0110_0000]);
        assert_eq!(parse(&one).unwrap().as_raw(), &[1, 0, 1, 0, 1, 1]);
    }

    #[test]
    fn other_images_are_refused() {
        let rgb = encode(1, ColorType::Rgb, BitDepth::Eight, &[0; 6]);
        assert!(parse(&rgb).unwrap_err().contains("Rgb"));
        let deep = encode(1, ColorType::Grayscale, BitDepth::Sixteen, &[0; 4]);
        assert!(parse(&deep).unwrap_err().contains("16"));
        assert!(parse(b"").is_err());
        let error = read(Path::new("no/such.png")).unwrap_err().to_string();
        assert!(error.starts_with("no/such.png"), "{error}");
    }

    proptest! {
        #[test]
        fn mutated_files_never_panic(
            edits in proptest::collection::vec((0usize..90, any::<u8>()), 1..4), cut in 0usize..90
        ) {
            let mut bytes = encode(3, ColorType::Indexed, BitDepth::Four, &[0x12, 0x30, 0x45, 0xf0]);
            for (at, byte) in edits {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = parse(&bytes);
            bytes.truncate(cut);
            let _ = parse(&bytes);
        }
    }
}
