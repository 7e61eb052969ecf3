//! Attention on the GPU. Mixed precision has fused kernels ([`fused`], [`relative`]). Otherwise: heads apart, cuBLAS's products, and
//! a softmax of our own between them. Sequences are taken in groups whose N × N matrices fit into [`SCORES`]; the
//! backward pass makes their probabilities again.

mod fused;
mod relative;

use super::{Attended, AttendedViews, AttentionGradients, AttentionKernel, Geometry, RelativeViews};
use crate::cuda::launch::Grid;
use crate::cuda::products::{Order, Product};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;
use cudarc::driver::{CudaSlice, DeviceSlice as _};

const OP: &str = "attention";

/// Scores that are in memory at a time: 512 MiB.
const SCORES: usize = 128 << 20;

type Buf = Buffer;

/// A call, cut into groups of whole images.
struct Call<'d, 'a> {
    device: &'d Cuda,
    geometry: Geometry,
    relative: Option<RelativeViews<'a, Cuda>>,
    tokens: u32,
    heads: u32,
    dim: u32,
}

/// One group: its images, and the sequences (image, head) in them.
#[derive(Clone, Copy)]
struct Group {
    first: usize,
    images: usize,
    sequences: usize,
}

/// The relative terms of a group, (sequences, N, size) along both axes.
type Terms = [Buf; 2];

impl<'d, 'a> Call<'d, 'a> {
    fn new(device: &'d Cuda, geometry: Geometry, relative: Option<RelativeViews<'a, Cuda>>) -> Result<Self> {
        let [tokens, heads, dim] = [geometry.tokens, geometry.heads, geometry.head_dim].map(|n| size(OP, n));
        Ok(Self { device, geometry, relative, tokens: tokens?, heads: heads?, dim: dim? })
    }

    fn groups(&self) -> impl Iterator<Item = Group> + use<> {
        let g = self.geometry;
        let each = (SCORES / (g.heads * g.tokens * g.tokens).max(1)).clamp(1, g.batch.max(1));
        (0..g.batch).step_by(each).map(move |first| {
            let images = each.min(g.batch - first);
            Group { first, images, sequences: images * g.heads }
        })
    }

    /// Values of one head's sequences in a group: (sequences, N, D).
    fn len(&self, group: Group) -> usize {
        group.sequences * self.geometry.tokens * self.geometry.head_dim
    }

    /// Part `part` of `parts` of a group's images, heads apart.
    fn split(&self, x: &CudaSlice<f32>, group: Group, parts: usize, part: usize) -> Result<Buf> {
        let image = self.geometry.tokens * self.geometry.channels() * parts;
        let count = self.len(group);
        let mut y = self.device.empty(count)?;
        let x = x.slice(group.first * image..(group.first + group.images) * image);
        let (grid, parts, part) = (Grid::each(count), size(OP, parts)?, size(OP, part)?);
        let (context, n) = (self.device.context(), count as u64);
        kernels::split_heads(context, grid, &x, &mut y, n, self.tokens, self.heads, self.dim, parts, part)?;
        Ok(y)
    }

    /// The reverse of [`Call::split`], into `y`.
    fn join(&self, x: &Buf, y: &mut Buf, group: Group, parts: usize, part: usize) -> Result<()> {
        let image = self.geometry.tokens * self.geometry.channels() * parts;
        let count = self.len(group);
        let mut y = y
            .f32_mut(self.device.context())?
            .slice_mut(group.first * image..(group.first + group.images) * image);
        let (grid, parts, part) = (Grid::each(count), size(OP, parts)?, size(OP, part)?);
        let (context, n) = (self.device.context(), count as u64);
        kernels::join_heads(context, grid, x, &mut y, n, self.tokens, self.heads, self.dim, parts, part)
    }

    /// factor · lhs · rhs of each sequence.
    fn product(
        &self,
        sizes: [usize; 3],
        factor: f32,
        (lhs, lhs_order): (&Buf, Order),
        (rhs, rhs_order): (&Buf, Order),
        group: Group,
    ) -> Result<Buf> {
        let mut out = self.device.empty(group.sequences * sizes[0] * sizes[1])?;
        let product = Product {
            factors: [factor, 0.0],
            batch: group.sequences,
            ..Product::new(sizes, [lhs_order, rhs_order])
        };
        self.device.context().multiply(&product, lhs, rhs, &mut out)?;
        Ok(out)
    }

