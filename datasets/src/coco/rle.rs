//! Run-length masks as COCO has them: lengths of alternating runs, background first, down the columns.
//! Reference: maskApi of <https://github.com/cocodataset/cocoapi>.

use image::GrayImage;

use super::arena::Segmentation;
use super::engine;

/// A mask whose runs sum to its size: checked when made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rle {
    height: u32,
    width: u32,
    counts: Vec<u32>,
}

/// A malformed mask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RleError {
    /// The runs do not cover the mask.
    #[error("RLE `counts` sum to {sum}, but `size` {height}x{width} has {expected} pixels")]
    Sum {
        /// Sum of the runs.
        sum: u64,
        /// `height * width`.
        expected: u64,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// The compressed text is not COCO's.
    #[error("RLE `counts` text: {0}")]
    Text(String),
    /// Mask and image, or two masks, differ in size.
    #[error("RLE `size` is {found_height}x{found_width}, expected {height}x{width}")]
    Size {
        /// Rows found.
        found_height: u32,
        /// Columns found.
        found_width: u32,
        /// Rows expected.
        height: u32,
        /// Columns expected.
        width: u32,
    },
    /// More pixels than 32-bit runs can count.
    #[error("mask of {height}x{width} has more than 2^32 - 1 pixels")]
    TooLarge {
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
    /// A polygon that encloses nothing.
    #[error("polygon {ring}: {reason}")]
    Polygon {
        /// Which of the object's rings, from 0.
        ring: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Rle {
    /// A mask from its runs.
    ///
    /// # Errors
    /// If the runs do not sum to `height * width`.
    pub fn new(height: u32, width: u32, counts: Vec<u32>) -> Result<Self, RleError> {
        let expected = pixels(height, width)?;
        let sum = counts.iter().map(|&c| u64::from(c)).sum();
        if sum != expected {
            return Err(RleError::Sum { sum, expected, height, width });
        }
        Ok(Rle { height, width, counts })
    }

    /// A mask from COCO's compressed text.
    ///
    /// # Errors
    /// If the text is malformed or its runs do not sum to `height * width`.
    pub fn from_text(text: &str, height: u32, width: u32) -> Result<Self, RleError> {
        pixels(height, width)?;
        let counts = engine::runs_from_text(text, height, width).map_err(RleError::Text)?;
        Self::new(height, width, counts)
    }

    /// A mask from an outline in an annotation file, for an image of `height` × `width`.
    ///
    /// # Errors
    /// If the outline is malformed or of another size. `Ok(None)` if there is no outline.
    pub fn from_segmentation(
        outline: Segmentation,
        height: u32,
        width: u32,
    ) -> Result<Option<Self>, RleError> {
        let rle = match outline {
            Segmentation::None => return Ok(None),
            Segmentation::Polygons(rings) => {
                return super::polygon::fill(rings.iter(), height, width).map(Some);
            }
            Segmentation::Runs { size: [h, w], counts } => {
                check_size([h, w], [height, width])?;
                Self::new(h, w, counts.to_vec())?
            }
            Segmentation::Text { size: [h, w], counts } => {
                check_size([h, w], [height, width])?;
                Self::from_text(counts, h, w)?
            }
        };
        Ok(Some(rle))
    }

    /// A mask from pixels; any non-zero pixel belongs to the object.
    ///
    /// # Errors
    /// If the image has more pixels than runs can count.
    pub fn encode(mask: &GrayImage) -> Result<Self, RleError> {
        let (width, height) = mask.dimensions();
        pixels(height, width)?;
        let mut columns = vec![0; mask.as_raw().len()];
        transpose(mask.as_raw(), &mut columns, height as usize, width as usize);
        let counts = engine::encode(&columns, height, width).map_err(RleError::Text)?;
        Self::new(height, width, counts)
    }

    /// The mask's pixels, 0 or 255.
    pub fn decode(&self) -> GrayImage {
        let (h, w) = (self.height as usize, self.width as usize);
        let mut columns = vec![0u8; h * w];
        let mut at = 0;
        for (i, &run) in self.counts.iter().enumerate() {
            let end = at + run as usize;
            if i % 2 == 1 {
                columns[at..end].fill(255);
            }
            at = end;
        }
        let mut image = GrayImage::new(self.width, self.height);
        transpose(&columns, &mut image, w, h);
        image
    }

    /// COCO's compressed text.
    pub fn to_text(&self) -> String {
        engine::runs_to_text(self)
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Lengths of the runs, background first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Pixels of the object.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&c| u64::from(c)).sum()
    }

    /// `[x, y, width, height]` of the object; zeros if it has no pixel.
    pub fn bbox(&self) -> [f64; 4] {
        engine::bounding_box(self)
    }

    /// Pixels in any of `masks`.
    ///
    /// # Errors
    /// If there are no masks or their sizes differ.
    pub fn union(masks: &[Rle]) -> Result<Self, RleError> {
        let (height, width) = masks.first().map_or((0, 0), |m| (m.height, m.width));
        for mask in masks {
            check_size([mask.height, mask.width], [height, width])?;
        }
        if let [mask] = masks {
            return Ok(mask.clone());
        }
        let counts = engine::union(masks).map_err(RleError::Text)?;
        Self::new(height, width, counts)
    }

    /// IoU of each detection (rows) with each ground truth (columns). For a crowd it is the intersection over the
    /// detection's own area, since a crowd region may hold many detections.
    ///
    /// # Errors
    /// If the masks are not all of one size, or `crowd` is not as long as `truths`.
    pub fn iou(detections: &[Rle], truths: &[Rle], crowd: &[bool]) -> Result<Vec<Vec<f64>>, RleError> {
        if crowd.len() != truths.len() {
            let found = crowd.len();
            let reason = format!("{found} crowd flags for {} masks", truths.len());
            return Err(RleError::Text(reason));
        }
        if let Some(first) = detections.first().or(truths.first()) {
            for mask in detections.iter().chain(truths) {
                check_size([mask.height, mask.width], [first.height, first.width])?;
            }
        }
        Ok(engine::mask_iou(detections, truths, crowd))
    }
}

/// `height * width`, if 32-bit runs can count it.
pub(super) fn pixels(height: u32, width: u32) -> Result<u64, RleError> {
    let pixels = u64::from(height) * u64::from(width);
    if pixels > u64::from(u32::MAX) {
        return Err(RleError::TooLarge { height, width });
    }
    Ok(pixels)
}

fn check_size(found: [u32; 2], expected: [u32; 2]) -> Result<(), RleError> {
    if found == expected {
        return Ok(());
    }
    let [found_height, found_width] = found;
    let [height, width] = expected;
    Err(RleError::Size { found_height, found_width, height, width })
}

/// `rows × cols` to `cols × rows`, by tiles that stay in the first-level cache.
fn transpose(from: &[u8], to: &mut [u8], rows: usize, cols: usize) {
    const TILE: usize = 64;
    for r0 in (0..rows).step_by(TILE) {
        for c0 in (0..cols).step_by(TILE) {
            for c in c0..cols.min(c0 + TILE) {
                for r in r0..rows.min(r0 + TILE) {
                    to[c * rows + r] = from[r * cols + c];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use image::Luma;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hand_made_mask() {
        // Columns of 2: pixels 1, 2, 3 of 6 in column order are (0,1), (1,0), (1,1) as (x, y).
        let rle = Rle::new(2, 3, vec![1, 3, 2]).unwrap();
        let image = rle.decode();
        let on: Vec<_> =
            image.enumerate_pixels().filter(|(_, _, p)| p.0[0] == 255).map(|(x, y, _)| (x, y)).collect();
        assert_eq!(on, [(1, 0), (0, 1), (1, 1)]);
        assert_eq!((rle.area(), rle.bbox()), (3, [0.0, 0.0, 2.0, 2.0]));
        assert_eq!(Rle::from_text(&rle.to_text(), 2, 3).unwrap(), rle);
    }

    #[test]
    fn iou_with_and_without_crowd() {
        let a = Rle::new(1, 4, vec![0, 2, 2]).unwrap();
        let b = Rle::new(1, 4, vec![1, 3]).unwrap();
        let iou = Rle::iou(from_ref(&a), &[b.clone(), b], &[false, true]).unwrap();
        assert_eq!(iou, [[0.25, 0.5]]);
        assert!(Rle::iou(from_ref(&a), &[Rle::new(4, 1, vec![4]).unwrap()], &[false]).is_err());
        assert!(Rle::iou(from_ref(&a), from_ref(&a), &[]).is_err());
    }

    #[test]
    fn faults_are_told() {
        let error = Rle::new(2, 3, vec![1, 3]).unwrap_err().to_string();
        assert!(error.contains("sum to 4") && error.contains("6 pixels"), "{error}");
        assert!(matches!(Rle::from_text("!", 2, 3), Err(RleError::Text(_))));
        assert!(matches!(Rle::new(1 << 20, 1 << 20, vec![]), Err(RleError::TooLarge { .. })));
        let wrong = Segmentation::Runs { size: [2, 3], counts: &[6] };
        assert!(matches!(Rle::from_segmentation(wrong, 3, 2), Err(RleError::Size { .. })));
    }

    proptest! {
        #[test]
        fn pixels_survive_runs_and_text(
            (w, h, bits) in (0u32..40, 0u32..40)
                .prop_flat_map(|(w, h)| (Just(w), Just(h), proptest::collection::vec(any::<bool>(), (w * h) as usize)))
        ) {
            let image = GrayImage::from_fn(w, h, |x, y| Luma([u8::from(bits[(y * w + x) as usize]) * 255]));
            let rle = Rle::encode(&image).unwrap();
            prop_assert_eq!(&rle.decode(), &image);
            prop_assert_eq!(rle.area(), bits.iter().filter(|b| **b).count() as u64);
            let again = Rle::from_text(&rle.to_text(), h, w).unwrap();
            prop_assert_eq!(&again, &rle);
            prop_assert_eq!(&Rle::union(&[rle.clone(), rle.clone()]).unwrap().decode(), &image);
            let [x0, y0, bw, bh] = rle.bbox();
            for (x, y, p) in image.enumerate_pixels().filter(|(_, _, p)| p.0[0] > 0) {
                let (x, y) = (f64::from(x), f64::from(y));
                prop_assert!(x >= x0 && x < x0 + bw && y >= y0 && y < y0 + bh, "{:?}", p);
            }
        }

        #[test]
        fn noise_as_text_never_panics(text in "[ -~]{0,40}", wide in "\\PC{0,10}", h in 0u32..50, w in 0u32..50) {
            for text in [text, wide] {
                if let Ok(rle) = Rle::from_text(&text, h, w) {
                    prop_assert_eq!(rle.decode().dimensions(), (w, h));
                    rle.bbox();
                }
            }
        }

        #[test]
        fn any_runs_never_panic(runs in proptest::collection::vec(0u32..9, 0..20), h in 0u32..8, w in 0u32..8) {
            if let Ok(rle) = Rle::new(h, w, runs) {
                let image = rle.decode();
                let area = image.pixels().filter(|p| p.0[0] > 0).count() as u64;
                prop_assert_eq!(area, rle.area());
                prop_assert_eq!(Rle::iou(from_ref(&rle), from_ref(&rle), &[false]).unwrap().len(), 1);
            }
        }
    }
}
