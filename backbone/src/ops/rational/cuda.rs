//! The group rational on the GPU: one read and one write of each element, coefficient gradients by block and then
//! over blocks in order (rational.cu).

use super::{Denominator, Geometry, RationalGradients, RationalKernel};
use crate::cuda::columns::TotalParts;
use crate::cuda::launch::{Grid, THREADS};
use crate::cuda::{Buffer, Cuda, View, kernels, size};
use crate::error::Result;

const OP: &str = "group rational";

/// Sizes of a call as the kernels take them: kat::Geometry of rational_place.h, field for field.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct LaunchSizes {
    rows: u32,
    channels: u32,
    group_size: u32,
    numerator_groups: u32,
    numerator_len: u32,
    denominator_groups: u32,
    denominator_len: u32,
    rows_per_block: u32,
}

impl LaunchSizes {
    /// Of rows without a rational, that is of one group.
    pub(crate) fn plain(rows: u32, channels: u32) -> Self {
        Self {
            rows,
            channels,
            group_size: channels,
            numerator_groups: 1,
            numerator_len: 0,
            denominator_groups: 1,
            denominator_len: 0,
            rows_per_block: 1,
        }
    }

    /// For `op`: those of a geometry over so many rows.
    ///
    /// # Errors
    /// A size that kernels don't count to.
    pub(crate) fn new(op: &'static str, rows: usize, g: &Geometry) -> Result<Self> {
        Ok(Self {
            rows: size(op, rows)?,
            channels: size(op, g.channels)?,
            group_size: size(op, g.channels / g.groups)?,
            numerator_groups: size(op, g.numerator_groups)?,
            numerator_len: size(op, g.numerator_len)?,
            denominator_groups: size(op, g.denominator_groups)?,
            denominator_len: size(op, g.denominator_len)?,
            rows_per_block: 1,
        })
    }

    /// Rows of x.
    pub(crate) fn rows(&self) -> usize {
        self.rows as usize
    }

    /// Channels of a row.
    pub(crate) fn channels(&self) -> usize {
        self.channels as usize
    }

    /// Groups of the channels.
    pub(crate) fn groups(&self) -> usize {
        self.channels() / self.group_size.max(1) as usize
    }

    /// Runs of rows that a block each works on.
    pub(crate) fn runs(&self) -> usize {
        self.rows().div_ceil(self.rows_per_block.max(1) as usize)
    }

    /// Values of x.
    pub(crate) fn values(&self) -> usize {
        self.rows as usize * self.channels as usize
    }

    /// Coefficients of the numerator.
    pub(crate) fn numerator(&self) -> usize {
        self.numerator_groups as usize * self.numerator_len as usize
    }

    /// Coefficients of the denominator.
    pub(crate) fn denominator(&self) -> usize {
        self.denominator_groups as usize * self.denominator_len as usize
    }
}

const _: () = assert!(size_of::<LaunchSizes>() == kernels::mirrored::RATIONAL_SIZES_BYTES);
const _: () = assert!(super::MAX_COEFFICIENTS == kernels::mirrored::MAX_COEFFICIENTS);

/// The compiled forms of the kernels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The published orders, 16 bytes a load.
    Packed,
    /// The published orders, one value a load.
    Single,
    /// Any orders, padded with zeros.
    Any,
}

/// Launches the kernel of a form: those of the kernels' denominator, then those of the paper's.
macro_rules! launch {
    ($call:expr, [$($kernel:ident),*; $($paper:ident),*], $arguments:tt) => {
        match $call.1 {
            Denominator::Kernel => launch!($call.0, [$($kernel),*], $arguments),
            Denominator::Paper => launch!($call.0, [$($paper),*], $arguments),
        }
    };
    ($form:expr, [$packed:ident, $single:ident, $any:ident], ($($argument:expr),*)) => {
        match $form {
            Form::Packed => kernels::$packed($($argument),*),
            Form::Single => kernels::$single($($argument),*),
            Form::Any => kernels::$any($($argument),*),
        }
    };
}

/// How a call is launched.
struct Plan {
    form: Form,
    sizes: LaunchSizes,
    grid: Grid,
    /// Coefficients that a block of the backward kernel writes: of the numerator, of the denominator.
    widths: [usize; 2],
}

impl Plan {
    /// `packed`: values in 16 bytes.
    fn new(len: usize, packed: usize, g: &Geometry) -> Result<Self> {
        let (rows, group_size) = (len / g.channels.max(1), g.channels / g.groups);
        let published = g.numerator_len == 6 && g.denominator_len == 4;
        let (form, pack, widths) = match (published, group_size % packed) {
            (true, 0) => (Form::Packed, packed, [6, 4]),
            (true, _) => (Form::Single, 1, [6, 4]),
            (false, _) => (Form::Any, 1, [super::MAX_COEFFICIENTS; 2]),
        };
        let packs = group_size / pack;
        let slices = packs.div_ceil(THREADS);
        // A thread walks over some 8 rows: enough that the sums over the block at its end are a small part, and so many
        // blocks that the last ones to finish are a small part too.
        let lines = (THREADS / packs.clamp(1, THREADS)).max(1);
        let rows_per_block = (8 * lines).max(1);
        let rows_per_block = size(OP, rows_per_block)?;
        let sizes = LaunchSizes { rows_per_block, ..LaunchSizes::new(OP, rows, g)? };
        let grid = Grid([sizes.runs() * g.groups, 1, slices]);
        Ok(Self { form, sizes, grid, widths })
    }
}