    /// scale · q kᵀ.
    fn scores(&self, q: &Buf, k: &Buf, group: Group) -> Result<Buf> {
        let (n, d) = (self.geometry.tokens, self.geometry.head_dim);
        self.product([n, n, d], self.geometry.scale(), (q, Order::Rows), (k, Order::Transposed), group)
    }

    /// Both axes of the token grid: the table, the distance of neighbors in tokens, the size.
    fn axes(&self) -> Result<Option<[(View<'a>, u32, u32); 2]>> {
        let Some(relative) = &self.relative else { return Ok(None) };
        let (rows, columns) = (size(OP, relative.grid.height)?, size(OP, relative.grid.width)?);
        Ok(Some([(relative.height, columns, rows), (relative.width, 1, columns)]))
    }

    fn terms(&self, q: &Buf, group: Group) -> Result<Option<Terms>> {
        let Some(axes) = self.axes()? else { return Ok(None) };
        let term = |(table, stride, places): (View<'_>, u32, u32)| -> Result<Buf> {
            let count = group.sequences * self.geometry.tokens * places as usize;
            let mut terms = self.device.empty(count)?;
            let (context, grid) = (self.device.context(), Grid::each(count));
            let n = count as u64;
            kernels::relative_terms(
                context,
                grid,
                q,
                table,
                &mut terms,
                n,
                self.tokens,
                self.dim,
                stride,
                places,
            )?;
            Ok(terms)
        };
        let [rows, columns] = axes;
        Ok(Some([term(rows)?, term(columns)?]))
    }

    /// Rows and columns of the grid; 1 each without relative terms, where the kernels do not read them.
    fn grid(&self) -> Result<[u32; 2]> {
        Ok(self.axes()?.map_or([1, 1], |[rows, columns]| [rows.2, columns.2]))
    }
}

impl AttentionKernel for Cuda {
    fn attention_forward(
        &self,
        qkv: View<'_>,
        relative: Option<RelativeViews<'_, Self>>,
        g: Geometry,
    ) -> Result<Attended<Self>> {
        if self.fuses_attention(relative.as_ref(), g) {
            return match &relative {
                None => fused::forward(self, qkv, g),
                Some(tables) => relative::forward(self, qkv, tables, g),
            };
        }
        let call = Call::new(self, g, relative)?;
        let qkv = &*qkv.f32(self.context())?;
        let mut y = self.empty(g.batch * g.tokens * g.channels())?;
        let mut log_sums: CudaSlice<f32> = self.context().empty(g.batch * g.heads * g.tokens)?;
        let [rows, columns] = call.grid()?;
        for group in call.groups() {
            let q = call.split(qkv, group, 3, 0)?;
            let k = call.split(qkv, group, 3, 1)?;
            let mut scores = call.scores(&q, &k, group)?;
            let terms = call.terms(&q, group)?;
            let queries = group.sequences * g.tokens;
            let first = group.first * g.heads * g.tokens;
            kernels::attention_softmax(
                self.context(),
                Grid::warps(queries),
                &mut scores,
                terms.as_ref().map(|terms| &terms[0]),
                terms.as_ref().map(|terms| &terms[1]),
                &mut log_sums.slice_mut(first..first + queries),
                queries as u64,
                call.tokens,
                rows,
                columns,
            )?;
            let v = call.split(qkv, group, 3, 2)?;
            let sizes = [g.tokens, g.head_dim, g.tokens];
            let out = call.product(sizes, 1.0, (&scores, Order::Rows), (&v, Order::Rows), group)?;
            call.join(&out, &mut y, group, 1, 0)?;
        }
        Ok(Attended { y: self.as_layers_keep(y)?, log_sums: log_sums.into() })
    }

