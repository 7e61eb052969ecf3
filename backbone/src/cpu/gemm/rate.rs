//! How fast this machine multiplies.

use super::{Dst, Hand, Kept, Mat, Threads, gemm};
use crate::tensor::Precision;
use std::time::Instant;

/// Rows, inner length and columns: with what is made of them, within a second cache.
const SIZE: [usize; 3] = [256, 512, 256];

/// FLOP/s of products whose factors are in each core's second cache, on all threads at once. (Factors of zeros would be faster
/// yet: a processor that has to stay within its power then needs less.)
pub fn cached(precision: Precision) -> f64 {
    const ROUNDS: usize = 40;
    let [m, k, n] = SIZE;
    let values =
        |len: usize| -> Vec<f32> { (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0).collect() };
    let (a, b) = (values(m * k), values(k * n));
    let engine = Threads::One.at(precision);
    let seconds = rayon::broadcast(|_| {
        let [lhs, rhs] = [
            Kept::new(Mat::new(&a, m, k), Hand::Left, engine),
            Kept::new(Mat::new(&b, k, n), Hand::Right, engine),
        ];
        let mut y = vec![0.0; m * n];
        gemm(&mut y, Dst::Overwrite, lhs.side(), rhs.side(), engine);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            gemm(std::hint::black_box(&mut y), Dst::Overwrite, lhs.side(), rhs.side(), engine);
        }
        start.elapsed().as_secs_f64()
    });
    seconds.iter().map(|seconds| (2 * m * k * n * ROUNDS) as f64 / seconds).sum()
}
