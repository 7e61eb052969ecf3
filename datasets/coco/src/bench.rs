//! Speed of reading annotation files and of COCO evaluation, on generated files of COCO's own proportions.

use std::f64::consts::TAU;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use kat_images::{MaskError, Rle, Size, polygon};

use crate::error::CocoError;
use crate::evaluate::{EvalConfig, IouType, evaluate};
use crate::json::{CocoFile, read_results};

/// How much to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CocoScale {
    /// Images.
    pub images: usize,
    /// Annotations over all images.
    pub annotations: usize,
    /// Detections over all images.
    pub detections: usize,
    /// Corners of each polygon; 11 are about COCO's bytes for each annotation.
    pub corners: usize,
}

impl CocoScale {
    /// The size of COCO's validation set, with 40 detections an image.
    pub fn val2017() -> Self {
        CocoScale { images: 5_000, annotations: 36_000, detections: 200_000, corners: 22 }
    }
}

/// Categories of a generated file; their ids have gaps, as COCO's.
const CATEGORIES: usize = 80;
const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;

/// A blob: centre, radii and turn.
#[derive(Clone, Copy)]
struct Blob {
    image: usize,
    category: usize,
    centre: [f64; 2],
    radii: [f64; 2],
    turn: f64,
}

impl Blob {
    fn random(rng: &mut ChaCha8Rng, images: usize) -> Self {
        // Log-uniform, so that small, medium and large objects are all common.
        let radius = |rng: &mut ChaCha8Rng| (rng.random_range(1.5f64..4.9)).exp();
        Blob {
            image: rng.random_range(0..images),
            category: rng.random_range(0..CATEGORIES),
            centre: [rng.random_range(0.0..f64::from(WIDTH)), rng.random_range(0.0..f64::from(HEIGHT))],
            radii: [radius(rng), radius(rng)],
            turn: rng.random_range(0.0..TAU),
        }
    }

    /// Moved and scaled a little: a detection of this object.
    fn jittered(self, rng: &mut ChaCha8Rng) -> Self {
        let amount = rng.random_range(0.0..0.3);
        let mut shift = |r: f64| r * rng.random_range(-amount..=amount);
        let [rx, ry] = self.radii;
        let centre = [self.centre[0] + shift(rx), self.centre[1] + shift(ry)];
        Blob { centre, radii: [rx + shift(rx), ry + shift(ry)], ..self }
    }

    /// x, y, x, y … within the image, two decimals as in COCO's files.
    fn ring(&self, corners: usize) -> Vec<f64> {
        let round = |v: f64, size: u32| (v.clamp(0.0, f64::from(size)) * 100.0).round() / 100.0;
        let (sin, cos) = self.turn.sin_cos();
        let corner = |i: usize| {
            let (s, c) = (TAU * i as f64 / corners as f64).sin_cos();
            let (x, y) = (self.radii[0] * c, self.radii[1] * s);
            [
                round(self.centre[0] + x * cos - y * sin, WIDTH),
                round(self.centre[1] + x * sin + y * cos, HEIGHT),
            ]
        };
        (0..corners).flat_map(corner).collect()
    }
}

/// `[x, y, width, height]`.
fn bounds(ring: &[f64]) -> [f64; 4] {
    let side = |first: usize| {
        let values = ring.iter().skip(first).step_by(2).copied();
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[a, b], v| [a.min(v), b.max(v)])
    };
    let ([x0, x1], [y0, y1]) = (side(0), side(1));
    [x0, y0, x1 - x0, y1 - y0]
}

/// Area of a polygon by its corners.
fn shoelace(ring: &[f64]) -> f64 {
    let n = ring.len() / 2;
    let cross = |i: usize| {
        let j = (i + 1) % n;
        ring[2 * i] * ring[2 * j + 1] - ring[2 * j] * ring[2 * i + 1]
    };
    (0..n).map(cross).sum::<f64>().abs() / 2.0
}

fn image_id(index: usize) -> u64 {
    index as u64 * 3 + 139
}

