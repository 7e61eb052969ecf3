//! Painting a scene: antialiased coverage, textures, light and noise.

use image::RgbImage;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::Shape;
use super::scene::{Pattern, Scene, Texture};

/// Where an outline lies: centre and radius in pixels, rotation in radians.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pose {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
    pub(super) angle: f32,
}

/// The share of each pixel that an outline covers, within the part of the picture it touches.
#[derive(Debug, Clone)]
pub(super) struct Coverage {
    x0: u32,
    y0: u32,
    columns: u32,
    alpha: Vec<f32>,
}

/// Sub-samples a side where an edge crosses a pixel.
const SUBSAMPLES: usize = 4;

impl Coverage {
    pub(super) fn of_shape(shape: Shape, pose: &Pose, width: u32, height: u32) -> Self {
        Self::of(pose, width, height, |u, v| shape.contains(u, v))
    }

    /// Coverage of the figure `inside`, given in the unit circle's coordinates.
    pub(super) fn of(pose: &Pose, width: u32, height: u32, inside: impl Fn(f32, f32) -> bool) -> Self {
        let span = |centre: f32, side: u32| {
            let low = (centre - pose.radius - 1.0).floor().clamp(0.0, side as f32) as u32;
            let high = (centre + pose.radius + 1.0).ceil().clamp(0.0, side as f32) as u32;
            (low, high)
        };
        let ((x0, x1), (y0, y1)) = (span(pose.x, width), span(pose.y, height));
        let (sin, cos) = pose.angle.sin_cos();
        let (sin, cos) = (sin / pose.radius, cos / pose.radius);
        let hit = |x: f32, y: f32| {
            let (dx, dy) = (x - pose.x, y - pose.y);
            inside(cos * dx + sin * dy, cos * dy - sin * dx)
        };
        let columns = x1 - x0;
        let corners = columns as usize + 1;
        let corner_row = |y: u32| -> Vec<bool> { (x0..=x1).map(|x| hit(x as f32, y as f32)).collect() };
        let mut upper = corner_row(y0);
        let mut alpha = Vec::with_capacity(columns as usize * (y1 - y0) as usize);
        for y in y0..y1 {
            let lower = corner_row(y + 1);
            for i in 0..corners - 1 {
                let (x, y) = ((x0 + i as u32) as f32, y as f32);
                let count = upper[i] as u8 + upper[i + 1] as u8 + lower[i] as u8 + lower[i + 1] as u8;
                let centre = hit(x + 0.5, y + 0.5);
                alpha.push(match (count, centre) {
                    (0, false) => 0.0,
                    (4, true) => 1.0,
                    _ => subsample(x, y, &hit),
                });
            }
            upper = lower;
        }
        Self { x0, y0, columns, alpha }
    }

    /// Calls `f(index of the pixel in the picture, alpha)` for each pixel that is touched.
    pub(super) fn for_each(&self, width: u32, mut f: impl FnMut(usize, f32)) {
        if self.columns == 0 {
            return;
        }
        for (row, line) in self.alpha.chunks_exact(self.columns as usize).enumerate() {
            let start = (self.y0 as usize + row) * width as usize + self.x0 as usize;
            for (i, &alpha) in line.iter().enumerate() {
                if alpha > 0.0 {
                    f(start + i, alpha);
                }
            }
        }
    }

    /// Pixels covered by at least half.
    pub(super) fn pixels(&self) -> usize {
        self.alpha.iter().filter(|&&a| a >= 0.5).count()
    }
}

fn subsample(x: f32, y: f32, hit: &impl Fn(f32, f32) -> bool) -> f32 {
    let at = |i: usize| (i as f32 + 0.5) / SUBSAMPLES as f32;
    let mut inside = 0;
    for j in 0..SUBSAMPLES {
        for i in 0..SUBSAMPLES {
            inside += hit(x + at(i), y + at(j)) as usize;
        }
    }
    inside as f32 / (SUBSAMPLES * SUBSAMPLES) as f32
}

/// A painted scene.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The image.
    pub image: RgbImage,
    /// For each pixel, row by row, which object of the scene is seen there: its index + 1, or 0 for none. A
    /// pixel belongs to the topmost object that covers at least half of it.
    pub owner: Vec<u16>,
}

