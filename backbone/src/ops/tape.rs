//! Recording ops on dfdx's tape, and what a backward op may do.
//!
//! A [`Graph`] is passed to every op. It knows whether gradients are recorded, whether the model trains
//! (dropout, drop path, batch statistics), and where random numbers come from. An op computes its output,
//! then calls [`Graph::record`] with its inputs and its backward pass:
//!
//! ```
//! use kat_backbone::{Cpu, Graph, Tensor, ops};
//! # fn main() -> Result<(), kat_backbone::Error> {
//! let dev = Cpu::default();
//! let x = Tensor::from_vec(&dev, vec![-1.0, 0.5, 2.0], [3])?.parameter()?;
//! let mut graph = Graph::recording();
//! let y = ops::gelu(&mut graph, &x)?;
//! let loss = ops::mean(&mut graph, &y)?;
//! let mut gradients = graph.backward(&loss)?;
//! assert_eq!(gradients.take(&x)?.unwrap().len(), 3);
//! # Ok(())
//! # }
//! ```

use super::device::Device;
use super::random::RandomStream;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Key, Tensor};
use dfdx::tensor::{OwnedTape, Tape as _};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Whether layers act as in training or as in evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Dropout and drop path drop; batch norm uses and updates the batch's statistics.
    Training,
    /// Everything is deterministic; batch norm uses its running statistics.
    Evaluation,
}

/// The tape of one forward pass and how layers behave in it.
pub struct Graph<D: Device> {
    tape: Option<OwnedTape<f32, D::Tape>>,
    mode: Mode,
    random: RandomStream,
    /// dfdx's tape carries only the device's own error; ours is kept here until `backward` returns it.
    failure: Rc<RefCell<Option<Error>>>,
    forms: Forms<D>,
}

impl<D: Device> Graph<D> {
    /// Evaluation without gradients: nothing is kept alive.
    pub fn inference() -> Self {
        Self::new(None, Mode::Evaluation, RandomStream::new(0))
    }

    /// Evaluation with gradients: for parity checks and saliency.
    pub fn recording() -> Self {
        Self::new(Some(OwnedTape::default()), Mode::Evaluation, RandomStream::new(0))
    }

    /// Training with gradients; `seed` decides dropout and drop path in this pass.
    pub fn training(seed: u64) -> Self {
        Self::new(Some(OwnedTape::default()), Mode::Training, RandomStream::new(seed))
    }

    fn new(tape: Option<OwnedTape<f32, D::Tape>>, mode: Mode, random: RandomStream) -> Self {
        Self { tape, mode, random, failure: Rc::default(), forms: Rc::default() }
    }

    /// A graph without a tape that behaves and draws as this one does from here on.
    pub(crate) fn unrecorded(&self) -> Self {
        Self::new(None, self.mode, self.random.clone())
    }

    /// As [`Graph::unrecorded`], with a tape of its own.
    pub(crate) fn fork_recording(&self) -> Self {
        Self::new(Some(OwnedTape::default()), self.mode, self.random.clone())
    }

    /// Goes on with the random numbers where `other` stopped.
    pub(crate) fn catch_up(&mut self, other: &Self) {
        self.random = other.random.clone();
    }

    /// Whether layers act as in training.
    pub fn is_training(&self) -> bool {
        self.mode == Mode::Training
    }

    /// Whether an op on these inputs would be recorded.
    pub fn records(&self, inputs: &[&Tensor<D>]) -> bool {
        self.tape.is_some() && inputs.iter().any(|t| t.wants_gradient())
    }

    /// The random numbers of this pass.
    pub fn random(&mut self) -> &mut RandomStream {
        &mut self.random
    }

