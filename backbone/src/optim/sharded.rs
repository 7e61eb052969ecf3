//! AdamW whose moments are shared out among processes (the first stage of ZeRO, arXiv 1910.02054): each updates its part of
//! the weights, from its part of the summed gradients, and all get all weights again.

use std::rc::Rc;

use super::{FIRST, ParameterOptions, SECOND};
use crate::checkpoint::{HostTensor, TensorMap};
use crate::collective::Collective;
use crate::collective::gradients::{Buckets, OwnSums, Piece};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Kind, Module};
use crate::ops::adamw::{AdamWConfig, Moments, Update, Updates};
use crate::ops::watch::Clip;
use crate::optim::GradientSet;
use crate::step_monitor::StepMonitor;
use crate::tensor::Tensor;

/// A part of a parameter under the optimizer.
struct Share<D: Device> {
    piece: Piece,
    moments: Moments<D>,
}

/// What there is to know of a parameter.
struct Known {
    name: String,
    shape: Vec<usize>,
    options: ParameterOptions,
}

/// AdamW over a module, each process with its part of the moments.
pub struct ShardedAdamW<D: Device> {
    config: AdamWConfig,
    device: D,
    processes: Rc<dyn Collective>,
    buckets: Buckets,
    parameters: Vec<Known>,
    shares: Vec<Share<D>>,
    steps: u64,
}

