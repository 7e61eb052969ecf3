//! Boxes that may hold an object, as the RPN hands them to the RoI heads.

use super::Targets;
use crate::error::{HeadError, same_length};
use kat_images::{Boxes, Size};

/// Score given to an annotated box among proposals: the logit of a probability of 1 - 1e-10.
const CERTAIN: f32 = 23.025_85;

/// Proposals of one image, by falling score.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposals {
    image: Size,
    boxes: Boxes,
    scores: Vec<f32>,
}

impl Proposals {
    /// Joins boxes and their objectness logits.
    ///
    /// # Errors
    /// Lengths that differ, or a box that is not finite.
    pub fn new(image: Size, boxes: Boxes, scores: Vec<f32>) -> Result<Self, HeadError> {
        same_length("proposal scores", scores.len(), boxes.len())?;
        if let Some(i) = (0..boxes.len()).find(|&i| !boxes.is_finite(i)) {
            return Err(HeadError::value("proposal box", boxes.as_slice()[i], "finite coordinates"));
        }
        Ok(Self { image, boxes, scores })
    }

    /// Size of the image.
    pub fn image(&self) -> Size {
        self.image
    }

    /// The boxes.
    pub fn boxes(&self) -> &Boxes {
        &self.boxes
    }

    /// Objectness logits.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Adds the annotated boxes (crowds and unusable ones left out), so that the RoI heads see every object from
    /// the first step on, when the RPN still finds none.
    pub fn with_ground_truth(mut self, targets: &Targets) -> Self {
        for i in targets.trainable() {
            self.boxes.push(targets.boxes().as_slice()[i]);
            self.scores.push(CERTAIN);
        }
        self
    }
}
