//! The bins of a box along one axis, as weights of the pixels they cover.

use super::{Alignment, Options, Sampling};

/// More samples of one bin than this are a box far outside any image.
const MAX_SAMPLES: f32 = 65_536.0;

/// Pixels `start..start + len`, whose weights begin at `weights` in the list of the [`Bins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first pixel.
    pub start: usize,
    /// The number of pixels; 0 if all samples lie outside the map.
    pub len: usize,
    /// Where the weights are.
    pub weights: usize,
}

/// Bins along one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    /// One a bin.
    pub spans: Vec<Span>,
    /// Weights of all spans.
    pub weights: Vec<f32>,
}

impl Bins {
    /// `count` bins between the edges `from` and `to` (pixels of the image) on a map of `size` pixels.
    ///
    /// # Errors
    /// Inputs whose shapes or settings do not fit; the device refuses.
    pub fn new(from: f32, to: f32, size: usize, count: usize, options: &Options) -> Result<Self, String> {
        let shift = if options.alignment == Alignment::HalfPixel { 0.5 } else { 0.0 };
        let (start, end) = (from * options.spatial_scale - shift, to * options.spatial_scale - shift);
        let mut extent = end - start;
        if options.alignment == Alignment::Legacy {
            extent = extent.max(1.0);
        }
        if !start.is_finite() || !extent.is_finite() {
            return Err("corners must be finite".into());
        }
        let bin = extent / count as f32;
        let samples = match options.sampling {
            Sampling::Fixed(samples) => samples as f32,
            Sampling::Adaptive => bin.ceil().max(0.0),
        };
        if samples > MAX_SAMPLES {
            return Err(format!("a bin is {bin} pixels, more than {MAX_SAMPLES}"));
        }
        let mut bins = Self { spans: Vec::with_capacity(count), weights: Vec::new() };
        let mut covered = Vec::new();
        for i in 0..count {
            covered.clear();
            for k in 0..samples as usize {
                let at = start + i as f32 * bin + (k as f32 + 0.5) * bin / samples;
                covered.extend(interpolation(at, size).into_iter().flatten());
            }
            bins.push(&covered, samples);
        }
        Ok(bins)
    }

    /// (first pixel, weights) of each bin.
    pub fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.spans.iter().map(|span| (span.start, &self.weights[span.weights..span.weights + span.len]))
    }

    /// The pixels that any bin covers.
    pub fn covered(&self) -> std::ops::Range<usize> {
        let spans = || self.spans.iter().filter(|span| span.len > 0);
        let first = spans().map(|span| span.start).min().unwrap_or(0);
        first..spans().map(|span| span.start + span.len).max().unwrap_or(first)
    }

    fn push(&mut self, covered: &[(usize, f32)], samples: f32) {
        let first = covered.iter().map(|(pixel, _)| *pixel).min().unwrap_or(0);
        let len = covered.iter().map(|(pixel, _)| pixel + 1 - first).max().unwrap_or(0);
        let at = self.weights.len();
        self.spans.push(Span { start: first, len, weights: at });
        self.weights.resize(at + len, 0.0);
        covered.iter().for_each(|(pixel, weight)| self.weights[at + pixel - first] += weight / samples);
    }
}

/// The two pixels around a sample and their weights; none if it lies more than a pixel outside.
fn interpolation(at: f32, size: usize) -> Option<[(usize, f32); 2]> {
    if size == 0 || !(-1.0..=size as f32).contains(&at) {
        return None;
    }
    let at = at.max(0.0);
    let low = at as usize;
    if low + 1 >= size {
        return Some([(size - 1, 1.0), (size - 1, 0.0)]);
    }
    let part = at - low as f32;
    Some([(low, 1.0 - part), (low + 1, part)])
}
