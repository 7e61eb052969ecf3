//! Matrix products at the sizes of the models, in each precision that this processor has. FLOPs are reported as elements; the
//! limit of bfloat16 is what `classify bench --amp bf16` prints as the matrix units' rate.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kat_backbone::Precision;
use kat_backbone::cpu::gemm::{Dst, Hand, Kept, Mat, Threads, gemm, has_tile_products};
use std::hint::black_box;
use std::time::Duration;

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0).collect()
}

fn products(c: &mut Criterion) {
    let precisions: &[_] = match has_tile_products() {
        true => &[Precision::Bf16, Precision::Tf32, Precision::F32],
        false => &[Precision::F32],
    };
    let mut group = c.benchmark_group("products");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for precision in precisions {
        let engine = Threads::All.at(*precision);
        for (name, [m, k, n], [left, right], kept) in [
            ("kat_small fc1", [1576, 384, 1536], [false, true], true),
            ("kat_small fc2", [1576, 1536, 384], [false, true], true),
            ("kat_small fc1, input gradient", [1576, 1536, 384], [false, false], false),
            ("kat_small fc1, weight gradient", [1536, 1576, 384], [true, false], false),
            ("box head", [512, 12544, 1024], [false, true], true),
            ("square", [1024, 1024, 1024], [false, false], true),
        ] {
            let (a, b, mut y) = (values(m * k), values(k * n), vec![0.0; m * n]);
            let lhs = if left { Mat::new(&a, k, m).transposed() } else { Mat::new(&a, m, k) };
            let rhs = if right { Mat::new(&b, n, k).transposed() } else { Mat::new(&b, k, n) };
            let packed = kept.then(|| Kept::new(rhs, Hand::Right, engine));
            group.throughput(Throughput::Elements((2 * m * k * n) as u64));
            group.bench_function(format!("{precision:?} {name} {m}x{k}x{n}"), |bench| {
                bench.iter(|| match &packed {
                    Some(packed) => gemm(black_box(&mut y), Dst::Overwrite, lhs, packed.side(), engine),
                    None => gemm(black_box(&mut y), Dst::Overwrite, lhs, rhs, engine),
                })
            });
        }
    }
    group.finish();
}

criterion_group!(all, products);
criterion_main!(all);
