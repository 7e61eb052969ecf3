//! Detections on their way from one process to another, to the bit.

use anyhow::{Context, ensure};
use kat_images::{Rle, Size};

/// A detection of a dataset's image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// COCO id of the image.
    pub(super) image: u64,
    /// Class of the dataset.
    pub(super) class: u32,
    /// Corners in pixels of the image.
    pub(super) bbox: [f32; 4],
    /// Its probability.
    pub(super) score: f32,
    /// Its mask, where the model predicts some.
    pub(super) mask: Option<Rle>,
}

/// All numbers of the rows, little-endian; of a mask its number of runs (0 for none), size and runs.
pub(super) fn encode(rows: &[Row]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend(row.image.to_le_bytes());
        bytes.extend(row.class.to_le_bytes());
        row.bbox.iter().chain([&row.score]).for_each(|v| bytes.extend(v.to_le_bytes()));
        let mut add = |n: usize| bytes.extend((n as u32).to_le_bytes());
        match &row.mask {
            None => add(0),
            Some(mask) => {
                [mask.counts().len(), mask.size().height, mask.size().width].into_iter().for_each(&mut add);
                mask.counts().iter().for_each(|n| add(*n as usize));
            }
        }
    }
    bytes
}

/// The rows that [`encode`] wrote.
///
/// # Errors
/// Bytes that it did not write.
pub(super) fn decode(mut bytes: &[u8]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        let image = u64::from_le_bytes(take(&mut bytes)?);
        let class = u32::from_le_bytes(take(&mut bytes)?);
        let mut values = [0.0; 5];
        for value in &mut values {
            *value = f32::from_le_bytes(take(&mut bytes)?);
        }
        let [x0, y0, x1, y1, score] = values;
        let mut count = || anyhow::Ok(u32::from_le_bytes(take(&mut bytes)?));
        let mask = match count()? as usize {
            0 => None,
            runs => {
                let size = Size::new(count()? as usize, count()? as usize);
                ensure!(runs <= size.area() + 1, "detections of another process: a mask of {runs} runs");
                Some(Rle::new(size, (0..runs).map(|_| count()).collect::<Result<_, _>>()?)?)
            }
        };
        rows.push(Row { image, class, bbox: [x0, y0, x1, y1], score, mask });
    }
    Ok(rows)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk().context("detections of another process are cut off")?;
    *bytes = rest;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_arrive_as_they_were_sent() {
        let row = |image, mask| Row { image, class: 3, bbox: [0.1, -2.5, 7.0, 1e-7], score: 0.3, mask };
        let mask = Rle::new(Size::new(2, 3), vec![1, 2, 3]).unwrap();
        let rows = [row(1 << 40, Some(mask)), row(7, None)];
        let bytes = encode(&rows);
        assert_eq!(decode(&bytes).unwrap(), rows);
        for end in 1..bytes.len() {
            // Cut between the rows, the first one is whole.
            let whole = encode(&rows[..1]).len() == end;
            assert_eq!(decode(&bytes[..end]).is_ok(), whole, "{end}");
        }
    }
}
