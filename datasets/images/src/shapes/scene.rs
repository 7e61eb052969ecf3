//! What is in a generated image: a background, shapes from back to front, bars over them, light and noise.

use crate::Size;
use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::render::{Coverage, Pose};
use super::{MIN_SIDE, Shape, ShapesConfig};

/// How many shapes a scene has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SceneKind {
    /// One large shape of the class, partly covered by bars (classification).
    Single {
        /// Class index.
        class: usize,
    },
    /// From 1 to `most` shapes of any class that may hide one another (detection, segmentation).
    Several {
        /// Most shapes.
        most: usize,
    },
}

/// A pattern in two colours.
#[derive(Debug, Clone)]
pub struct Texture {
    pub(super) pattern: Pattern,
    /// Main colour, RGB in 0..=255.
    pub(super) a: [f32; 3],
    /// Second colour.
    pub(super) b: [f32; 3],
    /// Period in pixels.
    pub(super) period: f32,
    /// Direction: (cos, sin).
    pub(super) direction: (f32, f32),
    /// Seed of the lattice noise.
    pub(super) lattice: u32,
}

/// The kinds of pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Plain,
    Stripes,
    Checks,
    Dots,
    Noise,
    Gradient,
}

/// One shape of a scene.
#[derive(Debug, Clone)]
pub struct Object {
    /// Class index.
    pub class: usize,
    /// Its outline.
    pub shape: Shape,
    pub(super) texture: Texture,
    pub(super) coverage: Coverage,
}

/// A bar across the picture that hides what is below it; it belongs to no class.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) texture: Texture,
    pub(super) coverage: Coverage,
}

/// Everything needed to paint one image.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Shapes, back to front.
    pub objects: Vec<Object>,
    pub(super) background: Texture,
    pub(super) bars: Vec<Bar>,
    /// Exposure, per channel.
    pub(super) gain: [f32; 3],
    /// Change of brightness across the picture: (along x, along y), as a share.
    pub(super) shade: (f32, f32),
    /// Standard deviation of the sensor noise in levels.
    pub(super) noise: f32,
    /// Seed of the sensor noise.
    pub(super) noise_seed: u64,
}

/// A shape is placed only where each one below keeps at least this share of its pixels visible: no
/// annotation is of a sliver and nothing visible goes without one.
const LEAST_VISIBLE: f32 = 0.4;
/// Range of a ground's colour channels, and of what stands on it. Shapes are lighter than the ground: with both
/// signs of the contrast a small transformer needs some ten times as many images to find the outlines.
const GROUND: std::ops::Range<f32> = 20.0..100.0;
const FIGURE: std::ops::Range<f32> = 120.0..235.0;
/// Least visible pixels of a shape.
const LEAST_PIXELS: usize = 24;

impl Scene {
    pub(super) fn draw(config: &ShapesConfig, kind: SceneKind, rng: &mut ChaCha8Rng) -> Self {
        let mut side = |most: u32| {
            let least = ((most as f32 * (1.0 - config.vary)).round() as u32).clamp(MIN_SIDE.min(most), most);
            rng.random_range(least..=most)
        };
        let (width, height) = (side(config.width), side(config.height));
        let short = width.min(height) as f32;
        let background = Texture::draw(&[], short, rng);
        let mut colours = vec![background.a];
        let shapes = config.shapes();
        let mut objects: Vec<Object> = Vec::new();
        // topmost object of each pixel, as index + 1
        let mut owner = vec![0u16; width as usize * height as usize];
        let wanted = match kind {
            SceneKind::Single { .. } => 1,
            SceneKind::Several { most } => rng.random_range(1..=most),
        };
        for _ in 0..wanted {
            for _attempt in 0..12 {
                let (class, radius) = match kind {
                    SceneKind::Single { class } => (class, rng.random_range(0.28..0.46) * short),
                    SceneKind::Several { .. } => {
                        // even in the logarithm: as many small as large ones
                        let log = rng.random_range(0.1f32.ln()..0.36f32.ln());
                        (rng.random_range(0..shapes.len()), (log.exp() * short).max(5.0))
                    }
                };
                let (x, y) = place(kind, (width as f32, height as f32), radius, rng);
                let pose = Pose { x, y, radius, angle: rng.random_range(-1.0..=1.0) * config.rotation };
                let coverage = Coverage::of_shape(shapes[class], &pose, width, height);
                if !leaves_enough(&owner, &objects, &coverage, width) {
                    continue;
                }
                coverage.for_each(width, |at, alpha| {
                    if alpha >= 0.5 {
                        owner[at] = objects.len() as u16 + 1;
                    }
                });
                let texture = Texture::draw(&colours, short, rng);
                colours.push(texture.a);
                objects.push(Object { class, shape: shapes[class], texture, coverage });
                break;
            }
        }
        let bars = match kind {
            SceneKind::Single { .. } => draw_bars(&owner, (width, height).into(), &colours, rng),
            SceneKind::Several { .. } => Vec::new(),
        };
        let exposure = rng.random_range(0.75..1.2);
        Self {
            width,
            height,
            objects,
            background,
            bars,
            gain: std::array::from_fn(|_| exposure * rng.random_range(0.92..1.08)),
            shade: (rng.random_range(-0.25..0.25), rng.random_range(-0.25..0.25)),
            noise: rng.random_range(1.0..6.0),
            noise_seed: rng.random(),
        }
    }
}

