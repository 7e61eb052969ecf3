//! Tiles of output positions. A position is an image and a pixel of its output plane, counted through the
//! batch, so that a tile may span the small maps of several images.

use super::Geometry;
use crate::cpu::Unwritten;

/// Positions [start, start + len) of one plane of one image, which stand at `offset` in a tile.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The image.
    pub image: usize,
    /// The first pixel in the output plane.
    pub start: usize,
    /// The number of pixels.
    pub len: usize,
    /// Where the first pixel stands in the tile.
    pub offset: usize,
}

/// The segments of the positions [first, first + len), counted through the batch.
pub fn segments(plane: usize, first: usize, len: usize) -> Vec<Segment> {
    let mut out = Vec::new();
    let mut offset = 0;
    while offset < len {
        let (image, start) = ((first + offset) / plane, (first + offset) % plane);
        let run = (plane - start).min(len - offset);
        out.push(Segment { image, start, len: run, offset });
        offset += run;
    }
    out
}

/// A run of pixels of one channel's plane that a tile writes.
pub struct Piece<'a> {
    /// The channel.
    pub channel: usize,
    /// Where the first pixel stands in the tile.
    pub offset: usize,
    /// The pixels.
    pub values: Unwritten<'a>,
}

/// Splits (B, channels, plane) values by tiles of `tile` positions, so that tasks can write their own.
pub fn pieces(mut values: Unwritten<'_>, channels: usize, plane: usize, tile: usize) -> Vec<Vec<Piece<'_>>> {
    let positions = values.len() / channels.max(1);
    let mut tiles: Vec<Vec<Piece<'_>>> = (0..positions.div_ceil(tile)).map(|_| Vec::new()).collect();
    for i in 0..values.len() / plane.max(1) {
        let (image, channel) = (i / channels, i % channels);
        let (mut position, end) = (image * plane, (image + 1) * plane);
        while position < end {
            let offset = position % tile;
            let (piece, behind) = values.split_at((tile - offset).min(end - position));
            tiles[position / tile].push(Piece { channel, offset, values: piece });
            position += tile - offset;
            values = behind;
        }
    }
    tiles
}

/// Channels of x that one product takes: about 288 rows of columns, which with 1024 positions are 1.2 MB and
/// stay in L2 between gathering and multiplying.
pub fn channel_block(g: &Geometry) -> usize {
    (288 / g.taps().max(1)).clamp(1, g.in_channels.max(1))
}

/// Positions of a tile: enough that packing the weights weighs little, and several tiles for small maps. Depends
/// on the shape alone, so that results do not depend on the number of threads.
pub fn tile_len(g: &Geometry) -> usize {
    let positions = g.batch * g.output_plane();
    (positions.div_ceil(8).next_multiple_of(64)).clamp(128, 1024)
}
