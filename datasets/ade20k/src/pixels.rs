//! The pixels of label files as stored, and the size of images without decoding them.

use kat_images::Size;
use std::path::Path;

use image::{DynamicImage, RgbImage};

use crate::LabelError;
use kat_images::decode::{DecodeError, DecodeOptions, Encoded, ExifPolicy, MAX_PIXELS, decode_stored};
use kat_images::files::{MAX_IMAGE_BYTES, read_regular};

/// What a label file stores.
pub(super) enum Stored {
    /// The index of each pixel: of a palette image the index, not the color.
    Indices(Vec<u16>, Size),
    /// Colors.
    Picture(RgbImage),
}

/// The indices of a label file that stores no colors.
#[cfg(test)]
fn read_indices(path: &Path) -> Result<(Vec<u16>, u32, u32), LabelError> {
    match read(path)? {
        Stored::Indices(values, size) => Ok((values, size.width as u32, size.height as u32)),
        Stored::Picture(_) => Err(LabelError::Kind { path: path.to_owned(), found: "Rgb8".to_owned() }),
    }
}

/// Reads a label file.
pub(super) fn read(path: &Path) -> Result<Stored, LabelError> {
    let bytes = read_regular(path, MAX_IMAGE_BYTES).map_err(LabelError::io(path))?;
    if let Some((values, width, height)) = palette_indices(&bytes) {
        return Ok(Stored::Indices(values, (width, height).into()));
    }
    let image = decode_stored(&bytes).map_err(broken(path))?;
    let (width, height) = (image.width(), image.height());
    let values = match image {
        DynamicImage::ImageLuma8(gray) => gray.into_raw().into_iter().map(u16::from).collect(),
        DynamicImage::ImageLuma16(gray) => gray.into_raw(),
        colors @ (DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_)) => {
            return Ok(Stored::Picture(colors.into_rgb8()));
        }
        other => {
            return Err(LabelError::Kind { path: path.to_owned(), found: format!("{:?}", other.color()) });
        }
    };
    Ok(Stored::Indices(values, (width, height).into()))
}

/// The pixels of a PNG that stores fewer than 16 bits of palette index or gray, unscaled; `None` for any other
/// file and for damage, which the general decoder reports.
fn palette_indices(bytes: &[u8]) -> Option<(Vec<u16>, u32, u32)> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().ok()?;
    let (color, depth) = reader.output_color_type();
    let bits = depth as usize;
    if !matches!(color, png::ColorType::Indexed | png::ColorType::Grayscale) || bits > 8 {
        return None;
    }
    let header = reader.info();
    // before anything is allocated by what a damaged header says; the general decoder refuses it too
    if u64::from(header.width) * u64::from(header.height) > MAX_PIXELS {
        return None;
    }
    let mut packed = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut packed).ok()?;
    let (width, height) = (info.width as usize, info.height as usize);
    let mut values = Vec::with_capacity(width * height);
    for line in packed.chunks_exact(info.line_size).take(height) {
        values.extend((0..width).map(|x| {
            let shift = 8 - bits - (x * bits) % 8;
            u16::from(line[x * bits / 8] >> shift) & ((1 << bits) - 1)
        }));
    }
    Some((values, info.width, info.height))
}

/// Width and height, from the header.
pub(super) fn image_size(path: &Path, exif: ExifPolicy) -> Result<Size, LabelError> {
    let bytes = read_regular(path, MAX_IMAGE_BYTES).map_err(LabelError::io(path))?;
    let options = DecodeOptions { exif, ..DecodeOptions::default() };
    let image = Encoded::open(&bytes, &options).map_err(broken(path))?;
    Ok(image.size())
}

fn broken(path: &Path) -> impl Fn(DecodeError) -> LabelError {
    |source| LabelError::Decode { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_label_files_never_panic(at in prop::collection::vec((0usize..500, any::<u8>()), 1..6)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut bytes = Vec::new();
            let map = image::GrayImage::from_fn(9, 7, |x, y| image::Luma([(x * y) as u8]));
            map.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
            for (i, value) in at {
                let i = i % bytes.len();
                bytes[i] = value;
            }
            std::fs::write(file.path(), bytes).unwrap();
            if let Ok((values, w, h)) = read_indices(file.path()) {
                prop_assert_eq!(values.len(), w as usize * h as usize);
            }
        }
    }

    #[test]
    fn palette_files_give_the_index() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 3, 2);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Four);
        encoder.set_palette(vec![9; 3 * 16]);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0x12, 0x30, 0xFE, 0x00]).unwrap();
        writer.finish().unwrap();
        assert_eq!(palette_indices(&bytes).unwrap(), (vec![1, 2, 3, 15, 14, 0], 3, 2));
    }
}
