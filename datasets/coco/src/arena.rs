//! Annotations in a few flat arrays: one record of fixed size each, with the outlines of all of them end to end in
//! shared buffers. An LVIS-sized file becomes five allocations instead of several millions.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Annotations (or detections) of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Annotations {
    /// The file they were read from; empty for those made in memory.
    source: PathBuf,
    records: Vec<Record>,
    /// x, y, x, y … of all rings.
    points: Vec<f64>,
    /// End of each ring in `points`.
    ring_ends: Vec<usize>,
    runs: Vec<u32>,
    text: String,
}

/// One annotation or detection; its outline is had from [`Annotations::segmentation`].
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The annotation's id; in a results file, its position from 1.
    pub id: u64,
    /// The image's id.
    pub image_id: u64,
    /// The category's (sparse) id.
    pub category_id: u64,
    /// `[x, y, width, height]` in pixels.
    pub bbox: Option<[f64; 4]>,
    /// Area of the object in pixels, by which evaluation sorts objects into small, medium and large.
    pub area: Option<f64>,
    /// Confidence of a detection.
    pub score: Option<f64>,
    /// A region of many objects.
    pub crowd: bool,
    outline: Outline,
}

/// Where in the shared buffers a record's outline is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Outline {
    None,
    Rings { first: usize, count: usize },
    Runs { start: usize, len: usize, size: [u32; 2] },
    Text { start: usize, len: usize, size: [u32; 2] },
}

/// The outline of an object as the file has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Segmentation<'a> {
    /// Only a box is known.
    None,
    /// Rings of x, y, x, y …
    Polygons(Rings<'a>),
    /// Run lengths down the columns of a mask of `size` = `[height, width]`.
    Runs {
        /// `[height, width]`.
        size: [u32; 2],
        /// Lengths of runs, background first.
        counts: &'a [u32],
    },
    /// The same, as COCO's compressed text.
    Text {
        /// `[height, width]`.
        size: [u32; 2],
        /// Six bits a character.
        counts: &'a str,
    },
}

/// The rings of one object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rings<'a> {
    points: &'a [f64],
    /// Ends within the whole file's points; `base` is where this object's points start.
    ends: &'a [usize],
    base: usize,
}

impl<'a> Rings<'a> {
    /// Each ring as x, y, x, y …
    pub fn iter(&self) -> impl Iterator<Item = &'a [f64]> + use<'a> {
        let (points, base) = (self.points, self.base);
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let ring = &points[start..end - base];
            start = end - base;
            ring
        })
    }

    /// Number of rings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Lengths of the buffers at some moment, to undo a record that failed half way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark([usize; 5]);

impl Annotations {
    /// No annotations.
    pub fn new() -> Self {
        Self::default()
    }

    /// All records, in file order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Keeps only the records at these positions, which rise; their outlines stay as they are.
    pub(crate) fn retain_indices(&mut self, positions: &[usize]) {
        let (mut wanted, mut at) = (positions.iter().copied().peekable(), 0);
        self.records.retain(|_| {
            at += 1;
            wanted.next_if_eq(&(at - 1)).is_some()
        });
    }

