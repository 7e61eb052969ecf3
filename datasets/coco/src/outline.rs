//! An annotation's outline: whether it can be used, and its pixels as pycocotools has them.

use kat_images::{MaskError, Rle, Size, polygon};

use super::arena::Segmentation;

/// The mask of an outline in an annotation file, for an image of this size; `None` if there is no outline.
///
/// # Errors
/// If the outline is malformed or of another size.
pub fn to_rle(outline: Segmentation, image: Size) -> Result<Option<Rle>, MaskError> {
    let same_size = |size: [u32; 2]| {
        let found = of([size[0], size[1]]);
        if found == image { Ok(found) } else { Err(MaskError::Size { found, expected: image }) }
    };
    match outline {
        Segmentation::None => Ok(None),
        Segmentation::Polygons(rings) => {
            if rings.is_empty() {
                return Err(MaskError::Polygon { ring: 0, reason: "there are no rings".to_owned() });
            }
            for (ring, points) in rings.iter().enumerate() {
                check(points).map_err(|reason| MaskError::Polygon { ring, reason })?;
            }
            let points = |ring: &'_ [f64]| ring.chunks_exact(2).map(|p| (p[0], p[1])).collect::<Vec<_>>();
            polygon::fill(rings.iter().map(|ring| points(ring).into_iter()), image).map(Some)
        }
        Segmentation::Runs { size, counts } => Rle::new(same_size(size)?, counts.to_vec()).map(Some),
        Segmentation::Text { size, counts } => Rle::from_text(same_size(size)?, counts).map(Some),
    }
}

/// The size that a file writes as height, then width.
pub(crate) fn of([height, width]: [u32; 2]) -> Size {
    Size::new(height as usize, width as usize)
}

/// Whether a ring can be filled; the reason if not.
///
/// # Errors
/// What is wrong with the ring.
pub fn check(ring: &[f64]) -> Result<(), String> {
    if !ring.len().is_multiple_of(2) {
        return Err(format!("{} coordinates, expected an even number", ring.len()));
    }
    if ring.len() < 6 {
        return Err(format!("{} points, expected at least 3", ring.len() / 2));
    }
    match ring.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(format!("coordinate {at} is {}, expected a finite number", ring[at])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_must_agree() {
        let wrong = Segmentation::Runs { size: [2, 3], counts: &[6] };
        assert!(matches!(to_rle(wrong, Size::new(3, 2)), Err(MaskError::Size { .. })));
        let right = Segmentation::Runs { size: [2, 3], counts: &[1, 3, 2] };
        assert_eq!(to_rle(right, Size::new(2, 3)).unwrap().unwrap().area(), 3);
        assert_eq!(to_rle(Segmentation::None, Size::new(3, 2)).unwrap(), None);
    }

    #[test]
    fn rings_that_enclose_nothing_are_faults() {
        for ring in [&[1.0, 2.0, 3.0, 4.0][..], &[0.0; 7], &[0.0, 1.0, f64::NAN, 2.0, 3.0, 4.0]] {
            assert!(check(ring).is_err());
        }
    }

    proptest! {
        /// The evaluator fills polygons itself; masks in training, checks and sample data must be the same pixels.
        #[test]
        fn filled_as_the_evaluator_fills(
            rings in proptest::collection::vec(proptest::collection::vec(-20.0..80.0f64, 6..16), 1..4),
            h in 1usize..60, w in 1usize..60
        ) {
            let rings: Vec<Vec<f64>> = rings.into_iter().map(|mut ring| {
                ring.truncate(ring.len() / 2 * 2);
                ring
            }).collect();
            let points = rings.iter().map(|ring| ring.chunks_exact(2).map(|p| (p[0], p[1])));
            let ours = polygon::fill(points, Size::new(h, w)).unwrap();
            let theirs = hotcoco::mask::fr_polys(&rings, h as u32, w as u32).unwrap();
            prop_assert_eq!(ours.to_text(), hotcoco::mask::rle_to_string(&theirs));
            prop_assert_eq!(Rle::from_text(Size::new(h, w), &ours.to_text()).unwrap(), ours);
        }
    }
}
