//! The weights of a resize along one axis.

use super::Interpolation;
use kat_images::Filter;
use kat_images::filter::cubic;

/// For each output pixel, the first input pixel it takes and a weight for that and each of the next ones; as many
/// for all, with zeros where fewer count.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Pixels in.
    pub input_size: usize,
    /// The first pixel taken, for each output pixel.
    pub starts: Vec<usize>,
    /// Weights of an output pixel.
    pub taps: usize,
    /// (out, taps).
    pub weights: Vec<f32>,
}

impl Axis {
    /// The weights that make `output` pixels of `input`; both at least 1.
    pub fn new(filter: Interpolation, input: usize, output: usize) -> Self {
        let (n, scale) = (input as f64, input as f64 / output as f64);
        let aligned = if output > 1 { (n - 1.0) / (output as f64 - 1.0) } else { 0.0 };
        let center = |i: usize| scale * (i as f64 + 0.5) - 0.5;
        let rows: Vec<Vec<(isize, f64)>> = (0..output)
            .map(|i| match filter {
                Interpolation::Nearest => vec![((i * input / output) as isize, 1.0)],
                Interpolation::Bilinear => linear(center(i).max(0.0)),
                Interpolation::BilinearAligned => linear(aligned * i as f64),
                Interpolation::Bicubic => cubic_taps(center(i)),
                Interpolation::BicubicAligned => cubic_taps(aligned * i as f64),
                Interpolation::BilinearAntialias => antialias(Filter::Bilinear, i, input, output),
                Interpolation::BicubicAntialias => antialias(Filter::Bicubic, i, input, output),
            })
            .collect();
        Self::from_rows(input, &rows)
    }

    /// Pixels over the border repeat the border: their weights are added to its.
    fn from_rows(input: usize, rows: &[Vec<(isize, f64)>]) -> Self {
        let clamp = |at: isize| at.clamp(0, input as isize - 1) as usize;
        let span = |row: &Vec<(isize, f64)>| {
            let ends = [row[0].0, row[row.len() - 1].0].map(clamp);
            (ends[0], ends[1] - ends[0] + 1)
        };
        let taps = rows.iter().map(|row| span(row).1).max().unwrap_or(1);
        let starts: Vec<usize> = rows.iter().map(|row| span(row).0.min(input - taps)).collect();
        let mut weights = vec![0.0; rows.len() * taps];
        for ((row, start), weights) in rows.iter().zip(&starts).zip(weights.chunks_exact_mut(taps)) {
            let mut exact = vec![0.0; taps];
            row.iter().for_each(|(at, w)| exact[clamp(*at) - start] += w);
            weights.iter_mut().zip(exact).for_each(|(slot, w)| *slot = w as f32);
        }
        Self { input_size: input, starts, taps, weights }
    }

    /// Pixels out.
    pub fn output_size(&self) -> usize {
        self.starts.len()
    }

    /// (first pixel, weights) of each output pixel.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.starts.iter().copied().zip(self.weights.chunks_exact(self.taps))
    }
}

fn linear(at: f64) -> Vec<(isize, f64)> {
    let (low, part) = (at.floor() as isize, at - at.floor());
    vec![(low, 1.0 - part), (low + 1, part)]
}

fn cubic_taps(at: f64) -> Vec<(isize, f64)> {
    let (low, part) = (at.floor() as isize, at - at.floor());
    (-1..3).map(|k| (low + k, cubic(k as f64 - part, -0.75))).collect()
}

fn antialias(filter: Filter, index: usize, input: usize, output: usize) -> Vec<(isize, f64)> {
    let mut weights = Vec::new();
    let first = filter.taps(input, output, index, &mut weights);
    (first as isize..).zip(weights).collect()
}