    /// Makes `out` a tensor and, if one of `inputs` wants a gradient and this graph records, puts the op's
    /// backward pass on the tape. `backward` runs only then, so that clones it makes cost inference nothing; the
    /// function it returns is given the gradient at the output, and is not called if none arrived.
    pub fn record<F>(
        &mut self,
        device: &D,
        out: D::Buf,
        shape: impl Into<Shape>,
        inputs: &[&Tensor<D>],
        backward: impl FnOnce() -> F,
    ) -> Result<Tensor<D>>
    where
        F: FnOnce(D::Buf, &mut Grads<'_, D>) -> Result<()> + 'static,
    {
        self.record_with_output(device, out, shape, inputs, |_| backward())
    }

    /// As [`Graph::record`], for a backward pass that reads the output: `backward` is given it, without a gradient.
    pub(crate) fn record_with_output<F>(
        &mut self,
        device: &D,
        out: D::Buf,
        shape: impl Into<Shape>,
        inputs: &[&Tensor<D>],
        backward: impl FnOnce(Tensor<D>) -> F,
    ) -> Result<Tensor<D>>
    where
        F: FnOnce(D::Buf, &mut Grads<'_, D>) -> Result<()> + 'static,
    {
        let out = Tensor::from_stored(device.store(out)?, shape.into())?;
        if !self.records(inputs) {
            return Ok(out);
        }
        let backward = backward(out.clone());
        let out = out.parameter()?;
        let ghost = out.key().expect("a parameter has a key").clone();
        self.on_tape(move |grads| match grads.take_key(&ghost)? {
            Some(dy) => backward(dy, grads),
            None => Ok(()),
        });
        Ok(out)
    }

    fn on_tape(&mut self, op: impl FnOnce(&mut Grads<'_, D>) -> Result<()> + 'static) {
        let (failure, forms) = (self.failure.clone(), self.forms.clone());
        let Some(tape) = self.tape.as_mut() else { return };
        tape.add_backward_op(move |gradients| {
            op(&mut Grads { gradients, forms: &forms }).map_err(|error| {
                failure.borrow_mut().get_or_insert(error);
                D::stop()
            })
        });
    }

    /// Gradients of a one-element loss at every parameter that it was computed from.
    pub fn backward(self, loss: &Tensor<D>) -> Result<Gradients<D>> {
        if loss.numel() != 1 {
            return Err(Error::shape("backward", "the loss", "one element", loss.shape()));
        }
        let one = loss.device().upload_buf(vec![1.0])?;
        self.backward_from(loss, one)
    }

    /// As [`Graph::backward`], from the gradient at any tensor.
    pub(crate) fn backward_from(mut self, output: &Tensor<D>, seed: D::Buf) -> Result<Gradients<D>> {
        let device = output.device().clone();
        let target = output.clone();
        self.on_tape(move |grads| grads.add(&target, seed));
        let (failure, forms) = (self.failure, self.forms);
        let tape = self.tape.ok_or_else(|| {
            Error::config("backward", "the graph does not record: use Graph::training or Graph::recording")
        })?;
        match device.execute(tape) {
            Ok(gradients) => Ok(Gradients { gradients, forms }),
            Err(error) => Err(failure.borrow_mut().take().unwrap_or(error)),
        }
    }
}

/// Gradients while the tape runs backwards: what a backward op reads and writes.
pub struct Grads<'a, D: Device> {
    gradients: &'a mut dfdx::tensor::Gradients<f32, D::Tape>,
    forms: &'a Forms<D>,
}

impl<D: Device> Grads<'_, D> {
    /// Adds `gradient` to the gradient at `input`; dropped if `input` wants none.
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
        let (updated, beside) = f(take(self.gradients, self.forms, key)?)?;
        let form = D::put_gradient(slot::<D>(self.gradients, key)?, updated);
        self.forms.borrow_mut().insert(key.number, form);
        Ok(beside)
    }

    fn take_key(&mut self, key: &Key<D>) -> Result<Option<D::Buf>> {
        take(self.gradients, self.forms, key)
    }
}

fn slot<'g, D: Device>(
    gradients: &'g mut dfdx::tensor::Gradients<f32, D::Tape>,
    key: &Key<D>,
) -> Result<&'g mut <D::Tape as dfdx::tensor::Storage<f32>>::Vec> {
    gradients.get_or_alloc_mut(&key.slot).map_err(|e| Error::Device { op: "backward", reason: e.to_string() })
}

/// What arrived under a key, if anything did.
fn take<D: Device>(
    gradients: &mut dfdx::tensor::Gradients<f32, D::Tape>,
    forms: &Forms<D>,
    key: &Key<D>,
) -> Result<Option<D::Buf>> {
    let Some(form) = forms.borrow_mut().remove(&key.number) else { return Ok(None) };
    Ok(Some(D::take_gradient(slot::<D>(gradients, key)?, form)))
}

/// The gradients on a tape's table that hold something, by their keys' numbers, and in what form.
type Forms<D> = Rc<RefCell<HashMap<u64, <D as super::device::Backend>::Form>>>;

/// Gradients after the tape has run.
pub struct Gradients<D: Device> {
    gradients: dfdx::tensor::Gradients<f32, D::Tape>,
    forms: Forms<D>,
}

impl<D: Device> Gradients<D> {
    /// Takes the gradient at `parameter`; `None` if the loss does not depend on it.
    pub fn take(&mut self, parameter: &Tensor<D>) -> Result<Option<D::Buf>> {
        match parameter.key() {
            None => Ok(None),
            Some(key) => take(&mut self.gradients, &self.forms, key),
        }
    }

    /// Takes the gradient at `parameter` to the host, row-major.
    pub fn take_host(&mut self, parameter: &Tensor<D>) -> Result<Option<Vec<f32>>> {
        Ok(self.take(parameter)?.map(|buf| parameter.device().download_buf(&buf)))
    }
}
