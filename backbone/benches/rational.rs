//! The group rational beside a plain copy of the same buffer: KAT-S's hidden activations at batch 8.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kat_backbone::Cpu;
use kat_backbone::ops::add::AddKernel as _;
use kat_backbone::ops::rational::{Denominator, Geometry, RationalKernel as _};

fn rational(c: &mut Criterion) {
    let (rows, channels) = (8 * 197, 1536);
    let geometry = Geometry {
        channels,
        groups: 8,
        numerator_groups: 1,
        numerator_len: 6,
        denominator_groups: 8,
        denominator_len: 4,
        form: Denominator::Kernel,
    };
    let x: Vec<f32> = (0..rows * channels).map(|i| (i * 7919 % 10_007) as f32 / 2500.0 - 2.0).collect();
    let (a, b) = (vec![0.1, 0.9, 0.3, 0.1, 0.02, 0.01], vec![0.2; 32]);
    kat_backbone::memory::keep_freed_pages();
    let dev = Cpu::default();
    let mut group = c.benchmark_group("group rational, 8 x 197 x 1536");
    group.throughput(Throughput::Bytes(2 * 4 * x.len() as u64));
    group.bench_function("copy", |bencher| bencher.iter(|| dev.duplicate(&x)));
    group.bench_function("forward", |bencher| bencher.iter(|| dev.rational_forward(&x, &a, &b, &geometry)));
    // dy is consumed, so a copy is made outside the timing; bytes: x and dy read, dx written
    group.throughput(Throughput::Bytes(3 * 4 * x.len() as u64));
    group.bench_function("backward", |bencher| {
        bencher.iter_batched(
            || x.clone(),
            |dy| dev.rational_backward(&x, &a, &b, dy, &geometry),
            criterion::BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, rational);
criterion_main!(benches);
