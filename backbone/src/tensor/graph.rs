//! Recording ops on the tape.
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

use super::backend::Backend;
use super::dfdx::Tape;
use super::gradients::{Gradients, Grads};
use super::random::RandomStream;
use super::{Shape, Tensor};
use crate::collective::{Collective, Summands};
use crate::error::{Error, Result};
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

/// Is given the gradients of parameters while the backward pass goes on.
pub trait GradientReceiver<D: Backend> {
    /// Takes the gradient at the parameter of this place, to which nothing will be added; `None` if the loss does not depend
    /// on it.
    ///
    /// # Errors
    /// What ends the backward pass.
    fn receive(&mut self, place: usize, gradient: Option<D::Buf>) -> Result<()>;
}

/// Parameters whose gradients somebody waits for.
struct Awaited<D: Backend> {
    receiver: Rc<RefCell<dyn GradientReceiver<D>>>,
    /// Places by the numbers of keys, of the parameters that no op has used so far.
    unused: HashMap<u64, usize>,
}

/// The tape of one forward pass and how layers behave in it.
pub struct Graph<D: Backend> {
    tape: Option<Tape<D>>,
    mode: Mode,
    random: RandomStream,
    /// Those that have the other parts of the batch.
    processes: Option<Rc<dyn Collective>>,
    awaited: Option<Awaited<D>>,
}

impl<D: Backend> Graph<D> {
    /// Evaluation without gradients: nothing is kept alive.
    pub fn inference() -> Self {
        Self::new(None, Mode::Evaluation, RandomStream::new(0))
    }

    /// Evaluation with gradients: for parity checks and saliency.
    pub fn recording() -> Self {
        Self::new(Some(Tape::default()), Mode::Evaluation, RandomStream::new(0))
    }

    /// Training with gradients; `seed` decides dropout and drop path in this pass.
    pub fn training(seed: u64) -> Self {
        Self::new(Some(Tape::default()), Mode::Training, RandomStream::new(seed))
    }

    fn new(tape: Option<Tape<D>>, mode: Mode, random: RandomStream) -> Self {
        Self { tape, mode, random, processes: None, awaited: None }
    }

    /// The same for a batch of which each of these processes has an equal part: means and batch statistics are those of
    /// the whole batch, and what is drawn for a row depends on its place there. Each process has to record the same ops
    /// that take means.
    pub fn over(mut self, processes: &Rc<dyn Collective>) -> Self {
        if !processes.is_alone() {
            self.random = self.random.of(processes.shard());
            self.processes = Some(processes.clone());
        }
        self
    }

    /// The processes that have the other parts of the batch, if there are any.
    pub fn processes(&self) -> Option<&Rc<dyn Collective>> {
        self.processes.as_ref()
    }

    /// The same, whose backward pass gives the gradient of each of `parameters` to `receiver` as soon as it is whole. One that
    /// no op uses is not given.
    pub fn giving(
        mut self,
        parameters: &[Tensor<D>],
        receiver: Rc<RefCell<dyn GradientReceiver<D>>>,
    ) -> Self {
        let keyed = parameters.iter().enumerate();
        let unused =
            keyed.filter_map(|(place, parameter)| Some((parameter.key()?.number(), place))).collect();
        self.awaited = Some(Awaited { receiver, unused });
        self
    }

