//! Ops of dense prediction at the sizes of detection and segmentation. Products report FLOPs (as elements), all
//! others the bytes that their inputs and outputs hold.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kat_backbone::cpu::gemm::{Dst, Mat, Threads, gemm};
use kat_backbone::ops::batch_norm::{self, BatchNormKernel, Running};
use kat_backbone::ops::conv2d::{Conv2dKernel, Geometry, Placement};
use kat_backbone::ops::resize::{Axis, Interpolation, ResizeKernel};
use kat_backbone::ops::roi_align::{self, Roi};
use kat_backbone::ops::softmax_cross_entropy::{Options, Targets};
use kat_backbone::{Cpu, Graph, Tensor, ops};
use std::hint::black_box;
use std::time::Duration;

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0).collect()
}

fn map(shape: [usize; 4]) -> Tensor<Cpu> {
    Tensor::from_vec(&Cpu::default(), values(shape.iter().product()), shape).unwrap()
}

fn convolutions(c: &mut Criterion) {
    let cpu = Cpu::default();
    let mut group = c.benchmark_group("conv2d");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    let (m, k, n) = (1024, 2304, 1024);
    let (lhs, rhs, mut product) = (values(m * k), values(k * n), vec![0.0; m * n]);
    group.throughput(Throughput::Elements((2 * m * k * n) as u64));
    group.bench_function("matrix product 1024x2304x1024", |b| {
        b.iter(|| {
            let (lhs, rhs) = (Mat::new(&lhs, m, k), Mat::new(&rhs, k, n));
            gemm(black_box(&mut product), Dst::Overwrite, lhs, rhs, Threads::All)
        })
    });
    for (name, [batch, channels, outputs], grid, kernel, placement) in [
        ("3x3 256->256 256x256", [1, 256, 256], 256, 3, Placement::new(1, 1)),
        ("3x3 256->256 64x64", [1, 256, 256], 64, 3, Placement::new(1, 1)),
        ("3x3 256->256 128 boxes 14x14", [128, 256, 256], 14, 3, Placement::new(1, 1)),
        ("1x1 256->256 256x256", [1, 256, 256], 256, 1, Placement::default()),
        ("2x2 stride 2 384->192 128x128", [1, 192, 384], 128, 2, Placement::new(2, 0)),
        ("patches 16x16 3->384 8x224x224", [8, 3, 384], 224, 16, Placement::new(16, 0)),
    ] {
        let (input, kernel) = ([grid; 2], [kernel; 2]);
        let output = placement.windows("bench", input, kernel).unwrap();
        let (in_channels, out_channels) = (channels, outputs);
        let g = Geometry { batch, in_channels, out_channels, input, output, kernel, placement };
        let (x, w, dy) = (values(g.input_len()), values(outputs * g.depth()), values(g.output_len()));
        group.throughput(Throughput::Elements((2 * g.output_len() * g.depth()) as u64));
        group.bench_function(format!("{name} forward"), |b| {
            b.iter(|| cpu.conv2d_forward(black_box(&x), &w, None, &g).unwrap())
        });
        group.bench_function(format!("{name} input gradient"), |b| {
            b.iter(|| cpu.conv2d_input_gradient(black_box(&dy), &w, None, &g).unwrap())
        });
        group.bench_function(format!("{name} weight gradient"), |b| {
            b.iter(|| cpu.conv2d_weight_gradient(black_box(&dy), &x, &g).unwrap())
        });
    }
    group.finish();
}

fn norms(c: &mut Criterion) {
    let cpu = Cpu::default();
    let (channels, side) = (256, 128);
    let x = map([2, channels, side, side]);
    let ones = Tensor::from_vec(&cpu, vec![1.0; channels], [channels]).unwrap();
    let mut group = c.benchmark_group("norms");
    group.sample_size(20).throughput(Throughput::Bytes(8 * x.numel() as u64));
    group.bench_function("channel norm 2x256x128x128", |b| {
        b.iter(|| ops::channel_norm(&mut Graph::inference(), black_box(&x), &ones, &ones, 1e-6).unwrap())
    });
    group.bench_function("batch norm training 2x256x128x128", |b| {
        let (start, options) = (Running::new(x.device(), channels).unwrap(), batch_norm::Options::default());
        b.iter(|| {
            ops::batch_norm(&mut Graph::training(0), black_box(&x), &ones, &ones, &start, &options).unwrap()
        })
    });
    group.bench_function("batch norm moments 2x256x128x128", |b| {
        b.iter(|| cpu.channel_moments(black_box(x.view()), channels, side * side).unwrap())
    });
    group.finish();
}

