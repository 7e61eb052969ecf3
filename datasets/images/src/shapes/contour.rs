//! From a mask to an annotation: area, box, and polygons or run lengths.

use serde_json::{Value, json};

/// What is seen of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Visible pixels.
    pub area: u32,
    /// `[x0, y0, x1, y1]`, exclusive, in whole pixels.
    pub bbox: [u32; 4],
    /// Outer rings, clockwise along pixel edges; empty where the mask has a hole.
    pub rings: Vec<Vec<[u32; 2]>>,
    /// Run lengths down the columns, starting with zeros (COCO's uncompressed RLE).
    pub counts: Vec<u32>,
    /// (height, width) of the picture.
    pub size: [u32; 2],
}

impl Outline {
    /// Describes the pixels of `owner` (row by row) equal to `id`; `None` where there are none.
    pub fn of(owner: &[u16], width: u32, height: u32, id: u16) -> Option<Self> {
        let (w, h) = (width as usize, height as usize);
        let mask = |x: usize, y: usize| owner[y * w + x] == id;
        let mut area = 0;
        let mut bbox = [width, height, 0, 0];
        let mut counts = Vec::new();
        let (mut run, mut last) = (0u32, false);
        for x in 0..w {
            for y in 0..h {
                let on = mask(x, y);
                if on != last {
                    counts.push(run);
                    run = 0;
                    last = on;
                }
                run += 1;
                if on {
                    let (x, y) = (x as u32, y as u32);
                    area += 1;
                    bbox = [bbox[0].min(x), bbox[1].min(y), bbox[2].max(x + 1), bbox[3].max(y + 1)];
                }
            }
        }
        counts.push(run);
        (area > 0).then(|| Self {
            area,
            bbox,
            rings: rings(owner, width, id, bbox),
            counts,
            size: [height, width],
        })
    }

    /// COCO's `segmentation`: polygons, or run lengths where polygons cannot say it (a hole).
    pub fn segmentation(&self) -> Value {
        if self.rings.is_empty() {
            return json!({ "size": self.size, "counts": self.counts });
        }
        let flat = |ring: &Vec<[u32; 2]>| ring.iter().flatten().copied().collect::<Vec<u32>>();
        json!(self.rings.iter().map(flat).collect::<Vec<_>>())
    }
}

/// Outer boundaries of the 4-connected parts, corner to corner; none if any part has a hole.
fn rings(owner: &[u16], width: u32, id: u16, bbox: [u32; 4]) -> Vec<Vec<[u32; 2]>> {
    let [x0, y0, x1, y1] = bbox;
    // a frame of one empty pixel all around spares every bounds check
    let (w, h) = ((x1 - x0 + 2) as usize, (y1 - y0 + 2) as usize);
    let mut mask = vec![false; w * h];
    for y in y0..y1 {
        for x in x0..x1 {
            let at = (y - y0 + 1) as usize * w + (x - x0 + 1) as usize;
            mask[at] = owner[y as usize * width as usize + x as usize] == id;
        }
    }
    // `top[p]`: the upper edge of pixel p is on a boundary already followed
    let mut top = vec![false; w * h];
    let mut found = Vec::new();
    for start in w..w * h {
        if !mask[start] || mask[start - w] || top[start] {
            continue;
        }
        let (ring, doubled_area) = follow(&mask, w, start, &mut top);
        if doubled_area < 0 {
            return Vec::new();
        }
        found.push(ring.into_iter().map(|[x, y]| [x + x0 - 1, y + y0 - 1]).collect());
    }
    found
}

