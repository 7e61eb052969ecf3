//! The encoder as ONNX operators: patches, tokens, blocks.
//!
//! # Shapes
//! B images, N tokens, C channels, h heads of D channels; the token grid is fixed, B is known when the network runs.

use kat_backbone::nn::{Learnable, MixerKind};
use kat_backbone::ops::rational::Denominator;
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Size};

use super::attention::{self, Attention};
use super::graph::{GraphBuilder, Value};
use super::layers::{activation, layer_norm, linear, stored};
use super::proto::Attribute;
use super::rational;
use super::splines;
use super::weights::Weights;

/// An encoder for images of one size.
#[derive(Debug)]
pub struct Encoder<'m> {
    weights: Weights<'m>,
    config: &'m KatConfig,
    grid: Size,
    /// (1, tokens that have positions, C).
    positions: Vec<f32>,
}

impl<'m> Encoder<'m> {
    /// The encoder of `model`, whose weights are `weights`, for images of `size`.
    ///
    /// # Errors
    /// A size of no whole patches.
    pub fn new(model: &'m Kat<Cpu>, weights: Weights<'m>, size: Size) -> anyhow::Result<Self> {
        let config = model.config();
        let patch = config.patch_size;
        let whole = |side: usize, patch: usize| side > 0 && side.is_multiple_of(patch);
        if !(whole(size.height, patch.height) && whole(size.width, patch.width)) {
            anyhow::bail!(
                "images of {} x {} pixels, expected multiples of the patch, {} x {}",
                size.height,
                size.width,
                patch.height,
                patch.width
            );
        }
        let grid = model.grid_of(size.height, size.width);
        let positions = model.positions(&mut Graph::inference(), grid)?.to_vec();
        Ok(Self { weights, config, grid, positions })
    }

    /// The token grid.
    pub fn grid(&self) -> Size {
        self.grid
    }

    /// (B, channels, H, W) → tokens (B, N, C), before the first block.
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn embed(&self, graph: &mut GraphBuilder, image: &Value) -> anyhow::Result<Value> {
        let (c, dim) = (self.config, self.config.dim);
        let projection = self.weights.at("patch_embed.proj");
        let mut inputs = vec![image.clone(), stored(graph, &projection, "weight")?];
        if projection.find("bias").is_some() {
            inputs.push(stored(graph, &projection, "bias")?);
        }
        let strides = [c.patch_size.height as i64, c.patch_size.width as i64];
        let map = graph.node(
            "Conv",
            &inputs.iter().collect::<Vec<_>>(),
            vec![Attribute::ints("strides", &strides)],
        );
        let mut x = map_to_tokens(graph, &map, dim);
        let placed = self.positions.len() / dim;
        let positions =
            graph.floats(&self.weights.name("positions"), &[1, placed, dim], || self.positions.clone());
        if !c.prefix_positions {
            x = graph.binary("Add", &x, &positions);
        }
        let tokens = ["cls_token", "dist_token", "reg_token"];
        let tokens: Vec<&str> = tokens.into_iter().filter(|name| self.weights.find(name).is_some()).collect();
        if !tokens.is_empty() {
            let attributes = vec![Attribute::int("start", 0), Attribute::int("end", 1)];
            let batch = graph.node("Shape", &[image], attributes);
            let mut parts = Vec::new();
            for name in tokens {
                let token = stored(graph, &self.weights, name)?;
                let count = self.weights.get(name)?.data.len() / dim;
                let rest = graph.ints(&[count as i64, dim as i64]);
                let shape = graph.concat(&[batch.clone(), rest], 0);
                parts.push(graph.binary("Expand", &token, &shape));
            }
            parts.push(x);
            x = graph.concat(&parts, 1);
        }
        if c.prefix_positions {
            x = graph.binary("Add", &x, &positions);
        }
        if c.pre_norm {
            x = layer_norm(graph, &x, &self.weights.at("norm_pre"), c.norm_eps)?;
        }
        Ok(x)
    }

