//! Outlines and their rasterisation, pixel for pixel as the COCO tools do it.
//!
//! An outline is first drawn on a grid five times finer, one point a step of the longer axis; where the drawn line
//! passes the column of fine points at a pixel's centre, the pixels below it change sides. Only those passages
//! decide the result, so they are computed directly: the cost goes with the pixels of the grid, not with how far a
//! polygon reaches beyond it.
//!
//! # Shapes
//! Ring: at least three `[x, y]`; grid (side, side), row-major, one byte a pixel, 0 or 1.

use crate::Size;
use crate::rle::{MaskError, Rle, Runs, countable};

/// Fine points to a pixel.
const FINE: f64 = 5.0;
/// Fine points beyond this one stand there, so that no step between two of them overflows.
const FARTHEST: f64 = FINE * (1u32 << 22) as f64;

/// Points of a ring, x then y.
pub type Ring = Vec<[f32; 2]>;

/// One object's outline: one or more rings, whose union is the object.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polygon(Vec<Ring>);

impl Polygon {
    /// Takes the rings of an object.
    ///
    /// # Errors
    /// A ring of fewer than three points, or a coordinate that is not finite.
    pub fn new(rings: Vec<Ring>) -> Result<Self, MaskError> {
        for (at, ring) in rings.iter().enumerate() {
            let fault = |reason| MaskError::Polygon { ring: at, reason };
            if ring.len() < 3 {
                return Err(fault(format!("{} points, expected at least 3", ring.len())));
            }
            if let Some(point) = ring.iter().find(|p| !(p[0].is_finite() && p[1].is_finite())) {
                return Err(fault(format!("a point is {point:?}, expected finite coordinates")));
            }
        }
        Ok(Self(rings))
    }

    /// Takes the rings that are some, and leaves out those of fewer than three points or with a coordinate that is not
    /// finite.
    pub fn from_usable(rings: impl IntoIterator<Item = Ring>) -> Self {
        let usable = |ring: &Ring| ring.len() >= 3 && ring.iter().flatten().all(|v| v.is_finite());
        Self(rings.into_iter().filter(usable).collect())
    }

    /// The rings.
    pub fn rings(&self) -> &[Ring] {
        &self.0
    }

    /// Moves every point by a map that keeps it finite.
    pub fn map_points(&mut self, map: impl Fn([f32; 2]) -> [f32; 2]) {
        self.0.iter_mut().flatten().for_each(|point| *point = map(*point));
    }

    /// The smallest box around all rings, `None` without a point.
    pub fn bounds(&self) -> Option<[f32; 4]> {
        self.0.iter().flatten().fold(None, |found: Option<[f32; 4]>, &[x, y]| {
            Some(found.map_or([x, y, x, y], |[x0, y0, x1, y1]| [x0.min(x), y0.min(y), x1.max(x), y1.max(y)]))
        })
    }

    /// What of the outline lies in `[0, width] x [0, height]`; rings of which no area is left go.
    pub fn clip(&self, width: f32, height: f32) -> Self {
        Self(self.0.iter().filter_map(|ring| clip(ring, width, height)).collect())
    }

