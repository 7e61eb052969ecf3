//! The optimizer over all parameters of a module: gradients gathered, clipped and applied.

mod sharded;

use crate::checkpoint::{HostTensor, TensorMap};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::nn::{Kind, Module};
use crate::ops::adamw::{Averages, Moments, Update, Updates};
use crate::ops::watch::Clip;
use crate::step_monitor::StepMonitor;
use crate::tensor::Gradients;
use std::collections::BTreeMap;

pub use self::sharded::ShardedAdamW;
pub use crate::ops::adamw::AdamWConfig;

/// Names of the moments in a checkpoint: these, then the parameter's own.
const FIRST: &str = "optimizer.first.";
const SECOND: &str = "optimizer.second.";

/// Gradients of a module's parameters in the order of [`Module::visit`]; `None` where the loss does not depend on
/// the parameter.
pub struct GradientSet<D: Device> {
    /// One for each parameter, with its layout.
    pub buffers: Vec<Option<D::Buf>>,
}

impl<D: Device> GradientSet<D> {
    /// Takes the gradients of `module`'s parameters.
    ///
    /// # Errors
    /// The device refuses.
    pub fn take(module: &impl Module<D>, mut gradients: Gradients<D>) -> Result<Self> {
        let buffers = module.parameters().iter().map(|p| gradients.take(p)).collect::<Result<_>>()?;
        Ok(Self { buffers })
    }

    /// Adds the gradients of another pass over the same module (gradient accumulation).
    ///
    /// # Errors
    /// The device refuses.
    pub fn add(&mut self, device: &D, other: Self) -> Result<()> {
        for (sum, term) in self.buffers.iter_mut().zip(other.buffers) {
            *sum = added(device, sum.take(), term)?;
        }
        Ok(())
    }
}

/// The sum of a parameter's gradients from two passes; none where neither depends on it.
pub(crate) fn added<D: Device>(
    device: &D,
    sum: Option<D::Buf>,
    term: Option<D::Buf>,
) -> Result<Option<D::Buf>> {
    match (sum, term) {
        (Some(mut sum), Some(term)) => {
            device.add_assign(&mut sum, D::view_buf(&term))?;
            Ok(Some(sum))
        }
        (sum, term) => Ok(sum.or(term)),
    }
}

/// How the optimizer treats one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterOptions {
    /// Multiplies the learning rate.
    pub lr_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Whether its gradient counts in the norm that clipping bounds. It is scaled by the factor of that in either case.
    pub in_norm: bool,
}

impl Default for ParameterOptions {
    /// The full rate, no decay, in the norm.
    fn default() -> Self {
        Self { lr_scale: 1.0, weight_decay: 0.0, in_norm: true }
    }
}

/// One parameter under the optimizer.
struct Entry<D: Device> {
    name: String,
    options: ParameterOptions,
    moments: Moments<D>,
}

/// AdamW over a module.
pub struct AdamW<D: Device> {
    config: AdamWConfig,
    entries: Vec<Entry<D>>,
    steps: u64,
}

impl<D: Device> AdamW<D> {
    /// An optimizer for `module`; `options` decides from a parameter's name and rank.
    ///
    /// # Errors
    /// The device refuses.
    pub fn new(
        module: &impl Module<D>,
        config: AdamWConfig,
        options: impl Fn(&str, usize) -> ParameterOptions,
    ) -> Result<Self> {
        let mut entries = Vec::new();
        module.visit("", &mut |name, kind, tensor| {
            if kind == Kind::Parameter {
                let options = options(name, tensor.shape().axes().len());
                entries.push(Entry { name: name.to_owned(), options, moments: Moments::zeros(tensor)? });
            }
            Ok::<(), Error>(())
        })?;
        Ok(Self { config, entries, steps: 0 })
    }

    /// Updates made so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Shows `watch` the norm of a step's gradients, of the parameters whose options say that they count in it. A gradient that
    /// is not finite is noted whether it counts or not.
    ///
    /// # Errors
    /// The device refuses.
    pub fn watch(
        &self,
        watch: &mut StepMonitor<D>,
        gradients: &GradientSet<D>,
        clip: Clip,
        step: u64,
    ) -> Result<()> {
        let of = |in_norm: bool| {
            let pairs = self.entries.iter().zip(&gradients.buffers);
            let views = pairs.filter(move |(entry, _)| entry.options.in_norm == in_norm);
            views.filter_map(|(_, gradient)| Some(D::view_buf(gradient.as_ref()?))).collect::<Vec<_>>()
        };
        watch.norms(&of(false), &of(true), clip, step)
    }

