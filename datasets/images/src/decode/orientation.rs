//! The EXIF orientation tag: how the camera was held, undone so that the image stands upright.

use std::io::Cursor;

use exif::{In, Reader, Tag};
use image::RgbImage;
use image::imageops;

use crate::{Rect, Size};

/// The eight orientations of the EXIF standard, 1 (upright) to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Orientation {
    /// Stored as it stands.
    pub(super) const UPRIGHT: Self = Self(1);

    /// From the raw EXIF block of a JPEG; upright where there is none or it is broken, as a wrong tag must not
    /// cost the image.
    pub(super) fn from_raw(exif: Option<&[u8]>) -> Self {
        exif.and_then(|raw| {
            // some writers keep the segment's own prefix
            let raw = raw.strip_prefix(b"Exif\0\0").unwrap_or(raw);
            Reader::new().read_raw(raw.to_vec()).ok()
        })
        .map_or(Self::UPRIGHT, |exif| Self::from_exif(&exif))
    }

    /// From a whole PNG, WebP or TIFF file.
    pub(super) fn from_container(bytes: &[u8]) -> Self {
        if let Some(exif) = webp_exif(bytes) {
            return Self::from_raw(Some(exif));
        }
        Reader::new()
            .read_from_container(&mut Cursor::new(bytes))
            .map_or(Self::UPRIGHT, |exif| Self::from_exif(&exif))
    }

    fn from_exif(exif: &exif::Exif) -> Self {
        let value = exif
            .get_field(Tag::Orientation, In::PRIMARY)
            .and_then(|field| field.value.get_uint(0))
            .unwrap_or(1);
        Self(u8::try_from(value).ok().filter(|v| (1..=8).contains(v)).unwrap_or(1))
    }

    /// The size upright of an image stored at `(width, height)`; 5 to 8 swap them.
    pub(super) fn upright_size(self, size: Size) -> Size {
        if self.0 >= 5 { Size::new(size.width, size.height) } else { size }
    }

    /// Where the part `rect` of the upright image lies in the image stored at `(width, height)`.
    pub(super) fn stored_rect(self, rect: Rect, size: Size) -> Rect {
        let (width, height) = size.dimensions();
        let Rect { x, y, width: w, height: h } = rect;
        let (x, y, w, h) = if self.0 >= 5 { (y, x, h, w) } else { (x, y, w, h) };
        let x = if matches!(self.0, 2 | 3 | 7 | 8) { width - x - w } else { x };
        let y = if matches!(self.0, 3 | 4 | 6 | 7) { height - y - h } else { y };
        Rect { x, y, width: w, height: h }
    }

    /// The image upright; 5 to 8 swap width and height.
    pub(super) fn apply(self, image: RgbImage) -> RgbImage {
        match self.0 {
            2 => imageops::flip_horizontal(&image),
            3 => imageops::rotate180(&image),
            4 => imageops::flip_vertical(&image),
            5 => imageops::flip_horizontal(&imageops::rotate90(&image)),
            6 => imageops::rotate90(&image),
            7 => imageops::flip_horizontal(&imageops::rotate270(&image)),
            8 => imageops::rotate270(&image),
            _ => image,
        }
    }
}

/// The EXIF chunk of a WebP file. The container's reader does not know that some writers keep a JPEG's prefix in it.
fn webp_exif(bytes: &[u8]) -> Option<&[u8]> {
    let [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', rest @ ..] = bytes else { return None };
    let mut rest = rest;
    loop {
        let (head, after) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head.starts_with(b"EXIF") {
            return after.get(..length);
        }
        // chunks are padded to whole pairs of bytes
        rest = after.get(length.checked_add(length % 2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 wide, 2 high; red holds 10 y + x.
    fn ramp() -> RgbImage {
        RgbImage::from_fn(3, 2, |x, y| image::Rgb([(10 * y + x) as u8, 0, 0]))
    }

    #[test]
    fn each_orientation_by_hand() {
        // where the pixel stored first (0) and last in its row (2) must stand, by the standard's table of
        // "0th row / 0th column": 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, …
        let expected = [
            (1, (3, 2), (0, 0), (2, 0)),
            (2, (3, 2), (2, 0), (0, 0)),
            (3, (3, 2), (2, 1), (0, 1)),
            (4, (3, 2), (0, 1), (2, 1)),
            (5, (2, 3), (0, 0), (0, 2)),
            (6, (2, 3), (1, 0), (1, 2)),
            (7, (2, 3), (1, 2), (1, 0)),
            (8, (2, 3), (0, 2), (0, 0)),
        ];
        for (tag, size, first, last) in expected {
            let upright = Orientation(tag).apply(ramp());
            assert_eq!(upright.dimensions(), size, "orientation {tag}");
            assert_eq!(upright.get_pixel(first.0, first.1)[0], 0, "orientation {tag}");
            assert_eq!(upright.get_pixel(last.0, last.1)[0], 2, "orientation {tag}");
        }
    }
    #[test]
    fn a_part_turned_is_the_part_of_the_turned() {
        let image = RgbImage::from_fn(5, 3, |x, y| image::Rgb([(10 * y + x) as u8, 0, 0]));
        let cut =
            |image: &RgbImage, r: Rect| imageops::crop_imm(image, r.x, r.y, r.width, r.height).to_image();
        for orientation in (1..=8).map(Orientation) {
            let upright = orientation.apply(image.clone());
            let (width, height) = orientation.upright_size(Size::of(&image)).dimensions();
            assert_eq!(upright.dimensions(), (width, height));
            for (x, y) in (0..width).flat_map(|x| (0..height).map(move |y| (x, y))) {
                for (w, h) in [(1, 1), (width - x, 1), (1, height - y), (width - x, height - y)] {
                    let rect = Rect { x, y, width: w, height: h };
                    let stored = orientation.stored_rect(rect, image.dimensions().into());
                    let turned = orientation.apply(cut(&image, stored));
                    assert_eq!(turned, cut(&upright, rect), "{orientation:?} {rect:?}");
                }
            }
        }
    }
}
