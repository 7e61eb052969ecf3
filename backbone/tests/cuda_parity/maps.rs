//! Ops on feature maps: norms, pools, resizing, RoIAlign; and a step through many of them that waits for nothing.

use super::*;
use kat_backbone::ops::nms::Nms;
use kat_backbone::ops::roi_align::{Alignment, Sampling};

#[test]
fn norms_of_maps() {
    let Some(gpu) = gpu() else { return };
    for x in [[2, 2, 1, 2], [4, 3, 5, 6], [70, 5, 1, 1], [9, 40, 33, 17], [3, 1, 70, 70], [2, 300, 3, 2]] {
        let channels = x[1];
        same!(gpu, "batch_norm", [x, [channels], [channels]], |graph, t| {
            let start = batch_norm::Running::new(t[0].device(), channels)?;
            Ok(ops::batch_norm(graph, &t[0], &t[1], &t[2], &start, &batch_norm::Options::default())?.0)
        });
        same!(gpu, "batch_norm, evaluation", [x, [channels], [channels]], |graph, t| {
            *graph = Graph::recording();
            let start = batch_norm::Running::new(t[0].device(), channels)?;
            Ok(ops::batch_norm(graph, &t[0], &t[1], &t[2], &start, &batch_norm::Options::default())?.0)
        });
        same!(gpu, "batch_norm's running values", [x, [channels], [channels]], |graph, t| {
            let start = batch_norm::Running::new(t[0].device(), channels)?;
            let options = batch_norm::Options { momentum: 0.7, ..Default::default() };
            let (_, new) = ops::batch_norm(graph, &t[0], &t[1], &t[2], &start, &options)?;
            let new = new.expect("training moves the running values");
            ops::concat(graph, &[&new.mean, &new.variance], 0)
        });
    }
    for x in [[1, 1, 1, 1], [2, 6, 5, 4], [2, 70, 3, 11], [3, 257, 9, 9], [90, 9, 1, 1]] {
        same!(gpu, "channel_norm", [x, [x[1]], [x[1]]], |graph, t| {
            ops::channel_norm(graph, &t[0], &t[1], &t[2], 1e-3)
        });
    }
}

#[test]
fn a_large_mean_costs_a_batch_norm_no_digits() {
    let Some(gpu) = gpu() else { return };
    let x = [5, 3, 40, 41];
    same!(gpu, "batch_norm, mean 300", [x, [3], [3]], |graph, t| {
        let far = Tensor::from_vec(t[0].device(), vec![300.0; x.iter().product()], x)?;
        let x = ops::add(graph, &t[0], &far)?;
        let start = batch_norm::Running::new(x.device(), 3)?;
        Ok(ops::batch_norm(graph, &x, &t[1], &t[2], &start, &batch_norm::Options::default())?.0)
    });
}

#[test]
fn pools() {
    let Some(gpu) = gpu() else { return };
    let wide = Placement { stride: [1, 2], padding: [0, 1] };
    for (x, kernel, placement) in [
        ([1, 1, 1, 1], [1, 1], Placement::default()),
        ([2, 3, 9, 8], [3, 3], Placement::new(1, 1)),
        ([2, 3, 9, 8], [3, 3], Placement::new(2, 1)),
        ([2, 3, 9, 8], [2, 2], Placement::new(2, 0)),
        ([2, 3, 9, 1], [2, 2], Placement::new(1, 1)),
        ([3, 2, 1, 300], [1, 3], wide),
        ([2, 3, 11, 13], [2, 3], Placement::new(4, 1)),
        ([2, 5, 70, 67], [3, 2], Placement::new(2, 1)),
    ] {
        same!(gpu, "max_pool", [x], |graph, t| ops::max_pool(graph, &t[0], kernel, placement));
        same!(gpu, "max_pool of equals", [x], |graph, t| {
            let x = ops::relu(graph, &t[0])?;
            ops::max_pool(graph, &x, kernel, placement)
        });
        for padding in [PaddingCounts::NotAtAll, PaddingCounts::AsZeros] {
            same!(gpu, "average_pool", [x], |graph, t| {
                ops::average_pool(graph, &t[0], kernel, placement, padding)
            });
        }
        for output in [[1, 1], [2, 3], [7, 5]] {
            same!(gpu, "adaptive_average_pool", [x], |graph, t| {
                ops::adaptive_average_pool(graph, &t[0], output)
            });
        }
    }
    let x = Tensor::from_vec(&gpu, vec![1.0, f32::NAN, 3.0, 0.5, 2.0, 1.0], [1, 1, 1, 6]).unwrap();
    let y = ops::max_pool(&mut Graph::inference(), &x, [1, 2], Placement::new(2, 0));
    assert!(y.is_err() || y.unwrap().to_vec()[0].is_nan(), "a NaN shows");
}

