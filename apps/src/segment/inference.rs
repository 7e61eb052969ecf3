//! From an image of any size to the class of each of its pixels.
//!
//! The image is brought to the size that the network was trained at (or left at its own), looked at whole or window
//! by window, at one or several scales, mirrored or not; scores are brought to the image's own size a row at a time.

use anyhow::bail;
use image::RgbImage;
use image::imageops::crop_imm;
use kat_backbone::{Device, Graph, Tensor};
use kat_images::Filter;
use kat_images::Size;
use kat_images::transform::normalize::{Direction, Normalize};
use kat_images::transform::opencv::resize_bilinear;
use kat_images::transform::random_scale::RandomScale;
use kat_images::transform::resize::resize;
use kat_upernet::{
    AveragedViews, Flip, LabelMap, ResizedRows, Segmentor, SlidingRows, Window, WindowGrid, argmax,
};

use crate::config::Plan;

/// How much of the scaled image the network sees at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Windows; scores are averaged where they overlap.
    Windows {
        /// Side of a window in pixels.
        crop: u32,
        /// Step from one to the next.
        stride: u32,
    },
}

/// The size at which the network sees the image, before [`Views::scales`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// The short side as long as the training crop, the long one at most four times that (512 and 2048 on ADE20K).
    Trained {
        /// Side of the training crop.
        crop: u32,
    },
    /// That of the image.
    Native,
}

/// Scales and mirroring.
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// Multiples of the size.
    pub scales: Vec<f64>,
    /// Whether each scale is looked at as it is, or also mirrored.
    pub flips: Vec<Flip>,
}

impl Default for Views {
    /// One scale, as it is.
    fn default() -> Self {
        Self { scales: vec![1.0], flips: vec![Flip::None] }
    }
}

/// Whose rules resize images and scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// Images are antialiased; what the network says of padding is cut off.
    Own,
    /// mmsegmentation's: images by OpenCV's bilinear filter; the scores of a padded canvas are squeezed into the image.
    MmSegmentation,
}

/// Everything that decides the labels of an image, beside the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Mean and deviation.
    pub normalize: Normalize,
    /// The size.
    pub resolution: Resolution,
    /// Whole or by windows.
    pub extent: Extent,
    /// Scales and mirroring.
    pub views: Views,
    /// Whose rules resize images and scores.
    pub rules: Rules,
}

impl Settings {
    /// What `plan` says: its crop, its stride, one view.
    pub fn of(plan: &Plan) -> Self {
        let s = &plan.segment;
        let pixels = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let crop = pixels(s.crop);
        Self {
            normalize: plan.data.normalize,
            resolution: Resolution::Trained { crop },
            extent: match s.stride {
                0 => Extent::Whole,
                stride => Extent::Windows { crop, stride: pixels(stride) },
            },
            views: Views::default(),
            rules: if s.as_mmsegmentation { Rules::MmSegmentation } else { Rules::Own },
        }
    }

    /// The size at which the network sees an image at one of the scales.
    fn size(&self, image: Size, scale: f64) -> Size {
        match self.resolution {
            Resolution::Trained { crop } => {
                let (long, ratio) = (crop.saturating_mul(4), [1.0, 1.0]);
                RandomScale { long, short: crop, ratio }.size(image, scale)
            }
            Resolution::Native => {
                let side = |length: usize| ((length as f64 * scale).round() as usize).max(1);
                Size::new(side(image.height), side(image.width))
            }
        }
    }
}

/// The most bytes of scores that views may hold at a time.
const MOST_BYTES: usize = 8 << 30;

/// The most windows of one view; the largest images that are decoded take a tenth of it.
const MOST_WINDOWS: usize = 1 << 14;

type Predict<'a> = Box<dyn FnMut(Window) -> anyhow::Result<Vec<f32>> + 'a>;
type View<'a> = ResizedRows<SlidingRows<Predict<'a>>>;

/// A network with the settings to use it.
pub struct Inference<'a, D: Device> {
    /// Where it computes.
    pub device: &'a D,
    /// The network.
    pub model: &'a Segmentor<D>,
    /// The settings.
    pub settings: &'a Settings,
}

