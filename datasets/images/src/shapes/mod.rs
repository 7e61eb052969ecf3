//! Sample data generated on disk: simple shapes that must be told apart by their outline.
//!
//! Colour, texture, size, rotation, place, light and noise are drawn independently of the class, so nothing
//! but shape predicts it. Shapes are lighter than the ground. The three layouts are those of the real datasets, so that the same readers serve:
//! * [`Layout::ImageFolders`] has `train/<class>/*.JPEG`, `val/<class>/*.JPEG`, one shape an image, perhaps
//!   crossed by a bar;
//! * [`Layout::Coco`] has `images/{train,val}/*.jpg`, `annotations/instances_{train,val}.json`, several shapes
//!   that hide one another; masks and boxes are of what is visible;
//! * [`Layout::SceneParsing`] has `images/{training,validation}/*.jpg`,
//!   `annotations/{training,validation}/*.png` (0 other, 1..=K classes), `objectInfo.txt`.
//!
//! An image depends only on (seed, layout, split, index): the number of threads and the number of images do
//! not change its bytes. The two splits draw from separate streams of the generator.

mod contour;
mod render;
mod scene;
mod shape;
mod write;

use std::path::PathBuf;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use contour::Outline;
pub use render::{Picture, render};
pub use scene::{Object, Scene, SceneKind};
pub use shape::Shape;
pub use write::{write_shapes, write_shapes_while};

/// How the files are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Classification: a folder a class (ImageNet).
    ImageFolders,
    /// Detection: images and an instances file for each split (COCO).
    Coco,
    /// Segmentation: images and label PNGs of the same name (ADE20K SceneParsing).
    SceneParsing,
}

/// Which half of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// Held out.
    Val,
}

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapesConfig {
    /// Images of the training split.
    pub train_images: usize,
    /// Images of the held-out split.
    pub val_images: usize,
    /// Largest width in pixels.
    pub width: u32,
    /// Largest height in pixels.
    pub height: u32,
    /// Each side is drawn from `[(1 − vary)·side, side]`; 0 makes all images of one size.
    pub vary: f32,
    /// Number of classes, `1..=Shape::ALL.len()`.
    pub classes: usize,
    /// Most shapes in an image of the detection and segmentation layouts.
    pub max_objects: usize,
    /// Largest angle in radians by which a shape is turned either way, `0..=π`.
    pub rotation: f32,
    /// Seed of everything drawn.
    pub seed: u64,
}

impl Default for ShapesConfig {
    /// 2,000 + 400 images of 64×64, ten classes, up to five shapes an image, turned by up to 20 degrees.
    fn default() -> Self {
        Self {
            train_images: 2000,
            val_images: 400,
            width: 64,
            height: 64,
            vary: 0.0,
            classes: 10,
            max_objects: 5,
            rotation: 0.35,
            seed: 0,
        }
    }
}

/// Smallest side of a generated image in pixels: below it no outline can be told.
pub const MIN_SIDE: u32 = 16;
/// Largest side of a generated image in pixels.
pub const MAX_SIDE: u32 = 8192;

impl ShapesConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`ShapesError::Field`] naming the first field out of range.
    pub fn validate(&self) -> Result<(), ShapesError> {
        let bad = |field, found: String, expected: String| Err(ShapesError::Field { field, found, expected });
        for (field, side) in [("width", self.width), ("height", self.height)] {
            if !(MIN_SIDE..=MAX_SIDE).contains(&side) {
                return bad(field, side.to_string(), format!("{MIN_SIDE}..={MAX_SIDE} pixels"));
            }
        }
        if !(0.0..1.0).contains(&self.vary) {
            return bad("vary", self.vary.to_string(), "a number in [0, 1)".into());
        }
        if !(0.0..=std::f32::consts::PI).contains(&self.rotation) {
            return bad("rotation", self.rotation.to_string(), "radians in [0, π]".into());
        }
        if self.classes == 0 || self.classes > Shape::ALL.len() {
            return bad("classes", self.classes.to_string(), format!("1..={}", Shape::ALL.len()));
        }
        if !(1..=100).contains(&self.max_objects) {
            return bad("max_objects", self.max_objects.to_string(), "1..=100".into());
        }
        for (field, n) in [("train_images", self.train_images), ("val_images", self.val_images)] {
            if n > 10_000_000 {
                return bad(field, n.to_string(), "at most 10000000".into());
            }
        }
        Ok(())
    }

    /// The shapes in use, in the order of their class indices: alphabetical, as folder readers number them.
    pub fn shapes(&self) -> Vec<Shape> {
        let mut shapes = Shape::ALL[..self.classes.min(Shape::ALL.len())].to_vec();
        shapes.sort_by_key(|s| s.name());
        shapes
    }

    /// The scene of image `index` of a split.
    pub fn scene(&self, layout: Layout, split: Split, index: usize) -> Scene {
        let mut rng = self.rng(layout, split, index);
        let kind = match layout {
            Layout::ImageFolders => SceneKind::Single { class: index % self.classes },
            Layout::Coco | Layout::SceneParsing => SceneKind::Several { most: self.max_objects },
        };
        Scene::draw(self, kind, &mut rng)
    }

    /// One stream of the generator for each image: independent of threads and of how many images are made.
    fn rng(&self, layout: Layout, split: Split, index: usize) -> ChaCha8Rng {
        let layout = match layout {
            Layout::ImageFolders => 1u64,
            Layout::Coco => 2,
            Layout::SceneParsing => 3,
        };
        let split = match split {
            Split::Train => 0u64,
            Split::Val => 1,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(layout << 56 | split << 48 | index as u64);
        rng
    }
}

/// What [`write_shapes`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapesSummary {
    /// Images written, both splits.
    pub images: usize,
    /// Shapes annotated, both splits.
    pub objects: usize,
    /// Class names in the order of their indices.
    pub classes: Vec<String>,
}

/// Why sample data could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ShapesError {
    /// A field of the configuration is out of range.
    #[error("shapes: {field} is {found}, expected {expected}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// The target folder already holds files.
    #[error("{}: not empty; generated data goes into a new or empty folder", .0.display())]
    NotEmpty(PathBuf),
    /// A file or folder could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// The caller did not want to go on.
    #[error("stopped before all images were written")]
    Stopped,
    /// An image could not be encoded.
    #[error("{}: {source}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Reason.
        source: image::ImageError,
    },
}