fn category_id(index: usize) -> u64 {
    // A gap after every eighth, as COCO's 80 ids reach to 90.
    (index + index / 8) as u64 + 1
}

/// Writes an instances file and a results file; the same seed gives the same bytes.
///
/// # Errors
/// If the files cannot be written.
pub fn generate(instances: &Path, results: &Path, scale: CocoScale, seed: u64) -> std::io::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let blobs = write_instances(instances, scale, &mut rng)?;
    let mut out = BufWriter::new(std::fs::File::create(results)?);
    out.write_all(b"[")?;
    for i in 0..scale.detections {
        // Half of the detections are of something.
        let found = !blobs.is_empty() && rng.random_bool(0.5);
        let blob = if found {
            blobs[rng.random_range(0..blobs.len())].jittered(&mut rng)
        } else {
            Blob::random(&mut rng, scale.images)
        };
        let ring = blob.ring(scale.corners);
        let [x, y, w, h] = bounds(&ring);
        let rle = fill(&ring).map_err(std::io::Error::other)?;
        // Few digits, so that ties of score occur.
        let score = f64::from(rng.random_range(1u32..1000)) / 1000.0;
        write!(
            out,
            "{}{{\"image_id\": {}, \"category_id\": {}, \"bbox\": [{x:.2}, {y:.2}, {w:.2}, {h:.2}], \
             \"score\": {score}, \"segmentation\": {{\"size\": [{HEIGHT}, {WIDTH}], \"counts\": {}}}}}",
            if i == 0 { "" } else { ", " },
            image_id(blob.image),
            category_id(blob.category),
            serde_json::Value::from(rle.to_text()),
        )?;
    }
    out.write_all(b"]")?;
    out.flush()
}

fn fill(ring: &[f64]) -> Result<Rle, MaskError> {
    let points = ring.chunks_exact(2).map(|p| (p[0], p[1]));
    polygon::fill([points].into_iter(), Size::new(HEIGHT as usize, WIDTH as usize))
}

fn write_instances(path: &Path, scale: CocoScale, rng: &mut ChaCha8Rng) -> std::io::Result<Vec<Blob>> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    out.write_all(b"{\"info\": {\"description\": \"generated\"}, \"licenses\": [], \"images\": [")?;
    for i in 0..scale.images {
        let comma = if i == 0 { "" } else { ", " };
        write!(
            out,
            "{comma}{{\"license\": 3, \"file_name\": \"{:012}.jpg\", \"height\": {HEIGHT}, \"width\": {WIDTH}, \
             \"date_captured\": \"2013-11-14 11:18:45\", \"id\": {}}}",
            image_id(i),
            image_id(i)
        )?;
    }
    out.write_all(b"], \"annotations\": [")?;
    let mut blobs = Vec::with_capacity(scale.annotations);
    for i in 0..scale.annotations {
        let blob = Blob::random(rng, scale.images);
        blobs.push(blob);
        let ring = blob.ring(scale.corners);
        let [x, y, w, h] = bounds(&ring);
        let area = shoelace(&ring);
        let crowd = rng.random_bool(0.01);
        let comma = if i == 0 { "" } else { ", " };
        write!(out, "{comma}{{\"segmentation\": ")?;
        if crowd {
            let rle = fill(&ring).map_err(std::io::Error::other)?;
            let counts = rle.counts();
            write!(out, "{{\"counts\": {counts:?}, \"size\": [{HEIGHT}, {WIDTH}]}}")?;
        } else {
            write!(out, "[{ring:?}]")?;
        }
        write!(
            out,
            ", \"area\": {area:.4}, \"iscrowd\": {}, \"image_id\": {}, \
             \"bbox\": [{x:.2}, {y:.2}, {w:.2}, {h:.2}], \"category_id\": {}, \"id\": {}}}",
            u8::from(crowd),
            image_id(blob.image),
            category_id(blob.category),
            i + 1
        )?;
    }
    out.write_all(b"], \"categories\": [")?;
    for i in 0..CATEGORIES {
        let comma = if i == 0 { "" } else { ", " };
        let id = category_id(i);
        write!(out, "{comma}{{\"supercategory\": \"thing\", \"id\": {id}, \"name\": \"c{id}\"}}")?;
    }
    out.write_all(b"]}")?;
    out.flush()?;
    Ok(blobs)
}

