//! Parameters, FLOPs and activations of a model, from its configuration.
//!
//! FLOPs are counted as the paper's figures are: one for each multiply-add of the linear layers and the patch
//! embedding, 5 an element for each layer norm, 2m + 2n + 3 an element for each rational, 2 an input for the
//! functions of a KAN edge; the products inside the attention and GELU are not counted. The arithmetic that is
//! really done is [`Count::operations`].

use crate::config::{KatConfig, Pool, Size};
use crate::error::Result;
use crate::nn::{MixerKind, Sharing};

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

/// Adds up linear layers.
#[derive(Default)]
struct Tally {
    parameters: usize,
    flops: usize,
    products: usize,
    activations: usize,
}

impl Tally {
    fn linear(&mut self, rows: usize, inputs: usize, outputs: usize, bias: bool) {
        self.parameters += inputs * outputs + if bias { outputs } else { 0 };
        self.flops += rows * inputs * outputs;
        self.products += rows * inputs * outputs;
        self.activations += rows * outputs;
    }

    fn layer_norm(&mut self, rows: usize, channels: usize) {
        self.parameters += 2 * channels;
        self.flops += 5 * rows * channels;
    }

    fn rational(&mut self, rows: usize, channels: usize, config: &KatConfig) {
        let (m, n) = (config.order.numerator, config.order.denominator);
        let groups = |sharing| if sharing == Sharing::Shared { 1 } else { config.groups };
        self.parameters += groups(config.numerator) * (m + 1) + groups(config.denominator) * n;
        self.flops += (2 * m + 2 * n + 3) * rows * channels;
    }

    fn kan_layer(&mut self, rows: usize, inputs: usize, outputs: usize, basis: usize) {
        self.linear(rows, inputs, outputs, true);
        self.flops += rows * inputs * outputs * basis + 2 * rows * inputs;
        self.products += rows * inputs * outputs * basis;
        self.parameters += inputs * outputs * (basis + 1);
    }

    fn mixer(&mut self, rows: usize, config: &KatConfig) {
        let (dim, hidden) = (config.dim, config.hidden());
        match config.mixer {
            MixerKind::Kan => {
                self.kan_layer(rows, dim, hidden, config.kan_basis);
                self.kan_layer(rows, hidden, dim, config.kan_basis);
            }
            kind => {
                if kind == MixerKind::GrKan {
                    self.rational(rows, dim, config);
                    self.rational(rows, hidden, config);
                }
                self.linear(rows, dim, hidden, true);
                self.linear(rows, hidden, dim, true);
            }
        }
    }
}

/// Counts `config` for an image of `size` pixels.
///
/// # Errors
/// A configuration that cannot be.
pub fn count(config: &KatConfig, size: Size) -> Result<Count> {
    KatConfig { image_size: size, ..config.clone() }.check()?;
    let dim = config.dim;
    let own = config.grid();
    let grid = Size::new(size.height / config.patch_size.height, size.width / config.patch_size.width);
    let patches = grid.area();
    let tokens = patches + config.prefix_tokens();
    let patch_len = config.channels * config.patch_size.height * config.patch_size.width;
    let mut tally = Tally::default();
    tally.parameters += config.prefix_tokens() * dim + (config.placed_tokens() + own.area()) * dim;
    tally.linear(patches, patch_len, dim, !config.pre_norm);
    if config.pre_norm {
        tally.layer_norm(tokens, dim);
    }
    for index in 0..config.depth {
        let (rows, keys) = match config.window.filter(|_| config.is_windowed(index)) {
            None => (tokens, tokens),
            Some(w) => (grid.height.div_ceil(w) * grid.width.div_ceil(w) * w * w, w * w),
        };
        tally.layer_norm(tokens, dim);
        tally.linear(rows, dim, 3 * dim, config.qkv_bias);
        tally.products += 2 * rows * keys * dim;
        tally.linear(rows, dim, dim, true);
        if config.relative_positions {
            let table = if config.is_windowed(index) {
                config.window.map_or(0, |w| 2 * (2 * w - 1))
            } else {
                2 * (own.height + own.width) - 2
            };
            tally.parameters += table * dim / config.heads;
        }
        tally.layer_norm(tokens, dim);
        tally.mixer(tokens, config);
        tally.parameters += if config.layer_scale.is_some() { 2 * dim } else { 0 };
    }
    let pooled = if config.pool == Pool::Average { 1 } else { tokens };
    tally.layer_norm(pooled, dim);
    if config.classes > 0 {
        for _ in 0..1 + usize::from(config.distilled) {
            tally.linear(1, dim, config.classes, true);
        }
    }
    Ok(Count {
        parameters: tally.parameters,
        flops: tally.flops,
        operations: 2 * tally.products,
        activations: tally.activations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Module as _;
    use crate::{Cpu, Kat, variants};

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
    fn the_count_is_what_is_built() {
        let base = KatConfig {
            image_size: Size { height: 32, width: 48 },
            dim: 32,
            heads: 2,
            depth: 2,
            classes: 5,
            ..KatConfig::default()
        };
        let dense = KatConfig {
            class_token: false,
            pool: Pool::Average,
            window: Some(3),
            global_blocks: vec![1],
            relative_positions: true,
            ..base.clone()
        };
        let kan = KatConfig { mixer: MixerKind::Kan, kan_basis: 3, registers: 2, ..base.clone() };
        let every_part = KatConfig {
            mixer: MixerKind::Mlp,
            layer_scale: Some(1e-5),
            pre_norm: true,
            distilled: true,
            registers: 3,
            prefix_positions: false,
            ..base.clone()
        };
        for config in [base, dense, kan, every_part] {
            let built = Kat::new(&Cpu::default(), &config, 0).unwrap().parameter_count();
            assert_eq!(count(&config, config.image_size).unwrap().parameters, built);
        }
    }
}