fn pools(c: &mut Criterion) {
    let x = map([2, 256, 128, 128]);
    let mut group = c.benchmark_group("pool");
    group.sample_size(20).throughput(Throughput::Bytes(4 * x.numel() as u64));
    group.bench_function("max 2x2 stride 2, 2x256x128x128", |b| {
        b.iter(|| {
            ops::max_pool(&mut Graph::inference(), black_box(&x), [2, 2], Placement::new(2, 0)).unwrap()
        })
    });
    group.bench_function("adaptive average to 6x6, 2x256x128x128", |b| {
        b.iter(|| ops::adaptive_average_pool(&mut Graph::inference(), black_box(&x), [6, 6]).unwrap())
    });
    group.finish();
}

fn resizes(c: &mut Criterion) {
    let cpu = Cpu::default();
    let mut group = c.benchmark_group("resize");
    group.sample_size(20);
    for (filter, from, to) in [
        (Interpolation::Bilinear, 128, 512),
        (Interpolation::Bilinear, 64, 128),
        (Interpolation::Bicubic, 128, 200),
    ] {
        let x = values(150 * from * from);
        let axis = Axis::new(filter, from, to);
        group.throughput(Throughput::Bytes((4 * 150 * (from * from + to * to)) as u64));
        group.bench_function(format!("{filter:?} 150x{from}x{from} to {to}x{to}"), |b| {
            b.iter(|| cpu.resize_forward(black_box(&x), &axis, &axis).unwrap())
        });
        let dy = values(150 * to * to);
        group.bench_function(format!("{filter:?} 150x{from}x{from} to {to}x{to} backward"), |b| {
            b.iter(|| cpu.resize_backward(black_box(&dy), &axis, &axis).unwrap())
        });
    }
    group.finish();
}

fn roi_aligns(c: &mut Criterion) {
    let x = map([1, 256, 200, 200]);
    let rois: Vec<Roi> = (0..512)
        .map(|i| {
            let (x0, y0, size) = ((i * 37 % 500) as f32, (i * 61 % 500) as f32, 60.0 + (i % 100) as f32);
            Roi { image: 0, corners: [x0, y0, x0 + size, y0 + size] }
        })
        .collect();
    let mut group = c.benchmark_group("roi_align");
    for size in [7, 14] {
        let options = roi_align::Options::adaptive(size, 0.25);
        group.sample_size(20).throughput(Throughput::Bytes((4 * 512 * 256 * size * size) as u64));
        group.bench_function(format!("512 boxes, 256 channels, {size}x{size}"), |b| {
            b.iter(|| ops::roi_align(&mut Graph::inference(), black_box(&x), &rois, &options).unwrap())
        });
    }
    group.finish();
}

fn losses(c: &mut Criterion) {
    let logits = map([2, 150, 256, 256]).parameter().unwrap();
    let targets = Targets::hard((0..2 * 256 * 256).map(|i| i % 150).collect());
    let mut group = c.benchmark_group("softmax_cross_entropy");
    group.sample_size(10).throughput(Throughput::Bytes(8 * logits.numel() as u64));
    group.bench_function("2x150x256x256 forward and backward", |b| {
        b.iter(|| {
            let mut graph = Graph::recording();
            let options = Options::default();
            let loss = ops::softmax_cross_entropy(&mut graph, &logits, &targets, &options).unwrap();
            graph.backward(&loss).unwrap()
        })
    });
    group.finish();
}

criterion_group!(dense_ops, convolutions, norms, pools, resizes, roi_aligns, losses);
criterion_main!(dense_ops);