/// How fast a file was read.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ParseSpeed {
    /// Megabytes (10⁶) of text.
    pub megabytes: f64,
    /// Annotations in it.
    pub annotations: usize,
    /// Shortest of the runs.
    pub seconds: f64,
    /// Megabytes a second.
    pub megabytes_per_second: f64,
    /// Heap memory of the parsed annotations in megabytes.
    pub heap_megabytes: f64,
}

/// Reads an instances file `runs` times.
///
/// # Errors
/// If the file cannot be read.
pub fn parse_speed(instances: &Path, runs: usize) -> Result<ParseSpeed, CocoError> {
    let bytes = std::fs::metadata(instances)
        .map_err(|source| CocoError::Io { path: instances.to_owned(), source })?
        .len() as f64;
    let mut seconds = f64::INFINITY;
    let (mut annotations, mut heap) = (0, 0);
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        let file = CocoFile::read(instances)?;
        seconds = seconds.min(start.elapsed().as_secs_f64());
        annotations = file.annotations.len();
        heap = file.annotations.heap_bytes();
    }
    Ok(ParseSpeed {
        megabytes: bytes / 1e6,
        annotations,
        seconds,
        megabytes_per_second: bytes / 1e6 / seconds,
        heap_megabytes: heap as f64 / 1e6,
    })
}

/// How fast an evaluation was.
#[derive(Debug, Clone, Serialize)]
pub struct EvalSpeed {
    /// Boxes or masks.
    pub iou_type: IouType,
    /// Seconds to read both files.
    pub read_seconds: f64,
    /// Seconds to evaluate; with reading, the shortest of the runs.
    pub evaluate_seconds: f64,
    /// The twelve figures, for comparison with another tool.
    pub stats: Vec<f64>,
}

/// Reads and evaluates `runs` times.
///
/// # Errors
/// If a file cannot be read or evaluated.
pub fn eval_speed(
    instances: &Path,
    results: &Path,
    iou_type: IouType,
    runs: usize,
) -> Result<EvalSpeed, CocoError> {
    let total = |s: &EvalSpeed| s.read_seconds + s.evaluate_seconds;
    let mut best = one_eval(instances, results, iou_type)?;
    for _ in 1..runs {
        let run = one_eval(instances, results, iou_type)?;
        if total(&run) < total(&best) {
            best = run;
        }
    }
    Ok(best)
}

fn one_eval(instances: &Path, results: &Path, iou_type: IouType) -> Result<EvalSpeed, CocoError> {
    let start = Instant::now();
    let truth = CocoFile::read(instances)?;
    let found = read_results(results)?;
    let read_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let result = evaluate(&truth, &found, &EvalConfig::coco(iou_type))?;
    let evaluate_seconds = start.elapsed().as_secs_f64();
    Ok(EvalSpeed { iou_type, read_seconds, evaluate_seconds, stats: result.stats().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_sound_repeatable_and_evaluate() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let scale = CocoScale { images: 20, annotations: 150, detections: 400, corners: 12 };
        generate(&file("gt"), &file("dt"), scale, 7).unwrap();
        generate(&file("gt2"), &file("dt2"), scale, 7).unwrap();
        for (a, b) in [("gt", "gt2"), ("dt", "dt2")] {
            assert_eq!(std::fs::read(file(a)).unwrap(), std::fs::read(file(b)).unwrap());
        }
        let speed = parse_speed(&file("gt"), 1).unwrap();
        assert_eq!(speed.annotations, 150);
        for iou_type in [IouType::Bbox, IouType::Segm] {
            let run = eval_speed(&file("gt"), &file("dt"), iou_type, 1).unwrap();
            assert!(run.stats[0] > 0.01 && run.stats[0] < 1.0, "{run:?}");
        }
    }
}
