//! PReLU on the CPU: chunks over threads, whose shares of the slope's gradient are added in order.

use super::{PreluGradients, PreluKernel};
use crate::cpu::{Cpu, GRAIN, buffer};
use crate::error::Result;
use rayon::prelude::*;

impl PreluKernel for Cpu {
    fn prelu_forward(&self, x: &[f32], slope: &[f32]) -> Result<Vec<f32>> {
        let slope = slope[0];
        Ok(buffer::map(
            x,
            #[inline(always)]
            |x| if x > 0.0 { x } else { slope * x },
        ))
    }

    fn prelu_backward(&self, x: &[f32], slope: &[f32], mut dy: Vec<f32>) -> Result<PreluGradients<Self>> {
        let slope = slope[0];
        let shares: Vec<f64> = dy
            .par_chunks_mut(GRAIN)
            .zip(x.par_chunks(GRAIN))
            .map(|(dy, x)| {
                let mut share = 0.0;
                for (dy, x) in dy.iter_mut().zip(x) {
                    if *x <= 0.0 {
                        share += f64::from(*dy) * f64::from(*x);
                        *dy *= slope;
                    }
                }
                share
            })
            .collect();
        Ok(PreluGradients { dx: dy, slope: vec![shares.iter().sum::<f64>() as f32] })
    }
}