/// Follows a boundary with the mask on the right hand, from the upper left corner of pixel `start`, whose
/// upper edge is on it. Returns the corners where the direction changes and twice the signed area (negative:
/// the boundary of a hole).
fn follow(mask: &[bool], w: usize, start: usize, top: &mut [bool]) -> (Vec<[u32; 2]>, i64) {
    const STEPS: [(i64, i64); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    let (mut x, mut y) = ((start % w) as i64, (start / w) as i64);
    let first = (x, y);
    let on = |x: i64, y: i64| mask[y as usize * w + x as usize];
    let mut direction = 0;
    let mut ring = vec![[x as u32, y as u32]];
    let mut doubled_area = 0;
    loop {
        if direction == 0 {
            top[y as usize * w + x as usize] = true;
        }
        let (dx, dy) = STEPS[direction];
        doubled_area += x * (y + dy) - (x + dx) * y;
        (x, y) = (x + dx, y + dy);
        // the two pixels ahead of the corner, to the right and left of the direction of travel
        let (right, left) = match direction {
            0 => (on(x, y), on(x, y - 1)),
            1 => (on(x - 1, y), on(x, y)),
            2 => (on(x - 1, y - 1), on(x - 1, y)),
            _ => (on(x, y - 1), on(x - 1, y - 1)),
        };
        // turning right first at a corner where two parts touch keeps them apart
        let turn = match (right, left) {
            (false, _) => 1,
            (true, false) => 0,
            (true, true) => 3,
        };
        let next = (direction + turn) % 4;
        if (x, y) == first && next == 0 {
            return (ring, doubled_area);
        }
        if turn != 0 {
            ring.push([x as u32, y as u32]);
        }
        direction = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(picture: &[&str]) -> (Vec<u16>, u32, u32) {
        let owner = picture.iter().flat_map(|l| l.bytes().map(|b| (b == b'#') as u16)).collect();
        (owner, picture[0].len() as u32, picture.len() as u32)
    }

    fn fill(rings: &[Vec<[u32; 2]>], w: u32, h: u32) -> Vec<u16> {
        // even-odd rule at pixel centres
        let inside = |x: f32, y: f32, ring: &Vec<[u32; 2]>| {
            let edges = ring.iter().zip(ring.iter().cycle().skip(1));
            edges
                .filter(|(a, b)| {
                    let (low, high) = (a[1].min(b[1]) as f32, a[1].max(b[1]) as f32);
                    a[0] == b[0] && low < y && y < high && (a[0] as f32) < x
                })
                .count()
                % 2
                == 1
        };
        (0..w * h)
            .map(|i| {
                let (x, y) = ((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
                rings.iter().any(|r| inside(x, y, r)) as u16
            })
            .collect()
    }

    #[test]
    fn a_step_has_six_corners() {
        let (owner, w, h) = parse(&["....", ".#..", ".##.", "...."]);
        let outline = Outline::of(&owner, w, h, 1).unwrap();
        assert_eq!(outline.area, 3);
        assert_eq!(outline.bbox, [1, 1, 3, 3]);
        assert_eq!(outline.rings, vec![vec![[1, 1], [2, 1], [2, 2], [3, 2], [3, 3], [1, 3]]]);
        assert_eq!(outline.counts, [5, 2, 3, 1, 5]);
    }

    #[test]
    fn a_hole_is_said_in_run_lengths() {
        let (owner, w, h) = parse(&["###", "#.#", "###"]);
        let outline = Outline::of(&owner, w, h, 1).unwrap();
        assert!(outline.rings.is_empty());
        assert_eq!(outline.segmentation(), json!({"size": [3, 3], "counts": [0, 4, 1, 4]}));
    }

    #[test]
    fn nothing_visible_is_none() {
        assert_eq!(Outline::of(&[0; 6], 3, 2, 1), None);
    }

    proptest! {
        #[test]
        fn rings_fill_to_the_mask_and_counts_sum(bits in prop::collection::vec(0u16..2, 48)) {
            if let Some(outline) = Outline::of(&bits, 8, 6, 1) {
                prop_assert_eq!(outline.counts.iter().sum::<u32>(), 48);
                prop_assert_eq!(outline.counts.iter().skip(1).step_by(2).sum::<u32>(), outline.area);
                if !outline.rings.is_empty() {
                    prop_assert_eq!(fill(&outline.rings, 8, 6), bits);
                }
            }
        }
    }
}
