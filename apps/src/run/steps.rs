//! The optimizer's steps of a run: gradients summed over processes as the backward pass makes them, and the update of the
//! weights, whole on each process or each its part.

use std::cell::RefCell;
use std::rc::Rc;

use kat_backbone::Device;
use kat_backbone::checkpoint::TensorMap;
use kat_backbone::collective::gradients::{Buckets, Exchanging, Summed};
use kat_backbone::collective::{Collective, GradientExchange, Share};
use kat_backbone::nn::Module;
use kat_backbone::optim::{AdamW, AdamWConfig, GradientSet, ParameterOptions, ShardedAdamW};
use kat_backbone::step_monitor::Clip;
use kat_backbone::tensor::{GradientReceiver as _, Gradients, Tensor};
use kat_backbone::{Error, Result};

use super::monitor::Monitor;
use crate::config::Train;

/// The optimizer and the exchange of gradients before it.
pub(super) struct Steps<D: Device> {
    optimizer: Optimizer<D>,
    device: D,
    processes: Rc<dyn Collective>,
    /// Absent while one is under way.
    exchange: Option<GradientExchange>,
}

enum Optimizer<D: Device> {
    Whole(AdamW<D>),
    Sharded(ShardedAdamW<D>),
}

/// An exchange under way, shared with the tape that feeds it.
type UnderWay<D> = Rc<RefCell<Exchanging<D>>>;

impl<D: Device> Steps<D> {
    /// Those of `model`; `options` decides from a parameter's name and rank.
    pub(super) fn new(
        model: &impl Module<D>,
        device: &D,
        processes: &Rc<dyn Collective>,
        train: &Train,
        config: AdamWConfig,
        options: impl Fn(&str, usize) -> ParameterOptions,
    ) -> Result<Self> {
        let sharded = train.shard_optimizer && !processes.is_alone();
        let optimizer = match sharded {
            true => Optimizer::Sharded(ShardedAdamW::new(model, device, processes, config, options)?),
            false => Optimizer::Whole(AdamW::new(model, config, options)?),
        };
        let buckets = Buckets::of(model, processes.world());
        let share = if sharded { Share::Own } else { Share::All };
        Ok(Self {
            optimizer,
            device: device.clone(),
            processes: processes.clone(),
            exchange: Some(GradientExchange::new(buckets, train.gradient_exchange, share)),
        })
    }

    /// Updates made so far.
    pub(super) fn updates(&self) -> u64 {
        match &self.optimizer {
            Optimizer::Whole(optimizer) => optimizer.steps(),
            Optimizer::Sharded(optimizer) => optimizer.steps(),
        }
    }

    /// The moments, for a checkpoint that any number of processes goes on from. All processes call it; the first gets
    /// them.
    pub(super) fn moments(&self) -> Result<TensorMap> {
        let mut map = TensorMap::default();
        match &self.optimizer {
            Optimizer::Whole(optimizer) if self.processes.rank() == 0 => optimizer.export(&mut map),
            Optimizer::Whole(_) => {}
            Optimizer::Sharded(optimizer) => optimizer.export(&mut map)?,
        }
        Ok(map)
    }

    /// Takes moments from a checkpoint that was written after `updates` updates.
    pub(super) fn import(&mut self, map: &TensorMap, updates: u64) -> Result<()> {
        match &mut self.optimizer {
            Optimizer::Whole(optimizer) => optimizer.import(map, updates),
            Optimizer::Sharded(optimizer) => optimizer.import(map, updates),
        }
    }

    /// Begins an exchange; gradients of `earlier` passes are added to those that come.
    pub(super) fn begin(&mut self, earlier: Option<GradientSet<D>>) -> Result<UnderWay<D>> {
        let exchange = self.exchange.take().ok_or_else(|| unfinished("begun"))?;
        Ok(Rc::new(RefCell::new(exchange.begin(&self.processes, &self.device, earlier)?)))
    }

    /// Ends it. `left` is what the backward pass has not given.
    pub(super) fn finish(
        &mut self,
        under_way: UnderWay<D>,
        parameters: &[Tensor<D>],
        mut left: Gradients<D>,
    ) -> Result<Summed<D>> {
        let exchanging = Rc::into_inner(under_way).ok_or_else(|| unfinished("ended"))?;
        let mut exchanging = exchanging.into_inner();
        for (place, parameter) in parameters.iter().enumerate() {
            if let Some(gradient) = left.take(parameter)? {
                exchanging.receive(place, Some(gradient))?;
            }
        }
        let (summed, exchange) = exchanging.finish()?;
        self.exchange = Some(exchange);
        Ok(summed)
    }

    /// Clips and updates the weights.
    pub(super) fn update(
        &mut self,
        model: &mut impl Module<D>,
        gradients: &Summed<D>,
        monitor: &mut Monitor<D>,
        clip: Clip,
        step: u64,
        lr: f64,
    ) -> Result<()> {
        match (&mut self.optimizer, gradients) {
            (Optimizer::Whole(optimizer), Summed::All(gradients)) => {
                optimizer.watch(monitor.steps_mut(), gradients, clip, step)?;
                optimizer.step(model, gradients, lr, monitor.steps())
            }
            (Optimizer::Sharded(optimizer), Summed::Own(sums)) => {
                optimizer.watch(monitor.steps_mut(), sums, clip, step)?;
                optimizer.step(model, sums, lr, monitor.steps())
            }
            _ => Err(unfinished("summed for another optimizer")),
        }
    }

    /// Says what exchanges have cost, if there were any.
    pub(super) fn tell_cost(&self) {
        let Some(exchange) = self.exchange.as_ref().filter(|exchange| exchange.cost().steps > 0) else {
            return;
        };
        let cost = exchange.cost();
        let each = |time: std::time::Duration| time.as_secs_f64() * 1e3 / cost.steps as f64;
        let (summing, waited) = (each(cost.summing), each(cost.waited));
        tracing::info!(
            "gradients: {:.1} MB in {} buckets a step, summed in {summing:.1} ms, of which training waited {waited:.1} ms              ({:.0} % hidden behind the backward pass)",
            exchange.bytes() as f64 / 1e6,
            exchange.buckets(),
            100.0 * (1.0 - waited / summing.max(f64::MIN_POSITIVE)).max(0.0)
        );
    }
}

fn unfinished(what: &str) -> Error {
    Error::config("gradient exchange", format!("it was {what} while another one was under way"))
}
