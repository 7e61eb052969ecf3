//! Regions pooled each from the level that fits its size (FPN, arXiv 1612.03144), in their own order.

use kat_backbone::ops::roi_align::{Options, Roi};
use kat_backbone::{Device, Graph, Tensor, ops};

use crate::RoiLevels;
use crate::error::{HeadError, same_length};
use kat_images::Boxes;

/// A region of one image of the batch.
pub type Region = Roi;

/// RoIAlign (aligned, as many samples as pixels) over the levels of a pyramid.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiPooler {
    size: usize,
    levels: RoiLevels,
    strides: Vec<u32>,
}

impl RoiPooler {
    /// Pools to `size` × `size` from levels of these strides.
    ///
    /// # Errors
    /// Another number of strides than `levels` has.
    pub fn new(size: usize, levels: RoiLevels, strides: &[u32]) -> Result<Self, HeadError> {
        let expected = (levels.max_level - levels.min_level + 1).max(0) as usize;
        same_length("strides of the pooled levels", strides.len(), expected)?;
        Ok(Self { size, levels, strides: strides.to_vec() })
    }

    /// # Shapes
    /// maps (B, C, h, w), R regions → (R, C, size, size).
    ///
    /// # Errors
    /// No regions, fewer maps than levels, or a region that is not finite or of an image that is not there.
    pub fn forward<D: Device>(
        &self,
        graph: &mut Graph<D>,
        maps: &[Tensor<D>],
        regions: &[Region],
    ) -> Result<Tensor<D>, HeadError> {
        same_length("pooled levels", maps.len().min(self.strides.len()), self.strides.len())?;
        if regions.is_empty() {
            return Err(HeadError::value("regions", 0, "at least 1"));
        }
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.strides.len()];
        for (i, region) in regions.iter().enumerate() {
            members[self.levels.position(region.corners)].push(i);
        }
        let mut pooled = Vec::new();
        for (members, (map, stride)) in members.iter().zip(maps.iter().zip(&self.strides)) {
            if !members.is_empty() {
                let regions: Vec<Region> = members.iter().map(|i| regions[*i]).collect();
                let options = Options::adaptive(self.size, 1.0 / *stride as f32);
                pooled.push(ops::roi_align(graph, map, &regions, &options)?);
            }
        }
        if let [only] = &pooled[..] {
            return Ok(only.clone());
        }
        let joined = ops::concat(graph, &pooled.iter().collect::<Vec<_>>(), 0)?;
        // where each region lies in the order of levels
        let mut place = vec![0; regions.len()];
        members.iter().flatten().enumerate().for_each(|(at, i)| place[*i] = at);
        Ok(ops::gather_rows(graph, &joined, &place)?)
    }
}

/// The boxes of each image of a batch as regions.
pub(crate) fn regions<'b>(boxes: impl IntoIterator<Item = &'b Boxes>) -> Vec<Region> {
    let of_image = |(image, boxes): (usize, &'b Boxes)| {
        boxes.as_slice().iter().map(move |corners| Region { image, corners: *corners })
    };
    boxes.into_iter().enumerate().flat_map(of_image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kat_backbone::Cpu;

    #[test]
    fn each_region_comes_from_its_level_in_its_place() {
        // level l of image b holds 10 b + l everywhere
        let dev = Cpu::default();
        let strides = [4, 8, 16, 32];
        let map = |l: usize| {
            let side = 512 / strides[l];
            let values = (0..2 * side * side).map(|i| (i / (side * side) * 10 + l) as f32).collect();
            Tensor::from_vec(&dev, values, [2, 1, side, side]).unwrap()
        };
        let maps: Vec<_> = (0..4).map(map).collect();
        let pooler = RoiPooler::new(2, RoiLevels::default(), &strides.map(|s| s as u32)).unwrap();
        let sides = [500.0, 20.0, 230.0, 120.0, 30.0, 460.0];
        let regions: Vec<Region> = sides
            .iter()
            .enumerate()
            .map(|(i, side)| Region { image: i % 2, corners: [1.0, 1.0, 1.0 + side, 1.0 + side] })
            .collect();
        let pooled = pooler.forward(&mut Graph::inference(), &maps, &regions).unwrap();
        assert_eq!(pooled.shape().axes(), [6, 1, 2, 2]);
        let first: Vec<f32> = pooled.to_vec().chunks(4).map(|bins| bins[0]).collect();
        for (found, expected) in first.iter().zip([3.0, 10.0, 2.0, 11.0, 0.0, 13.0]) {
            assert!((found - expected).abs() < 1e-4, "{first:?}");
        }
        assert!(pooler.forward(&mut Graph::inference(), &maps, &[]).is_err());
        assert!(pooler.forward(&mut Graph::inference(), &maps[..2], &regions).is_err());
    }
}
