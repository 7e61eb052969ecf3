//! What a detector says of an image.
//!
//! # Shapes
//! N detections; mask grids (N, side, side), row-major, probabilities.

use crate::error::{HeadError, same_length};
use kat_images::{Boxes, Rle, Size};

/// Detected boxes of one image, by falling score.
#[derive(Debug, Clone, PartialEq)]
pub struct Detections {
    image: Size,
    boxes: Boxes,
    scores: Vec<f32>,
    classes: Vec<u32>,
}

impl Detections {
    /// Joins boxes, probabilities and class indices.
    ///
    /// # Errors
    /// Lists of different lengths, or a box or score that is not finite.
    pub fn new(image: Size, boxes: Boxes, scores: Vec<f32>, classes: Vec<u32>) -> Result<Self, HeadError> {
        same_length("detection scores", scores.len(), boxes.len())?;
        same_length("detection classes", classes.len(), boxes.len())?;
        if let Some(i) = (0..boxes.len()).find(|&i| !boxes.is_finite(i) || !scores[i].is_finite()) {
            return Err(HeadError::value(
                "detection",
                (boxes.as_slice()[i], scores[i]),
                "a finite box and score",
            ));
        }
        Ok(Self { image, boxes, scores, classes })
    }

    /// Size of the image the boxes lie in.
    pub fn image(&self) -> Size {
        self.image
    }

    /// Number of detections.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether nothing was detected.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The boxes.
    pub fn boxes(&self) -> &Boxes {
        &self.boxes
    }

    /// Probabilities.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Class indices.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// The detections at `indices`, in that order. Panics on an index out of range, as slices do.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            image: self.image,
            boxes: self.boxes.select(indices),
            scores: indices.iter().map(|&i| self.scores[i]).collect(),
            classes: indices.iter().map(|&i| self.classes[i]).collect(),
        }
    }
}

/// The mask head's output for each detection: the probability of "inside" on a square grid over its box.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskGrids {
    side: usize,
    data: Vec<f32>,
}

impl MaskGrids {
    /// Takes (N, side, side) probabilities.
    ///
    /// # Errors
    /// A side of 0, or data that is not a whole number of grids.
    pub fn new(side: usize, data: Vec<f32>) -> Result<Self, HeadError> {
        if side == 0 {
            return Err(HeadError::value("mask grid side", side, "at least 1"));
        }
        let cells = side * side;
        same_length("mask grid data", data.len(), data.len() / cells * cells)?;
        Ok(Self { side, data })
    }

    /// Cells along one side.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Number of grids.
    pub fn len(&self) -> usize {
        self.data.len() / (self.side * self.side)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Grid `i`, row-major. Panics on an index out of range, as slices do.
    pub fn grid(&self, i: usize) -> &[f32] {
        let cells = self.side * self.side;
        &self.data[i * cells..(i + 1) * cells]
    }
}

/// Detections at the size of the picture as it was given, with their masks.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageResult {
    /// Boxes, scores and classes.
    pub detections: Detections,
    /// One mask a detection, where the model has a mask head.
    pub masks: Option<Vec<Rle>>,
}
