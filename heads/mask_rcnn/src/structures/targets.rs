//! The annotation of one image as the detection losses use it.

use crate::error::{HeadError, same_length};
use kat_images::{Boxes, Mask, Size};

/// Sides up to this many pixels count as none.
const MIN_SIDE: f32 = 1e-5;

/// Annotated objects of one image. All lists have one entry an object; boxes lie within the image.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    image: Size,
    boxes: Boxes,
    classes: Vec<u32>,
    masks: Option<Vec<Mask>>,
    crowd: Vec<bool>,
}

impl Targets {
    /// Joins the annotations of an image; boxes are clipped to it. `masks` is `None` where the data set has boxes
    /// only. Boxes that are empty, not finite or wholly outside are kept here and left out of
    /// [`Targets::trainable`].
    ///
    /// # Errors
    /// Lists of different lengths.
    pub fn new(
        image: Size,
        mut boxes: Boxes,
        classes: Vec<u32>,
        masks: Option<Vec<Mask>>,
        crowd: Vec<bool>,
    ) -> Result<Self, HeadError> {
        same_length("target classes", classes.len(), boxes.len())?;
        same_length("target crowd flags", crowd.len(), boxes.len())?;
        if let Some(masks) = &masks {
            same_length("target masks", masks.len(), boxes.len())?;
        }
        boxes.clip(image);
        Ok(Self { image, boxes, classes, masks, crowd })
    }

    /// The annotation of an image without objects.
    pub fn none(image: Size) -> Self {
        Self { image, boxes: Boxes::default(), classes: Vec::new(), masks: None, crowd: Vec::new() }
    }

    /// Checks every class against the number of classes the model has.
    ///
    /// # Errors
    /// A class that is not below `classes`.
    pub fn check_classes(&self, classes: usize) -> Result<(), HeadError> {
        match self.classes.iter().find(|&&c| c as usize >= classes) {
            None => Ok(()),
            Some(c) => Err(HeadError::Value {
                what: "target class",
                found: format!("{c} with {classes} classes"),
                expected: "a class below the number of classes",
            }),
        }
    }

    /// Indices of the objects a model is trained on: no crowds, and a box with an area and finite corners.
    pub fn trainable(&self) -> Vec<usize> {
        (0..self.boxes.len())
            .filter(|&i| !self.crowd[i] && self.boxes.is_finite(i) && self.boxes.is_nonempty(i, MIN_SIDE))
            .collect()
    }

    /// Size of the image.
    pub fn image(&self) -> Size {
        self.image
    }

    /// Boxes, within the image.
    pub fn boxes(&self) -> &Boxes {
        &self.boxes
    }

    /// Class indices.
    pub fn classes(&self) -> &[u32] {
        &self.classes
    }

    /// Shapes, where annotated.
    pub fn masks(&self) -> Option<&[Mask]> {
        self.masks.as_deref()
    }

    /// Which entries are regions of many objects.
    pub fn crowd(&self) -> &[bool] {
        &self.crowd
    }

    /// Area of box `i` in square pixels.
    pub fn area(&self, i: usize) -> f32 {
        kat_images::box_area(self.boxes.as_slice()[i])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Proposals;

    const IMAGE: Size = Size::new(10, 20);

    #[test]
    fn only_usable_objects_are_trained_on() {
        let boxes = vec![
            [1., 1., 5., 5.],       // usable
            [1., 1., 5., 5.],       // crowd
            [3., 3., 3., 9.],       // no width
            [30., 30., 40., 40.],   // outside
            [0., 0., f32::NAN, 1.], // not finite
            [4., 4., 5., 5.],       // one pixel
            [15., 5., 99., 99.],    // partly outside
        ];
        let crowd = [false, true, false, false, false, false, false].to_vec();
        let targets = Targets::new(IMAGE, boxes.into(), vec![0; 7], None, crowd).unwrap();
        assert_eq!(targets.trainable(), [0, 5, 6]);
        assert_eq!(targets.boxes().as_slice()[6], [15., 5., 20., 10.]);
        assert_eq!(targets.area(6), 25.0);
        let none = Proposals::new(IMAGE, Boxes::default(), vec![]).unwrap();
        let appended = none.with_ground_truth(&targets);
        assert_eq!(appended.boxes().as_slice(), [[1., 1., 5., 5.], [4., 4., 5., 5.], [15., 5., 20., 10.]]);
        assert!(Targets::none(IMAGE).trainable().is_empty());
    }

    #[test]
    fn mismatches_are_named() {
        let boxes = Boxes::from(vec![[0., 0., 1., 1.]]);
        let error = Targets::new(IMAGE, boxes.clone(), vec![], None, vec![false]).unwrap_err();
        assert_eq!(error.to_string(), "target classes: found 0 entries, expected 1");
        let targets = Targets::new(IMAGE, boxes, vec![80], None, vec![false]).unwrap();
        assert!(targets.check_classes(81).is_ok());
        let text = targets.check_classes(80).unwrap_err().to_string();
        assert_eq!(
            text,
            "target class: found 80 with 80 classes, expected a class below the number of classes"
        );
    }
}