impl<D: Device> Inference<'_, D> {
    /// The class of each pixel of `image`, at its own size.
    ///
    /// # Errors
    /// An image without pixels, settings out of range, or scores that would not fit in memory.
    pub fn labels(&self, image: &RgbImage) -> anyhow::Result<LabelMap> {
        let original = Size::of(image);
        let bytes = self.strip_bytes(original)?;
        if bytes > MOST_BYTES {
            let ((width, height), gib) = (image.dimensions(), bytes as f64 / f64::from(1 << 30));
            bail!(
                "the scores of {width}x{height} pixels would take {gib:.1} GiB: use windows (--stride) or fewer \
                 --scales"
            );
        }
        let mut views = Vec::new();
        for scale in &self.settings.views.scales {
            let size = self.settings.size(original, *scale);
            let scaled = match size == original {
                true => image.clone(),
                false if self.settings.rules == Rules::MmSegmentation => resize_bilinear(image, size)?,
                false => resize(image, size, Filter::Bilinear)?,
            };
            for flip in &self.settings.views.flips {
                views.push((self.view(scaled.clone(), *flip, original)?, *flip));
            }
        }
        // One view needs no averaging of probabilities: the best score is the best probability.
        match views.len() {
            1 => argmax(views.remove(0).0),
            _ => argmax(AveragedViews::new(views)?),
        }
    }

    /// Scores of one view, row by row at the size of the original.
    fn view(&self, image: RgbImage, flip: Flip, original: Size) -> anyhow::Result<View<'_>> {
        let size = Size::of(&image);
        let grid = match self.settings.extent {
            Extent::Whole => WindowGrid::whole(size)?,
            Extent::Windows { crop, stride } => WindowGrid::sliding(size, crop as usize, stride as usize)?,
        };
        if grid.len() > MOST_WINDOWS {
            bail!(
                "{}x{} pixels would take {} windows, more than the limit of {MOST_WINDOWS}: use a larger --stride or \
                 --window",
                image.width(),
                image.height(),
                grid.len()
            );
        }
        let direction = match flip {
            Flip::None => Direction::Forward,
            Flip::Horizontal => Direction::Mirrored,
        };
        let predict: Predict<'_> = Box::new(move |window| self.window(&image, window, direction));
        let rows = SlidingRows::new(grid, self.model.config().classes, predict)?;
        Ok(ResizedRows::new(rows, original))
    }

    /// Scores of one window, (classes, height, width). `image` is as taken; a mirrored view counts its windows in the
    /// mirrored image.
    fn window(&self, image: &RgbImage, window: Window, direction: Direction) -> anyhow::Result<Vec<f32>> {
        let Size { height, width } = window.size;
        let x = match direction {
            Direction::Forward => window.x,
            Direction::Mirrored => image.width() as usize - window.x - width,
        };
        let part = crop_imm(image, x as u32, window.y as u32, width as u32, height as u32).to_image();
        // Patches that stick out at the right and below hold the mean color there, as padding in training does.
        let [patch_height, patch_width] = self.model.patch();
        let (rows, columns) = (height.next_multiple_of(patch_height), width.next_multiple_of(patch_width));
        let canvas = Size::new(rows, columns);
        let mut planes = vec![0.0; 3 * rows * columns];
        self.settings.normalize.write(&part, direction, canvas, &mut planes)?;
        let input = Tensor::from_vec(self.device, planes, [1, 3, rows, columns])?;
        let squeezed = self.settings.rules == Rules::MmSegmentation;
        let size = if squeezed { window.size } else { canvas };
        let scores = self.model.forward_at(&mut Graph::inference(), &input, size)?.to_vec();
        if squeezed || canvas == window.size {
            return Ok(scores);
        }
        let mut inside = Vec::with_capacity(self.model.config().classes * width * height);
        for plane in scores.chunks_exact(rows * columns) {
            for row in plane.chunks_exact(columns).take(height) {
                inside.extend_from_slice(&row[..width]);
            }
        }
        Ok(inside)
    }

    /// Bytes that the scores of an image of this width and height take in the views' strips, beside the network.
    ///
    /// # Errors
    /// An image without pixels.
    pub fn strip_bytes(&self, image: Size) -> anyhow::Result<usize> {
        let classes = self.model.config().classes;
        let mut total = 0;
        for scale in &self.settings.views.scales {
            let size = self.settings.size(image, *scale);
            let grid = match self.settings.extent {
                Extent::Whole => WindowGrid::whole(size)?,
                Extent::Windows { crop, stride } => {
                    WindowGrid::sliding(size, crop as usize, stride as usize)?
                }
            };
            total +=
                SlidingRows::<Predict<'_>>::strip_bytes(&grid, classes) * self.settings.views.flips.len();
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use kat_backbone::ops::batch_norm;
    use kat_backbone::{Cpu, KatConfig, Size};
    use kat_upernet::{FinalNorm, NeckKind, SegmentorConfig};

    use kat_upernet::LogitRows as _;

    use super::*;

    fn model() -> Segmentor<Cpu> {
        of_seed(4)
    }

    fn of_seed(seed: u64) -> Segmentor<Cpu> {
        let backbone = KatConfig {
            image_size: Size::square(32),
            patch_size: Size::square(8),
            dim: 32,
            depth: 4,
            heads: 2,
            ..KatConfig::default()
        };
        let config = SegmentorConfig {
            backbone,
            blocks: vec![0, 1, 2, 3],
            neck: NeckKind::MultiLevel,
            final_norm: FinalNorm::None,
            channels: 8,
            pool_grids: vec![1, 2],
            auxiliary_channels: None,
            dropout: 0.0,
            classes: 3,
        };
        Segmentor::new(&Cpu::default(), &config, &batch_norm::Options::default(), seed).unwrap()
    }

    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7) as u8, (y * 11) as u8, (x * y) as u8]))
    }

    fn settings(resolution: Resolution, extent: Extent) -> Settings {
        let (normalize, views, rules) = (Normalize::default(), Views::default(), Rules::Own);
        Settings { normalize, resolution, extent, views, rules }
    }

    fn rows(settings: &Settings, image: &RgbImage) -> Vec<Vec<f32>> {
        let model = model();
        let inference = Inference { device: &Cpu::default(), model: &model, settings };
        let mut view = inference.view(image.clone(), Flip::None, Size::of(image)).unwrap();
        let mut out = Vec::new();
        while let Some(row) = view.next_row().unwrap() {
            out.push(row.to_vec());
        }
        out
    }

    #[test]
    fn a_window_that_covers_the_image_is_the_whole_image() {
        for (width, height) in [(40, 24), (37, 21), (3, 50)] {
            let image = pattern(width, height);
            let whole = rows(&settings(Resolution::Native, Extent::Whole), &image);
            let extent = Extent::Windows { crop: 64, stride: 20 };
            let windows = rows(&settings(Resolution::Native, extent), &image);
            assert_eq!(whole.len(), height as usize);
            for (a, b) in whole.iter().flatten().zip(windows.iter().flatten()) {
                assert!((a - b).abs() <= 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_mirrored_image_gets_mirrored_labels_from_the_mirrored_view() {
        let image = pattern(45, 30);
        let mirrored = image::imageops::flip_horizontal(&image);
        let mut settings = settings(Resolution::Native, Extent::Windows { crop: 32, stride: 13 });
        settings.views.flips = vec![Flip::None, Flip::Horizontal];
        settings.views.scales = vec![1.0, 0.5];
        let labels = |model: &Segmentor<Cpu>, image: &RgbImage| {
            let device = Cpu::default();
            Inference { device: &device, model, settings: &settings }.labels(image).unwrap().labels
        };
        // Most random networks prefer one class everywhere, which would show nothing.
        let varied = |a: &[u16]| a.iter().filter(|l| **l != a[0]).count() > 50;
        let (model, a) = (0..40)
            .map(|seed| (of_seed(seed), labels(&of_seed(seed), &image)))
            .find(|(_, a)| varied(a))
            .expect("a random network that tells pixels apart");
        let b = labels(&model, &mirrored);
        let back: Vec<u16> = b.chunks(45).flat_map(|row| row.iter().rev().copied()).collect();
        let differing = a.iter().zip(&back).filter(|(a, b)| a != b).count();
        // Sums in another order may tip a pixel that is undecided.
        assert!(differing <= 2, "{differing} of {} pixels differ", a.len());
    }

    #[test]
    fn any_size_gives_a_label_for_each_pixel() {
        let (model, device) = (model(), Cpu::default());
        for (width, height) in [(1, 1), (300, 2), (2, 70), (65, 64)] {
            for extent in [Extent::Whole, Extent::Windows { crop: 32, stride: 21 }] {
                let settings = settings(Resolution::Trained { crop: 32 }, extent);
                let inference = Inference { device: &device, model: &model, settings: &settings };
                let map = inference.labels(&pattern(width, height)).unwrap();
                assert_eq!(map.labels.len(), (width * height) as usize);
                assert!(inference.strip_bytes((width, height).into()).unwrap() > 0);
            }
        }
        let settings = settings(Resolution::Native, Extent::Whole);
        let inference = Inference { device: &device, model: &model, settings: &settings };
        assert!(inference.labels(&RgbImage::new(0, 0)).is_err());
        let error = inference.labels(&RgbImage::new(30_000, 30_000)).unwrap_err().to_string();
        assert!(error.contains("30000x30000") && error.contains("--stride"), "{error}");
    }
}
