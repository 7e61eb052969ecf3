use super::*;
use crate::ops::check::Case;
use crate::{Cpu, Graph};

/// Sample by sample, as the definition has it; f64 but for the grid's size, which decides and must not round apart.
fn reference(x: &[f64], [_, channels, h, w]: [usize; 4], rois: &[Roi], o: &Options) -> Vec<f64> {
    let legacy = o.alignment == Alignment::Legacy;
    let shift = if legacy { 0.0 } else { 0.5 };
    let mut out = Vec::new();
    for roi in rois {
        let edge = |i: usize| f64::from(roi.corners[i]) * f64::from(o.spatial_scale) - shift;
        let extent = |from: usize, to: usize| {
            let extent = edge(to) - edge(from);
            if legacy { extent.max(1.0) } else { extent }
        };
        let bin = [extent(1, 3) / o.output[0] as f64, extent(0, 2) / o.output[1] as f64];
        let grid = bin.map(|b| match o.sampling {
            Sampling::Fixed(n) => n as f64,
            Sampling::Adaptive => b.ceil().max(0.0),
        });
        for c in 0..channels {
            let plane = &x[(roi.image * channels + c) * h * w..][..h * w];
            let value = |y: f64, x: f64| {
                if y < -1.0 || y > h as f64 || x < -1.0 || x > w as f64 {
                    return 0.0;
                }
                let (y, x) = (y.clamp(0.0, (h - 1) as f64), x.clamp(0.0, (w - 1) as f64));
                let at = |r: usize, q: usize| plane[r.min(h - 1) * w + q.min(w - 1)];
                let (r, q) = (y as usize, x as usize);
                let (fy, fx) = (y - r as f64, x - q as f64);
                (1.0 - fy) * ((1.0 - fx) * at(r, q) + fx * at(r, q + 1))
                    + fy * ((1.0 - fx) * at(r + 1, q) + fx * at(r + 1, q + 1))
            };
            for i in 0..o.output[0] {
                for j in 0..o.output[1] {
                    let mut sum = 0.0;
                    for a in 0..grid[0] as usize {
                        for b in 0..grid[1] as usize {
                            let along = |axis: usize, i: usize, k: usize, from: f64| {
                                from + i as f64 * bin[axis] + (k as f64 + 0.5) * bin[axis] / grid[axis]
                            };
                            sum += value(along(0, i, a, edge(1)), along(1, j, b, edge(0)));
                        }
                    }
                    out.push(sum / (grid[0] * grid[1]).max(1.0));
                }
            }
        }
    }
    out
}

fn roi(image: usize, corners: [f32; 4]) -> Roi {
    Roi { image, corners }
}

fn rois() -> Vec<Roi> {
    vec![
        roi(0, [1.3, 2.1, 20.7, 17.9]),
        roi(1, [-9.0, 3.0, 11.1, 40.3]),
        roi(1, [5.0, 5.0, 5.4, 5.3]),
        roi(0, [9.7, 8.2, 4.1, 3.3]),
        roi(0, [100.0, 100.0, 130.0, 140.0]),
        roi(1, [0.0, 0.0, 28.0, 24.0]),
    ]
}

#[test]
fn matches_the_definition() {
    let axes = [2, 3, 6, 7];
    for sampling in [Sampling::Adaptive, Sampling::Fixed(1), Sampling::Fixed(2)] {
        for alignment in [Alignment::HalfPixel, Alignment::Legacy] {
            let options = Options { output: [3, 2], spatial_scale: 0.25, sampling, alignment };
            Case::new().input(axes, -1.0..1.0).gradients_match(
                |graph, t| roi_align(graph, &t[0], &rois(), &options),
                |t| reference(&t[0], axes, &rois(), &options),
                2e-5,
            );
        }
    }
}

#[test]
fn no_boxes_give_no_features() {
    let dev = Cpu::default();
    let x = Tensor::zeros(&dev, [1, 2, 3, 3]).unwrap();
    let y = roi_align(&mut Graph::inference(), &x, &[], &Options::adaptive(7, 1.0)).unwrap();
    assert_eq!(y.shape().axes(), [0, 2, 7, 7]);
}

#[test]
fn bad_boxes_are_named() {
    let dev = Cpu::default();
    let x = Tensor::zeros(&dev, [1, 2, 3, 3]).unwrap();
    let run = |roi: Roi| {
        let rois = [self::roi(0, [0.0, 0.0, 1.0, 1.0]), roi];
        let y = roi_align(&mut Graph::inference(), &x, &rois, &Options::adaptive(2, 1.0));
        y.unwrap_err().to_string()
    };
    assert!(run(roi(1, [0.0; 4])).contains("box 1 is on image 1"));
    assert!(run(roi(0, [0.0, f32::NAN, 1.0, 1.0])).contains("finite"));
    assert!(run(roi(0, [0.0, 0.0, 1e9, 1.0])).contains("pixels"));
}