    /// One update of every parameter that has a gradient, at the rate `lr`. `watch` has seen these gradients: it says
    /// what they are multiplied by, and after a failure nothing changes.
    ///
    /// # Errors
    /// [`Error::Config`] if the gradients are not those of the module this optimizer was made for.
    pub fn step(
        &mut self,
        module: &mut impl Module<D>,
        gradients: &GradientSet<D>,
        lr: f64,
        watch: &StepMonitor<D>,
    ) -> Result<()> {
        if gradients.buffers.len() != self.entries.len() {
            let (found, expected) = (gradients.buffers.len(), self.entries.len());
            return Err(Error::config("adamw", format!("{found} gradients for {expected} parameters")));
        }
        let step = self.steps + 1;
        let mut pairs = self.entries.iter_mut().zip(&gradients.buffers);
        let config = self.config;
        let mut updates = Updates::new(watch.device(), watch.view());
        module.visit_mut("", &mut |name, kind, tensor| {
            if kind != Kind::Parameter {
                return Ok(());
            }
            match pairs.next() {
                Some((entry, _)) if entry.name != name => {
                    Err(Error::config("adamw", format!("parameter {name} where {} was", entry.name)))
                }
                Some((entry, Some(gradient))) => {
                    let ParameterOptions { lr_scale, weight_decay, .. } = entry.options;
                    let update = Update { step, lr: lr * lr_scale, weight_decay };
                    updates.add(tensor, D::view_buf(gradient), &mut entry.moments, &config, &update)
                }
                Some((_, None)) => Ok(()),
                None => Err(Error::config("adamw", format!("parameter {name} is new"))),
            }
        })?;
        updates.run()?;
        self.steps = step;
        Ok(())
    }

    /// Adds the moments to a checkpoint.
    pub fn export(&self, map: &mut TensorMap) {
        for entry in &self.entries {
            for (prefix, tensor) in [(FIRST, &entry.moments.first), (SECOND, &entry.moments.second)] {
                let shape = tensor.shape().axes().to_vec();
                map.insert(format!("{prefix}{}", entry.name), HostTensor { shape, data: tensor.to_vec() });
            }
        }
    }

    /// Takes the moments from a checkpoint that was written after `steps` updates.
    ///
    /// # Errors
    /// [`Error::Config`] naming a moment that the checkpoint lacks or has in another size; nothing is set then.
    pub fn import(&mut self, map: &TensorMap, steps: u64) -> Result<()> {
        let found = |prefix: &str, entry: &Entry<D>| {
            moment(map, prefix, &entry.name, entry.moments.first.numel()).map(<[f32]>::to_vec)
        };
        let values = self.entries.iter().map(|entry| Ok((found(FIRST, entry)?, found(SECOND, entry)?)));
        let values = values.collect::<Result<Vec<_>>>()?;
        for (entry, (first, second)) in self.entries.iter_mut().zip(values) {
            entry.moments.first.set(first)?;
            entry.moments.second.set(second)?;
        }
        self.steps = steps;
        Ok(())
    }
}

/// A parameter's moment in a checkpoint.
fn moment<'m>(map: &'m TensorMap, prefix: &str, name: &str, expected: usize) -> Result<&'m [f32]> {
    let name = format!("{prefix}{name}");
    match map.get(&name) {
        Some(tensor) if tensor.data.len() == expected => Ok(&tensor.data),
        Some(tensor) => {
            Err(Error::config(name, format!("{} values, expected {expected}", tensor.data.len())))
        }
        None => Err(Error::config(name, "the checkpoint lacks it")),
    }
}