    /// The outline of `record`, which must come from this collection.
    pub fn segmentation(&self, record: &Record) -> Segmentation<'_> {
        match record.outline {
            Outline::None => Segmentation::None,
            Outline::Rings { first, count } => {
                let ends = &self.ring_ends[first..first + count];
                let base = if first == 0 { 0 } else { self.ring_ends[first - 1] };
                let end = ends.last().copied().unwrap_or(base);
                Segmentation::Polygons(Rings { points: &self.points[base..end], ends, base })
            }
            Outline::Runs { start, len, size } => {
                Segmentation::Runs { size, counts: &self.runs[start..start + len] }
            }
            Outline::Text { start, len, size } => {
                Segmentation::Text { size, counts: &self.text[start..start + len] }
            }
        }
    }

    /// Adds a detection whose mask, if any, is given as run lengths.
    pub fn push_detection(
        &mut self,
        image_id: u64,
        category_id: u64,
        bbox: [f64; 4],
        score: f64,
        mask: Option<&kat_images::Rle>,
    ) {
        let outline = match mask {
            None => Outline::None,
            Some(rle) => {
                let start = self.runs.len();
                self.runs.extend_from_slice(rle.counts());
                Outline::Runs {
                    start,
                    len: rle.counts().len(),
                    size: [rle.size().height as u32, rle.size().width as u32],
                }
            }
        };
        self.records.push(Record {
            id: self.records.len() as u64 + 1,
            image_id,
            category_id,
            bbox: Some(bbox),
            area: None,
            score: Some(score),
            crowd: false,
            outline,
        });
    }

    /// The file they were read from; empty for those made in memory.
    pub fn source(&self) -> &Path {
        &self.source
    }

    pub(super) fn set_source(&mut self, path: &Path) {
        self.source = path.to_owned();
    }

    /// Gives a new id to each record whose id an earlier one has; the positions of those, with the id they had.
    pub(super) fn renumber(&mut self) -> Vec<(usize, u64)> {
        let mut seen = HashSet::with_capacity(self.records.len());
        let twice: Vec<usize> =
            (0..self.records.len()).filter(|&i| !seen.insert(self.records[i].id)).collect();
        let mut next = 1;
        let mut renumbered = Vec::with_capacity(twice.len());
        for at in twice {
            while !seen.insert(next) {
                next += 1;
            }
            renumbered.push((at, self.records[at].id));
            self.records[at].id = next;
        }
        renumbered
    }

    /// Gives each record its position from 1 as id, as is done for detections.
    pub fn number(&mut self) {
        for (i, record) in self.records.iter_mut().enumerate() {
            record.id = i as u64 + 1;
        }
    }

    /// Heap memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
            + self.points.capacity() * size_of::<f64>()
            + self.ring_ends.capacity() * size_of::<usize>()
            + self.runs.capacity() * size_of::<u32>()
            + self.text.capacity()
    }

    /// Joins parts in order. Each part is freed as soon as it is copied; the target's pages are touched only as they
    /// fill, so the peak stays near one copy of the data.
    pub(super) fn join(parts: Vec<Annotations>) -> Annotations {
        if parts.len() == 1 {
            return parts.into_iter().next().unwrap_or_default();
        }
        let sum = |f: fn(&Annotations) -> usize| parts.iter().map(f).sum::<usize>();
        let mut all = Annotations {
            source: PathBuf::new(),
            records: Vec::with_capacity(sum(|p| p.records.len())),
            points: Vec::with_capacity(sum(|p| p.points.len())),
            ring_ends: Vec::with_capacity(sum(|p| p.ring_ends.len())),
            runs: Vec::with_capacity(sum(|p| p.runs.len())),
            text: String::with_capacity(sum(|p| p.text.len())),
        };
        for part in parts {
            let Mark([_, points, rings, runs, text]) = all.mark();
            all.records.extend(part.records.into_iter().map(|mut r| {
                match &mut r.outline {
                    Outline::None => {}
                    Outline::Rings { first, .. } => *first += rings,
                    Outline::Runs { start, .. } => *start += runs,
                    Outline::Text { start, .. } => *start += text,
                }
                r
            }));
            all.points.extend_from_slice(&part.points);
            all.ring_ends.extend(part.ring_ends.iter().map(|e| e + points));
            all.runs.extend_from_slice(&part.runs);
            all.text.push_str(&part.text);
        }
        all
    }

    pub(super) fn mark(&self) -> Mark {
        Mark([self.records.len(), self.points.len(), self.ring_ends.len(), self.runs.len(), self.text.len()])
    }

    pub(super) fn rewind(&mut self, Mark([records, points, rings, runs, text]): Mark) {
        self.records.truncate(records);
        self.points.truncate(points);
        self.ring_ends.truncate(rings);
        self.runs.truncate(runs);
        self.text.truncate(text);
    }

    /// The record just filled in by the parser; its outline is what was pushed since `since`.
    pub(super) fn finish(&mut self, mut record: RecordHead, since: Mark) {
        let Mark([_, _, rings, runs, text]) = since;
        let outline = match record.outline.take() {
            None => Outline::None,
            Some(OutlineKind::Rings) => Outline::Rings { first: rings, count: self.ring_ends.len() - rings },
            Some(OutlineKind::Runs(size)) => Outline::Runs { start: runs, len: self.runs.len() - runs, size },
            Some(OutlineKind::Text(size)) => Outline::Text { start: text, len: self.text.len() - text, size },
        };
        self.records.push(Record {
            id: record.id,
            image_id: record.image_id,
            category_id: record.category_id,
            bbox: record.bbox,
            area: record.area,
            score: record.score,
            crowd: record.crowd,
            outline,
        });
    }

    pub(super) fn push_coordinate(&mut self, value: f64) {
        self.points.push(value);
    }

    pub(super) fn end_ring(&mut self) {
        self.ring_ends.push(self.points.len());
    }

    pub(super) fn push_run(&mut self, run: u32) {
        self.runs.push(run);
    }

    pub(super) fn push_text(&mut self, counts: &str) {
        self.text.push_str(counts);
    }
}

/// Scalars of a record while it is read.
#[derive(Debug, Default)]
pub(super) struct RecordHead {
    pub id: u64,
    pub image_id: u64,
    pub category_id: u64,
    pub bbox: Option<[f64; 4]>,
    pub area: Option<f64>,
    pub score: Option<f64>,
    pub crowd: bool,
    pub outline: Option<OutlineKind>,
}

/// Which buffer an outline went to.
#[derive(Debug, Clone, Copy)]
pub(super) enum OutlineKind {
    Rings,
    Runs([u32; 2]),
    Text([u32; 2]),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(ring: &[f64], text: &str) -> Annotations {
        let mut part = Annotations::new();
        let mark = part.mark();
        ring.iter().for_each(|&v| part.push_coordinate(v));
        part.end_ring();
        part.finish(RecordHead { outline: Some(OutlineKind::Rings), ..Default::default() }, mark);
        let mark = part.mark();
        part.push_text(text);
        let outline = Some(OutlineKind::Text([2, 3]));
        part.finish(RecordHead { outline, ..Default::default() }, mark);
        part
    }

    #[test]
    fn joined_parts_keep_their_outlines() {
        let all = Annotations::join(vec![part(&[1.0, 2.0], "ab"), part(&[3.0, 4.0, 5.0], "c")]);
        let rings: Vec<Vec<&[f64]>> = all
            .records()
            .iter()
            .filter_map(|r| match all.segmentation(r) {
                Segmentation::Polygons(rings) => Some(rings.iter().collect()),
                _ => None,
            })
            .collect();
        assert_eq!(rings, [vec![&[1.0, 2.0][..]], vec![&[3.0, 4.0, 5.0][..]]]);
        assert_eq!(all.segmentation(&all.records()[3]), Segmentation::Text { size: [2, 3], counts: "c" });
    }

    #[test]
    fn rewinding_forgets_a_half_read_record() {
        let mut all = part(&[1.0, 2.0], "x");
        let before = all.clone();
        let mark = all.mark();
        all.push_coordinate(9.0);
        all.end_ring();
        all.push_run(4);
        all.rewind(mark);
        assert_eq!(all, before);
    }
}