    /// Replaces each number by its sum over all parts of the batch: what a mean over the batch is divided by.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn sum_over_batch(&self, numbers: &mut [f64]) -> Result<()> {
        match &self.processes {
            Some(processes) => Ok(processes.all_reduce(Summands::F64(numbers))?),
            None => Ok(()),
        }
    }

    /// A graph without a tape that behaves and draws as this one does from here on.
    pub(crate) fn unrecorded(&self) -> Self {
        Self { processes: self.processes.clone(), ..Self::new(None, self.mode, self.random.clone()) }
    }

    /// As [`Graph::unrecorded`], with a tape of its own.
    pub(crate) fn fork_recording(&self) -> Self {
        let processes = self.processes.clone();
        Self { processes, ..Self::new(Some(Tape::default()), self.mode, self.random.clone()) }
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
    ///
    /// # Errors
    /// The device refuses to keep `out`.
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
        inputs.iter().for_each(|input| self.give_after(input));
        self.on_tape(move |grads| match grads.table.take(&ghost)? {
            Some(dy) => backward(dy, grads),
            None => Ok(()),
        });
        Ok(out)
    }

    /// As [`Graph::record`], for an op of two outputs of one shape, whose backward pass reads the first: `backward` is given it,
    /// without a gradient. The function it returns is given the gradients that arrived, and is not called if none did.
    pub(crate) fn record_pair<F>(
        &mut self,
        device: &D,
        [first, second]: [D::Buf; 2],
        shape: impl Into<Shape>,
        inputs: &[&Tensor<D>],
        backward: impl FnOnce(Tensor<D>) -> F,
    ) -> Result<[Tensor<D>; 2]>
    where
        F: FnOnce([Option<D::Buf>; 2], &mut Grads<'_, D>) -> Result<()> + 'static,
    {
        let shape = shape.into();
        let first = Tensor::from_stored(device.store(first)?, shape)?;
        let second = Tensor::from_stored(device.store(second)?, shape)?;
        if !self.records(inputs) {
            return Ok([first, second]);
        }
        let backward = backward(first.clone());
        let (first, second) = (first.parameter()?, second.parameter()?);
        let ghosts = [&first, &second].map(|out| out.key().expect("a parameter has a key").clone());
        inputs.iter().for_each(|input| self.give_after(input));
        self.on_tape(move |grads| {
            let [first, second] = ghosts;
            match [grads.table.take(&first)?, grads.table.take(&second)?] {
                [None, None] => Ok(()),
                gradients => backward(gradients, grads),
            }
        });
        Ok([first, second])
    }

    /// If somebody waits for this input's gradient and this is its first use, which is the last to run backwards: what runs
    /// next gives it.
    fn give_after(&mut self, input: &Tensor<D>) {
        let (Some(awaited), Some(key)) = (&mut self.awaited, input.key()) else { return };
        if let Some(place) = awaited.unused.remove(&key.number()) {
            let (receiver, key) = (awaited.receiver.clone(), key.clone());
            self.on_tape(move |grads| receiver.borrow_mut().receive(place, grads.table.take(&key)?));
        }
    }

    fn on_tape(&mut self, op: impl FnOnce(&mut Grads<'_, D>) -> Result<()> + 'static) {
        if let Some(tape) = &mut self.tape {
            tape.push(move |table| op(&mut Grads { table }));
        }
    }

    /// Gradients of a one-element loss at every parameter that it was computed from.
    ///
    /// # Errors
    /// A loss of several elements; a graph that does not record; what a backward pass reports.
    pub fn backward(self, loss: &Tensor<D>) -> Result<Gradients<D>> {
        if loss.numel() != 1 {
            return Err(Error::shape("backward", "the loss", "one element", loss.shape()));
        }
        let one = loss.device().upload_buf(vec![1.0])?;
        self.backward_from(loss, one)
    }

    /// As [`Graph::backward`], from the gradient at any tensor: where another program made the loss, such as dfdx's.
    ///
    /// # Errors
    /// A graph that does not record; what a backward pass reports.
    pub fn backward_from(mut self, output: &Tensor<D>, gradient: D::Buf) -> Result<Gradients<D>> {
        let device = output.device().clone();
        let target = output.clone();
        self.on_tape(move |grads| grads.add(&target, gradient));
        let tape = self.tape.ok_or_else(|| {
            Error::config("backward", "the graph does not record: use Graph::training or Graph::recording")
        })?;
        Ok(Gradients { table: tape.run(&device)? })
    }
}
