//! Resizing as PIL does it: antialiased bicubic (a = -0.5) and bilinear, and nearest.

use crate::{Filter, Rect, Size};
use image::{GrayImage, RgbImage};

use super::TransformError;
use super::resample::resample;
use super::target::resize_target;
use crate::sample::Sample;

/// Most pixels of a resized image: 8,192 x 8,192, or 512 x 131,072.
pub const MAX_RESIZED: u64 = 1 << 26;

/// `Ok` if an image of that size may be made by resizing.
fn check_resized(what: &'static str, size: Size) -> Result<(), TransformError> {
    let (width, height) = size.dimensions();
    if size.area() as u64 > MAX_RESIZED {
        return Err(TransformError::TooLarge { what, width, height, limit: MAX_RESIZED });
    }
    Ok(())
}

/// `Ok` if an image of size `from` may be resized to `to`.
pub(super) fn check_sizes(from: Size, to: Size) -> Result<(), TransformError> {
    check_pixels("the image to resize", from)?;
    check_pixels("the resized image", to)?;
    check_resized("the resized image", to)
}

/// Whether an image of that size can be resized so that its short side is `short` pixels.
///
/// # Errors
/// [`TransformError::TooLarge`] if the long side would be too long.
pub fn check_short_side(size: Size, short: u32) -> Result<(), TransformError> {
    let (width, height) = size.dimensions();
    let scale = f64::from(short) / f64::from(width.min(height).max(1));
    let side = |length: u32| (f64::from(length) * scale).min(f64::from(u32::MAX)) as u32;
    check_resized("the resized image", (side(width), side(height)).into())
}

/// The whole of `image` at `size`.
///
/// # Errors
/// [`TransformError::Empty`] if either has no pixel, [`TransformError::TooLarge`] beyond [`MAX_RESIZED`].
pub fn resize(image: &RgbImage, size: Size, filter: Filter) -> Result<RgbImage, TransformError> {
    resize_region(image, Rect::whole(Size::of(image)), size, filter)
}

/// The part `region` of `image` at `size`, without looking at pixels outside the region: the same as cropping first,
/// without the copy.
///
/// # Errors
/// [`TransformError::Empty`] if the region inside the image or the result has no pixel.
pub fn resize_region(
    image: &RgbImage,
    region: Rect,
    size: Size,
    filter: Filter,
) -> Result<RgbImage, TransformError> {
    let region = region.within(Size::of(image));
    check_pixels("the region to resize", region.size())?;
    check_pixels("the resized image", size)?;
    check_resized("the resized image", size)?;
    // columns are resized first
    check_resized("the image resized across", Size::new(region.height as usize, size.width))?;
    if filter == Filter::Nearest {
        return Ok(nearest_rgb(image, region, size));
    }
    let (width, height) = size.dimensions();
    let pixels = resample(image, region, size, filter);
    RgbImage::from_raw(width, height, pixels).ok_or(TransformError::Empty {
        what: "the resized image",
        width,
        height,
    })
}

/// Index of the source pixel for each output pixel along one axis.
///
/// The place is stepped along, not multiplied out: where it falls on the border of two pixels, the rounding of the
/// sum decides as it does in PIL.
fn nearest_indices(from: u32, start: u32, to: u32) -> Vec<usize> {
    let scale = f64::from(from) / f64::from(to);
    let mut place = scale * 0.5;
    let mut indices = Vec::with_capacity(to as usize);
    for _ in 0..to {
        indices.push((start + (place as u32).min(from - 1)) as usize);
        place += scale;
    }
    indices
}

fn nearest_rgb(image: &RgbImage, region: Rect, size: Size) -> RgbImage {
    let (width, height) = size.dimensions();
    let columns = nearest_indices(region.width, region.x, width);
    let rows = nearest_indices(region.height, region.y, height);
    RgbImage::from_fn(width, height, |x, y| {
        *image.get_pixel(columns[x as usize] as u32, rows[y as usize] as u32)
    })
}

/// A label map or mask at `size`, each pixel copied from the nearest; no label is invented.
///
/// # Errors
/// [`TransformError::Empty`] if either has no pixel.
pub fn resize_labels(labels: &GrayImage, size: Size) -> Result<GrayImage, TransformError> {
    check_pixels("the label map", Size::of(labels))?;
    check_pixels("the resized label map", size)?;
    check_resized("the resized label map", size)?;
    let (width, height) = size.dimensions();
    let columns = nearest_indices(labels.width(), 0, width);
    let rows = nearest_indices(labels.height(), 0, height);
    let stride = labels.width() as usize;
    let mut out = GrayImage::new(width, height);
    for (line, &row) in out.chunks_exact_mut(size.width).zip(&rows) {
        let source = &labels.as_raw()[row * stride..(row + 1) * stride];
        for (pixel, &column) in line.iter_mut().zip(&columns) {
            *pixel = source[column];
        }
    }
    Ok(out)
}

/// Image and target at `size`.
///
/// # Errors
/// [`TransformError::Empty`] or, where a mask or label map is not of the image's size,
/// [`TransformError::SizeMismatch`].
pub fn resize_sample(sample: Sample, size: Size, filter: Filter) -> Result<Sample, TransformError> {
    let from = Size::of(&sample.image);
    Ok(Sample {
        image: resize(&sample.image, size, filter)?,
        target: resize_target(sample.target, from, size)?,
        id: sample.id,
    })
}

pub(crate) fn check_pixels(what: &'static str, size: Size) -> Result<(), TransformError> {
    let (width, height) = size.dimensions();
    if width == 0 || height == 0 {
        return Err(TransformError::Empty { what, width, height });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::crop::crop_image;
    use crate::transform::testing::pattern;
    use proptest::prelude::*;

    #[test]
    fn a_region_is_cropped_before_it_is_resized() {
        let image = pattern(50, 40);
        let region = Rect { x: 7, y: 5, width: 21, height: 30 };
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic] {
            let direct = resize_region(&image, region, Size::new(33, 16), filter).unwrap();
            let cropped = resize(&crop_image(&image, region).unwrap(), Size::new(33, 16), filter).unwrap();
            assert_eq!(direct, cropped);
        }
    }

    #[test]
    fn halving_with_bilinear_by_hand() {
        // triangle of support 2 on four pixels: output 0 covers pixels 0..3 with weights 0.75, 0.75, 0.25 -> /1.75
        let image = RgbImage::from_fn(4, 1, |x, _| image::Rgb([(x * 70) as u8; 3]));
        let half = resize(&image, Size::new(1, 2), Filter::Bilinear).unwrap();
        let expected = (0.75 * 0.0 + 0.75 * 70.0 + 0.25 * 140.0) / 1.75;
        assert!((f64::from(half.get_pixel(0, 0)[0]) - expected).abs() <= 1.0);
    }

    #[test]
    fn nothing_to_resize_is_an_error() {
        assert!(resize(&RgbImage::new(0, 3), Size::square(4), Filter::Bicubic).is_err());
        assert!(resize(&pattern(3, 3), Size::new(4, 0), Filter::Nearest).is_err());
        assert!(resize_labels(&GrayImage::new(0, 0), Size::square(1)).is_err());
    }

    proptest! {
        #[test]
        fn a_flat_image_stays_flat(w in 1u32..60, h in 1u32..60, tw in 1u32..60, th in 1u32..60, v: u8) {
            let image = RgbImage::from_pixel(w, h, image::Rgb([v; 3]));
            for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic] {
                let out = resize(&image, (tw, th).into(), filter).unwrap();
                prop_assert!(out.as_raw().iter().all(|&p| p.abs_diff(v) <= 1));
            }
        }
    }
}
