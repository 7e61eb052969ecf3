//! Polygons to masks, pixel for pixel as pycocotools' `frPyObjects` and `merge` do it: each ring is filled on a grid
//! five times finer and sampled, then the rings are united.

use super::engine;
use super::rle::{Rle, RleError, pixels};

/// Fills rings of x, y, x, y … on an image of `height` × `width`; their union is the object.
///
/// # Errors
/// If there is no ring, or a ring has fewer than 3 points, an odd number of coordinates or one that is not finite.
pub fn fill<'a>(rings: impl Iterator<Item = &'a [f64]>, height: u32, width: u32) -> Result<Rle, RleError> {
    pixels(height, width)?;
    let mut masks = Vec::new();
    for (i, ring) in rings.enumerate() {
        check(ring).map_err(|reason| RleError::Polygon { ring: i, reason })?;
        let runs =
            engine::ring_runs(ring, height, width).map_err(|reason| RleError::Polygon { ring: i, reason })?;
        masks.push(Rle::new(height, width, runs)?);
    }
    if masks.is_empty() {
        let reason = "there are no rings".to_string();
        return Err(RleError::Polygon { ring: 0, reason });
    }
    Rle::union(&masks)
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
    fn a_square_covers_its_pixels() {
        // Corners on pixel edges: columns 1..4, rows 2..5.
        let ring = [1.0, 2.0, 4.0, 2.0, 4.0, 5.0, 1.0, 5.0];
        let rle = fill([&ring[..]].into_iter(), 8, 10).unwrap();
        assert_eq!(rle.area(), 9);
        assert_eq!(rle.bbox(), [1.0, 2.0, 3.0, 3.0]);
        // The same ring twice is the same object.
        let twice = fill([&ring[..], &ring[..]].into_iter(), 8, 10).unwrap();
        assert_eq!(twice.decode(), rle.decode());
    }

    #[test]
    fn rings_that_enclose_nothing_are_errors() {
        for ring in [&[1.0, 2.0, 3.0, 4.0][..], &[0.0; 7], &[0.0, 1.0, f64::NAN, 2.0, 3.0, 4.0]] {
            assert!(matches!(fill([ring].into_iter(), 8, 8), Err(RleError::Polygon { ring: 0, .. })));
        }
        assert!(fill(std::iter::empty(), 8, 8).is_err());
    }

    proptest! {
        #[test]
        fn any_ring_gives_a_whole_mask(
            ring in proptest::collection::vec(
                prop_oneof![-50.0..150.0f64, Just(1e300), Just(-1e300), any::<f64>()], 0..16),
            h in 0u32..64, w in 0u32..64
        ) {
            if let Ok(rle) = fill([&ring[..]].into_iter(), h, w) {
                prop_assert_eq!(rle.decode().dimensions(), (w, h));
            }
        }
    }
}