    fn attention_backward(
        &self,
        qkv: View<'_>,
        relative: Option<RelativeViews<'_, Self>>,
        attended: AttendedViews<'_, Self>,
        dy: View<'_>,
        g: Geometry,
    ) -> Result<AttentionGradients<Self>> {
        if self.fuses_attention(relative.as_ref(), g) {
            return match &relative {
                None => {
                    let qkv = fused::backward(self, qkv, attended, dy, g)?;
                    Ok(AttentionGradients { qkv, relative: None })
                }
                Some(tables) => relative::backward(self, qkv, tables, &attended, dy, g),
            };
        }
        let call = Call::new(self, g, relative)?;
        let (qkv, dy) = (&*qkv.f32(self.context())?, &*dy.f32(self.context())?);
        let log_sums = &*attended.log_sums.f32(self.context())?;
        let mut dqkv = self.empty(qkv.len())?;
        let (n, d) = (g.tokens, g.head_dim);
        let axes = call.axes()?;
        let mut tables = match &axes {
            Some([rows, columns]) => Some([self.zeros(rows.0.len())?, self.zeros(columns.0.len())?]),
            None => None,
        };
        let [rows, columns] = call.grid()?;
        for group in call.groups() {
            let q = call.split(qkv, group, 3, 0)?;
            let k = call.split(qkv, group, 3, 1)?;
            let queries = group.sequences * n;
            let first = group.first * g.heads * n;
            let mut p = call.scores(&q, &k, group)?;
            let terms = call.terms(&q, group)?;
            kernels::attention_probabilities(
                self.context(),
                Grid::warps(queries),
                &mut p,
                terms.as_ref().map(|terms| &terms[0]),
                terms.as_ref().map(|terms| &terms[1]),
                &log_sums.slice(first..first + queries),
                queries as u64,
                call.tokens,
                rows,
                columns,
            )?;
            drop(terms);
            let dout = call.split(dy, group, 1, 0)?;
            let dv = call.product([n, d, n], 1.0, (&p, Order::Transposed), (&dout, Order::Rows), group)?;
            call.join(&dv, &mut dqkv, group, 3, 2)?;
            let v = call.split(qkv, group, 3, 2)?;
            let mut dlogits =
                call.product([n, n, d], 1.0, (&dout, Order::Rows), (&v, Order::Transposed), group)?;
            let grid = Grid::warps(queries);
            kernels::attention_logit_gradient(
                self.context(),
                grid,
                &p,
                &mut dlogits,
                queries as u64,
                call.tokens,
            )?;
            let scale = g.scale();
            let mut dq = call.product([n, d, n], scale, (&dlogits, Order::Rows), (&k, Order::Rows), group)?;
            let dk =
                call.product([n, d, n], scale, (&dlogits, Order::Transposed), (&q, Order::Rows), group)?;
            if let (Some(axes), Some(tables)) = (&axes, &mut tables) {
                for (axis, table) in axes.iter().zip(tables) {
                    call.relative_gradients(*axis, &dlogits, &q, (&mut dq, table), group)?;
                }
            }
            call.join(&dq, &mut dqkv, group, 3, 0)?;
            call.join(&dk, &mut dqkv, group, 3, 1)?;
        }
        let relative = tables.map(|[height, width]| (height, width));
        Ok(AttentionGradients { qkv: self.as_layers_keep(dqkv)?, relative })
    }
}

impl Cuda {
    /// Whether the fused kernels do this attention, forward and backward.
    fn fuses_attention(&self, relative: Option<&RelativeViews<'_, Self>>, g: Geometry) -> bool {
        self.mixed() && relative.map_or_else(|| fused::fits(g), |tables| relative::fits(tables, g))
    }

    /// Activations as layers keep them: rounded under mixed precision.
    fn as_layers_keep(&self, values: Buf) -> Result<Buf> {
        match self.mixed() {
            true => Ok(values.into_bf16(self.context())?.into()),
            false => Ok(values),
        }
    }
}

impl Call<'_, '_> {
    /// Adds what comes through the terms of one axis to the gradients at q and at the axis's table.
    fn relative_gradients(
        &self,
        (table, stride, places): (View<'_>, u32, u32),
        dlogits: &Buf,
        q: &Buf,
        (dq, dtable): (&mut Buf, &mut Buf),
        group: Group,
    ) -> Result<()> {
        let (context, queries) = (self.device.context(), group.sequences * self.geometry.tokens);
        let count = queries * places as usize;
        let mut dterms = self.device.empty(count)?;
        let grid = Grid::each(count);
        kernels::relative_term_gradient(
            context,
            grid,
            dlogits,
            &mut dterms,
            count as u64,
            self.tokens,
            stride,
            places,
        )?;
        let (len, tokens, dim) = (self.len(group), self.tokens, self.dim);
        let grid = Grid::each(len);
        kernels::relative_query_gradient(
            context, grid, &dterms, table, dq, len as u64, tokens, dim, stride, places,
        )?;
        let (grid, queries) = (Grid::blocks(table.len()), queries as u64);
        kernels::relative_table_gradient(
            context, grid, &dterms, q, dtable, queries, tokens, dim, stride, places,
        )
    }
}
