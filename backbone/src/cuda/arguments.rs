//! What kernels take as arguments: a parameter has one type, and a buffer of the other is converted on the way, so that
//! every op takes either.

use super::buffer::{BFloat16, Bf16, Buffer, widen};
use super::launch::Context;
use crate::error::Result;
use cudarc::driver::sys::CUdeviceptr;
use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceSlice};

/// What a kernel may read as values of type T.
pub trait Input<T> {
    /// Where they are; the second, a converted copy, must live as long as the address is used.
    ///
    /// # Errors
    /// The device refuses.
    fn input(&self, context: &Context) -> Result<(CUdeviceptr, Option<Buffer>)>;
    /// The number of values.
    fn count(&self) -> usize;
    /// Bytes that a kernel reads if it reads each once.
    fn bytes(&self) -> usize;
}

/// What a kernel may write as values of type T.
pub trait Output<T> {
    /// Where they are.
    ///
    /// # Errors
    /// The device refuses.
    fn output(&mut self, context: &Context) -> Result<CUdeviceptr>;
    /// The number of values.
    fn count(&self) -> usize;
    /// Bytes that a kernel writes if it writes each once.
    fn bytes(&self) -> usize;
}

macro_rules! plain {
    ($($kind:ty),*) => { $(
        impl<T> Input<T> for $kind {
            fn input(&self, _: &Context) -> Result<(CUdeviceptr, Option<Buffer>)> {
                Ok((*self.device_ptr(), None))
            }

            fn count(&self) -> usize {
                DeviceSlice::len(self)
            }

            fn bytes(&self) -> usize {
                self.num_bytes()
            }
        }
    )* };
}

plain!(CudaSlice<T>, CudaView<'_, T>, CudaViewMut<'_, T>);

impl<T> Output<T> for CudaSlice<T> {
    fn output(&mut self, _: &Context) -> Result<CUdeviceptr> {
        Ok(*self.device_ptr_mut())
    }

    fn count(&self) -> usize {
        DeviceSlice::len(self)
    }

    fn bytes(&self) -> usize {
        self.num_bytes()
    }
}

impl<T> Output<T> for CudaViewMut<'_, T> {
    fn output(&mut self, _: &Context) -> Result<CUdeviceptr> {
        Ok(*self.device_ptr_mut())
    }

    fn count(&self) -> usize {
        DeviceSlice::len(self)
    }

    fn bytes(&self) -> usize {
        self.num_bytes()
    }
}

impl Input<BFloat16> for Bf16 {
    fn input(&self, _: &Context) -> Result<(CUdeviceptr, Option<Buffer>)> {
        Ok((*self.words().device_ptr(), None))
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        2 * self.len()
    }
}

impl Output<BFloat16> for Bf16 {
    fn output(&mut self, _: &Context) -> Result<CUdeviceptr> {
        Ok(*self.words_mut().device_ptr_mut())
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        2 * self.len()
    }
}

impl Input<f32> for Buffer {
    fn input(&self, context: &Context) -> Result<(CUdeviceptr, Option<Buffer>)> {
        match self {
            Self::F32(values) => Ok((*values.device_ptr(), None)),
            Self::Bf16(values) => {
                let wide = widen(context, values)?;
                Ok((*wide.device_ptr(), Some(wide.into())))
            }
        }
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        4 * self.len()
    }
}

impl Output<f32> for Buffer {
    fn output(&mut self, context: &Context) -> Result<CUdeviceptr> {
        Ok(*self.f32_mut(context)?.device_ptr_mut())
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        4 * self.len()
    }
}

impl Input<BFloat16> for Buffer {
    fn input(&self, context: &Context) -> Result<(CUdeviceptr, Option<Buffer>)> {
        match self {
            Self::Bf16(values) => values.input(context),
            Self::F32(values) => {
                let narrow = Bf16::rounded(context, values)?;
                Ok((*narrow.words().device_ptr(), Some(narrow.into())))
            }
        }
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn bytes(&self) -> usize {
        2 * self.len()
    }
}
