//! Values on the GPU: f32, or bfloat16 under mixed precision; what they are is a tag of the buffer.

use super::columns::KnownSums;
use super::kernels;
use super::launch::{Context, Grid};
use super::products::{Kind, Matrix, MatrixValues};
use crate::error::Result;
use crate::tensor::Precision;
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaSlice, DevicePtrMut as _, DeviceSlice as _};
use std::sync::OnceLock;

/// The type of a kernel's bfloat16 parameters.
#[derive(Debug)]
pub enum BFloat16 {}

/// Values of a tensor or a gradient.
#[derive(Clone, Debug)]
pub enum Buffer {
    /// In single precision.
    F32(Single),
    /// In bfloat16.
    Bf16(Bf16),
}

/// What words can't say of the buffer that is kept as them.
#[derive(Debug)]
pub struct Tag {
    /// Values, if they are two a word.
    narrow: Option<usize>,
    sums: KnownSums,
}

impl Tag {
    /// Of f32 values.
    pub(super) fn plain() -> Self {
        Self { narrow: None, sums: KnownSums::default() }
    }
}

/// Values in single precision, and beside them, once a product wanted it, what they are rounded to bfloat16: weights are
/// factors of several products before they change.
#[derive(Debug)]
pub struct Single {
    values: CudaSlice<f32>,
    rounded: OnceLock<Box<Buffer>>,
    sums: KnownSums,
}

impl Single {
    /// To be written: what was known of them is forgotten.
    pub(crate) fn values_mut(&mut self) -> &mut CudaSlice<f32> {
        self.rounded.take();
        self.sums = KnownSums::default();
        &mut self.values
    }

    /// The address of the values, and that of what they are rounded to or 0, for a kernel that writes both.
    fn both_mut(&mut self) -> [CUdeviceptr; 2] {
        let rounded = match self.rounded.get_mut().map(Box::as_mut) {
            Some(Buffer::Bf16(rounded)) => *rounded.words.device_ptr_mut(),
            _ => 0,
        };
        [*self.values.device_ptr_mut(), rounded]
    }

    /// In bfloat16, made at the first call and kept.
    fn rounded(&self, context: &Context) -> Result<&Buffer> {
        if let Some(rounded) = self.rounded.get() {
            return Ok(rounded);
        }
        let made = Box::new(Bf16::rounded(context, &self.values)?.into());
        Ok(self.rounded.get_or_init(|| made))
    }
}

impl Clone for Single {
    fn clone(&self) -> Self {
        self.values.clone().into()
    }
}

impl From<CudaSlice<f32>> for Single {
    fn from(values: CudaSlice<f32>) -> Self {
        Self { values, rounded: OnceLock::new(), sums: KnownSums::default() }
    }
}

impl std::ops::Deref for Single {
    type Target = CudaSlice<f32>;

    fn deref(&self) -> &CudaSlice<f32> {
        &self.values
    }
}

/// bfloat16 values, in words of 32 bits, because the table of dfdx's tape keeps buffers of f32 only.
#[derive(Debug)]
pub struct Bf16 {
    words: CudaSlice<f32>,
    len: usize,
    sums: KnownSums,
}

impl Clone for Bf16 {
    fn clone(&self) -> Self {
        Self::from_words(self.words.clone(), self.len)
    }
}

impl Bf16 {
    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The words they lie in.
    pub(super) fn words(&self) -> &CudaSlice<f32> {
        &self.words
    }

    /// The same to be written.
    pub(crate) fn words_mut(&mut self) -> &mut CudaSlice<f32> {
        self.sums = KnownSums::default();
        &mut self.words
    }

    fn from_words(words: CudaSlice<f32>, len: usize) -> Self {
        Self { words, len, sums: KnownSums::default() }
    }

    /// How many words `len` values take; half of the last is nobody's where they are an odd number.
    fn word_count(len: usize) -> usize {
        len.div_ceil(2)
    }

    /// Memory that the next kernel writes completely.
    pub(crate) fn empty(context: &Context, len: usize) -> Result<Self> {
        Ok(Self::from_words(context.empty(Self::word_count(len))?, len))
    }

    /// f32 values rounded, ties to even.
    pub(crate) fn rounded(context: &Context, values: &CudaSlice<f32>) -> Result<Self> {
        let len = values.len();
        let mut narrow = Self::empty(context, len)?;
        kernels::f32_to_bf16(context, Grid::packs(len), values, &mut narrow, len as u64)?;
        Ok(narrow)
    }

    /// A copy of the values, and not of the words.
    pub(super) fn copy(&self, context: &Context) -> Result<Self> {
        let mut copy = Self::empty(context, self.len)?;
        let (grid, n) = (Grid::packs(self.len), self.len as u64);
        kernels::scaled_bf16(context, grid, self, None, &mut copy, n, 1)?;
        Ok(copy)
    }
}

impl From<CudaSlice<f32>> for Buffer {
    fn from(values: CudaSlice<f32>) -> Self {
        Self::F32(values.into())
    }
}

impl From<Bf16> for Buffer {
    fn from(values: Bf16) -> Self {
        Self::Bf16(values)
    }
}

