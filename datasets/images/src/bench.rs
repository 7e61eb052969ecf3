//! The ImageNet training pipeline: JPEG in memory -> decode, RandomResizedCrop 224 bicubic, mirror, normalize into
//! f32 (3, 224, 224).

use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::decode::{DecodeOptions, Encoded};
use crate::encode;
use crate::pipeline::{ClassifyTrain, ClassifyTrainConfig, ColorAugment};
use crate::transform::random_resized_crop::{RandomResizedCrop, TrainFilter};

/// What can go wrong while measuring.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The images given do not decode.
    #[error("image {index} of the benchmark: {source}")]
    Decode {
        /// Position in the list given.
        index: usize,
        /// What is wrong with it.
        source: crate::decode::DecodeError,
    },
    /// A transform failed.
    #[error(transparent)]
    Transform(#[from] crate::transform::TransformError),
    /// The sample image could not be written.
    #[error("cannot encode the sample image: {0}")]
    Encode(#[from] image::ImageError),
    /// Threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Number asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// Nothing to measure.
    #[error("{field} is 0: nothing to measure")]
    Nothing {
        /// What is zero.
        field: &'static str,
    },
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassifyFigure {
    /// Threads at work.
    pub threads: usize,
    /// Images put through in the fastest round.
    pub images: usize,
    /// Images per second in the fastest round.
    pub images_per_second: f64,
}

/// Puts `images` images, taken in turn from the JPEG files in `jpegs`, through the pipeline on `threads` threads,
/// `rounds` times, and reports the fastest round. Each thread has a decode buffer and an output slice of its own.
///
/// # Errors
/// [`BenchError`] for files that do not decode, zero images or rounds, or threads that do not start.
pub fn classify_pipeline(
    jpegs: &[Vec<u8>],
    images: usize,
    threads: usize,
    rounds: usize,
) -> Result<ClassifyFigure, BenchError> {
    for (field, count) in
        [("files", jpegs.len()), ("images", images), ("threads", threads), ("rounds", rounds)]
    {
        if count == 0 {
            return Err(BenchError::Nothing { field });
        }
    }
    let pipeline = ClassifyTrain::new(ClassifyTrainConfig {
        crop: RandomResizedCrop { filter: TrainFilter::Bicubic, ..Default::default() },
        augment: ColorAugment::None,
        erasing: None,
        ..Default::default()
    })?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| BenchError::Threads { threads, reason: error.to_string() })?;
    let mut fastest = Duration::MAX;
    for round in 0..rounds as u64 {
        let start = Instant::now();
        pool.install(|| {
            (0..threads).into_par_iter().try_for_each(|thread| {
                let work = (thread..images).step_by(threads);
                run(&pipeline, jpegs, work, round)
            })
        })?;
        fastest = fastest.min(start.elapsed());
    }
    let images_per_second = images as f64 / fastest.as_secs_f64();
    Ok(ClassifyFigure { threads, images, images_per_second })
}

fn run(
    pipeline: &ClassifyTrain,
    jpegs: &[Vec<u8>],
    work: impl Iterator<Item = usize>,
    round: u64,
) -> Result<(), BenchError> {
    let (width, height) = pipeline.size().dimensions();
    let mut out = vec![0.0; 3 * width as usize * height as usize];
    let mut buffer = Vec::new();
    let options = DecodeOptions::default();
    for i in work {
        let index = i % jpegs.len();
        let mut rng = ChaCha8Rng::seed_from_u64(round << 32 | i as u64);
        let region = Encoded::open(&jpegs[index], &options)
            .and_then(|image| {
                let region = pipeline.region(image.size(), &mut rng);
                image.decode_region(region, buffer)
            })
            .map_err(|source| BenchError::Decode { index, source })?;
        pipeline.region_into(&region, &mut rng, &mut out)?;
        std::hint::black_box(&mut out);
        buffer = region.into_raw();
    }
    Ok(())
}

/// A image with the detail of a photograph: soft shapes of many sizes under fine noise, as a JPEG of the usual
/// quality. About 60 kB at 500 x 375.
///
/// # Errors
/// [`BenchError::Encode`] for a size JPEG does not have.
pub fn sample_jpeg(width: u32, height: u32, seed: u64) -> Result<Vec<u8>, BenchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let waves: Vec<[f32; 5]> = (0..24)
        .map(|_| {
            let scale = 0.5f32.powf(rng.random_range(1.0..7.0));
            [
                scale,
                rng.random_range(-1.0..1.0),
                rng.random_range(-1.0..1.0),
                rng.random_range(0.0..6.3),
                rng.random(),
            ]
        })
        .collect();
    let image = RgbImage::from_fn(width, height, |x, y| {
        let noise = rng.random_range(-9.0..9.0);
        let mut color = [128.0 + noise; 3];
        for [scale, dx, dy, phase, hue] in &waves {
            let value = ((x as f32 * dx + y as f32 * dy) * scale + phase).sin() * 14.0;
            color[0] += value;
            color[1] += value * hue;
            color[2] += value * (1.0 - hue);
        }
        Rgb(color.map(|v| v as u8))
    });
    Ok(encode::jpeg(&image, 75)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_what_was_asked() {
        let jpegs = vec![sample_jpeg(120, 90, 1).unwrap(), sample_jpeg(90, 120, 2).unwrap()];
        let figure = classify_pipeline(&jpegs, 5, 2, 1).unwrap();
        assert_eq!((figure.threads, figure.images), (2, 5));
        assert!(figure.images_per_second > 0.0);
    }

    #[test]
    fn nothing_and_broken_files_are_errors() {
        assert!(matches!(classify_pipeline(&[], 1, 1, 1), Err(BenchError::Nothing { field: "files" })));
        let error = classify_pipeline(&[b"no jpeg".to_vec()], 1, 1, 1).unwrap_err();
        assert!(error.to_string().starts_with("image 0 of the benchmark: not an image"), "{error}");
    }
}
