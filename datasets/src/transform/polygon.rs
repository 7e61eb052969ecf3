//! Polygons clipped to a rectangle (Sutherland and Hodgman, "Reentrant polygon clipping", 1974).

/// Points of a ring, x then y.
pub type Ring = Vec<[f32; 2]>;

/// Twice the signed area is summed by the shoelace formula; the result is the area, never negative.
pub fn area(ring: &[[f32; 2]]) -> f64 {
    let mut sum = 0.0;
    for (i, &[x0, y0]) in ring.iter().enumerate() {
        let [x1, y1] = ring[(i + 1) % ring.len()];
        sum += f64::from(x0) * f64::from(y1) - f64::from(x1) * f64::from(y0);
    }
    (sum / 2.0).abs()
}

/// The smallest `[x0, y0, x1, y1]` around all rings, `None` without a finite point.
pub fn bounds(rings: &[Ring]) -> Option<[f32; 4]> {
    rings.iter().flatten().filter(|p| p[0].is_finite() && p[1].is_finite()).fold(
        None,
        |found: Option<[f32; 4]>, &[x, y]| {
            Some(found.map_or([x, y, x, y], |[x0, y0, x1, y1]| [x0.min(x), y0.min(y), x1.max(x), y1.max(y)]))
        },
    )
}

/// The part of `ring` inside `[0, width] x [0, height]`, `None` where no area is left. A concave ring cut in two
/// stays one ring, joined by edges along the border that enclose nothing.
pub fn clip(ring: &[[f32; 2]], width: f32, height: f32) -> Option<Ring> {
    if ring.iter().flatten().any(|v| !v.is_finite()) {
        return None;
    }
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

    #[test]
    fn a_triangle_cut_at_a_corner() {
        // legs of 4 from (-2, 0): the part right of x = 0 is a triangle with legs of 2
        let ring = [[-2.0, 0.0], [2.0, 0.0], [-2.0, 4.0]];
        let cut = clip(&ring, 10.0, 10.0).unwrap();
        assert!((area(&cut) - 2.0).abs() < 1e-6);
        assert_eq!(bounds(&[cut]), Some([0.0, 0.0, 2.0, 2.0]));
    }

    #[test]
    fn outside_degenerate_and_unbounded_rings_vanish() {
        assert_eq!(clip(&[[20.0, 1.0], [30.0, 1.0], [30.0, 5.0]], 10.0, 10.0), None);
        assert_eq!(clip(&[[1.0, 1.0], [3.0, 3.0]], 10.0, 10.0), None);
        assert_eq!(clip(&[], 10.0, 10.0), None);
        assert_eq!(clip(&[[1.0, f32::NAN], [3.0, 3.0], [1.0, 3.0]], 10.0, 10.0), None);
        assert_eq!(bounds(&[]), None);
    }

    proptest! {
        #[test]
        fn rectangles_clip_to_their_intersection(
            x in -20f32..20.0, y in -20f32..20.0, w in 0.1f32..30.0, h in 0.1f32..30.0,
        ) {
            let ring = [[x, y], [x + w, y], [x + w, y + h], [x, y + h]];
            let overlap = |a: f32, b: f32| (b.min(16.0) - a.max(0.0)).max(0.0);
            let expected = f64::from(overlap(x, x + w)) * f64::from(overlap(y, y + h));
            let found = clip(&ring, 16.0, 16.0).map_or(0.0, |ring| area(&ring));
            prop_assert!((found - expected).abs() < 1e-2 + 1e-4 * expected);
        }
    }
}
