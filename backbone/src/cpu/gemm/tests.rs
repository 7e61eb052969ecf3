use super::*;

fn slots(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: as in `run`.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// Both implementations against plain sums in f64.
#[test]
fn every_form_matches_plain_sums() {
    let values = |len: usize, seed: usize| -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 31) % 1009) as f32 / 504.0 - 1.0).collect()
    };
    for (m, k, n) in [(1, 1, 1), (14, 8, 32), (15, 7, 33), (130, 400, 70), (3, 800, 17), (5, 0, 4)] {
        for (left_transposed, right_transposed) in
            [(false, false), (true, false), (false, true), (true, true)]
        {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            let lhs = if left_transposed { Mat::new(&a, k, m).transposed() } else { Mat::new(&a, m, k) };
            let rhs = if right_transposed { Mat::new(&b, n, k).transposed() } else { Mat::new(&b, k, n) };
            let at = |m: Mat<'_>, r: usize, c: usize| f64::from(m.data[r * m.row_stride + c * m.col_stride]);
            let bias = values(n, 3);
            for (start, bias) in
                [(Dst::Overwrite, None), (Dst::Accumulate, None), (Dst::Overwrite, Some(&bias[..]))]
            {
                let stride = n + 3;
                let before = values((m - 1) * stride + n, 4);
                let p = Whole { lhs, rhs, factor: 0.5, start, bias, stride };
                let check = |dst: &[f32], what: &str| {
                    for r in 0..m {
                        for c in 0..stride.min(dst.len() - r * stride) {
                            let old = before[r * stride + c];
                            let found = dst[r * stride + c];
                            if c >= n {
                                assert_eq!(found, old, "{what}: written outside");
                                continue;
                            }
                            let sum: f64 = (0..k).map(|i| at(lhs, r, i) * at(rhs, i, c)).sum();
                            let first = match (start, bias) {
                                (Dst::Accumulate, _) => f64::from(old),
                                (_, Some(bias)) => f64::from(bias[c]),
                                _ => 0.0,
                            };
                            let error = (f64::from(found) - (0.5 * sum + first)).abs();
                            assert!(error < 1e-4, "{what} {m}x{k}x{n} at {r},{c}: off by {error}");
                        }
                    }
                };
                for parallel in [false, true] {
                    let mut dst = before.clone();
                    portable::product(slots(&mut dst), p, parallel);
                    check(&dst, "portable");
                    #[cfg(target_arch = "x86_64")]
                    if avx512::available() {
                        let mut dst = before.clone();
                        avx512::product(slots(&mut dst), p, parallel);
                        check(&dst, "AVX-512");
                    }
                }
            }
        }
    }
}
