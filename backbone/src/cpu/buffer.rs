//! Buffers that kernels fill.

/// Elements that one task of a parallel element-wise loop handles: 64 KiB, which stays in a core's cache.
pub const GRAIN: usize = 16 * 1024;

/// A buffer of `len` values that `fill` writes completely.
///
/// `fill` sees arbitrary values (NaN in debug builds, so that a kernel which forgets some shows in tests) and
/// must write every one before it reads it. Saves the pass over memory that clearing would cost.
pub fn overwritten(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(len);
    let spare = &mut values.spare_capacity_mut()[..len];
    if cfg!(debug_assertions) {
        spare.iter_mut().for_each(|v| {
            v.write(f32::NAN);
        });
    }
    // SAFETY: the slice covers `len` allocated f32s; every bit pattern is a valid f32, and `fill`'s contract is
    // to write before it reads. `set_len` follows after all `len` of them were written.
    unsafe {
        fill(std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<f32>(), len));
        values.set_len(len);
    }
    values
}
