//! The inverse DCT of Loeffler, Ligtenberg and Moschytz (1989) in integers: constants of 13 bits, 2 more bits kept
//! between the passes, as libjpeg's accurate method.

const FRACTION: u32 = 13;
const BETWEEN: u32 = 2;

/// Eight values next to each other, handled at once.
type Lanes = [i32; 8];

/// The samples of a block whose coefficients come dequantised, row by row; `flat` if only the first is not 0.
#[inline(always)]
pub(in crate::decode) fn write(block: &[Lanes; 8], flat: bool, out: &mut [u8], stride: usize) {
    if flat {
        let value = sample((block[0][0] + 4) >> 3);
        for y in 0..8 {
            out[y * stride..y * stride + 8].fill(value);
        }
        return;
    }
    let columns = transpose(&pass::<{ FRACTION - BETWEEN }>(block));
    let rows = transpose(&pass::<{ FRACTION + BETWEEN + 3 }>(&columns));
    for (y, row) in rows.iter().enumerate() {
        out[y * stride..y * stride + 8].copy_from_slice(&row.map(sample));
    }
}

#[inline(always)]
fn sample(value: i32) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}

#[inline(always)]
fn transpose(block: &[Lanes; 8]) -> [Lanes; 8] {
    let mut out = [[0; 8]; 8];
    for (y, row) in block.iter().enumerate() {
        for (x, &value) in row.iter().enumerate() {
            out[x][y] = value;
        }
    }
    out
}

/// Eight transforms of eight values, down the columns. Sums wrap: only a damaged stream has values that large.
#[inline(always)]
fn pass<const SHIFT: u32>(block: &[Lanes; 8]) -> [Lanes; 8] {
    let mut out = [[0; 8]; 8];
    for i in 0..8 {
        let x: [i32; 8] = std::array::from_fn(|k| block[k][i]);
        let even = even_half(x[0], x[2], x[4], x[6]);
        let odd = odd_half(x[1], x[3], x[5], x[7]);
        for k in 0..4 {
            let rounded = even[k].wrapping_add(1 << (SHIFT - 1));
            out[k][i] = rounded.wrapping_add(odd[k]) >> SHIFT;
            out[7 - k][i] = rounded.wrapping_sub(odd[k]) >> SHIFT;
        }
    }
    out
}

#[inline(always)]
fn even_half(x0: i32, x2: i32, x4: i32, x6: i32) -> [i32; 4] {
    // cos(3 pi / 8) sqrt 2 = 0.5412 and its sum and difference with sin(3 pi / 8) sqrt 2
    let turned = x2.wrapping_add(x6).wrapping_mul(4433);
    let low = turned.wrapping_sub(x6.wrapping_mul(15137));
    let high = turned.wrapping_add(x2.wrapping_mul(6270));
    let sum = x0.wrapping_add(x4).wrapping_shl(FRACTION);
    let difference = x0.wrapping_sub(x4).wrapping_shl(FRACTION);
    [
        sum.wrapping_add(high),
        difference.wrapping_add(low),
        difference.wrapping_sub(low),
        sum.wrapping_sub(high),
    ]
}

#[inline(always)]
fn odd_half(x1: i32, x3: i32, x5: i32, x7: i32) -> [i32; 4] {
    let (outer, inner) = (x7.wrapping_add(x1), x5.wrapping_add(x3));
    let (left, right) = (x7.wrapping_add(x3), x5.wrapping_add(x1));
    let shared = left.wrapping_add(right).wrapping_mul(9633);
    let (outer, inner) = (outer.wrapping_mul(-7373), inner.wrapping_mul(-20995));
    let left = left.wrapping_mul(-16069).wrapping_add(shared);
    let right = right.wrapping_mul(-3196).wrapping_add(shared);
    [
        x1.wrapping_mul(12299).wrapping_add(outer).wrapping_add(right),
        x3.wrapping_mul(25172).wrapping_add(inner).wrapping_add(left),
        x5.wrapping_mul(16819).wrapping_add(inner).wrapping_add(right),
        x7.wrapping_mul(2446).wrapping_add(outer).wrapping_add(left),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_definition() {
        // any coefficients will do: a few large low ones and small high ones
        let block: [Lanes; 8] = std::array::from_fn(|v| {
            std::array::from_fn(|u| ((v * 37 + u * 101 + 13) % 61) as i32 * 8 / (1 + v + u) as i32 - 30)
        });
        let mut found = [0; 64];
        write(&block, false, &mut found, 8);
        let basis = |x: usize, u: usize| {
            let norm = if u == 0 { 0.5_f64.sqrt() } else { 1.0 };
            norm / 2.0 * ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos()
        };
        for y in 0..8 {
            for x in 0..8 {
                let mut sum = 128.0;
                for (v, row) in block.iter().enumerate() {
                    for (u, &value) in row.iter().enumerate() {
                        sum += f64::from(value) * basis(x, u) * basis(y, v);
                    }
                }
                let off = (sum.clamp(0.0, 255.0) - f64::from(found[y * 8 + x])).abs();
                assert!(off < 0.55, "({x}, {y}) is off by {off}");
            }
        }
    }

    #[test]
    fn the_flat_shortcut_is_the_transform() {
        for dc in -1100..1100 {
            let mut block = [[0; 8]; 8];
            block[0][0] = dc;
            let (mut short, mut long) = ([0; 64], [0; 64]);
            write(&block, true, &mut short, 8);
            write(&block, false, &mut long, 8);
            assert_eq!(short, long, "{dc}");
        }
    }
}