#[test]
fn resizing() {
    let Some(gpu) = gpu() else { return };
    use resize::Interpolation::*;
    for filter in
        [Nearest, Bilinear, BilinearAligned, BilinearAntialias, Bicubic, BicubicAligned, BicubicAntialias]
    {
        for (x, size) in [
            ([2, 3, 7, 6], [4, 9]),
            ([1, 2, 1, 1], [3, 5]),
            ([1, 2, 5, 1], [1, 4]),
            ([2, 2, 40, 37], [70, 19]),
            ([3, 5, 16, 16], [64, 64]),
        ] {
            same!(gpu, "resize", [x], |graph, t| ops::resize(graph, &t[0], size, filter));
        }
    }
    for filter in [ops::resize::Interpolation::Bilinear, ops::resize::Interpolation::BicubicAntialias] {
        for (from, to, channels) in [((3, 4), (5, 6), 5), ((1, 1), (3, 2), 1), ((14, 14), (7, 9), 300)] {
            same!(gpu, "resample_grid", [[1, from.0 * from.1, channels]], |graph, t| {
                let [from, to] = [from, to].map(|(height, width)| Size { height, width });
                ops::resample_grid(graph, &t[0], filter, from, to)
            });
        }
    }
    same!(gpu, "resample_rows", [[27, 33]], |graph, t| ops::resample_rows(graph, &t[0], 63));
}

#[test]
fn roi_align_of_many_boxes() {
    let Some(gpu) = gpu() else { return };
    let fixed = [
        Roi { image: 0, corners: [1.0, 2.0, 20.0, 17.5] },
        Roi { image: 1, corners: [-3.0, 4.0, 9.0, 30.0] },
        // less than a pixel, empty, turned round, beside the map, all over it
        Roi { image: 1, corners: [8.0, 8.0, 8.5, 8.5] },
        Roi { image: 0, corners: [5.0, 5.0, 5.0, 5.0] },
        Roi { image: 0, corners: [20.0, 17.5, 1.0, 2.0] },
        Roi { image: 1, corners: [900.0, -700.0, 950.0, -600.0] },
        Roi { image: 0, corners: [-50.0, -50.0, 400.0, 300.0] },
    ];
    let drawn = random(200, 11);
    let drawn = drawn.as_chunks::<4>().0.iter().enumerate().map(|(i, &[x, y, w, h])| {
        let (x, y) = (60.0 + 70.0 * x, 20.0 + 25.0 * y);
        Roi { image: i * 7 % 2, corners: [x, y, x + 50.0 * w.abs(), y + 40.0 * h.abs()] }
    });
    let rois: Vec<Roi> = fixed.into_iter().chain(drawn).collect();
    for sampling in [Sampling::Adaptive, Sampling::Fixed(2)] {
        for alignment in [Alignment::HalfPixel, Alignment::Legacy] {
            let options = |output| RoiOptions { output, spatial_scale: 0.25, sampling, alignment };
            for (x, output) in [([2, 3, 8, 8], [3, 3]), ([2, 70, 9, 40], [7, 7]), ([2, 9, 1, 33], [1, 2])] {
                same!(gpu, "roi_align", [x], |graph, t| {
                    ops::roi_align(graph, &t[0], &rois, &options(output))
                });
            }
        }
    }
    let one = RoiOptions::adaptive(2, 0.5);
    same!(gpu, "roi_align, no box on an image", [[3, 2, 5, 4]], |graph, t| {
        ops::roi_align(graph, &t[0], &rois[..1], &one)
    });
    let x = Tensor::zeros(&gpu, [1, 2, 5, 4]).unwrap();
    let y = ops::roi_align(&mut Graph::inference(), &x, &[], &one).unwrap();
    assert_eq!(y.shape().axes(), [0, 2, 2, 2]);
}

