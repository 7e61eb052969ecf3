//! RGB to 8-bit hue, saturation, value and back, in the two ways the reference pipelines have it.

/// PIL: hue of a full turn in 256 steps.
pub fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    if high == low {
        return [0, 0, high];
    }
    let range = f32::from(high - low);
    let distance = |v: u8| f32::from(high - v) / range;
    let (rc, gc, bc) = (distance(r), distance(g), distance(b));
    let sector = if r == high {
        bc - gc
    } else if g == high {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    let hue = (sector / 6.0 + 1.0) % 1.0;
    [(hue * 255.0) as u8, (range / f32::from(high) * 255.0) as u8, high]
}

/// The inverse of [`rgb_to_hsv`] up to rounding.
pub fn hsv_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let (hue, saturation) = (f32::from(h) * 6.0 / 255.0, f32::from(s) / 255.0);
    let rounded = |value: f32| value.round() as u8;
    sectors(hue, saturation, f32::from(v)).map(rounded)
}

/// OpenCV: hue of a full turn in 180 steps.
pub fn rgb_to_hsv180([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let range = i32::from(high - low);
    if range == 0 {
        return [0, 0, high];
    }
    let [r, g, b] = [r, g, b].map(i32::from);
    let top = i32::from(high);
    let sector = if top == r {
        g - b
    } else if top == g {
        b - r + 2 * range
    } else {
        r - g + 4 * range
    };
    // reciprocals in 12-bit fixed point
    let fixed = |numerator: f64| (numerator * 4096.0).round_ties_even() as i32;
    let saturation = (range * fixed(255.0 / f64::from(top)) + 2048) >> 12;
    let hue = (sector * fixed(30.0 / f64::from(range)) + 2048) >> 12;
    [(if hue < 0 { hue + 180 } else { hue }) as u8, saturation as u8, high]
}

/// The inverse of [`rgb_to_hsv180`] up to rounding.
pub fn hsv180_to_rgb([h, s, v]: [u8; 3]) -> [u8; 3] {
    let value = f32::from(v) / 255.0;
    sectors(f32::from(h) / 30.0, f32::from(s) / 255.0, value).map(|v| (v * 255.0).round_ties_even() as u8)
}

/// RGB in the unit of `value` from a hue counted in sixths of a turn.
fn sectors(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    let sector = hue.floor();
    let f = hue - sector;
    let p = value * (1.0 - saturation);
    let q = value * (1.0 - saturation * f);
    let t = value * (1.0 - saturation * (1.0 - f));
    match (sector as i32).rem_euclid(6) {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_colours() {
        assert_eq!(rgb_to_hsv([255, 0, 0]), [0, 255, 255]);
        assert_eq!(rgb_to_hsv([0, 255, 0]), [85, 255, 255]);
        assert_eq!(rgb_to_hsv180([0, 255, 0]), [60, 255, 255]);
        assert_eq!(rgb_to_hsv180([0, 0, 255]), [120, 255, 255]);
        assert_eq!(rgb_to_hsv180([9, 9, 9]), [0, 0, 9]);
    }

    #[test]
    fn there_and_back_is_near() {
        for r in (0..=255).step_by(15) {
            for g in (0..=255).step_by(17) {
                for b in (0..=255u8).step_by(51) {
                    for back in [hsv_to_rgb(rgb_to_hsv([r, g, b])), hsv180_to_rgb(rgb_to_hsv180([r, g, b]))] {
                        for (a, b) in [r, g, b].into_iter().zip(back) {
                            assert!(a.abs_diff(b) <= 6, "{r} {g} {b:?} -> {back:?}");
                        }
                    }
                }
            }
        }
    }
}