    /// Block `index`: (B, N, C) → (B, N, C).
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn block(&self, graph: &mut GraphBuilder, x: &Value, index: usize) -> anyhow::Result<Value> {
        let c = self.config;
        let block = self.weights.at("blocks").at(index);
        let factors = |name: &str| Some(block.at(name)).filter(Weights::exists);
        let normed = layer_norm(graph, x, &block.at("norm1"), c.norm_eps)?;
        let attention = Attention {
            weights: block.at("attn"),
            dim: c.dim,
            heads: c.heads,
            window: c.window.filter(|_| c.is_windowed(index)),
            scale: factors("ls1"),
        };
        let mixed = attention.forward(graph, &normed, self.grid)?;
        let x = graph.binary("Add", x, &mixed);
        let normed = layer_norm(graph, &x, &block.at("norm2"), c.norm_eps)?;
        let mixed = self.mixer(graph, &normed, &block.at("mlp"), factors("ls2").as_ref())?;
        Ok(graph.binary("Add", &x, &mixed))
    }

    /// An MLP's, `weights` of its own where it learns.
    fn activation(&self, graph: &mut GraphBuilder, x: &Value, weights: &Weights) -> anyhow::Result<Value> {
        match self.config.learnable {
            None => activation(graph, x, self.config.activation),
            Some(Learnable::Prelu) => {
                let slope = stored(graph, weights, "weight")?;
                Ok(graph.binary("PRelu", x, &slope))
            }
            Some(Learnable::Pau) => {
                let size = (self.config.hidden(), 1);
                rational::group_rational(graph, x, weights, size, Denominator::Paper)
            }
        }
    }

    fn mixer(
        &self,
        graph: &mut GraphBuilder,
        x: &Value,
        weights: &Weights,
        scale: Option<&Weights>,
    ) -> anyhow::Result<Value> {
        let (c, gr_kan) = (self.config, self.config.mixer == MixerKind::GrKan);
        if c.mixer == MixerKind::Kan {
            let x = splines::kan_layer(graph, x, &weights.at("layer1"))?;
            return splines::kan_layer(graph, &x, &weights.at("layer2"));
        }
        let mut x = x.clone();
        if gr_kan {
            x = rational::group_rational(
                graph,
                &x,
                &weights.at("act1"),
                (c.dim, c.groups),
                c.denominator_form,
            )?;
        }
        x = linear(graph, &x, &weights.at("fc1"), None)?;
        x = match gr_kan {
            true => rational::group_rational(
                graph,
                &x,
                &weights.at("act2"),
                (c.hidden(), c.groups),
                c.denominator_form,
            )?,
            false => self.activation(graph, &x, &weights.at("act"))?,
        };
        linear(graph, &x, &weights.at("fc2"), scale)
    }

    /// Feature maps (B, C, rows, columns) after `blocks` (ascending).
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn feature_maps(
        &self,
        graph: &mut GraphBuilder,
        image: &Value,
        blocks: &[usize],
    ) -> anyhow::Result<Vec<Value>> {
        let mut x = self.embed(graph, image)?;
        let prefix = self.config.prefix_tokens() as i64;
        let mut maps = Vec::new();
        for index in 0..=blocks.last().copied().unwrap_or(0) {
            x = self.block(graph, &x, index)?;
            if blocks.contains(&index) {
                let patches = match prefix {
                    0 => x.clone(),
                    _ => graph.slice(&x, 1, prefix, i64::MAX),
                };
                maps.push(attention::tokens_to_map(graph, &patches, self.config.dim, self.grid));
            }
        }
        Ok(maps)
    }
}

/// (B, C, rows, columns) → (B, rows · columns, C).
fn map_to_tokens(graph: &mut GraphBuilder, map: &Value, dim: usize) -> Value {
    let flat = graph.reshape(map, &[0, dim as i64, -1]);
    graph.transpose(&flat, &[0, 2, 1])
}
