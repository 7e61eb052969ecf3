//! Tile products against sums in f64 of the rounded factors. On a machine without tiles the stand-in does the instructions.

use super::super::{Dst, Engine, Kept, Mat, Product, Side, Threads, run};
use super::pack::Hand;
use super::*;
use half::bf16;

fn values(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 504.0 - 1.0).collect()
}

fn matrix(values: &[f32], [rows, cols]: [usize; 2], transposed: bool) -> Mat<'_> {
    match transposed {
        true => Mat::new(values, cols, rows).transposed(),
        false => Mat::new(values, rows, cols),
    }
}

#[test]
fn every_form_matches_sums_of_rounded_factors() {
    for (m, k, n) in
        [(1, 1, 1), (16, 32, 16), (17, 33, 15), (70, 700, 50), (3, 40, 97), (130, 8, 1), (5, 0, 4)]
    {
        for (left, right) in [(false, false), (true, false), (false, true), (true, true)] {
            let (a, b, bias) = (values(m * k, 1), values(k * n, 2), values(n, 3));
            let (lhs, rhs) = (matrix(&a, [m, k], left), matrix(&b, [k, n], right));
            let at = |values: &[f32], [rows, cols]: [usize; 2], turned: bool, r: usize, c: usize| {
                let value = values[if turned { c * rows + r } else { r * cols + c }];
                f64::from(bf16::from_f32(value).to_f32())
            };
            let engine = Threads::All.at(Precision::Bf16);
            let kept = [Kept::new(lhs, Hand::Left, engine), Kept::new(rhs, Hand::Right, engine)];
            let sides: [[Side<'_>; 2]; 2] = [[lhs.into(), rhs.into()], [kept[0].side(), kept[1].side()]];
            let starts = [(Dst::Overwrite, None), (Dst::Accumulate, None), (Dst::Overwrite, Some(&bias[..]))];
            for ([lhs, rhs], (start, bias)) in sides.into_iter().flat_map(|s| starts.map(|start| (s, start)))
            {
                let stride = n + 3;
                let before = values((m - 1) * stride + n, 4);
                let mut dst = before.clone();
                run(&mut dst, Product { lhs, rhs, factor: 0.5, start, bias, stride }, engine);
                for (i, (found, old)) in dst.iter().zip(&before).enumerate() {
                    let (r, c) = (i / stride, i % stride);
                    if c >= n {
                        assert_eq!(found, old, "written outside");
                        continue;
                    }
                    let sum: f64 =
                        (0..k).map(|i| at(&a, [m, k], left, r, i) * at(&b, [k, n], right, i, c)).sum();
                    let first = match (start, bias) {
                        (Dst::Accumulate, _) => f64::from(*old),
                        (_, Some(bias)) => f64::from(bias[c]),
                        _ => 0.0,
                    };
                    let error = (f64::from(*found) - (0.5 * sum + first)).abs();
                    assert!(error < 1e-4, "{m}x{k}x{n} at {r},{c}: off by {error}");
                }
            }
        }
    }
}

fn product(lhs: Mat<'_>, rhs: Mat<'_>, engine: impl Into<Engine>) -> Vec<f32> {
    let mut dst = vec![f32::NAN; lhs.rows * rhs.cols];
    super::super::gemm(&mut dst, Dst::Overwrite, lhs, rhs, engine);
    dst
}

/// The largest is that of one split factor, 2⁻¹⁷ of a value; errors of a sum are of both signs.
#[test]
fn split_factors_are_right_to_a_hundred_thousandth() {
    let (a, b) = (values(90 * 500, 5), values(500 * 70, 6));
    let (lhs, rhs) = (Mat::new(&a, 90, 500), Mat::new(&b, 500, 70));
    let exact: Vec<f64> = (0..90 * 70)
        .map(|i| (0..500).map(|k| f64::from(a[i / 70 * 500 + k]) * f64::from(b[k * 70 + i % 70])).sum())
        .collect();
    let relative = |found: &[f32]| {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        norm(&mut found.iter().zip(&exact).map(|(f, e)| f64::from(*f) - e)) / norm(&mut exact.iter().copied())
    };
    let error = relative(&product(lhs, rhs, Threads::All.at(Precision::Tf32)));
    assert!(error <= 1e-5, "{error}");
    let rounded = relative(&product(lhs, rhs, Threads::All.at(Precision::Bf16)));
    assert!((1e-4..1e-2).contains(&rounded), "{rounded}: not rounded to bfloat16?");
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (a, b) = (values(300 * 90, 7), values(90 * 330, 8));
    let (lhs, rhs) = (Mat::new(&a, 300, 90), Mat::new(&b, 90, 330));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| product(lhs, rhs, Threads::All.at(Precision::Bf16)))
    };
    let one = product(lhs, rhs, Threads::One.at(Precision::Bf16));
    for threads in 1..=3 {
        assert!(on(threads).iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()), "{threads} threads");
    }
}

#[test]
fn what_is_no_number_passes_through() {
    let (mut a, b) = (values(40 * 40, 9), values(40 * 40, 10));
    (a[3 * 40 + 7], a[5 * 40 + 2]) = (f32::NAN, f32::INFINITY);
    for precision in [Precision::Bf16, Precision::Tf32] {
        let found = product(Mat::new(&a, 40, 40), Mat::new(&b, 40, 40), Threads::All.at(precision));
        for (r, row) in found.chunks(40).enumerate() {
            match r {
                3 => assert!(row.iter().all(|v| v.is_nan())),
                5 => assert!(row.iter().all(|v| !v.is_finite())),
                _ => assert!(row.iter().all(|v| v.is_finite())),
            }
        }
    }
}
