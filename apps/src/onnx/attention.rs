//! Attention as ONNX operators, over all tokens or over windows of the grid, with ViTDet's relative positions.
//!
//! # Shapes
//! B images or windows, N tokens, C = h · D channels.

use kat_backbone::{Cpu, Graph, Size, Tensor, ops};

use super::graph::{GraphBuilder, Value};
use super::layers::linear;
use super::proto::Attribute;
use super::weights::Weights;

/// An attention module.
#[derive(Debug)]
pub struct Attention<'m> {
    /// `qkv`, `proj` and, where they are, the tables of relative positions.
    pub weights: Weights<'m>,
    /// C.
    pub dim: usize,
    /// h.
    pub heads: usize,
    /// Side of the windows.
    pub window: Option<usize>,
    /// LayerScale's factors.
    pub scale: Option<Weights<'m>>,
}

impl Attention<'_> {
    /// (B, N, C) → (B, N, C); with windows, N is the grid.
    ///
    /// # Errors
    /// A weight that is not there.
    pub fn forward(&self, graph: &mut GraphBuilder, x: &Value, grid: Size) -> anyhow::Result<Value> {
        match self.window {
            None => self.attend(graph, x, grid),
            Some(window) => {
                let windows = Windows { window, grid, dim: self.dim };
                let parts = windows.partition(graph, x);
                let attended = self.attend(graph, &parts, Size::square(window))?;
                Ok(windows.unpartition(graph, &attended))
            }
        }
    }

    fn attend(&self, graph: &mut GraphBuilder, x: &Value, grid: Size) -> anyhow::Result<Value> {
        let (heads, each) = (self.heads as i64, (self.dim / self.heads) as i64);
        let qkv = linear(graph, x, &self.weights.at("qkv"), None)?;
        let qkv = graph.reshape(&qkv, &[0, 0, 3, heads, each]);
        let qkv = graph.transpose(&qkv, &[2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|part| graph.pick(&qkv, 0, part));
        let factor = graph.scalar(1.0 / (each as f32).sqrt());
        let scaled = graph.binary("Mul", &q, &factor);
        let k = graph.transpose(&k, &[0, 1, 3, 2]);
        let mut logits = graph.binary("MatMul", &scaled, &k);
        if let Some(relative) = self.relative(graph, &q, grid)? {
            logits = graph.binary("Add", &logits, &relative);
        }
        let shares = graph.node("Softmax", &[&logits], vec![Attribute::int("axis", -1)]);
        let y = graph.binary("MatMul", &shares, &v);
        let y = graph.transpose(&y, &[0, 2, 1, 3]);
        let y = graph.reshape(&y, &[0, 0, self.dim as i64]);
        linear(graph, &y, &self.weights.at("proj"), self.scale.as_ref())
    }

    /// (B, h, N, N): for a query at (y, x) and a key at (y', x'), q · height[y - y'] + q · width[x - x'], q unscaled.
    fn relative(&self, graph: &mut GraphBuilder, q: &Value, grid: Size) -> anyhow::Result<Option<Value>> {
        if self.weights.find("rel_pos_h").is_none() {
            return Ok(None);
        }
        let (heads, each) = (self.heads as i64, (self.dim / self.heads) as i64);
        let (rows, columns) = (grid.height as i64, grid.width as i64);
        let q = graph.reshape(q, &[0, heads, rows, columns, each]);
        let height = self.table(graph, "rel_pos_h", grid.height)?;
        let by_row = graph.binary("MatMul", &q, &height);
        let width = self.table(graph, "rel_pos_w", grid.width)?;
        let turned = graph.transpose(&q, &[0, 1, 3, 2, 4]);
        let by_column = graph.binary("MatMul", &turned, &width);
        let by_column = graph.transpose(&by_column, &[0, 1, 3, 2, 4]);
        let by_row = graph.reshape(&by_row, &[0, heads, rows * columns, rows, 1]);
        let by_column = graph.reshape(&by_column, &[0, heads, rows * columns, 1, columns]);
        let sum = graph.binary("Add", &by_row, &by_column);
        Ok(Some(graph.reshape(&sum, &[0, heads, rows * columns, rows * columns])))
    }

    /// (side, D, side): for each place of the query the table's rows of all keys, as a matrix to multiply q with.
    fn table(&self, graph: &mut GraphBuilder, name: &str, side: usize) -> anyhow::Result<Value> {
        let stored = self.weights.get(name)?;
        let table =
            Tensor::from_vec(&Cpu::default(), stored.data.clone(), [stored.shape[0], stored.shape[1]])?;
        let rows = ops::resample_rows(&mut Graph::inference(), &table, 2 * side - 1)?.to_vec();
        let each = stored.shape[1];
        let name = self.weights.name(&format!("{name}_{side}"));
        Ok(graph.floats(&name, &[side, each, side], || {
            let at = |i: usize| {
                let (query, channel, key) = (i / (each * side), i / side % each, i % side);
                rows[(query + side - 1 - key) * each + channel]
            };
            (0..side * each * side).map(at).collect()
        }))
    }
}

