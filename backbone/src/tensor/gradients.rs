//! Gradients: while the tape runs backwards, and after it has.

use super::Tensor;
use super::backend::Backend;
use super::dfdx::{Table, TableMut};
use crate::error::{Error, Result};

/// Gradients while the tape runs backwards: what a backward op reads and writes.
pub struct Grads<'a, D: Backend> {
    pub(super) table: TableMut<'a, D>,
}

impl<D: Backend> Grads<'_, D> {
    /// Adds `gradient` to the gradient at `input`; dropped if `input` wants none.
    ///
    /// # Errors
    /// The device refuses.
    pub fn add(&mut self, input: &Tensor<D>, gradient: D::Buf) -> Result<()> {
        let device = input.device().clone();
        self.update(input, |earlier| match earlier {
            None => Ok(gradient),
            Some(mut sum) => {
                device.add_assign(&mut sum, D::view_buf(&gradient))?;
                Ok(sum)
            }
        })
    }

    /// Replaces the gradient at `input` by what `f` makes of the one there (`None`: nothing arrived yet), so that
    /// a kernel can accumulate in place. `f` is not called if `input` wants no gradient.
    ///
    /// # Errors
    /// Those of `f`; the device refuses.
    pub fn update(
        &mut self,
        input: &Tensor<D>,
        f: impl FnOnce(Option<D::Buf>) -> Result<D::Buf>,
    ) -> Result<()> {
        match input.wants_gradient() {
            true => self.update_with(input, |earlier| Ok((f(earlier)?, ()))),
            false => Ok(()),
        }
    }

    /// As [`Grads::update`] for an input that wants a gradient, by a kernel that makes something else in the same pass.
    pub(crate) fn update_with<R>(
        &mut self,
        input: &Tensor<D>,
        f: impl FnOnce(Option<D::Buf>) -> Result<(D::Buf, R)>,
    ) -> Result<R> {
        let key = input.key().ok_or_else(|| {
            Error::config("backward", format!("an input {} without a gradient is updated", input.shape()))
        })?;
        let (updated, beside) = f(self.table.take(key)?)?;
        self.table.put(key, updated)?;
        Ok(beside)
    }
}

/// Gradients after the tape has run.
pub struct Gradients<D: Backend> {
    pub(super) table: Table<D>,
}

impl<D: Backend> Gradients<D> {
    /// Takes the gradient at `parameter`; `None` if the loss does not depend on it.
    ///
    /// # Errors
    /// The device refuses.
    pub fn take(&mut self, parameter: &Tensor<D>) -> Result<Option<D::Buf>> {
        match parameter.key() {
            None => Ok(None),
            Some(key) => self.table.as_mut().take(key),
        }
    }

    /// Takes the gradient at `parameter` to the host, row-major.
    ///
    /// # Errors
    /// The device refuses.
    pub fn take_host(&mut self, parameter: &Tensor<D>) -> Result<Option<Vec<f32>>> {
        Ok(self.take(parameter)?.map(|buf| parameter.device().download_buf(&buf)))
    }
}