/// Moves every tensor of `average` towards that of `module` of the same name (EMA): parameters by `decay`, buffers
/// are copied.
///
/// # Errors
/// [`Error::Config`] for a tensor that `module` lacks.
pub fn average_weights<D: Device, M: Module<D>>(average: &mut M, module: &M, decay: f64) -> Result<()> {
    let mut tensors = BTreeMap::new();
    module.for_each(|name, _, tensor| {
        tensors.insert(name.to_owned(), tensor.clone());
    });
    let mut averages = None;
    average.visit_mut("", &mut |name, kind, tensor| match (tensors.get(name), kind) {
        (None, _) => Err(Error::config("moving average", format!("the model has no {name}"))),
        (Some(x), Kind::Parameter) => {
            averages.get_or_insert_with(|| Averages::new(x.device(), decay)).add(tensor, x)
        }
        (Some(x), Kind::Buffer) => tensor.copy_from(x),
    })?;
    averages.map_or(Ok(()), Averages::run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::model::export;
    use crate::nn::{Builder, Linear};
    use crate::{Cpu, Graph, Tensor, ops};

    fn one_pass(module: &Linear<Cpu>) -> GradientSet<Cpu> {
        let x = Tensor::from_vec(&Cpu::default(), vec![0.5, -1.0, 2.0, 1.0, 0.0, 1.0], [2, 3]).unwrap();
        let mut graph = Graph::training(0);
        let y = module.forward(&mut graph, &x).unwrap();
        let loss = ops::mean(&mut graph, &y).unwrap();
        GradientSet::take(module, graph.backward(&loss).unwrap()).unwrap()
    }

    fn setup() -> (Linear<Cpu>, AdamW<Cpu>) {
        let module = Linear::new(&Builder::new(&Cpu::default(), 1), 3, 2, 0.5).unwrap();
        let options = |name: &str, _| ParameterOptions {
            lr_scale: if name == "bias" { 2.0 } else { 1.0 },
            weight_decay: 0.1,
            in_norm: name != "bias",
        };
        let optimizer = AdamW::new(&module, AdamWConfig::default(), options).unwrap();
        (module, optimizer)
    }

    #[test]
    fn gradients_accumulate_and_have_a_norm() {
        let (module, _) = setup();
        let mut sum = one_pass(&module);
        // mean over 4 outputs: weight gradients (x0 + x1) / 4, bias gradients 2 / 4
        let exact = (2.0 * (1.5f64.powi(2) + 1.0 + 3f64.powi(2)) / 16.0 + 2.0 * 0.25).sqrt();
        let norm = |sum: &GradientSet<Cpu>| {
            let mut watch = StepMonitor::new(&Cpu::default()).unwrap();
            watch.gradients(sum, Clip::NONE, 0).unwrap();
            watch.read().norm
        };
        assert!((norm(&sum) - exact).abs() < 1e-6, "{} is not {exact}", norm(&sum));
        sum.add(&Cpu::default(), one_pass(&module)).unwrap();
        assert!((norm(&sum) - 2.0 * exact).abs() < 1e-6);
    }

    #[test]
    fn a_norm_is_of_the_parameters_that_count_and_no_failure_is_missed() {
        let (_, optimizer) = setup();
        let clip = Clip { mean: 1.0, max_norm: 1.0 };
        let seen = |weight: f32, bias: f32| {
            let set = GradientSet { buffers: vec![Some(vec![weight; 6]), Some(vec![bias; 2])] };
            let mut watch = StepMonitor::new(&Cpu::default()).unwrap();
            optimizer.watch(&mut watch, &set, clip, 7).unwrap();
            (watch.read(), watch.view()[crate::ops::watch::place::SCALE])
        };
        let (readings, scale) = seen(2.0, 1e4);
        assert!((readings.norm - 24f64.sqrt()).abs() < 1e-6 && readings.failure.is_none());
        assert!((f64::from(scale) - 24f64.sqrt().recip()).abs() < 1e-6);
        for (weight, bias) in [(2.0, f32::NAN), (f32::INFINITY, 0.0)] {
            let failure = seen(weight, bias).0.failure.unwrap();
            assert!(failure.what == "gradient norm" && failure.step == 7, "{failure:?}");
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_to_the_same_bits() {
        let (mut module, mut optimizer) = setup();
        let watch = StepMonitor::new(&Cpu::default()).unwrap();
        for _ in 0..3 {
            let gradients = one_pass(&module);
            optimizer.step(&mut module, &gradients, 0.1, &watch).unwrap();
        }
        let mut saved = export(&module);
        optimizer.export(&mut saved);
        let (mut other, mut restored) = setup();
        crate::checkpoint::model::assign(&mut other, &saved).unwrap();
        restored.import(&saved, optimizer.steps()).unwrap();
        for (module, optimizer) in [(&mut module, &mut optimizer), (&mut other, &mut restored)] {
            let gradients = one_pass(module);
            optimizer.step(module, &gradients, 0.1, &watch).unwrap();
        }
        assert_eq!(export(&module), export(&other));
        saved.tensors.remove("optimizer.second.bias");
        let error = restored.import(&saved, 3).unwrap_err().to_string();
        assert!(error.contains("optimizer.second.bias"), "{error}");
    }

    #[test]
    fn the_average_follows_the_weights() {
        let (mut module, _) = setup();
        let mut average = module.clone();
        module.bias.as_mut().unwrap().set(vec![1.0, 2.0]).unwrap();
        average_weights(&mut average, &module, 0.75).unwrap();
        assert_eq!(average.bias.unwrap().to_vec(), [0.25, 0.5]);
        assert_eq!(average.weight.to_vec(), module.weight.to_vec());
    }
}
