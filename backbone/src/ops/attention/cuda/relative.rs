//! Fused attention with decomposed relative positions: a query's terms for the rows and columns of the grid are more channels
//! of the products (attention_marks.h). They are made, and their gradients taken to queries and tables, by cuBLAS.

use super::OP;
use super::fused::blocks;
use crate::cuda::buffer::Bf16;
use crate::cuda::launch::Grid;
use crate::cuda::products::{Order, Product};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::{Error, Result};
use crate::ops::attention::{Attended, AttendedViews, AttentionGradients, Geometry, RelativeViews};

/// The compiled widths: channels of a head, and how many rows and columns of the grid together.
const WIDTHS: [(usize, usize); 6] = [(16, 32), (32, 32), (64, 32), (64, 64), (64, 128), (64, 144)];

/// Calls the kernel that was compiled for heads of `$dim` channels and so many marks.
macro_rules! of_widths {
    ($dim:expr, $marks:expr, [$($width:literal x $places:literal: $kernel:ident),+], $arguments:tt) => {
        match ($dim, $marks) {
            $(($width, $places) => kernels::$kernel $arguments,)+
            other => Err(Error::Device { op: OP, reason: format!("no fused kernel for heads and grids of {other:?}") }),
        }
    };
}

/// The marks of the smallest kernel for such heads and grids.
fn marks(relative: &RelativeViews<'_, Cuda>, g: Geometry) -> Option<usize> {
    let places = relative.grid.height + relative.grid.width;
    WIDTHS.iter().find(|(dim, marks)| *dim == g.head_dim && *marks >= places).map(|(_, marks)| *marks)
}

/// Whether there is a kernel for such heads and grids.
pub(super) fn fits(relative: &RelativeViews<'_, Cuda>, g: Geometry) -> bool {
    marks(relative, g).is_some()
}

/// A call's sizes, and its tables in bfloat16 as one.
struct Call<'d> {
    device: &'d Cuda,
    g: Geometry,
    marks: usize,
    offsets: usize,
    grid: [usize; 2],
    tables: Bf16,
}

impl<'d> Call<'d> {
    fn new(device: &'d Cuda, relative: &RelativeViews<'_, Cuda>, g: Geometry) -> Result<Self> {
        let marks = marks(relative, g).ok_or_else(|| Error::Device {
            op: OP,
            reason: format!(
                "no fused kernel for heads of {} channels and a grid {:?}",
                g.head_dim, relative.grid
            ),
        })?;
        let grid = [relative.grid.height, relative.grid.width];
        let offsets = (2 * (grid[0] + grid[1]) - 2).next_multiple_of(8);
        let mut tables = device.empty_bf16(offsets * g.head_dim)?;
        let (context, [first, second]) = (device.context(), [relative.height.len(), relative.width.len()]);
        let (n, first, second) = (size(OP, offsets * g.head_dim)?, size(OP, first)?, size(OP, second)?);
        let blocks = Grid::each(offsets * g.head_dim);
        kernels::terms_tables(
            context,
            blocks,
            relative.height,
            relative.width,
            &mut tables,
            n,
            first,
            second,
        )?;
        Ok(Self { device, g, marks, offsets, grid, tables })
    }

    /// Rows of all images.
    fn rows(&self) -> usize {
        self.g.batch * self.g.tokens
    }

    /// images, heads, tokens, rows and columns of the grid, offsets, marks: as the kernels take them.
    fn sizes(&self) -> Result<[u32; 7]> {
        let Geometry { batch, tokens, heads, .. } = self.g;
        let sizes = [batch, heads, tokens, self.grid[0], self.grid[1], self.offsets, self.marks];
        let mut all = [0; 7];
        for (to, from) in all.iter_mut().zip(sizes) {
            *to = size(OP, from)?;
        }
        Ok(all)
    }

    /// A product of each head: of a matrix by offset (heads, B, N, L) and of queries in qkv.
    fn product(&self, size: [usize; 3], orders: [Order; 2], rows: [usize; 3], steps: [usize; 3]) -> Product {
        Product { batch: self.g.heads, rows, steps, ..Product::new(size, orders) }
    }

    /// The terms (B, heads, N, marks), over the logits' scale.
    fn terms(&self, qkv: &Bf16) -> Result<Bf16> {
        let (device, dim, offsets) = (self.device, self.g.head_dim, self.offsets);
        let mut by_offset: Buffer = device.empty_bf16(self.g.heads * self.rows() * offsets)?.into();
        let product = self.product(
            [self.rows(), offsets, dim],
            [Order::Rows, Order::Transposed],
            [3 * self.g.channels(), dim, offsets],
            [dim, 0, self.rows() * offsets],
        );
        device.context().multiply(&product, qkv, &self.tables, &mut by_offset)?;
        let count = self.g.heads * self.rows() * self.marks;
        let mut terms = device.empty_bf16(count)?;
        let [images, heads, tokens, rows, columns, offsets, marks] = self.sizes()?;
        let (context, blocks, n, factor) =
            (device.context(), Grid::each(count), count as u64, 1.0 / self.g.scale());
        kernels::terms_gather(
            context, blocks, &by_offset, &mut terms, n, images, heads, tokens, rows, columns, offsets, marks,
            factor,
        )?;
        Ok(terms)
    }