/// Windows that tile the grid, which is filled up with zeros at the right and bottom.
struct Windows {
    window: usize,
    grid: Size,
    dim: usize,
}

impl Windows {
    fn counts(&self) -> Size {
        Size::new(self.grid.height.div_ceil(self.window), self.grid.width.div_ceil(self.window))
    }

    fn padding(&self) -> Size {
        let counts = self.counts();
        let missing = |count: usize, side: usize| count * self.window - side;
        Size::new(missing(counts.height, self.grid.height), missing(counts.width, self.grid.width))
    }

    /// (B, grid, C) → (B · windows, window², C).
    fn partition(&self, graph: &mut GraphBuilder, x: &Value) -> Value {
        let (w, dim) = (self.window as i64, self.dim as i64);
        let (padding, counts) = (self.padding(), self.counts());
        let mut x = graph.reshape(x, &[0, self.grid.height as i64, self.grid.width as i64, dim]);
        if padding != Size::new(0, 0) {
            let pads = graph.ints(&[0, 0, 0, 0, 0, padding.height as i64, padding.width as i64, 0]);
            x = graph.binary("Pad", &x, &pads);
        }
        let x = graph.reshape(&x, &[0, counts.height as i64, w, counts.width as i64, w, dim]);
        let x = graph.transpose(&x, &[0, 1, 3, 2, 4, 5]);
        graph.reshape(&x, &[-1, w * w, dim])
    }

    /// The reverse, without what was filled up.
    fn unpartition(&self, graph: &mut GraphBuilder, x: &Value) -> Value {
        let (w, dim) = (self.window as i64, self.dim as i64);
        let (padding, counts) = (self.padding(), self.counts());
        let (rows, columns) = (counts.height as i64, counts.width as i64);
        let x = graph.reshape(x, &[-1, rows, columns, w, w, dim]);
        let x = graph.transpose(&x, &[0, 1, 3, 2, 4, 5]);
        let mut x = graph.reshape(&x, &[0, rows * w, columns * w, dim]);
        if padding.height > 0 {
            x = graph.slice(&x, 1, 0, self.grid.height as i64);
        }
        if padding.width > 0 {
            x = graph.slice(&x, 2, 0, self.grid.width as i64);
        }
        graph.reshape(&x, &[0, -1, dim])
    }
}

/// (B, rows · columns, C) → (B, C, rows, columns).
pub fn tokens_to_map(graph: &mut GraphBuilder, tokens: &Value, dim: usize, grid: Size) -> Value {
    let turned = graph.transpose(tokens, &[0, 2, 1]);
    graph.reshape(&turned, &[0, dim as i64, grid.height as i64, grid.width as i64])
}
