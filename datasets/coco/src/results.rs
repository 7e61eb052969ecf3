//! Writes detections as COCO's evaluators read them: <https://cocodataset.org/#format-results>.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::dataset::CategoryMap;
use super::error::CocoError;
use kat_images::Rle;

/// One detection in the suite's own terms.
#[derive(Debug, Clone, Copy)]
pub struct Detection<'a> {
    /// COCO id of the image.
    pub image: u64,
    /// Contiguous class.
    pub class: u32,
    /// `[x0, y0, x1, y1]` in pixels of the image as annotated.
    pub bbox: [f32; 4],
    /// Confidence.
    pub score: f32,
    /// Mask of the image's size.
    pub mask: Option<&'a Rle>,
}

/// A results file being written, one detection at a time.
#[derive(Debug)]
pub struct ResultsWriter<'m, W: Write> {
    out: W,
    categories: &'m CategoryMap,
    written: usize,
}

impl<'m, W: Write> ResultsWriter<'m, W> {
    /// Starts the list. `out` should be buffered.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(mut out: W, categories: &'m CategoryMap) -> std::io::Result<Self> {
        out.write_all(b"[")?;
        Ok(ResultsWriter { out, categories, written: 0 })
    }

    /// Adds a detection.
    ///
    /// # Errors
    /// If the class is none of the categories, a number is not finite or the box has a negative extent; `out` then is
    /// as before. If `out` cannot be written.
    pub fn write(&mut self, detection: &Detection) -> Result<(), CocoError> {
        #[derive(Serialize)]
        struct Row {
            image_id: u64,
            category_id: u64,
            bbox: [f32; 4],
            score: f32,
            #[serde(skip_serializing_if = "Option::is_none")]
            segmentation: Option<Segmentation>,
        }
        #[derive(Serialize)]
        struct Segmentation {
            size: [u32; 2],
            counts: String,
        }
        let image = detection.image;
        let fault = |field, found, expected: &str| CocoError::Result {
            image,
            field,
            found,
            expected: expected.to_string(),
        };
        let Some(category) = self.categories.category(detection.class) else {
            let range = format!("below {}", self.categories.len());
            return Err(fault("class", detection.class.to_string(), &range));
        };
        let [x0, y0, x1, y1] = detection.bbox;
        if detection.bbox.iter().any(|v| !v.is_finite()) || x1 < x0 || y1 < y0 {
            let found = format!("{:?}", detection.bbox);
            return Err(fault("bbox", found, "finite x0 <= x1, y0 <= y1"));
        }
        if !detection.score.is_finite() {
            return Err(fault("score", detection.score.to_string(), "a finite number"));
        }
        let row = Row {
            image_id: image,
            category_id: category.id,
            bbox: [x0, y0, x1 - x0, y1 - y0],
            score: detection.score,
            segmentation: detection.mask.map(|rle| Segmentation {
                size: [rle.size().height as u32, rle.size().width as u32],
                counts: rle.to_text(),
            }),
        };
        let mut text = Vec::new();
        if self.written > 0 {
            text.push(b',');
        }
        text.push(b'\n');
        serde_json::to_writer(&mut text, &row).map_err(|e| write_error(e.into()))?;
        self.out.write_all(&text).map_err(write_error)?;
        self.written += 1;
        Ok(())
    }

    /// Ends the list; how many detections it holds.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn finish(mut self) -> std::io::Result<usize> {
        self.out.write_all(b"\n]\n")?;
        self.out.flush()?;
        Ok(self.written)
    }
}

fn write_error(source: std::io::Error) -> CocoError {
    CocoError::Io { path: Path::new("results").to_owned(), source }
}

#[cfg(test)]
mod tests {
    use kat_images::Size;

    use super::super::arena::Segmentation as Outline;
    use super::super::json::{Category, parse_results};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let category = |id| Category { id, name: id.to_string(), supercategory: String::new() };
        let map = CategoryMap::new(&[category(7), category(90)]);
        let mask = Rle::new(Size::new(2, 3), vec![1, 3, 2]).unwrap();
        let mut out = Vec::new();
        let mut writer = ResultsWriter::new(&mut out, &map).unwrap();
        let good =
            Detection { image: 5, class: 1, bbox: [1.0, 2.0, 4.5, 3.0], score: 0.25, mask: Some(&mask) };
        writer.write(&good).unwrap();
        for bad in [
            Detection { class: 2, ..good },
            Detection { score: f32::NAN, ..good },
            Detection { bbox: [1.0, 2.0, 0.0, 3.0], ..good },
        ] {
            assert!(matches!(writer.write(&bad), Err(CocoError::Result { image: 5, .. })));
        }
        writer.write(&Detection { class: 0, mask: None, ..good }).unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        let read = parse_results(Path::new("r"), &out).unwrap();
        let [a, b] = read.records() else { panic!("two expected") };
        assert_eq!((a.image_id, a.category_id, b.category_id), (5, 90, 7));
        assert_eq!((a.bbox, a.score), (Some([1.0, 2.0, 3.5, 1.0]), Some(0.25)));
        let text = mask.to_text();
        assert_eq!(read.segmentation(a), Outline::Text { size: [2, 3], counts: &text });
    }
}