/// Paints a scene.
pub fn render(scene: &Scene) -> Picture {
    let (w, h) = (scene.width as usize, scene.height as usize);
    let mut canvas = Vec::with_capacity(w * h);
    for y in 0..h {
        canvas.extend((0..w).map(|x| scene.background.at(x as f32, y as f32)));
    }
    let mut owner = vec![0u16; w * h];
    let mut paint = |texture: &Texture, coverage: &Coverage, id: u16| {
        coverage.for_each(scene.width, |at, alpha| {
            let colour = texture.at((at % w) as f32, (at / w) as f32);
            for (c, new) in canvas[at].iter_mut().zip(colour) {
                *c += (new - *c) * alpha;
            }
            if alpha >= 0.5 {
                owner[at] = id;
            }
        });
    };
    for (i, object) in scene.objects.iter().enumerate() {
        paint(&object.texture, &object.coverage, i as u16 + 1);
    }
    for bar in &scene.bars {
        paint(&bar.texture, &bar.coverage, 0);
    }
    Picture { image: expose(scene, &canvas), owner }
}

/// Light, sensor noise and rounding to 8 bits.
fn expose(scene: &Scene, canvas: &[[f32; 3]]) -> RgbImage {
    let (w, h) = (scene.width, scene.height);
    let mut rng = ChaCha8Rng::seed_from_u64(scene.noise_seed);
    let mut bytes = Vec::with_capacity(canvas.len() * 3);
    for (i, pixel) in canvas.iter().enumerate() {
        let (x, y) = ((i as u32 % w) as f32 / w as f32 - 0.5, (i as u32 / w) as f32 / h as f32 - 0.5);
        let light = 1.0 + scene.shade.0 * x + scene.shade.1 * y;
        for (&value, gain) in pixel.iter().zip(scene.gain) {
            let noise: f32 = StandardNormal.sample(&mut rng);
            bytes.push((value * gain * light + noise * scene.noise).round().clamp(0.0, 255.0) as u8);
        }
    }
    RgbImage::from_raw(w, h, bytes).unwrap_or_else(|| RgbImage::new(w, h))
}

impl Texture {
    /// Colour at a pixel.
    fn at(&self, x: f32, y: f32) -> [f32; 3] {
        let (cos, sin) = self.direction;
        let (p, q) = ((cos * x + sin * y) / self.period, (cos * y - sin * x) / self.period);
        let share = match self.pattern {
            Pattern::Plain => 0.0,
            Pattern::Stripes => soft_step((p * std::f32::consts::TAU).sin()),
            Pattern::Checks => {
                let wave = (p * std::f32::consts::PI).sin() * (q * std::f32::consts::PI).sin();
                soft_step(wave * 2.0)
            }
            Pattern::Dots => {
                let (a, b) = (p - p.floor() - 0.5, q - q.floor() - 0.5);
                soft_step((0.3 - (a * a + b * b).sqrt()) * 6.0)
            }
            Pattern::Noise => {
                0.65 * lattice_noise(p, q, self.lattice)
                    + 0.35 * lattice_noise(p * 2.7, q * 2.7, !self.lattice)
            }
            Pattern::Gradient => soft_step((p * 0.35).sin()),
        };
        std::array::from_fn(|c| self.a[c] + (self.b[c] - self.a[c]) * share)
    }
}

fn soft_step(t: f32) -> f32 {
    (t * 1.5 + 0.5).clamp(0.0, 1.0)
}

/// Value noise: random numbers on the integer lattice, joined smoothly.
fn lattice_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (xi, yi) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (fx, fy) = (smooth(x - xi), smooth(y - yi));
    let corner = |dx: i32, dy: i32| {
        let mut h = seed
            ^ ((xi as i32).wrapping_add(dx) as u32).wrapping_mul(0x9E37_79B1)
            ^ ((yi as i32).wrapping_add(dy) as u32).wrapping_mul(0x85EB_CA77);
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
        (h ^ (h >> 15)) as f32 / u32::MAX as f32
    };
    let top = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * fx;
    let bottom = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * fx;
    top + (bottom - top) * fy
}
