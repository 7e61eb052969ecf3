//! Gradients of weights as products over rows: dyᵀ x.

use crate::cpu::gemm::{self, Hand, Mat, PANEL, Packed, Threads, Tiles};
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
        gemm::onto(earlier, &self.dy, &self.x, Threads::All.at(Precision::Bf16))
    }
}
