//! Which part of a batch or of a list one of several processes has.

use std::ops::Range;

/// One of the processes that share batches and lists.
///
/// A batch over all processes is dealt from both ends: the first process has the first and the last rows, the next one those
/// beside them. So row i and row N - 1 - i, which Mixup and CutMix mix, are on one process, except for the middle row
/// where a process has an odd number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// This process, in `0..world`.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
}

/// Rows that lie side by side on a process and in the batch over all processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The rows of this process.
    pub own: Range<usize>,
    /// The place of the first of them in the batch over all processes.
    pub global: usize,
}

impl Shard {
    /// All of it.
    pub const WHOLE: Self = Self { rank: 0, world: 1 };

    /// Where the rows of this process, `rows` of them as on each, lie in the batch over all processes.
    pub fn runs(self, rows: usize) -> impl Iterator<Item = Run> {
        let Self { rank, world } = self;
        let half = rows / 2;
        let middle = rows - 2 * half;
        let first = Run { own: 0..half, global: rank * half };
        let single = Run { own: half..half + middle, global: world * half + rank * middle };
        let last = Run { own: half + middle..rows, global: world * rows - (rank + 1) * half };
        [first, single, last].into_iter().filter(|run| !run.own.is_empty())
    }

    /// The place in the batch over all processes of each of the `rows` of this one.
    pub fn places(self, rows: usize) -> impl Iterator<Item = usize> {
        self.runs(rows).flat_map(|run| (run.global..).take(run.own.len()))
    }

    /// This process's stretch of a list of `len`, which the stretches of all ranks in order make up.
    pub fn stretch(self, len: usize) -> Range<usize> {
        let bound = |rank: usize| (rank as u128 * len as u128 / self.world as u128) as usize;
        bound(self.rank)..bound(self.rank + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shards_make_up_the_whole(world in 1usize..9, rows in 0usize..12, len in 0usize..50) {
            let shards = || (0..world).map(|rank| Shard { rank, world });
            let mut places: Vec<usize> = shards().flat_map(|shard| shard.places(rows)).collect();
            places.sort_unstable();
            prop_assert_eq!(places, (0..world * rows).collect::<Vec<_>>());
            let list: Vec<usize> = shards().flat_map(|shard| shard.stretch(len)).collect();
            prop_assert_eq!(list, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn rows_that_are_mixed_stay_together(world in 1usize..9, half in 1usize..6) {
            let rows = 2 * half;
            for rank in 0..world {
                let places: Vec<usize> = Shard { rank, world }.places(rows).collect();
                for i in 0..rows {
                    prop_assert_eq!(places[i] + places[rows - 1 - i], world * rows - 1);
                }
            }
        }
    }

    #[test]
    fn one_process_has_its_rows_in_order() {
        for rows in 0..6 {
            assert_eq!(Shard::WHOLE.places(rows).collect::<Vec<_>>(), (0..rows).collect::<Vec<_>>());
        }
        assert_eq!(Shard { rank: 1, world: 2 }.places(3).collect::<Vec<_>>(), [1, 3, 4]);
    }
}