/// Centre of a shape: a single one stays wholly inside where it fits, others may stick out by a third.
fn place(kind: SceneKind, size: (f32, f32), radius: f32, rng: &mut ChaCha8Rng) -> (f32, f32) {
    let margin = match kind {
        SceneKind::Single { .. } => radius,
        SceneKind::Several { .. } => radius * 0.66,
    };
    let mut along = |side: f32| {
        let margin = margin.min(side * 0.5 - 0.5);
        rng.random_range(margin..side - margin)
    };
    (along(size.0), along(size.1))
}

/// Whether every object below keeps enough pixels when `new` is put on top, and `new` has enough itself.
fn leaves_enough(owner: &[u16], objects: &[Object], new: &Coverage, width: u32) -> bool {
    let mut pixels = 0;
    let mut taken = vec![0usize; objects.len()];
    new.for_each(width, |at, alpha| {
        if alpha >= 0.5 {
            pixels += 1;
            if owner[at] > 0 {
                taken[owner[at] as usize - 1] += 1;
            }
        }
    });
    if pixels < LEAST_PIXELS {
        return false;
    }
    if taken.iter().all(|&t| t == 0) {
        return true;
    }
    let mut visible = vec![0usize; objects.len()];
    for &o in owner.iter().filter(|&&o| o > 0) {
        visible[o as usize - 1] += 1;
    }
    objects.iter().zip(taken).zip(visible).all(|((object, taken), visible)| {
        let rest = visible - taken;
        taken == 0 || (rest >= LEAST_PIXELS && rest as f32 >= LEAST_VISIBLE * object.coverage.pixels() as f32)
    })
}

/// At most one bar, which hides at most a quarter of the shape.
fn draw_bars(owner: &[u16], size: Size, colours: &[[f32; 3]], rng: &mut ChaCha8Rng) -> Vec<Bar> {
    let (width, height) = size.dimensions();
    let short = width.min(height) as f32;
    let total = owner.iter().filter(|&&o| o > 0).count();
    let mut hidden = vec![false; owner.len()];
    let mut bars = Vec::new();
    for _ in 0..rng.random_range(0..=1) {
        let pose = Pose {
            x: rng.random_range(0.0..width as f32),
            y: rng.random_range(0.0..height as f32),
            radius: short * rng.random_range(0.25..0.8),
            angle: rng.random_range(0.0..TAU),
        };
        let thickness = rng.random_range(0.04..0.12);
        let coverage = Coverage::of(&pose, width, height, |u, v| u.abs() <= 0.98 && v.abs() <= thickness);
        let mut after = hidden.clone();
        coverage.for_each(width, |at, alpha| after[at] |= alpha >= 0.5 && owner[at] > 0);
        if after.iter().filter(|&&h| h).count() * 4 <= total {
            hidden = after;
            bars.push(Bar { texture: Texture::draw(colours, short, rng), coverage });
        }
    }
    bars
}

impl Texture {
    /// Draws a texture whose main colour is as far as possible, of 12 tries, from each in `others`.
    fn draw(others: &[[f32; 3]], short: f32, rng: &mut ChaCha8Rng) -> Self {
        let distance = |a: &[f32; 3], b: &[f32; 3]| {
            // luminance counts most: that is what is left of an outline under noise
            let luma = |c: &[f32; 3]| 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2];
            let chroma: f32 = a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum::<f32>() / 3.0;
            (luma(a) - luma(b)).abs() + chroma
        };
        let mut best = ([0.0; 3], -1.0);
        let tries = if others.is_empty() { 1 } else { 12 };
        let channels = if others.is_empty() { GROUND } else { FIGURE };
        for _ in 0..tries {
            let colour: [f32; 3] = std::array::from_fn(|_| rng.random_range(channels.clone()));
            let nearest = others.iter().map(|o| distance(o, &colour)).fold(f32::INFINITY, f32::min);
            // the background counts double, whichever shapes overlap
            let ground = others.first().map_or(f32::INFINITY, |o| distance(o, &colour));
            let score = nearest.min(ground * 0.5);
            if score > best.1 {
                best = (colour, score);
            }
            if score > 60.0 {
                break;
            }
        }
        let a = best.0;
        let contrast = rng.random_range(5.0..20.0);
        let b = a.map(|c| (c + contrast * rng.random_range(-1.0f32..1.0).signum()).clamp(0.0, 255.0));
        let pattern = match rng.random_range(0..6) {
            0 => Pattern::Plain,
            1 => Pattern::Stripes,
            2 => Pattern::Checks,
            3 => Pattern::Dots,
            4 => Pattern::Noise,
            _ => Pattern::Gradient,
        };
        let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
        Self {
            pattern,
            a,
            b,
            period: (short * rng.random_range(0.06..0.25)).max(3.0),
            direction: (cos, sin),
            lattice: rng.random(),
        }
    }
}
