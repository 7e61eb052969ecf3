//! Images under an affine map, sampled as PIL's `Image.transform` does: the map goes from output to input, pixels are
//! taken at their centers, and what comes from outside the input is filled.

use crate::Size;
use image::{Rgb, RgbImage};

use crate::Filter;

/// Rows `[a, b, c, d, e, f]`: input x = a x + b y + c, input y = d x + e y + f.
pub type Map = [f64; 6];

/// `image` at the same size under `map`.
pub fn affine(image: &RgbImage, map: Map, filter: Filter, fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    let mut out = RgbImage::from_pixel(width, height, Rgb(fill));
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (cx, cy) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let sx = map[0] * cx + map[1] * cy + map[2];
        let sy = map[3] * cx + map[4] * cy + map[5];
        if sx < 0.0 || sx >= f64::from(width) || sy < 0.0 || sy >= f64::from(height) {
            continue;
        }
        pixel.0 = match filter {
            Filter::Nearest => image.get_pixel(sx as u32, sy as u32).0,
            Filter::Bilinear => bilinear(image, sx - 0.5, sy - 0.5),
            Filter::Bicubic => bicubic(image, sx - 0.5, sy - 0.5),
        };
    }
    out
}

/// The map that turns an image of that size about its center, counter-clockwise, by `degrees`.
pub fn rotation(degrees: f64, size: Size) -> Map {
    let (width, height) = size.dimensions();
    // PIL rounds to 15 decimals so that quarter turns are exact
    let rounded = |v: f64| (v * 1e15).round() / 1e15;
    let angle = -degrees.to_radians();
    let (cos, sin) = (rounded(angle.cos()), rounded(angle.sin()));
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    [cos, sin, cx - cos * cx - sin * cy, -sin, cos, cy + sin * cx - cos * cy]
}

#[inline(always)]
fn at(image: &RgbImage, x: i64, y: i64) -> [u8; 3] {
    let x = x.clamp(0, i64::from(image.width()) - 1) as u32;
    let y = y.clamp(0, i64::from(image.height()) - 1) as u32;
    image.get_pixel(x, y).0
}

fn bilinear(image: &RgbImage, sx: f64, sy: f64) -> [u8; 3] {
    let (x, y) = (sx.floor(), sy.floor());
    let (dx, dy) = (sx - x, sy - y);
    let (x, y) = (x as i64, y as i64);
    let corners = [at(image, x, y), at(image, x + 1, y), at(image, x, y + 1), at(image, x + 1, y + 1)];
    std::array::from_fn(|channel| {
        let [a, b, c, d] = corners.map(|p| f64::from(p[channel]));
        let top = a + (b - a) * dx;
        let bottom = c + (d - c) * dx;
        (top + (bottom - top) * dy) as u8
    })
}

fn bicubic(image: &RgbImage, sx: f64, sy: f64) -> [u8; 3] {
    let (x, y) = (sx.floor(), sy.floor());
    let (dx, dy) = (sx - x, sy - y);
    let (x, y) = (x as i64, y as i64);
    let grid: [[[u8; 3]; 4]; 4] =
        std::array::from_fn(|j| std::array::from_fn(|i| at(image, x - 1 + i as i64, y - 1 + j as i64)));
    std::array::from_fn(|channel| {
        let lines = grid.map(|line| cubic(line.map(|p| f64::from(p[channel])), dx));
        cubic(lines, dy) as u8
    })
}

/// The cubic with a = -1 through the middle two of four values.
#[inline(always)]
fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p2 = v3 - v1;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    v2 + d * (p2 + d * (p3 + d * p4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::testing::pattern;

    #[test]
    fn the_identity_and_whole_shifts_are_exact() {
        let image = pattern(12, 9);
        for filter in [Filter::Nearest, Filter::Bilinear, Filter::Bicubic] {
            assert_eq!(affine(&image, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], filter, [0; 3]), image);
            let shifted = affine(&image, [1.0, 0.0, 3.0, 0.0, 1.0, -2.0], filter, [1, 2, 3]);
            assert_eq!(shifted.get_pixel(4, 5), image.get_pixel(7, 3));
            assert_eq!(shifted.get_pixel(9, 5).0, [1, 2, 3]);
            assert_eq!(shifted.get_pixel(4, 1).0, [1, 2, 3]);
        }
    }

    #[test]
    fn half_a_turn_swaps_corners() {
        let image = pattern(12, 9);
        let turned = affine(&image, rotation(180.0, (12, 9).into()), Filter::Nearest, [0; 3]);
        assert_eq!(turned, image::imageops::rotate180(&image));
        let square = pattern(8, 8);
        // counter-clockwise by a quarter, as PIL's rotate(90)
        let turned = affine(&square, rotation(90.0, (8, 8).into()), Filter::Nearest, [0; 3]);
        assert_eq!(turned, image::imageops::rotate270(&square));
    }
}