impl Buffer {
    /// The number of values.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len,
        }
    }

    /// Whether they are bfloat16.
    pub(crate) fn is_bf16(&self) -> bool {
        matches!(self, Self::Bf16(_))
    }

    /// As the tape's table keeps it, and what that can't say.
    pub(super) fn into_words(self) -> (CudaSlice<f32>, Tag) {
        match self {
            Self::F32(Single { values, sums, .. }) => (values, Tag { narrow: None, sums }),
            Self::Bf16(Bf16 { words, len, sums }) => (words, Tag { narrow: Some(len), sums }),
        }
    }

    /// The reverse.
    pub(super) fn from_words(words: CudaSlice<f32>, Tag { narrow, sums }: Tag) -> Self {
        match narrow {
            None => Self::F32(Single { sums, ..words.into() }),
            Some(len) => Self::Bf16(Bf16 { words, len, sums }),
        }
    }

    /// The same, of whose columns the sums are known: what a linear layer's bias wants of the gradient at its output.
    pub(crate) fn with_column_sums(mut self, known: Self) -> Self {
        let (Self::F32(Single { sums, .. }) | Self::Bf16(Bf16 { sums, .. })) = &mut self;
        *sums = KnownSums::new(known);
        self
    }

    /// The sums of `columns` columns, if they are known; they can be taken once.
    pub(super) fn take_column_sums(&self, columns: usize) -> Option<Self> {
        let (Self::F32(Single { sums, .. }) | Self::Bf16(Bf16 { sums, .. })) = self;
        sums.take(columns)
    }

    /// In single precision.
    pub(crate) fn into_f32(self, context: &Context) -> Result<CudaSlice<f32>> {
        match self {
            Self::F32(values) => Ok(values.values),
            Self::Bf16(values) => widen(context, &values),
        }
    }

    /// In bfloat16.
    pub(crate) fn into_bf16(self, context: &Context) -> Result<Bf16> {
        match self {
            Self::F32(values) => Bf16::rounded(context, &values),
            Self::Bf16(values) => Ok(values),
        }
    }

    /// In bfloat16, converted where it is not.
    pub(crate) fn bf16(&self, context: &Context) -> Result<Lent<'_, Bf16>> {
        match self {
            Self::F32(values) => Ok(Lent::Made(Bf16::rounded(context, values)?)),
            Self::Bf16(values) => Ok(Lent::Here(values)),
        }
    }

    /// In single precision, converted where it is not.
    pub(crate) fn f32(&self, context: &Context) -> Result<Lent<'_, CudaSlice<f32>>> {
        match self {
            Self::F32(values) => Ok(Lent::Here(values)),
            Self::Bf16(values) => Ok(Lent::Made(widen(context, values)?)),
        }
    }

    /// As a factor of the layers' products: in bfloat16 under mixed precision, else in single precision.
    pub(crate) fn factor(&self, context: &Context) -> Result<Lent<'_, Self>> {
        match (self, context.precision()) {
            (Self::F32(values), Precision::Bf16) => Ok(Lent::Made(Bf16::rounded(context, values)?.into())),
            (Self::Bf16(values), Precision::F32 | Precision::Tf32) => {
                Ok(Lent::Made(widen(context, values)?.into()))
            }
            _ => Ok(Lent::Here(self)),
        }
    }

    /// As [`Buffer::factor`], for values that are a factor more than once, such as weights: a rounded copy is kept.
    pub(crate) fn kept_factor(&self, context: &Context) -> Result<Lent<'_, Self>> {
        match (self, context.precision()) {
            (Self::F32(values), Precision::Bf16) => Ok(Lent::Here(values.rounded(context)?)),
            _ => self.factor(context),
        }
    }

    /// The address of the values, in single precision from now on, and that of their kept copy in bfloat16 or 0, for a
    /// kernel that writes both.
    pub(super) fn both_mut(&mut self, context: &Context) -> Result<[CUdeviceptr; 2]> {
        match self {
            Self::F32(values) => Ok(values.both_mut()),
            Self::Bf16(_) => Ok([*self.f32_mut(context)?.device_ptr_mut(), 0]),
        }
    }

    /// In single precision from now on.
    pub(crate) fn f32_mut(&mut self, context: &Context) -> Result<&mut CudaSlice<f32>> {
        if let Self::Bf16(values) = self {
            *self = Self::F32(widen(context, values)?.into());
        }
        match self {
            Self::F32(values) => Ok(values.values_mut()),
            Self::Bf16(_) => unreachable!("made f32 above"),
        }
    }
}

pub(super) fn widen(context: &Context, values: &Bf16) -> Result<CudaSlice<f32>> {
    let mut wide = context.empty(values.len)?;
    kernels::bf16_to_f32(context, Grid::packs(values.len), values, &mut wide, values.len as u64)?;
    Ok(wide)
}

/// Values of a buffer in the type asked for: its own, or a copy.
#[derive(Debug)]
pub enum Lent<'a, T> {
    /// The buffer's own.
    Here(&'a T),
    /// A copy in the other type.
    Made(T),
}

impl<T> std::ops::Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Here(values) => values,
            Self::Made(values) => values,
        }
    }
}

impl Matrix for Bf16 {
    fn values(&self) -> MatrixValues {
        MatrixValues::new(&self.words, self.len, Kind::Bf16)
    }
}

impl Matrix for Buffer {
    fn values(&self) -> MatrixValues {
        match self {
            Self::F32(values) => values.values(),
            Self::Bf16(values) => values.values(),
        }
    }
}