impl<D: Device> ShardedAdamW<D> {
    /// An optimizer for `module` on `device`; `options` decides from a parameter's name and rank.
    ///
    /// # Errors
    /// The device refuses.
    pub fn new(
        module: &impl Module<D>,
        device: &D,
        processes: &Rc<dyn Collective>,
        config: AdamWConfig,
        options: impl Fn(&str, usize) -> ParameterOptions,
    ) -> Result<Self> {
        let buckets = Buckets::of(module, processes.world());
        let mut parameters = Vec::new();
        module.for_each(|name, kind, tensor| {
            if kind == Kind::Parameter {
                let shape = tensor.shape().axes().to_vec();
                let options = options(name, shape.len());
                parameters.push(Known { name: name.to_owned(), shape, options });
            }
        });
        let share = |piece: Piece| {
            let zeros = || Tensor::zeros(device, [piece.values.len()]);
            Ok(Share { moments: Moments { first: zeros()?, second: zeros()? }, piece })
        };
        let shares = buckets.pieces(processes.rank()).into_iter().map(share).collect::<Result<_>>()?;
        let (device, processes) = (device.clone(), processes.clone());
        Ok(Self { config, device, processes, buckets, parameters, shares, steps: 0 })
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments that this process keeps, in numbers.
    pub fn own_moments(&self) -> usize {
        self.shares.iter().map(|share| 2 * share.piece.values.len()).sum()
    }

    /// Shows `watch` the norm of all processes' parts together.
    ///
    /// # Errors
    /// A process that is gone; the device refuses.
    pub fn watch(&self, watch: &mut StepMonitor<D>, sums: &OwnSums, clip: Clip, step: u64) -> Result<()> {
        // The norm of the parts' norms is that of all.
        let own = [self.own_norm(sums, false, step)?, self.own_norm(sums, true, step)?];
        let mut norms = vec![0.0; 2 * self.processes.world()];
        self.processes.all_gather(&own, &mut norms)?;
        let of = |kind: usize| self.device.upload_buf(norms.iter().skip(kind).step_by(2).copied().collect());
        let (apart, in_norm) = (of(0)?, of(1)?);
        watch.norms(&[D::view_buf(&apart)], &[D::view_buf(&in_norm)], clip, step)
    }

    /// The norm of this process's parts, of the parameters that count in the norm or of the others.
    fn own_norm(&self, sums: &OwnSums, in_norm: bool, step: u64) -> Result<f32> {
        let mut own = StepMonitor::new(&self.device)?;
        let of = |share: &&Share<D>| self.parameters[share.piece.parameter].options.in_norm == in_norm;
        let pieces = self.shares.iter().filter(of);
        let pieces = pieces.map(|share| Ok(Some(self.device.upload_slice(gradient(sums, &share.piece))?)));
        own.gradients(&GradientSet { buffers: pieces.collect::<Result<_>>()? }, Clip::NONE, step)?;
        Ok(own.read().norm as f32)
    }

    /// One update at the rate `lr`, of every parameter that a process has a gradient of. `watch` has seen these gradients.
    ///
    /// # Errors
    /// [`Error::Config`] for another module; a process that is gone; the device refuses.
    pub fn step(
        &mut self,
        module: &mut impl Module<D>,
        sums: &OwnSums,
        lr: f64,
        watch: &StepMonitor<D>,
    ) -> Result<()> {
        let step = self.steps + 1;
        let weights = module.parameters();
        if weights.len() != self.parameters.len() {
            let reason = format!("{} parameters, where {} were", weights.len(), self.parameters.len());
            return Err(Error::config("adamw", reason));
        }
        let mut all: Vec<Vec<f32>> = (0..self.buckets.len()).map(|_| Vec::new()).collect();
        let mut own: Vec<Vec<f32>> =
            (0..self.buckets.len()).map(|bucket| vec![0.0; self.buckets.part(bucket)]).collect();
        let mut updated: Vec<Tensor<D>> = Vec::with_capacity(self.shares.len());
        for Share { piece, .. } in &self.shares {
            let values = weights[piece.parameter].to_vec();
            updated.push(Tensor::from_slice(
                &self.device,
                &values[piece.values.clone()],
                [piece.values.len()],
            )?);
        }
        drop(weights);
        let mut updates = Updates::new(&self.device, watch.view());
        let mut kept = Vec::with_capacity(self.shares.len());
        for (Share { piece, moments }, tensor) in self.shares.iter_mut().zip(&mut updated) {
            if sums.present[piece.parameter] {
                let ParameterOptions { lr_scale, weight_decay, .. } =
                    self.parameters[piece.parameter].options;
                let update = Update { step, lr: lr * lr_scale, weight_decay };
                // Nothing that was gathered may move before it is run.
                kept.push(self.device.upload_slice(gradient(sums, piece))?);
                if let Some(gradient) = kept.last() {
                    updates.add(tensor, D::view_buf(gradient), moments, &self.config, &update)?;
                }
            }
        }
        updates.run()?;
        for (Share { piece, .. }, tensor) in self.shares.iter().zip(&updated) {
            own[piece.bucket][piece.own.clone()].copy_from_slice(&tensor.to_vec());
        }
        for (bucket, (own, all)) in own.iter().zip(&mut all).enumerate() {
            all.resize(self.buckets.padded(bucket), 0.0);
            self.processes.all_gather(own, all)?;
        }
        let mut parameter = 0;
        module.visit_mut("", &mut |name, kind, tensor| {
            if kind != Kind::Parameter {
                return Ok(());
            }
            let known = &self.parameters[parameter];
            if known.name != name {
                return Err(Error::config("adamw", format!("parameter {name} where {} was", known.name)));
            }
            let (bucket, place) = self.buckets.place(parameter);
            let present = sums.present[parameter];
            parameter += 1;
            match present {
                true => tensor.set(all[bucket][place].to_vec()),
                false => Ok(()),
            }
        })?;
        self.steps = step;
        Ok(())
    }

    /// The moments of all parameters, as an unsharded optimizer writes them. All processes call it.
    ///
    /// # Errors
    /// A process that is gone.
    pub fn export(&self, map: &mut TensorMap) -> Result<()> {
        for (prefix, second) in [(FIRST, false), (SECOND, true)] {
            for bucket in 0..self.buckets.len() {
                let mut own = vec![0.0; self.buckets.part(bucket)];
                for Share { piece, moments } in
                    self.shares.iter().filter(|share| share.piece.bucket == bucket)
                {
                    let moment = if second { &moments.second } else { &moments.first };
                    own[piece.own.clone()].copy_from_slice(&moment.to_vec());
                }
                let mut all = vec![0.0; self.buckets.padded(bucket)];
                self.processes.all_gather(&own, &mut all)?;
                for &parameter in self.buckets.within(bucket) {
                    let Known { name, shape, .. } = &self.parameters[parameter];
                    let (_, place) = self.buckets.place(parameter);
                    let tensor = HostTensor { shape: shape.clone(), data: all[place].to_vec() };
                    map.insert(format!("{prefix}{name}"), tensor);
                }
            }
        }
        Ok(())
    }

    /// Takes this process's part of the moments from a checkpoint that was written after `steps` updates, by any number of
    /// processes.
    ///
    /// # Errors
    /// [`Error::Config`] naming a moment that the checkpoint lacks or has in another size.
    pub fn import(&mut self, map: &TensorMap, steps: u64) -> Result<()> {
        for Share { piece, moments } in &mut self.shares {
            let known = &self.parameters[piece.parameter];
            let expected = self.buckets.length(piece.parameter);
            for (prefix, moment) in [(FIRST, &mut moments.first), (SECOND, &mut moments.second)] {
                let found = super::moment(map, prefix, &known.name, expected)?;
                moment.set(found[piece.values.clone()].to_vec())?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}

/// The summed gradient of a piece.
fn gradient<'s>(sums: &'s OwnSums, piece: &Piece) -> &'s [f32] {
    &sums.parts[piece.bucket][piece.own.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;
    use crate::checkpoint::model::export;
    use crate::collective::gradients::{GradientExchange, GradientFormat, Summed};
    use crate::collective::tests::on_each;
    use crate::collective::{self, SingleProcess};
    use crate::nn::{Builder, Linear};
    use crate::optim::AdamW;
    use crate::tensor::GradientReceiver as _;

    const CLIP: Clip = Clip { mean: 1.0, max_norm: 0.5 };

    fn options(name: &str, _: usize) -> ParameterOptions {
        let (lr_scale, in_norm) = if name == "bias" { (2.0, false) } else { (1.0, true) };
        ParameterOptions { lr_scale, weight_decay: 0.1, in_norm }
    }

    fn model() -> Linear<Cpu> {
        Linear::new(&Builder::new(&Cpu::default(), 1), 3, 2, 0.5).unwrap()
    }

    /// What a process adds in a step: eighths, whose sums are exact.
    fn gradients(rank: usize, step: usize) -> [Vec<f32>; 2] {
        let value = |i: usize| ((i * 5 + step * 3 + rank * 7) % 11) as f32 / 8.0 - 0.5;
        [(0..6).map(value).collect(), (6..8).map(value).collect()]
    }

    /// Weights, moments and the norms of the steps.
    fn sharded(
        world: usize,
        from: Option<&TensorMap>,
        steps: std::ops::Range<usize>,
    ) -> Vec<(TensorMap, Vec<f64>)> {
        on_each(world, |rank| {
            let (processes, cpu): (Rc<dyn Collective>, _) = (Rc::new(rank), Cpu::default());
            let mut module = model();
            let mut optimizer =
                ShardedAdamW::new(&module, &cpu, &processes, AdamWConfig::default(), options).unwrap();
            if let Some(from) = from {
                crate::checkpoint::model::assign(&mut module, from).unwrap();
                optimizer.import(from, steps.start as u64).unwrap();
            }
            let buckets = Buckets::of(&module, world);
            let mut exchange = GradientExchange::new(buckets, GradientFormat::F32, collective::Share::Own);
            let mut watch = StepMonitor::new(&cpu).unwrap();
            let mut norms = Vec::new();
            for step in steps.clone() {
                let mut under_way = exchange.begin(&processes, &cpu, None).unwrap();
                for (parameter, own) in gradients(processes.rank(), step).into_iter().enumerate() {
                    under_way.receive(parameter, Some(own)).unwrap();
                }
                let (summed, next) = under_way.finish().unwrap();
                exchange = next;
                let Summed::Own(sums) = summed else { panic!("all came where parts were asked for") };
                optimizer.watch(&mut watch, &sums, CLIP, step as u64).unwrap();
                optimizer.step(&mut module, &sums, 0.1, &watch).unwrap();
                norms.push(watch.read().norm);
            }
            assert!(optimizer.own_moments() < 16);
            let mut saved = export(&module);
            optimizer.export(&mut saved).unwrap();
            (saved, norms)
        })
    }

    #[test]
    fn parts_are_updated_as_the_whole_is_and_go_on_among_other_processes() {
        const STEPS: usize = 5;
        for world in [2, 3] {
            let mut module = model();
            let mut optimizer = AdamW::new(&module, AdamWConfig::default(), options).unwrap();
            let mut watch = StepMonitor::new(&Cpu::default()).unwrap();
            let mut norms = Vec::new();
            for step in 0..STEPS {
                let sum = |parameter: usize| {
                    let terms: Vec<_> =
                        (0..world).map(|rank| gradients(rank, step)[parameter].clone()).collect();
                    Some((0..terms[0].len()).map(|i| terms.iter().map(|term| term[i]).sum()).collect())
                };
                let set = GradientSet { buffers: vec![sum(0), sum(1)] };
                optimizer.watch(&mut watch, &set, CLIP, step as u64).unwrap();
                optimizer.step(&mut module, &set, 0.1, &watch).unwrap();
                norms.push(watch.read().norm);
            }
            let mut whole = export(&module);
            optimizer.export(&mut whole);
            let parts = sharded(world, None, 0..STEPS);
            let half = sharded(world, None, 0..2).remove(0).0;
            let resumed = sharded(world, Some(&half), 2..STEPS);
            for ((found, found_norms), (again, _)) in parts.iter().zip(&resumed) {
                for (name, tensor) in &whole.tensors {
                    // The norm is rounded once more on its way.
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs().max(1e-2);
                    assert!(found.tensors[name].data.iter().zip(&tensor.data).all(near), "{name}");
                    assert_eq!(found.tensors[name].shape, tensor.shape);
                    assert_eq!(found.tensors[name], again.tensors[name], "{name} resumed");
                }
                assert!(found_norms.iter().zip(&norms).all(|(a, b)| (a - b).abs() <= 1e-6 * b));
            }
            assert!(parts.iter().all(|(found, _)| *found == parts[0].0));
        }
    }

    #[test]
    fn a_checkpoint_without_a_moment_is_refused() {
        let (cpu, module): (_, Linear<Cpu>) = (Cpu::default(), model());
        let processes: Rc<dyn Collective> = Rc::new(SingleProcess);
        let mut optimizer =
            ShardedAdamW::new(&module, &cpu, &processes, AdamWConfig::default(), options).unwrap();
        let error = optimizer.import(&export(&module), 1).unwrap_err().to_string();
        assert!(error.contains("optimizer.first."), "{error}");
    }
}
