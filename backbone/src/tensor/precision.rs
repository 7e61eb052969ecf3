//! In what numbers a device computes.

/// The numbers of matrix products and of what lies between them; sums are f32 or f64 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32: the one of every check between devices.
    #[default]
    F32,
    /// f32, but the factors of matrix products with fewer digits: rounded to TF32 for a GPU's tensor cores; on a CPU with
    /// tile products as two bfloat16 numbers each, which keep 16 bits of the 24.
    Tf32,
    /// Mixed: weights, the residual stream, statistics and losses in f32, the factors of the layers' products in bfloat16.
    /// On a GPU what lies between them (activations and their gradients) is bfloat16 too, and other products are as with
    /// [`Precision::Tf32`].
    Bf16,
}
