//! The outlines: which points of the plane belong to each shape.

use std::f32::consts::TAU;

/// An outline, centred on the origin and within the unit circle; y points down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Ring,
    Cross,
    Crescent,
    Heart,
    Arrow,
    Ellipse,
    Hexagon,
    Pentagon,
}

impl Shape {
    /// Every shape; the first ten are the easiest to tell apart at low resolution.
    pub const ALL: [Shape; 12] = [
        Shape::Circle,
        Shape::Square,
        Shape::Triangle,
        Shape::Star,
        Shape::Ring,
        Shape::Cross,
        Shape::Crescent,
        Shape::Heart,
        Shape::Arrow,
        Shape::Ellipse,
        Shape::Hexagon,
        Shape::Pentagon,
    ];

    /// Class name, also the folder name.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Circle => "circle",
            Shape::Square => "square",
            Shape::Triangle => "triangle",
            Shape::Star => "star",
            Shape::Ring => "ring",
            Shape::Cross => "cross",
            Shape::Crescent => "crescent",
            Shape::Heart => "heart",
            Shape::Arrow => "arrow",
            Shape::Ellipse => "ellipse",
            Shape::Hexagon => "hexagon",
            Shape::Pentagon => "pentagon",
        }
    }

    /// Whether the point `(u, v)` lies in the shape.
    pub fn contains(self, u: f32, v: f32) -> bool {
        let r2 = u * u + v * v;
        if r2 > 1.0 {
            return false;
        }
        match self {
            Shape::Circle => r2 <= 0.8,
            Shape::Square => u.abs().max(v.abs()) <= 0.707,
            Shape::Triangle => in_star(u, v, 3, 0.5),
            Shape::Star => in_star(u, v, 5, 0.42),
            Shape::Ring => r2 >= 0.3,
            Shape::Cross => u.abs().min(v.abs()) <= 0.26 && u.abs().max(v.abs()) <= 0.95,
            Shape::Crescent => (u - 0.5) * (u - 0.5) + v * v >= 0.56,
            Shape::Heart => {
                // (x² + y² − 1)³ ≤ x²y³, scaled into the unit circle and centred
                let (x, y) = (u * 1.32, -v * 1.32 + 0.12);
                let a = x * x + y * y - 1.0;
                a * a * a - x * x * y * y * y <= 0.0
            }
            Shape::Arrow => {
                let head = (-0.95..=0.05).contains(&v) && u.abs() <= (v + 0.95) * 0.78;
                head || ((0.05..=0.95).contains(&v) && u.abs() <= 0.27)
            }
            Shape::Ellipse => u * u + v * v * 4.5 <= 1.0,
            Shape::Hexagon => in_star(u, v, 6, 0.866_025_4),
            Shape::Pentagon => in_star(u, v, 5, 0.809_017),
        }
    }
}

/// A star with `points` tips on the unit circle and inner corners at radius `inner`, one tip straight up; a
/// regular polygon where `inner = cos(π / points)`.
fn in_star(u: f32, v: f32, points: u32, inner: f32) -> bool {
    let sector = TAU / points as f32;
    // fold the plane into half a sector, between a tip (angle 0) and the next inner corner
    let angle = u.atan2(-v).rem_euclid(sector);
    let angle = angle.min(sector - angle);
    let r = (u * u + v * v).sqrt();
    let (x, y) = (r * angle.cos(), r * angle.sin());
    let (cx, cy) = (inner * (sector / 2.0).cos(), inner * (sector / 2.0).sin());
    // left of the edge from (1, 0) to (cx, cy)
    (cx - 1.0) * y - cy * (x - 1.0) >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(shape: Shape) -> f32 {
        let n = 400;
        let at = |i: usize| (i as f32 + 0.5) / n as f32 * 2.0 - 1.0;
        let inside = (0..n * n).filter(|k| shape.contains(at(k % n), at(k / n))).count();
        inside as f32 * 4.0 / (n * n) as f32
    }

    #[test]
    fn areas_are_those_of_the_figures() {
        let regular = |n: f32| 0.5 * n * (TAU / n).sin();
        for (shape, expected) in [
            (Shape::Circle, 0.4 * TAU),
            (Shape::Square, 2.0),
            (Shape::Triangle, regular(3.0)),
            (Shape::Pentagon, regular(5.0)),
            (Shape::Hexagon, regular(6.0)),
            (Shape::Ring, 0.35 * TAU),
            (Shape::Star, 5.0 * 0.42 * (TAU / 10.0).sin()),
        ] {
            assert!((area(shape) - expected).abs() < 0.02, "{shape:?}: {} against {expected}", area(shape));
        }
        for shape in Shape::ALL {
            assert!(area(shape) > 0.5, "{shape:?} is too thin: {}", area(shape));
        }
    }

    #[test]
    fn no_two_outlines_are_alike_under_rotation() {
        // fraction of the plane where they differ, at the best of 24 relative rotations
        let n = 80;
        let at = |i: usize| (i as f32 + 0.5) / n as f32 * 2.0 - 1.0;
        for (i, a) in Shape::ALL.iter().enumerate() {
            for b in &Shape::ALL[i + 1..] {
                let least = (0..24)
                    .map(|k| {
                        let (s, c) = (k as f32 * TAU / 24.0).sin_cos();
                        (0..n * n)
                            .filter(|p| {
                                let (u, v) = (at(p % n), at(p / n));
                                a.contains(u, v) != b.contains(c * u - s * v, s * u + c * v)
                            })
                            .count()
                    })
                    .min()
                    .unwrap_or(0);
                let share = least as f32 / (n * n) as f32;
                assert!(share > 0.025, "{a:?} and {b:?} differ in {share} only");
            }
        }
    }
}