impl RationalKernel for Cuda {
    fn rational_forward(
        &self,
        x: View<'_>,
        numerator: View<'_>,
        denominator: View<'_>,
        geometry: &Geometry,
    ) -> Result<Buffer> {
        let packed = if x.is_bf16() { 8 } else { 4 };
        let Plan { form, sizes, grid, .. } = Plan::new(x.len(), packed, geometry)?;
        let (context, a, b, form) = (self.context(), numerator, denominator, (form, geometry.form));
        if x.is_bf16() {
            let mut y = self.empty_bf16(x.len())?;
            launch!(
                form,
                [
                    rational_forward_bf16,
                    rational_forward_bf16_single,
                    rational_forward_bf16_any;
                    rational_forward_paper_bf16,
                    rational_forward_paper_bf16_single,
                    rational_forward_paper_bf16_any
                ],
                (context, grid, x, a, b, &mut y, sizes)
            )?;
            return Ok(y.into());
        }
        let mut y = self.empty(x.len())?;
        launch!(
            form,
            [
                rational_forward_f32,
                rational_forward_f32_single,
                rational_forward_f32_any;
                rational_forward_paper_f32,
                rational_forward_paper_f32_single,
                rational_forward_paper_f32_any
            ],
            (context, grid, x, a, b, &mut y, sizes)
        )?;
        Ok(y)
    }

    fn rational_backward(
        &self,
        x: View<'_>,
        numerator: View<'_>,
        denominator: View<'_>,
        dy: Buffer,
        geometry: &Geometry,
    ) -> Result<RationalGradients<Self>> {
        let packed = if x.is_bf16() { 8 } else { 4 };
        let Plan { form, sizes, grid, widths } = Plan::new(x.len(), packed, geometry)?;
        let width = widths[0] + widths[1];
        let blocks = grid.0.iter().product::<usize>();
        let [mut partial, mut columns] =
            [self.empty(blocks * width)?, self.empty(sizes.runs() * geometry.channels)?];
        let (context, a, b, sums, runs) =
            (self.context(), numerator, denominator, &mut partial, &mut columns);
        let form = (form, geometry.form);
        let dx: Buffer = if x.is_bf16() {
            let (dy, mut dx) = (dy.bf16(context)?, self.empty_bf16(x.len())?);
            let (dy, out) = (&*dy, &mut dx);
            launch!(
                form,
                [
                    rational_backward_bf16,
                    rational_backward_bf16_single,
                    rational_backward_bf16_any;
                    rational_backward_paper_bf16,
                    rational_backward_paper_bf16_single,
                    rational_backward_paper_bf16_any
                ],
                (context, grid, x, a, b, dy, out, sums, runs, sizes)
            )?;
            dx.into()
        } else {
            let (dy, mut dx) = (&dy, self.empty(x.len())?);
            let out = &mut dx;
            launch!(
                form,
                [
                    rational_backward_f32,
                    rational_backward_f32_single,
                    rational_backward_f32_any;
                    rational_backward_paper_f32,
                    rational_backward_paper_f32_single,
                    rational_backward_paper_f32_any
                ],
                (context, grid, x, a, b, dy, out, sums, runs, sizes)
            )?;
            dx
        };
        let sums = RationalSums {
            columns: (&columns, sizes.runs(), [geometry.channels, 0, 0]),
            coefficients: (&partial, blocks / geometry.groups, widths),
        };
        let ([columns, ..], [numerator, denominator]) =
            self.rational_totals(&sums, denominator, geometry, sizes)?;
        Ok(RationalGradients { numerator, denominator, dx: dx.with_column_sums(columns) })
    }
}

/// What the blocks of a backward kernel summed.
pub(crate) struct RationalSums<'a> {
    /// Sums of columns, their runs, and the widths of the three parts that they fall into.
    pub columns: (&'a Buffer, usize, [usize; 3]),
    /// Sums at the coefficients (runs, groups, both widths), their runs, and the widths of numerator and denominator.
    pub coefficients: (&'a Buffer, usize, [usize; 2]),
}

impl Cuda {
    /// The totals of columns, and the gradients at numerator and denominator.
    pub(crate) fn rational_totals(
        &self,
        sums: &RationalSums<'_>,
        denominator: View<'_>,
        geometry: &Geometry,
        sizes: LaunchSizes,
    ) -> Result<([Buffer; 3], [Buffer; 2])> {
        let (columns, column_runs, parts) = sums.columns;
        let (partial, runs, widths) = sums.coefficients;
        let TotalParts { parts: [mut first, mut second, mut third], blocks, width, splits } =
            self.total_parts(parts)?;
        let (upper, lower) = (sizes.numerator(), sizes.denominator());
        let [mut da, mut db] = [self.empty(upper)?, self.empty(lower)?];
        let [column_runs, runs, groups, both, first_b] =
            [column_runs, runs, geometry.groups, widths[0] + widths[1], widths[0]].map(|n| size(OP, n));
        kernels::rational_totals(
            self.context(),
            Grid::blocks(blocks + upper + lower),
            columns,
            &mut first,
            &mut second,
            &mut third,
            column_runs?,
            width,
            splits[0],
            splits[1],
            partial,
            denominator,
            &mut da,
            &mut db,
            runs?,
            groups?,
            both?,
            first_b?,
            u32::from(geometry.form == Denominator::Kernel),
            sizes,
        )?;
        Ok(([first, second, third], [da, db]))
    }
}
