//! Buffers that kernels fill, without a pass over memory that clears them first and without ever lending what is not
//! written yet as numbers.

use super::scatter::Scatter;
use super::simd::vectorized;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements that one task of a parallel element-wise loop handles: 64 KiB, which stays in a core's cache.
pub const GRAIN: usize = 16 * 1024;

/// A buffer of `len` values, all of which `fill` writes: it splits what it is given as its tasks want, and writes every part.
///
/// ```
/// use kat_backbone::cpu::buffer::build;
/// use rayon::prelude::*;
///
/// let x = [1.0, 2.0, 3.0];
/// let y = build(3, |y| {
///     y.par_chunks(2).zip(x.par_chunks(2)).for_each(|(y, x)| {
///         y.write(x.iter().map(|x| 2.0 * x));
///     });
/// });
/// assert_eq!(y, [2.0, 4.0, 6.0]);
/// ```
///
/// # Panics
/// If a part was not written: a mistake of the kernel's, whatever its input.
pub fn build(len: usize, fill: impl FnOnce(Unwritten<'_>)) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    let written = AtomicUsize::new(0);
    fill(Unwritten { slots: &mut values.spare_capacity_mut()[..len], written: &written });
    assert_eq!(written.into_inner(), len, "values that a kernel wrote");
    // SAFETY: `len` values are allocated. Parts do not overlap and each is counted once, by the call that wrote all of it
    // and took it away; as many as there are were counted, so that all are written.
    unsafe { values.set_len(len) };
    values
}

/// Memory for values that nobody has written: of a new buffer, or a part of one. It can be split and written, not read.
#[derive(Debug)]
pub struct Unwritten<'a> {
    slots: &'a mut [MaybeUninit<f32>],
    /// Values of the whole buffer that were written.
    written: &'a AtomicUsize,
}

impl<'a> Unwritten<'a> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first `count` values and the others.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let (first, rest) = self.slots.split_at_mut(count);
        (Self { slots: first, written: self.written }, Self { slots: rest, written: self.written })
    }

    /// Parts of `size` values, the last perhaps shorter, one after the other.
    pub fn chunks(self, size: usize) -> impl ExactSizeIterator<Item = Self> {
        let written = self.written;
        self.slots.chunks_mut(size).map(move |slots| Self { slots, written })
    }

    /// The same in parallel.
    pub fn par_chunks(self, size: usize) -> impl IndexedParallelIterator<Item = Self> {
        let written = self.written;
        self.slots.par_chunks_mut(size).map(move |slots| Self { slots, written })
    }

    /// Writes each value.
    ///
    /// # Panics
    /// If `values` are too few.
    #[inline(always)]
    pub fn write(self, values: impl IntoIterator<Item = f32>) -> &'a mut [f32] {
        let values = Slots(self.slots).write(values);
        self.written.fetch_add(values.len(), Ordering::Relaxed);
        values
    }

    /// Writes copies of `values`.
    ///
    /// # Panics
    /// If they are not as many.
    #[inline(always)]
    pub fn copy_from(self, values: &[f32]) -> &'a mut [f32] {
        assert_eq!(self.slots.len(), values.len(), "values to copy");
        self.write(values.iter().copied())
    }

    /// Writes zeros, for a kernel that writes out of order or adds: a part that stays in a core's first caches, so that no
    /// pass over memory is added.
    #[inline(always)]
    pub fn zeroed(self) -> &'a mut [f32] {
        self.slots.fill(MaybeUninit::new(0.0));
        // SAFETY: all were just written.
        unsafe { self.assume_written() }
    }

    /// Writes rows of `size` values one after the other, the last perhaps shorter: `row` writes the row that it is given,
    /// by its number, and gives it back.
    ///
    /// # Panics
    /// If it gives back another.
    #[inline(always)]
    pub fn write_rows(
        self,
        size: usize,
        mut row: impl for<'r> FnMut(usize, Slots<'r>) -> &'r mut [f32],
    ) -> &'a mut [f32] {
        for (i, slots) in self.slots.chunks_mut(size.max(1)).enumerate() {
            let (start, len) = (slots.as_ptr().cast::<f32>(), slots.len());
            let written = row(i, Slots(slots));
            assert!(std::ptr::eq(written.as_ptr(), start) && written.len() == len, "a row of another place");
        }
        // SAFETY: for each row there was a slice of numbers at its very place.
        unsafe { self.assume_written() }
    }

    /// Lends the memory to tasks that write it in places that lie apart.
    ///
    /// # Safety
    /// `fill` must write every value.
    pub(crate) unsafe fn write_scattered(
        self,
        fill: impl FnOnce(&Scatter<'_, MaybeUninit<f32>>),
    ) -> &'a mut [f32] {
        fill(&Scatter::new(self.slots));
        // SAFETY: the caller's promise.
        unsafe { self.assume_written() }
    }

    /// The memory, for products to write.
    pub(super) fn slots(&mut self) -> &mut [MaybeUninit<f32>] {
        self.slots
    }

    /// The values, and counts them.
    ///
    /// # Safety
    /// All must have been written.
    pub(super) unsafe fn assume_written(self) -> &'a mut [f32] {
        self.written.fetch_add(self.slots.len(), Ordering::Relaxed);
        // SAFETY: the caller's promise; an f32 lies as a MaybeUninit<f32> does, and the slice was borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.slots.len()) }
    }
}

