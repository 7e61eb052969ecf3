//! The optimizer on the GPU: one launch over all parameters.

use super::{AdamWKernel, Coefficients, OP};
use crate::cuda::pointer_table::{PointerTable, Row};
use crate::cuda::{Buffer, Cuda, View, kernels};
use crate::error::{Error, Result};

/// Parameters that wait for their launch.
#[derive(Debug, Default)]
pub struct Gathered {
    table: PointerTable,
    /// Those of the last update; what differs between parameters is in the list.
    common: Option<Coefficients>,
}

impl AdamWKernel for Cuda {
    type Gathered = Gathered;

    fn gather_update(
        &self,
        gathered: &mut Gathered,
        parameter: &mut Buffer,
        gradient: View<'_>,
        [first, second]: [&mut Buffer; 2],
        c: &Coefficients,
        _: View<'_>,
    ) -> Result<()> {
        let count = parameter.len();
        if gradient.len() != count {
            let found = gradient.len();
            return Err(Error::config(OP, format!("gradient of {found} values for {count} parameters")));
        }
        let (mut row, table, context) = (Row::default(), &mut gathered.table, self.context());
        table.writes_both(context, &mut row, parameter)?;
        table.reads(context, &mut row, gradient)?;
        table.writes(context, &mut row, first)?;
        table.writes(context, &mut row, second)?;
        let own = u64::from(c.keep.to_bits()) << 32 | u64::from(c.step_size.to_bits());
        table.push(row, count, Some(own));
        gathered.common = Some(*c);
        Ok(())
    }

    fn run_updates(&self, gathered: Gathered, watch: View<'_>) -> Result<()> {
        let (table, Some(c)) = (gathered.table, gathered.common) else { return Ok(()) };
        let (list, rows, grid) = table.send(self)?;
        let context = self.context();
        kernels::adamw_listed(
            context,
            grid,
            &list,
            rows,
            watch,
            c.beta1,
            c.rest1,
            c.beta2,
            c.rest2,
            c.eps,
            c.root_scale,
        )
    }

    fn gather_average(
        &self,
        gathered: &mut Gathered,
        average: &mut Buffer,
        x: View<'_>,
        _: f32,
    ) -> Result<()> {
        let mut row = Row::default();
        gathered.table.writes(self.context(), &mut row, average)?;
        gathered.table.reads(self.context(), &mut row, x)?;
        gathered.table.push(row, x.len(), None);
        Ok(())
    }

    fn run_averages(&self, gathered: Gathered, weight: f32) -> Result<()> {
        if gathered.table.is_empty() {
            return Ok(());
        }
        let (list, rows, grid) = gathered.table.send(self)?;
        kernels::average_listed(self.context(), grid, &list, rows, weight)
    }
}
