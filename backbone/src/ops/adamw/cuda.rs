//! The optimiser on the GPU: one launch over all parameters.

use super::{AdamWKernel, Coefficients, OP};
use crate::error::{Error, Result};
use crate::ops::cuda::listed::{Listed, Row};
use crate::ops::cuda::{Buffer, Cuda, View, kernels};

/// Parameters that wait for their launch.
#[derive(Debug, Default)]
pub struct Gathered {
    listed: Listed,
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
        let (mut row, listed, context) = (Row::default(), &mut gathered.listed, self.context());
        listed.writes_both(context, &mut row, parameter)?;
        listed.reads(context, &mut row, gradient)?;
        listed.writes(context, &mut row, first)?;
        listed.writes(context, &mut row, second)?;
        let own = u64::from(c.keep.to_bits()) << 32 | u64::from(c.step_size.to_bits());
        listed.push(row, count, Some(own));
        gathered.common = Some(*c);
        Ok(())
    }

    fn run_updates(&self, gathered: Gathered, watch: View<'_>) -> Result<()> {
        let (listed, Some(c)) = (gathered.listed, gathered.common) else { return Ok(()) };
        let (list, rows, grid) = listed.send(self)?;
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
        gathered.listed.writes(self.context(), &mut row, average)?;
        gathered.listed.reads(self.context(), &mut row, x)?;
        gathered.listed.push(row, x.len(), None);
        Ok(())
    }

    fn run_averages(&self, gathered: Gathered, weight: f32) -> Result<()> {
        if gathered.listed.is_empty() {
            return Ok(());
        }
        let (list, rows, grid) = gathered.listed.send(self)?;
        kernels::average_listed(self.context(), grid, &list, rows, weight)
    }
}
