//! One exchange: gradients come in, full buckets are sent, sums come back.

use std::rc::Rc;
use std::time::Instant;

use super::GradientExchange;
use crate::collective::in_place::PendingBuffers;
use crate::collective::{Collective, PendingSum, Share, Sum, Summands};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::optim::{GradientSet, added};
use crate::tensor::GradientReceiver;

/// An exchange under way. The backward pass gives it each gradient (see [`Graph::giving`](crate::Graph::giving)).
pub struct Exchanging<D: Device> {
    exchange: GradientExchange,
    processes: Rc<dyn Collective>,
    device: D,
    /// Of the passes before this one, to be added.
    earlier: Vec<Option<D::Buf>>,
    gradients: Vec<Option<D::Buf>>,
    arrived: Vec<bool>,
    /// Whether this process's loss depends on a parameter.
    had: Vec<bool>,
    /// Of each bucket, how many have not arrived.
    missing: Vec<usize>,
    /// Those sent, in order.
    sent: Vec<Sent<D>>,
}

/// A bucket on its way.
enum Sent<D: Device> {
    /// Through the host.
    Copied(PendingSum),
    /// The gradients themselves.
    InPlace(Box<dyn PendingBuffers<D>>),
}

/// The sums of an exchange.
pub enum Summed<D: Device> {
    /// All of them. A parameter that no process's loss depends on has none.
    All(GradientSet<D>),
    /// This process's part.
    Own(OwnSums),
}

/// One process's part of the summed gradients.
pub struct OwnSums {
    /// Its part of each bucket.
    pub parts: Vec<Vec<f32>>,
    /// Whether the loss of any process depends on a parameter.
    pub present: Vec<bool>,
}

impl GradientExchange {
    /// Begins an exchange; gradients of `earlier` passes are added to those that come.
    ///
    /// # Errors
    /// Gradients of another module.
    pub fn begin<D: Device>(
        self,
        processes: &Rc<dyn Collective>,
        device: &D,
        earlier: Option<GradientSet<D>>,
    ) -> Result<Exchanging<D>> {
        let parameters = self.buckets.parameters();
        let none = || std::iter::repeat_with(|| None).take(parameters).collect::<Vec<_>>();
        let earlier = earlier.map_or_else(none, |earlier| earlier.buffers);
        if earlier.len() != parameters {
            let reason = format!("{} gradients for {parameters} parameters", earlier.len());
            return Err(Error::config("gradient exchange", reason));
        }
        Ok(Exchanging {
            processes: processes.clone(),
            device: device.clone(),
            earlier,
            gradients: none(),
            arrived: vec![false; parameters],
            had: vec![false; parameters],
            missing: (0..self.buckets.len()).map(|bucket| self.buckets.within(bucket).len()).collect(),
            sent: Vec::new(),
            exchange: self,
        })
    }
}

impl<D: Device> GradientReceiver<D> for Exchanging<D> {
    fn receive(&mut self, parameter: usize, gradient: Option<D::Buf>) -> Result<()> {
        if std::mem::replace(&mut self.arrived[parameter], true) {
            return Err(Error::config("gradient exchange", "a gradient came twice"));
        }
        let sum = added(&self.device, self.earlier[parameter].take(), gradient)?;
        self.had[parameter] = sum.is_some();
        self.gradients[parameter] = sum;
        self.missing[self.exchange.buckets.place(parameter).0] -= 1;
        // Every process has to send the same buckets in the same order.
        while self.missing.get(self.sent.len()) == Some(&0) && !self.processes.is_alone() {
            self.send()?;
        }
        Ok(())
    }
}

impl<D: Device> Exchanging<D> {
    /// Sends the next bucket. A parameter without a gradient adds 0.
    fn send(&mut self) -> Result<()> {
        let sums = self.device.buffer_sums(&*self.processes);
        if let Some(sums) = sums.filter(|_| self.exchange.share == Share::All) {
            let buckets = &self.exchange.buckets;
            let mut buffers = Vec::new();
            for &parameter in buckets.within(self.sent.len()) {
                buffers.push(match self.gradients[parameter].take() {
                    Some(gradient) => gradient,
                    None => self.device.upload_buf(vec![0.0; buckets.length(parameter)])?,
                });
            }
            self.sent.push(Sent::InPlace(sums.begin(buffers, self.exchange.format)?));
            return Ok(());
        }
        let GradientExchange { buckets, format, share, spare, .. } = &mut self.exchange;
        let bucket = self.sent.len();
        let mut numbers = spare.pop().unwrap_or_default();
        numbers.resize(buckets.padded(bucket), 0.0);
        let mut end = 0;
        for &parameter in buckets.within(bucket) {
            let (_, place) = buckets.place(parameter);
            end = place.end;
            match &self.gradients[parameter] {
                Some(gradient) => self.device.read_buf(gradient, &mut numbers[place]),
                None => numbers[place].fill(0.0),
            }
        }
        numbers[end..].fill(0.0);
        if *share == Share::Own {
            // The sums take their place.
            buckets.within(bucket).iter().for_each(|parameter| self.gradients[*parameter] = None);
        }
        let sum = self.processes.begin_sum(Sum { numbers, format: *format, share: *share })?;
        self.sent.push(Sent::Copied(sum));
        Ok(())
    }

    /// Waits for all sums. A parameter that has not been received has no gradient here.
    ///
    /// # Errors
    /// A process that is gone; the device refuses.
    pub fn finish(mut self) -> Result<(Summed<D>, GradientExchange)> {
        for parameter in 0..self.arrived.len() {
            if !self.arrived[parameter] {
                self.receive(parameter, None)?;
            }
        }
        if self.processes.is_alone() {
            return Ok((Summed::All(GradientSet { buffers: self.gradients }), self.exchange));
        }
        let mut owners: Vec<f64> = self.had.iter().map(|had| f64::from(u8::from(*had))).collect();
        let waiting = Instant::now();
        self.processes.all_reduce(Summands::F64(&mut owners))?;
        let present: Vec<bool> = owners.iter().map(|count| *count > 0.0).collect();
        let (mut exchange, mut gradients) = (self.exchange, self.gradients);
        let (mut parts, mut copied) = (Vec::new(), false);
        for (bucket, sum) in self.sent.into_iter().enumerate() {
            let (numbers, took) = match sum {
                Sent::Copied(sum) => sum.wait()?,
                Sent::InPlace(sums) => {
                    let (sums, times) = sums.wait()?;
                    for (&parameter, sum) in exchange.buckets.within(bucket).iter().zip(sums) {
                        gradients[parameter] = Some(sum).filter(|_| present[parameter]);
                    }
                    exchange.cost.summing += times.summing;
                    exchange.cost.waited += times.waited;
                    continue;
                }
            };
            copied = true;
            exchange.cost.summing += took;
            if exchange.share == Share::Own {
                parts.push(numbers);
                continue;
            }
            for &parameter in exchange.buckets.within(bucket) {
                let (_, place) = exchange.buckets.place(parameter);
                match &mut gradients[parameter] {
                    Some(gradient) => self.device.write_buf(gradient, &numbers[place])?,
                    none if present[parameter] => *none = Some(self.device.upload_slice(&numbers[place])?),
                    None => {}
                }
            }
            exchange.spare.push(numbers);
        }
        exchange.cost.steps += 1;
        if copied {
            exchange.cost.waited += waiting.elapsed();
        }
        let summed = match exchange.share {
            Share::All => Summed::All(GradientSet { buffers: gradients }),
            Share::Own => Summed::Own(OwnSums { parts, present }),
        };
        Ok((summed, exchange))
    }
}