    /// The pixels of an image of this size that the object covers.
    ///
    /// # Errors
    /// More pixels than run lengths can count.
    pub fn to_rle(&self, size: Size) -> Result<Rle, MaskError> {
        fill(self.0.iter().map(|ring| ring.iter().map(|p| (f64::from(p[0]), f64::from(p[1])))), size)
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
            crossings(ring.iter().map(place), Size::square(side), |at| flips[at] ^= 1);
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

/// The pixels of an image of this size in any of `rings`, the points of each given in turn.
///
/// # Errors
/// More pixels than run lengths can count.
pub fn fill<R: Iterator<Item = (f64, f64)>>(
    rings: impl Iterator<Item = R>,
    size: Size,
) -> Result<Rle, MaskError> {
    countable(size)?;
    let mut flips: Vec<(usize, usize)> = Vec::new();
    let mut inside = Vec::new();
    for (ring, points) in rings.enumerate() {
        crossings(points, size, |at| flips.push((at, ring)));
        inside.push(false);
    }
    flips.sort_unstable();
    let (mut runs, mut at, mut covering) = (Runs::default(), 0, 0usize);
    for (flip, ring) in flips {
        runs.push(covering > 0, flip - at);
        at = flip;
        inside[ring] = !inside[ring];
        covering = if inside[ring] { covering + 1 } else { covering - 1 };
    }
    runs.push(covering > 0, size.area() - at);
    Ok(runs.finish(size))
}

/// Calls `flip` with the column-major pixel index at each passage of the closed ring `points` through the centre
/// line of a column of the grid.
fn crossings(points: impl Iterator<Item = (f64, f64)>, size: Size, mut flip: impl FnMut(usize)) {
    let fine = |v: f64| (FINE * v + 0.5).trunc().clamp(-FARTHEST, FARTHEST);
    let fine: Vec<(f64, f64)> = points.map(|(x, y)| (fine(x), fine(y))).collect();
    for (i, &from) in fine.iter().enumerate() {
        let to = fine[(i + 1) % fine.len()];
        let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        // A line is drawn from its lesser end along the longer axis.
        let flat = dx >= dy;
        let ((xs, ys), (xe, ye)) =
            if (flat && from.0 > to.0) || (!flat && from.1 > to.1) { (to, from) } else { (from, to) };
        let columns = columns_between(xs.min(xe), xs.max(xe), size.width);
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
            let y = ((y + 0.5) / FINE - 0.5).clamp(0.0, size.height as f64).ceil();
            flip(column * size.height + y as usize);
        }
    }
}

/// Columns k of the grid whose centre line, between fine columns 5k + 2 and 5k + 3, lies within [low, high].
fn columns_between(low: f64, high: f64, width: usize) -> std::ops::Range<usize> {
    let first = ((low - 2.0) / FINE).ceil().max(0.0);
    let end = (((high - 3.0) / FINE).floor() + 1.0).min(width as f64);
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

/// The area of a ring by the shoelace formula, never negative.
fn area(ring: &[[f32; 2]]) -> f64 {
    let mut sum = 0.0;
    for (i, &[x0, y0]) in ring.iter().enumerate() {
        let [x1, y1] = ring[(i + 1) % ring.len()];
        sum += f64::from(x0) * f64::from(y1) - f64::from(x1) * f64::from(y0);
    }
    (sum / 2.0).abs()
}

/// The part of `ring` inside `[0, width] x [0, height]` (Sutherland and Hodgman, "Reentrant polygon clipping", 1974), `None`
/// where no area is left. A concave ring cut in two
/// stays one ring, joined by edges along the border that enclose nothing.
fn clip(ring: &[[f32; 2]], width: f32, height: f32) -> Option<Ring> {
    let mut points = ring.to_vec();
    for (axis, limit, keep_below) in [(0, 0.0, false), (0, width, true), (1, 0.0, false), (1, height, true)] {
        let inside = |p: &[f32; 2]| if keep_below { p[axis] <= limit } else { p[axis] >= limit };
        let mut kept = Vec::with_capacity(points.len() + 4);
        for (i, &to) in points.iter().enumerate() {
            let from = points[(i + points.len() - 1) % points.len()];
            if inside(&from) != inside(&to) {
                let share = (limit - from[axis]) / (to[axis] - from[axis]);
                let mut cut = [from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1])];
                cut[axis] = limit;
                kept.push(cut);
            }
            if inside(&to) {
                kept.push(to);
            }
        }
        points = kept;
    }
    (points.len() >= 3 && area(&points) > 0.0).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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
        let p = Polygon::new(vec![square(1., 1., 3., 4.)]).unwrap();
        let expected = [0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0];
        assert_eq!(p.rasterize_within([0., 0., 4., 4.], 4), expected);
    }

    #[test]
    fn union_of_rings_and_stretching() {
        let p = Polygon::new(vec![square(10., 20., 12., 24.), square(11., 20., 14., 22.)]).unwrap();
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
        let p = Polygon::new(vec![square(0., 0., 1e9, 1e9)]).unwrap();
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
            crossings(ring.iter().copied(), Size::square(side), |at| flips.push(at));
            flips.sort_unstable();
            assert_eq!(flips, drawn(&ring, side), "case {case}: {ring:?}");
        }
    }

    #[test]
    fn bad_rings_are_refused() {
        assert!(Polygon::new(vec![vec![[0., 0.], [1., 1.]]]).is_err());
        assert!(Polygon::new(vec![vec![[0., 0.], [1., 1.], [f32::NAN, 0.]]]).is_err());
        assert!(Polygon::new(vec![]).is_ok());
    }

    fn area_of(polygon: &Polygon) -> f64 {
        polygon.rings().iter().map(|ring| area(ring)).sum()
    }

    #[test]
    fn a_triangle_cut_at_a_corner() {
        // legs of 4 from (-2, 0): the part right of x = 0 is a triangle with legs of 2
        let cut = Polygon::new(vec![vec![[-2.0, 0.0], [2.0, 0.0], [-2.0, 4.0]]]).unwrap().clip(10.0, 10.0);
        assert!((area_of(&cut) - 2.0).abs() < 1e-6);
        assert_eq!(cut.bounds(), Some([0.0, 0.0, 2.0, 2.0]));
    }

    #[test]
    fn outside_and_degenerate_rings_vanish() {
        let outside = Polygon::new(vec![vec![[20.0, 1.0], [30.0, 1.0], [30.0, 5.0]]]).unwrap();
        assert_eq!(outside.clip(10.0, 10.0), Polygon::default());
        assert_eq!(clip(&[[1.0, 1.0], [3.0, 3.0]], 10.0, 10.0), None);
        assert_eq!(clip(&[], 10.0, 10.0), None);
        assert_eq!(Polygon::default().bounds(), None);
    }

    #[test]
    fn a_square_covers_its_pixels() {
        // Corners on pixel edges: columns 1..4, rows 2..5.
        let size = Size::new(8, 10);
        let rle = Polygon::new(vec![square(1., 2., 4., 5.)]).unwrap().to_rle(size).unwrap();
        assert_eq!(rle.area(), 9);
        assert_eq!(rle.counts()[..2], [8 + 2, 3]);
        // The same ring twice is the same object.
        let twice = Polygon::new(vec![square(1., 2., 4., 5.); 2]).unwrap().to_rle(size).unwrap();
        assert_eq!(twice, rle);
    }

    proptest! {
        #[test]
        fn rectangles_clip_to_their_intersection(
            x in -20f32..20.0, y in -20f32..20.0, w in 0.1f32..30.0, h in 0.1f32..30.0,
        ) {
            let ring = vec![[x, y], [x + w, y], [x + w, y + h], [x, y + h]];
            let overlap = |a: f32, b: f32| (b.min(16.0) - a.max(0.0)).max(0.0);
            let expected = f64::from(overlap(x, x + w)) * f64::from(overlap(y, y + h));
            let found = area_of(&Polygon::new(vec![ring]).unwrap().clip(16.0, 16.0));
            prop_assert!((found - expected).abs() < 1e-2 + 1e-4 * expected);
        }

        #[test]
        fn any_ring_gives_a_whole_mask(
            points in proptest::collection::vec(
                (prop_oneof![-50.0..150.0f64, Just(1e300), Just(-1e300)], -50.0..150.0f64), 0..16),
            h in 0usize..64, w in 0usize..64
        ) {
            let rle = fill([points.into_iter()].into_iter(), Size::new(h, w)).unwrap();
            prop_assert_eq!(rle.to_bitmap().len(), h * w);
        }
    }
}