    /// Adds what comes through the terms to the gradients at the queries, and gives those at the tables.
    fn gradients(&self, dterms: &Bf16, qkv: &Bf16, dqkv: &mut Bf16) -> Result<(Buffer, Buffer)> {
        let (device, dim, heads) = (self.device, self.g.head_dim, self.g.heads);
        let count = heads * self.rows() * self.offsets;
        let mut by_offset = device.empty_bf16(count)?;
        let [images, head_count, tokens, rows, columns, offsets, marks] = self.sizes()?;
        let (context, blocks, n) = (device.context(), Grid::each(count), count as u64);
        kernels::terms_spread(
            context,
            blocks,
            dterms,
            &mut by_offset,
            n,
            images,
            head_count,
            tokens,
            rows,
            columns,
            offsets,
            marks,
        )?;
        let (width, step) = (3 * self.g.channels(), self.rows() * self.offsets);
        let to_queries = self.product(
            [self.rows(), dim, self.offsets],
            [Order::Rows; 2],
            [self.offsets, dim, width],
            [step, 0, dim],
        );
        let to_queries = Product { factors: [1.0, 1.0], ..to_queries };
        context.multiply(&to_queries, &by_offset, &self.tables, dqkv)?;
        let mut by_head = device.empty(heads * self.offsets * dim)?;
        let to_tables = self.product(
            [self.offsets, dim, self.rows()],
            [Order::Transposed, Order::Rows],
            [self.offsets, width, dim],
            [step, dim, self.offsets * dim],
        );
        context.multiply(&to_tables, &by_offset, qkv, &mut by_head)?;
        let [first, second] = self.grid.map(|places| (2 * places - 1) * dim);
        let [mut height, mut columns] = [device.empty(first)?, device.empty(second)?];
        let (stride, blocks) = (size(OP, self.offsets * dim)?, Grid::each(first + second));
        let (first, second) = (size(OP, first)?, size(OP, second)?);
        let (to, and) = (&mut height, &mut columns);
        kernels::terms_totals(context, blocks, &by_head, to, and, head_count, stride, first, second)?;
        Ok((height, columns))
    }
}

pub(super) fn forward(
    device: &Cuda,
    qkv: View<'_>,
    relative: &RelativeViews<'_, Cuda>,
    g: Geometry,
) -> Result<Attended<Cuda>> {
    let (call, context) = (Call::new(device, relative, g)?, device.context());
    let qkv = &*qkv.bf16(context)?;
    let terms = call.terms(qkv)?;
    let mut y = device.empty_bf16(call.rows() * g.channels())?;
    let mut log_sums = device.empty(g.heads * call.rows())?;
    let [_, heads, tokens, rows, columns, ..] = call.sizes()?;
    of_widths!(
        g.head_dim,
        call.marks,
        [
            16 x 32: attention_16_relative_forward_32,
            32 x 32: attention_32_relative_forward_32,
            64 x 32: attention_64_relative_forward_32,
            64 x 64: attention_64_relative_forward_64,
            64 x 128: attention_64_relative_forward_128,
            64 x 144: attention_64_relative_forward_144
        ],
        (
            context,
            blocks(g),
            qkv,
            &terms,
            &mut y,
            &mut log_sums,
            tokens,
            heads,
            rows,
            columns,
            g.scale()
        )
    )?;
    Ok(Attended { y: y.into(), log_sums })
}

/// The gradients at qkv and at the tables.
pub(super) fn backward(
    device: &Cuda,
    qkv: View<'_>,
    relative: &RelativeViews<'_, Cuda>,
    attended: &AttendedViews<'_, Cuda>,
    dy: View<'_>,
    g: Geometry,
) -> Result<AttentionGradients<Cuda>> {
    let (call, context) = (Call::new(device, relative, g)?, device.context());
    let (qkv, dy) = (&*qkv.bf16(context)?, &*dy.bf16(context)?);
    let terms = call.terms(qkv)?;
    let mut dqkv = device.empty_bf16(3 * call.rows() * g.channels())?;
    let mut dterms = device.empty_bf16(g.heads * call.rows() * call.marks)?;
    let mut along = device.empty(g.heads * call.rows())?;
    let [_, heads, tokens, rows, columns, ..] = call.sizes()?;
    of_widths!(
        g.head_dim,
        call.marks,
        [
            16 x 32: attention_16_relative_queries_32,
            32 x 32: attention_32_relative_queries_32,
            64 x 32: attention_64_relative_queries_32,
            64 x 64: attention_64_relative_queries_64,
            64 x 128: attention_64_relative_queries_128,
            64 x 144: attention_64_relative_queries_144
        ],
        (
            context,
            blocks(g),
            qkv,
            &terms,
            attended.y,
            dy,
            attended.log_sums,
            &mut dqkv,
            &mut dterms,
            &mut along,
            tokens,
            heads,
            rows,
            columns,
            g.scale()
        )
    )?;
    of_widths!(
        g.head_dim,
        call.marks,
        [
            16 x 32: attention_16_relative_keys_32,
            32 x 32: attention_32_relative_keys_32,
            64 x 32: attention_64_relative_keys_32,
            64 x 64: attention_64_relative_keys_64,
            64 x 128: attention_64_relative_keys_128,
            64 x 144: attention_64_relative_keys_144
        ],
        (
            context,
            blocks(g),
            qkv,
            &terms,
            dy,
            attended.log_sums,
            &along,
            &mut dqkv,
            tokens,
            heads,
            rows,
            columns,
            g.scale()
        )
    )?;
    let tables = call.gradients(&dterms, qkv, &mut dqkv)?;
    Ok(AttentionGradients { qkv: dqkv.into(), relative: Some(tables) })
}
