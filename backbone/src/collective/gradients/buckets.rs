//! Which values travel together, and which part of them is whose.

use std::ops::Range;

use crate::device::Device;
use crate::nn::Module;

/// Values in a bucket: 25 MB of f32.
pub(super) const CAPACITY: usize = 25 << 18;

/// A module's parameters, from the last to the first, in buckets.
#[derive(Debug, Clone)]
pub struct Buckets {
    /// Values of each parameter, in the order of [`Module::visit`].
    lengths: Vec<usize>,
    /// Where each parameter lies.
    places: Vec<(usize, usize)>,
    buckets: Vec<Bucket>,
    world: usize,
}

#[derive(Debug, Clone, Default)]
struct Bucket {
    parameters: Vec<usize>,
    values: usize,
}

/// A part of a parameter that one process has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which parameter.
    pub parameter: usize,
    /// Which of its values.
    pub values: Range<usize>,
    /// Its bucket.
    pub bucket: usize,
    /// Where in the process's part of the bucket its values are.
    pub own: Range<usize>,
}

impl Buckets {
    /// Buckets for the parameters of `module`, to be exchanged by `world` processes.
    pub fn of<D: Device>(module: &impl Module<D>, world: usize) -> Self {
        Self::new(module.parameters().iter().map(|parameter| parameter.numel()).collect(), world)
    }

    pub(super) fn new(lengths: Vec<usize>, world: usize) -> Self {
        let mut places = vec![(0, 0); lengths.len()];
        let mut buckets: Vec<Bucket> = Vec::new();
        for (parameter, &length) in lengths.iter().enumerate().rev() {
            if buckets.last().is_none_or(|bucket| bucket.values > 0 && bucket.values + length > CAPACITY) {
                buckets.push(Bucket::default());
            }
            let number = buckets.len() - 1;
            let bucket = &mut buckets[number];
            places[parameter] = (number, bucket.values);
            bucket.parameters.push(parameter);
            bucket.values += length;
        }
        Self { lengths, places, buckets, world: world.max(1) }
    }

    /// Number of buckets.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is nothing to exchange.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.lengths.len()
    }

    /// Values of all parameters together.
    pub fn values(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Values of a parameter.
    pub fn length(&self, parameter: usize) -> usize {
        self.lengths[parameter]
    }

    /// A parameter's bucket, and its values' places there.
    pub fn place(&self, parameter: usize) -> (usize, Range<usize>) {
        let (bucket, start) = self.places[parameter];
        (bucket, start..start + self.lengths[parameter])
    }

    /// The parameters of a bucket.
    pub fn within(&self, bucket: usize) -> &[usize] {
        &self.buckets[bucket].parameters
    }

    /// Values of one process's part of a bucket: the last parts may reach beyond its values.
    pub fn part(&self, bucket: usize) -> usize {
        self.buckets[bucket].values.div_ceil(self.world)
    }

    /// Values of a bucket with what makes it `world` equal parts.
    pub fn padded(&self, bucket: usize) -> usize {
        self.part(bucket) * self.world
    }

    /// What a process has of the parameters.
    pub fn pieces(&self, rank: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for bucket in 0..self.len() {
            let part = self.part(bucket);
            let own = rank * part..(rank + 1) * part;
            for &parameter in self.within(bucket) {
                let (_, place) = self.place(parameter);
                let common = place.start.max(own.start)..place.end.min(own.end);
                if !common.is_empty() {
                    pieces.push(Piece {
                        parameter,
                        values: common.start - place.start..common.end - place.start,
                        bucket,
                        own: common.start - own.start..common.end - own.start,
                    });
                }
            }
        }
        pieces
    }
}
