//! Outlines and their rasterisation, pixel for pixel as the COCO tools do it.
//!
//! An outline is first drawn on a grid five times finer, one point a step of the longer axis; where the drawn line
//! passes the column of fine points at a pixel's centre, the pixels below it change sides. Only those passages
//! decide the result, so they are computed directly: the cost goes with the pixels of the grid, not with how far a
//! polygon reaches beyond it.
//!
//! # Shapes
//! Ring: at least three `[x, y]`; grid (side, side), row-major, one byte a pixel, 0 or 1.

use crate::error::HeadError;

/// Fine points to a pixel.
const FINE: f64 = 5.0;

/// One object's outline: one or more rings, whose union is the object.
#[derive(Debug, Clone, PartialEq)]
pub struct Polygons(Vec<Vec<[f32; 2]>>);

impl Polygons {
    /// Takes the rings of an object.
    ///
    /// # Errors
    /// A ring of fewer than three points, or a coordinate that is not finite.
    pub fn new(rings: Vec<Vec<[f32; 2]>>) -> Result<Self, HeadError> {
        for ring in &rings {
            if ring.len() < 3 {
                return Err(HeadError::value("polygon ring", ring, "at least 3 points"));
            }
            if let Some(point) = ring.iter().find(|p| !(p[0].is_finite() && p[1].is_finite())) {
                return Err(HeadError::value("polygon point", point, "finite coordinates"));
            }
        }
        Ok(Self(rings))
    }

    /// The rings.
    pub fn rings(&self) -> &[Vec<[f32; 2]>] {
        &self.0
    }

    /// The outline cut to `roi` and drawn on a grid of `side` by `side` pixels that the box is stretched to.
    /// A box thinner than 0.1 pixels is taken as 0.1 wide; one that is not finite gives an empty grid.
    pub fn rasterize_within(&self, roi: [f32; 4], side: usize) -> Vec<u8> {
        if !roi.iter().all(|c| c.is_finite()) {
            return vec![0; side * side];
        }
        let (x0, y0) = (f64::from(roi[0]), f64::from(roi[1]));
        let scale = |extent: f32| side as f64 / f64::from(extent).max(0.1);
        let (sx, sy) = (scale(roi[2] - roi[0]), scale(roi[3] - roi[1]));
        let mut grid = vec![0u8; side * side];
        let mut flips = vec![0u8; side * side + 1];
        for ring in &self.0 {
            flips.fill(0);
            let place = |p: &[f32; 2]| ((f64::from(p[0]) - x0) * sx, (f64::from(p[1]) - y0) * sy);
            crossings(ring.iter().map(place), side, |at| flips[at] ^= 1);
            // The flips run down the columns, each on from the one before.
            let mut inside = 0;
            for x in 0..side {
                for y in 0..side {
                    inside ^= flips[x * side + y];
                    grid[y * side + x] |= inside;
                }
            }
        }
        grid
    }
}

/// Calls `flip` with the column-major pixel index at each passage of the closed ring `points` through the centre
/// line of a column of the grid.
fn crossings(points: impl Iterator<Item = (f64, f64)>, side: usize, mut flip: impl FnMut(usize)) {
    let fine: Vec<(f64, f64)> =
        points.map(|(x, y)| ((FINE * x + 0.5).trunc(), (FINE * y + 0.5).trunc())).collect();
    for (i, &from) in fine.iter().enumerate() {
        let to = fine[(i + 1) % fine.len()];
        let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        // A line is drawn from its lesser end along the longer axis.
        let flat = dx >= dy;
        let ((xs, ys), (xe, ye)) =
            if (flat && from.0 > to.0) || (!flat && from.1 > to.1) { (to, from) } else { (from, to) };
        let columns = columns_between(xs.min(xe), xs.max(xe), side);
        for column in columns {
            // The line steps from fine column c to c + 1.
            let c = FINE * column as f64 + 2.0;
            let y = if flat {
                let slope = (ye - ys) / dx;
                let at = |u: f64| (ys + slope * (u - xs) + 0.5).trunc();
                at(c).min(at(c + 1.0))
            } else {
                let slope = (xe - xs) / dy;
                ys + last_step_at_most(c, xs, slope, dy)
            };
            let y = ((y + 0.5) / FINE - 0.5).clamp(0.0, side as f64).ceil();
            flip(column * side + y as usize);
        }
    }
}

/// Columns k of the grid whose centre line, between fine columns 5k + 2 and 5k + 3, lies within [low, high].
fn columns_between(low: f64, high: f64, side: usize) -> std::ops::Range<usize> {
    let first = ((low - 2.0) / FINE).ceil().max(0.0);
    let end = (((high - 3.0) / FINE).floor() + 1.0).min(side as f64);
    if first < end { first as usize..end as usize } else { 0..0 }
}

