//! Activation checkpointing: a block keeps only its input and is computed again in the backward pass. Training
//! at 1024 × 1024 pixels needs it: memory for one block's activations instead of all blocks'.

use super::Module;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Graph;
use crate::tensor::Tensor;

/// Runs `forward` of `module` on `x` so that its activations are recomputed when gradients are wanted. Random
/// numbers are the same both times.
///
/// # Errors
/// Those of `forward`.
pub fn checkpoint<D, M>(
    graph: &mut Graph<D>,
    module: &M,
    x: &Tensor<D>,
    forward: impl Fn(&M, &mut Graph<D>, &Tensor<D>) -> Result<Tensor<D>> + 'static,
) -> Result<Tensor<D>>
where
    D: Device,
    M: Module<D> + Clone + 'static,
{
    let parameters = module.parameters();
    let inputs: Vec<&Tensor<D>> = parameters.iter().chain([x]).collect();
    if !graph.records(&inputs) {
        return forward(module, graph, x);
    }
    let mut first = graph.unrecorded();
    let again = graph.fork_recording();
    let y = forward(module, &mut first, &x.clone().detach())?;
    graph.catch_up(&first);
    let device = x.device().clone();
    let out = device.duplicate(y.view())?;
    let shape = y.shape();
    drop(y);
    let inputs: Vec<&Tensor<D>> = parameters.iter().chain([x]).collect();
    graph.record(&device, out, shape, &inputs, || {
        let (module, x, parameters) = (module.clone(), x.clone(), parameters.clone());
        move |dy, grads| {
            let mut again = again;
            let leaf = x.clone().detach().parameter()?;
            let y = forward(&module, &mut again, &leaf)?;
            if y.shape() != shape {
                return Err(Error::shape(
                    "checkpoint",
                    "the recomputed output",
                    shape.to_string(),
                    y.shape(),
                ));
            }
            let mut inner = again.backward_from(&y, dy)?;
            for (outer, inside) in parameters.iter().map(|p| (p, p)).chain([(&x, &leaf)]) {
                if let Some(gradient) = inner.take(inside)? {
                    grads.add(outer, gradient)?;
                }
            }
            Ok(())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Block, BlockConfig, Builder};
    use crate::{Cpu, KatConfig, Size};

    #[test]
    fn same_bits_as_without_it_drop_path_included() {
        let dev = Cpu::default();
        let config = KatConfig { dim: 32, heads: 2, drop_path: 0.5, ..KatConfig::default() };
        let config = BlockConfig { drop_path: 0.5, ..config.block(1) };
        let block = Block::new(&Builder::new(&dev, 1), &config).unwrap();
        let values = (0..3 * 6 * 32).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let x = Tensor::from_vec(&dev, values, [3, 6, 32]).unwrap().parameter().unwrap();
        let run = |checkpointed: bool| {
            let mut graph = Graph::training(11);
            let mut h = x.clone();
            for _ in 0..2 {
                h = if checkpointed {
                    checkpoint(&mut graph, &block, &h, |b, g, x| b.forward(g, x, Size::new(2, 3))).unwrap()
                } else {
                    block.forward(&mut graph, &h, Size::new(2, 3)).unwrap()
                };
            }
            let loss = crate::ops::mean(&mut graph, &h).unwrap();
            let mut gradients = graph.backward(&loss).unwrap();
            let mut all = vec![h.to_vec(), gradients.take_host(&x).unwrap().unwrap()];
            all.extend(block.parameters().iter().map(|p| gradients.take_host(p).unwrap().unwrap()));
            all
        };
        assert_eq!(run(true), run(false));
    }
}