#[test]
fn suppression_keeps_the_same_boxes() {
    let Some(gpu) = gpu() else { return };
    for (count, groups) in [(600, 1), (2500, 5), (8001, 40), (5000, 3)] {
        let values = random(6 * count, count as u64);
        let (rows, _) = values.as_chunks::<6>();
        // few scores and few sizes, so that boxes and scores come twice
        let coarse = |v: f32, steps: f32| (v * steps).round() / steps;
        let boxes: Vec<[f32; 4]> = rows
            .iter()
            .map(|&[x, y, w, h, ..]| {
                let (x, y) = (coarse(200.0 * x, 0.5), coarse(200.0 * y, 0.5));
                [x, y, x + coarse(60.0 * w.abs(), 0.25), y + 60.0 * h.abs()]
            })
            .collect();
        let mut scores: Vec<f32> = rows.iter().map(|row| coarse(row[4], 100.0)).collect();
        scores[7] = f32::NAN;
        let groups: Vec<u32> = rows.iter().map(|row| (row[5].abs() * groups as f32) as u32).collect();
        for (iou_threshold, max_kept) in [(0.0, usize::MAX), (0.3, 50), (0.7, usize::MAX), (1.0, 1000)] {
            let nms = Nms { iou_threshold, max_kept };
            let waits = gpu.waits();
            let found = nms.run_grouped_on(&gpu, &boxes, &scores, &groups).unwrap();
            assert_eq!(gpu.waits(), waits + 1, "the GPU has a part in it");
            assert_eq!(found, nms.run_grouped(&boxes, &scores, &groups).unwrap(), "{count} {nms:?}");
        }
    }
}

#[test]
fn a_step_through_maps_waits_for_nothing() {
    let Some(gpu) = gpu() else { return };
    let tensor = |len: usize, shape: &[usize]| {
        let shape = kat_backbone::Shape::new(shape).unwrap();
        Tensor::from_vec(&gpu, random(len, len as u64), shape).unwrap().parameter().unwrap()
    };
    let (x, weight) = (tensor(2 * 3 * 16 * 16, &[2, 3, 16, 16]), tensor(8 * 3 * 9, &[8, 3, 3, 3]));
    let (up, ones) = (tensor(8 * 4 * 4, &[8, 4, 2, 2]), tensor(8, &[8]));
    let start = batch_norm::Running::new(&gpu, 8).unwrap();
    let roi = Roi { image: 1, corners: [1.0, 2.0, 9.0, 12.0] };
    let step = || -> Result<Tensor<Cuda>> {
        let mut graph = Graph::training(3);
        let y = ops::conv2d(&mut graph, &x, &weight, Some(&ones), Placement::new(1, 1))?;
        let options = batch_norm::Options::default();
        let (y, _) = ops::batch_norm(&mut graph, &y, &ones, &ones, &start, &options)?;
        let y = ops::max_pool(&mut graph, &y, [2, 2], Placement::new(2, 0))?;
        let y = ops::channel_norm(&mut graph, &y, &ones, &ones, 1e-5)?;
        let pooled = ops::adaptive_average_pool(&mut graph, &y, [3, 3])?;
        let context = ops::resize(&mut graph, &pooled, [8, 8], resize::Interpolation::Bilinear)?;
        let y = ops::add(&mut graph, &y, &context)?;
        let y = ops::dropout(&mut graph, &y, 0.2)?;
        let y = ops::conv_transpose2d(&mut graph, &y, &up, None, Placement::new(2, 0))?;
        let boxes = ops::roi_align(&mut graph, &y, &[roi], &RoiOptions::adaptive(4, 1.0))?;
        let masks = ops::binary_cross_entropy(&mut graph, &boxes, Goal::mean(vec![1.0; 64]))?;
        let targets = Targets::hard(vec![1; 2 * 16 * 16]);
        let classes = ops::softmax_cross_entropy(&mut graph, &y, &targets, &Options::default())?;
        let loss = ops::add(&mut graph, &masks, &classes)?;
        graph.backward(&loss)?;
        Ok(loss)
    };
    let before = gpu.waits();
    let loss = step().unwrap();
    assert_eq!(gpu.waits(), before);
    assert!(loss.scalar().unwrap().is_finite());
}
