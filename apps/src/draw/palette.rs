//! Colors that can be told apart, and text that can be read on them.

/// An sRGB color.
pub type Rgb = [u8; 3];

/// Hand-picked and well apart; beyond them hues are generated.
const FIRST: [Rgb; 12] = [
    [31, 119, 180],
    [230, 97, 1],
    [44, 150, 62],
    [200, 45, 57],
    [128, 84, 180],
    [140, 92, 66],
    [214, 92, 172],
    [92, 98, 106],
    [160, 164, 20],
    [10, 168, 186],
    [240, 178, 40],
    [60, 60, 160],
];

/// A color for a class; the same class has the same color in every image.
pub fn class_color(index: usize) -> Rgb {
    if let Some(color) = FIRST.get(index) {
        return *color;
    }
    // Steps of the golden angle keep any number of consecutive hues apart; lightness cycles besides.
    let hue = (index as f64 * 0.618_033_988_75).fract();
    let value = [0.92, 0.68, 0.80][index % 3];
    hsv(hue, [0.72, 0.85, 0.60][index / 3 % 3], value)
}

/// The color of a class in the shade of its `number`th instance: those of one class are told apart and stay of its hue.
pub fn shade(color: Rgb, number: usize) -> Rgb {
    const STEPS: [(Rgb, f32); 6] = [
        ([0, 0, 0], 0.0),
        ([255, 255, 255], 0.34),
        ([0, 0, 0], 0.30),
        ([255, 255, 255], 0.55),
        ([0, 0, 0], 0.50),
        ([255, 255, 255], 0.18),
    ];
    let (towards, amount) = STEPS[number % STEPS.len()];
    blend(color, towards, amount)
}

/// Black or white, whichever reads better on `background`.
pub fn text_on(background: Rgb) -> Rgb {
    let linear = |c: u8| (f64::from(c) / 255.0).powf(2.2);
    let luminance =
        0.2126 * linear(background[0]) + 0.7152 * linear(background[1]) + 0.0722 * linear(background[2]);
    // Equal contrast with black and white: (L + 0.05)² = 0.05 · 1.05.
    if luminance > 0.179 { [0, 0, 0] } else { [255, 255, 255] }
}

/// `over` laid on `under` with opacity `alpha` in [0, 1].
#[inline]
pub fn blend(under: Rgb, over: Rgb, alpha: f32) -> Rgb {
    let mix = |u: u8, o: u8| (f32::from(u) + (f32::from(o) - f32::from(u)) * alpha).round() as u8;
    [mix(under[0], over[0]), mix(under[1], over[1]), mix(under[2], over[2])]
}

/// Perceptually ordered dark violet to yellow, for `t` in [0, 1].
pub fn heat(t: f32) -> Rgb {
    const STOPS: [Rgb; 6] =
        [[20, 11, 53], [87, 16, 110], [163, 44, 96], [224, 86, 46], [248, 157, 21], [252, 255, 164]];
    along(&STOPS, t)
}

/// White to deep blue, for `t` in [0, 1].
pub fn blues(t: f32) -> Rgb {
    const STOPS: [Rgb; 4] = [[247, 249, 252], [176, 205, 230], [74, 138, 196], [8, 56, 118]];
    along(&STOPS, t)
}

fn along(stops: &[Rgb], t: f32) -> Rgb {
    let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 0.0 } * (stops.len() - 1) as f32;
    let i = (t as usize).min(stops.len() - 2);
    blend(stops[i], stops[i + 1], t - i as f32)
}

fn hsv(hue: f64, saturation: f64, value: f64) -> Rgb {
    let channel = |n: f64| {
        let k = (n + hue * 6.0) % 6.0;
        let v = value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0);
        (v * 255.0).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: Rgb, b: Rgb) -> i32 {
        (0..3).map(|c| (i32::from(a[c]) - i32::from(b[c])).pow(2)).sum()
    }

    #[test]
    fn eighty_classes_have_eighty_colors() {
        let colors: Vec<Rgb> = (0..80).map(class_color).collect();
        for i in 0..80 {
            for j in 0..i {
                assert!(distance(colors[i], colors[j]) > 60, "{i} {:?} {j} {:?}", colors[i], colors[j]);
            }
        }
    }

    #[test]
    fn instances_of_a_class_have_shades_of_one_hue() {
        for class in 0..20 {
            let color = class_color(class);
            assert_eq!(shade(color, 0), color);
            let shades: Vec<Rgb> = (0..6).map(|number| shade(color, number)).collect();
            for i in 0..6 {
                assert!((0..i).all(|j| distance(shades[i], shades[j]) > 60), "{class}: {shades:?}");
                let order = |c: Rgb| (0..3).max_by_key(|k| c[*k]);
                assert_eq!(order(shades[i]), order(color), "{class}: the strongest channel stays");
            }
        }
    }

    #[test]
    fn text_contrasts() {
        assert_eq!(text_on([255, 255, 255]), [0, 0, 0]);
        assert_eq!(text_on([255, 220, 0]), [0, 0, 0]);
        assert_eq!(text_on([0, 0, 0]), [255, 255, 255]);
        assert_eq!(text_on([20, 20, 160]), [255, 255, 255]);
    }

    #[test]
    fn maps_hold_at_the_ends_and_beyond() {
        assert_eq!(heat(0.0), heat(-3.0));
        assert_eq!(heat(1.0), [252, 255, 164]);
        assert_eq!(heat(f32::NAN), heat(0.0));
        assert_eq!(blues(2.0), [8, 56, 118]);
        assert_eq!(blend([0, 0, 0], [200, 100, 50], 0.5), [100, 50, 25]);
        assert_eq!(hsv(0.0, 1.0, 1.0), [255, 0, 0]);
        assert_eq!(hsv(1.0 / 3.0, 1.0, 1.0), [0, 255, 0]);
    }
}
