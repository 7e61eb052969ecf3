//! Parameters, FLOPs and activations of a model: it is built and run on the [`Meta`] device, which counts.
//!
//! FLOPs are counted as the paper's figures are: one for each multiply-add of the linear layers and the patch
//! embedding, 5 an element for each layer norm, 2m + 2n + 3 an element for each rational, 2 an input for the
//! functions of a KAN edge; the products inside the attention and GELU are not counted. The arithmetic that is
//! really done is [`Count::operations`].

use crate::config::{KatConfig, Size};
use crate::error::Result;
use crate::kat::Kat;
use crate::meta::Meta;
use crate::nn::Module as _;
use crate::tensor::{Graph, Tensor};

/// Sizes and cost of a model for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Trained scalars.
    pub parameters: usize,
    /// FLOPs as the paper counts them.
    pub flops: usize,
    /// Floating-point operations of all matrix products, attention included, a multiply-add being two.
    pub operations: usize,
    /// Elements of the outputs of linear layers and the patch embedding (fvcore's "activations").
    pub activations: usize,
}

/// Counts `config` for an image of `size` pixels.
///
/// # Errors
/// A configuration that cannot be.
pub fn count(config: &KatConfig, size: Size) -> Result<Count> {
    KatConfig { image_size: size, ..config.clone() }.check()?;
    let device = Meta::default();
    let model = Kat::new(&device, config, 0)?;
    let image = Tensor::zeros(&device, [1, config.channels, size.height, size.width])?;
    let graph = &mut Graph::inference();
    // as the paper counts, the final norm is that of all tokens
    let tokens = model.tokens(graph, &image)?;
    if model.head.is_some() {
        model.classify(graph, &tokens)?;
    }
    let tally = device.take();
    Ok(Count {
        parameters: model.parameter_count(),
        flops: tally.linear + tally.elementwise,
        operations: tally.operations(),
        activations: tally.outputs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Pool;
    use crate::nn::MixerKind;
    use crate::{Cpu, variants};

    #[test]
    fn published_figures_are_reproduced() {
        // (model, parameters in 0.1 M, FLOPs in 0.01 G)
        let published = [
            ("kat_tiny_patch16_224", 57, 113),
            ("kat_small_patch16_224", 221, 435),
            ("kat_base_patch16_224", 866, 1706),
            ("vit_tiny_patch16_224", 57, 108),
            ("vit_small_patch16_224", 221, 425),
            ("vit_base_patch16_224", 866, 1687),
            ("vit_tiny_kan", 128, 178),
            ("vit_small_kan", 504, 705),
            ("vit_base_kan", 1998, 2804),
        ];
        let round = |value: usize, unit: usize| (value + unit / 2) / unit;
        for (name, parameters, flops) in published {
            let config = variants::named(name).unwrap().config;
            let count = count(&config, config.image_size).unwrap();
            assert_eq!(round(count.parameters, 100_000), parameters, "{name}: {count:?}");
            assert_eq!(round(count.flops, 10_000_000), flops, "{name}: {count:?}");
        }
        let tiny = |name| {
            let config = variants::named(name).unwrap().config;
            count(&config, config.image_size).unwrap().parameters
        };
        assert_eq!(tiny("kat_tiny_patch16_224"), 5_718_328);
        assert_eq!(tiny("kat_tiny_patch16_224") - tiny("vit_tiny_patch16_224"), 912);
    }

    #[test]
    fn by_hand() {
        let config = KatConfig {
            image_size: Size { height: 32, width: 48 },
            dim: 32,
            heads: 2,
            depth: 2,
            classes: 5,
            class_token: false,
            pool: Pool::Average,
            window: Some(3),
            global_blocks: vec![1],
            relative_positions: true,
            mixer: MixerKind::Mlp,
            ..KatConfig::default()
        };
        let found = count(&config, config.image_size).unwrap();
        // 2 × 3 patches; the windowed block works on one window of 9 tokens
        let (dim, hidden, patch) = (32, 4 * 32, 3 * 16 * 16);
        let block = |rows: usize| rows * 4 * dim * dim + 6 * 2 * dim * hidden;
        let linear = 6 * patch * dim + block(9) + block(6) + 5 * dim;
        assert_eq!(found.flops, linear + 5 * dim * (4 * 6 + 1));
        let attention = |tokens: usize, sides: usize| tokens * (2 * tokens + sides) * dim;
        assert_eq!(found.operations, 2 * (linear + attention(9, 6) + attention(6, 5)));
        let built = Kat::new(&Cpu::default(), &config, 0).unwrap().parameter_count();
        assert_eq!(found.parameters, built);
    }

    #[test]
    fn shapes_are_those_of_the_cpu() {
        let image = Size::square(32);
        let config = KatConfig { image_size: image, depth: 1, registers: 2, ..KatConfig::default() };
        let (meta, cpu) = (Meta::default(), Cpu::default());
        let outputs = (
            Kat::new(&meta, &config, 0)
                .and_then(|m| {
                    m.feature_maps(&mut Graph::inference(), &Tensor::zeros(&meta, [2, 3, 48, 32])?, &[0])
                })
                .unwrap(),
            Kat::new(&cpu, &config, 0)
                .and_then(|m| {
                    m.feature_maps(&mut Graph::inference(), &Tensor::zeros(&cpu, [2, 3, 48, 32])?, &[0])
                })
                .unwrap(),
        );
        assert_eq!(outputs.0[0].shape(), outputs.1[0].shape());
        assert_eq!(outputs.0[0].to_vec().len(), outputs.1[0].numel());
    }
}