/// A row of [`Unwritten::write_rows`], which is not written either.
#[derive(Debug)]
pub struct Slots<'a>(&'a mut [MaybeUninit<f32>]);

impl<'a> Slots<'a> {
    /// Writes each value.
    ///
    /// # Panics
    /// If `values` are too few.
    #[inline(always)]
    pub fn write(self, values: impl IntoIterator<Item = f32>) -> &'a mut [f32] {
        let mut count = 0;
        for (slot, value) in self.0.iter_mut().zip(values) {
            slot.write(value);
            count += 1;
        }
        assert_eq!(count, self.0.len(), "values to write");
        // SAFETY: all were just written; an f32 lies as a MaybeUninit<f32> does, and the slice was borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }
}

/// f(x) of every value, in parallel.
pub fn map(x: &[f32], f: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    build(x.len(), |y| {
        y.par_chunks(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(y, x)| {
            vectorized(
                #[inline(always)]
                || {
                    y.write(x.iter().map(|x| f(*x)));
                },
            );
        });
    })
}

/// f(a, b) of every pair of values, in parallel.
///
/// # Panics
/// If there are fewer in `b`.
pub fn zip(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    build(a.len(), |y| {
        let inputs = a.par_chunks(GRAIN).zip(b.par_chunks(GRAIN));
        y.par_chunks(GRAIN).zip(inputs).for_each(|(y, (a, b))| {
            vectorized(
                #[inline(always)]
                || {
                    y.write(a.iter().zip(b).map(|(a, b)| f(*a, *b)));
                },
            );
        });
    })
}

/// dy ← f(x, dy) for every pair of values, in parallel: a backward pass in place.
pub fn zip_in_place(x: &[f32], mut dy: Vec<f32>, f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    dy.par_chunks_mut(GRAIN).zip(x.par_chunks(GRAIN)).for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || dy.iter_mut().zip(x).for_each(|(dy, x)| *dy = f(*x, *dy)),
        );
    });
    dy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_written_in_any_order() {
        let y = build(10, |y| {
            let (first, rest) = y.split_at(3);
            rest.par_chunks(4).enumerate().for_each(|(i, part)| {
                part.zeroed().fill(i as f32 + 1.0);
            });
            first.copy_from(&[9.0, 8.0, 7.0]);
        });
        assert_eq!(y, [9.0, 8.0, 7.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
        assert!(build(0, |y| assert!(y.is_empty())).is_empty());
    }

    #[test]
    #[should_panic(expected = "values that a kernel wrote")]
    fn what_was_not_written_is_not_handed_out() {
        build(4, |y| {
            let (first, _) = y.split_at(3);
            first.zeroed();
        });
    }

    #[test]
    #[should_panic(expected = "values to write")]
    fn too_few_values_are_no_whole_part() {
        build(4, |y| {
            y.write([1.0; 3]);
        });
    }
}
