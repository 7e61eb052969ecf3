//! Gradients of weights as products over rows: dyᵀ x.

use crate::cpu::build;
use crate::cpu::gemm::{self, Dst, Hand, Mat, PANEL, Packed, Threads, Tiles};
use crate::tensor::{Precision, Tensor};

/// The weight as a factor of dy W, whose inner length are its rows.
pub fn backward_factor(weight: &Tensor, [outputs, inputs]: [usize; 2]) -> Packed {
    Packed::new(Mat::new(weight.view(), outputs, inputs), Hand::Right, Precision::Bf16, true)
}

/// dyᵀ x, whose inner length are the rows.
pub struct WeightGradient {
    dy: Packed,
    x: Packed,
}

impl WeightGradient {
    /// From dy, turned, and x, whose steps are panels of rows, of so many channels.
    pub fn new((dy, outputs): (Tiles, usize), (x, inputs): (Tiles, usize), panels: usize) -> Self {
        let rows = panels * PANEL;
        Self {
            dy: Packed::of_tiles(Hand::Left, outputs, rows, dy),
            x: Packed::of_tiles(Hand::Right, inputs, rows, x),
        }
    }

    /// Added to `earlier`.
    pub fn onto(&self, earlier: Option<Vec<f32>>) -> Vec<f32> {
        let engine = Threads::All.at(Precision::Bf16);
        match earlier {
            Some(mut sum) => {
                gemm::gemm(&mut sum, Dst::Accumulate, &self.dy, &self.x, engine);
                sum
            }
            None => build(self.dy.size().0 * self.x.size().0, |dst| {
                gemm::write(dst, &self.dy, &self.x, None, engine);
            }),
        }
    }
}
