//! A buffer that parallel tasks write in places that lie apart.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A slice lent to many tasks, each of which takes the parts that are its own.
#[derive(Debug)]
pub(crate) struct Scatter<'a, T> {
    start: *mut T,
    len: usize,
    lent: PhantomData<&'a mut [T]>,
}

// SAFETY: as `&mut [T]`, whose parts tasks take under the promise of `part`.
unsafe impl<T: Send> Send for Scatter<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Scatter<'_, T> {}

impl<'a, T> Scatter<'a, T> {
    /// `slice`, for tasks to share.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), lent: PhantomData }
    }

    /// A part.
    ///
    /// # Panics
    /// If it is not within the slice.
    ///
    /// # Safety
    /// Nobody else may have taken any of these places while the part is used.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of a buffer");
        // SAFETY: within the slice, which is borrowed for as long as `self` is; nobody else has it, the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

/// A slice that is read while tasks may write other parts of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather<'a, T> {
    start: *const T,
    len: usize,
    lent: PhantomData<&'a [T]>,
}

// SAFETY: as `&[T]`, under the promise of `of`.
unsafe impl<T: Sync> Send for Gather<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Gather<'_, T> {}

impl<'a, T> From<&'a [T]> for Gather<'a, T> {
    fn from(slice: &'a [T]) -> Self {
        Self { start: slice.as_ptr(), len: slice.len(), lent: PhantomData }
    }
}

impl<'a> Gather<'a, f32> {
    /// What tasks write over.
    ///
    /// # Safety
    /// There must be numbers, and a part that [`Gather::part`] returns may not be written while it is used.
    pub unsafe fn of(written: &Scatter<'a, MaybeUninit<f32>>) -> Self {
        Self { start: written.start.cast(), len: written.len, lent: PhantomData }
    }
}

impl<'a> Scatter<'a, MaybeUninit<f32>> {
    /// Numbers that tasks write others over.
    ///
    /// # Safety
    /// Nothing but numbers may be written.
    pub unsafe fn over(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr().cast(), len: slice.len(), lent: PhantomData }
    }
}

impl<T> Gather<'_, T> {
    /// The number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A part.
    ///
    /// # Panics
    /// If it is not within the slice.
    #[inline(always)]
    pub fn part(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of a buffer");
        // SAFETY: within the slice, which is borrowed; nobody writes it, by the promise made to `of`.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// Asks for the cache line of a value, which will be read and perhaps written.
    #[inline(always)]
    pub fn expect(&self, index: usize) {
        crate::cpu::simd::prefetch(self.start.wrapping_add(index));
    }
}