/// Of a steep line with fine points (trunc(xs + slope t + 0.5), ys + t), t = 0..=length, that passes from fine
/// column c to c + 1 (or back): the lesser t of the two points at the passage.
fn last_step_at_most(c: f64, xs: f64, slope: f64, length: f64) -> f64 {
    let beyond = |t: f64| {
        let u = (xs + slope * t + 0.5).trunc();
        if slope > 0.0 { u > c } else { u <= c }
    };
    // The first point beyond; solved, then corrected for rounding.
    let mut t = ((c + 0.5 - xs) / slope).ceil().clamp(1.0, length);
    while t > 1.0 && beyond(t - 1.0) {
        t -= 1.0;
    }
    while t < length && !beyond(t) {
        t += 1.0;
    }
    t - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn square(x0: f32, y0: f32, x1: f32, y1: f32) -> Vec<[f32; 2]> {
        vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    }

    /// Every fine point drawn in turn, every pair of neighbours looked at.
    fn drawn(ring: &[(f64, f64)], side: usize) -> Vec<usize> {
        let fine: Vec<(i64, i64)> =
            ring.iter().map(|&(x, y)| ((5.0 * x + 0.5) as i64, (5.0 * y + 0.5) as i64)).collect();
        let mut line: Vec<(i64, i64)> = Vec::new();
        for (i, &a) in fine.iter().enumerate() {
            let b = fine[(i + 1) % fine.len()];
            let (dx, dy) = ((b.0 - a.0).abs(), (b.1 - a.1).abs());
            if dx == 0 && dy == 0 {
                continue;
            }
            let mut piece: Vec<(i64, i64)> = Vec::new();
            if dx >= dy {
                let (s, e) = if a.0 > b.0 { (b, a) } else { (a, b) };
                let slope = (e.1 - s.1) as f64 / dx as f64;
                piece.extend((0..=dx).map(|t| (s.0 + t, (s.1 as f64 + slope * t as f64 + 0.5) as i64)));
            } else {
                let (s, e) = if a.1 > b.1 { (b, a) } else { (a, b) };
                let slope = (e.0 - s.0) as f64 / dy as f64;
                piece.extend((0..=dy).map(|t| ((s.0 as f64 + slope * t as f64 + 0.5) as i64, s.1 + t)));
            }
            if (dx >= dy && a.0 > b.0) || (dx < dy && a.1 > b.1) {
                piece.reverse();
            }
            line.extend(piece);
        }
        let mut flips = Vec::new();
        for pair in line.windows(2) {
            let (p, q) = (pair[0], pair[1]);
            let column = (p.0.min(q.0) as f64 + 0.5) / 5.0 - 0.5;
            if p.0 != q.0 && column.fract() == 0.0 && column >= 0.0 && column <= side as f64 - 1.0 {
                let y = ((p.1.min(q.1) as f64 + 0.5) / 5.0 - 0.5).clamp(0.0, side as f64).ceil();
                flips.push(column as usize * side + y as usize);
            }
        }
        flips.sort_unstable();
        flips
    }

    #[test]
    fn whole_pixels_of_a_square() {
        let p = Polygons::new(vec![square(1., 1., 3., 4.)]).unwrap();
        let expected = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0];
        assert_eq!(p.rasterize_within([0., 0., 4., 4.], 4), expected);
    }

    #[test]
    fn union_of_rings_and_stretching() {
        let p = Polygons::new(vec![square(10., 20., 12., 24.), square(11., 20., 14., 22.)]).unwrap();
        // The box is 4 by 4 at (10, 20): left half, and the upper three right quarters.
        assert_eq!(
            p.rasterize_within([10., 20., 14., 24.], 4),
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0]
        );
        assert_eq!(p.rasterize_within([10., 20., 14., 24.], 2), [1, 1, 1, 0]);
        assert_eq!(p.rasterize_within([0., 0., 4., 4.], 2), [0; 4]);
    }

    #[test]
    fn degenerate_boxes_give_a_grid() {
        let p = Polygons::new(vec![square(0., 0., 1e9, 1e9)]).unwrap();
        assert_eq!(p.rasterize_within([5., 5., 5., 5.], 28), [1; 28 * 28]);
        assert_eq!(p.rasterize_within([f32::NAN; 4], 28).len(), 28 * 28);
    }

    #[test]
    fn same_as_drawing_every_point() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for case in 0..3000 {
            let side = [4, 28, 61][case % 3];
            let reach = if case % 2 == 0 { side as f64 } else { 3.0 * side as f64 };
            let n = rng.random_range(3..9);
            let ring: Vec<(f64, f64)> = (0..n)
                .map(|_| {
                    let mut at = || rng.random_range(-0.5 * reach..1.5 * reach);
                    let (x, y) = (at(), at());
                    // Whole and half coordinates meet the ties.
                    if case % 5 == 0 { ((2.0 * x).round() / 2.0, (2.0 * y).round() / 2.0) } else { (x, y) }
                })
                .collect();
            let mut flips = Vec::new();
            crossings(ring.iter().copied(), side, |at| flips.push(at));
            flips.sort_unstable();
            assert_eq!(flips, drawn(&ring, side), "case {case}: {ring:?}");
        }
    }

    #[test]
    fn bad_rings_are_refused() {
        assert!(Polygons::new(vec![vec![[0., 0.], [1., 1.]]]).is_err());
        assert!(Polygons::new(vec![vec![[0., 0.], [1., 1.], [f32::NAN, 0.]]]).is_err());
        assert!(Polygons::new(vec![]).is_ok());
    }
}
