//! Which rows of the residual stream a branch's panels hold.

use super::normed::NONE;
use crate::cpu::Cpu;
use crate::cpu::gemm::{PANEL, Panels, Tile};
use crate::ops::add::path_factors;
use crate::ops::window_partition::Geometry;
use crate::tensor::{Graph, Tensor};

/// Rows in groups (images, or windows of them), each of which begins a panel.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Groups.
    pub groups: usize,
    /// Rows of each.
    pub tokens: usize,
    /// The rows in the order of the groups, where that is another than their own.
    order: Option<Vec<usize>>,
}

impl Rows {
    /// Groups of neighbors.
    pub fn new(groups: usize, tokens: usize) -> Self {
        Self { groups, tokens, order: None }
    }

    /// Windows of token grids; what lies outside the grid is no row.
    pub fn windows(g: Geometry) -> Self {
        let (down, across) = g.windows();
        let tokens = g.window * g.window;
        let groups = g.batch * down * across;
        let order = (0..groups * tokens).map(|i| {
            let (group, token) = (i / tokens, i % tokens);
            let (image, window) = (group / (down * across), group % (down * across));
            let row = window / across * g.window + token / g.window;
            let column = window % across * g.window + token % g.window;
            if row < g.rows && column < g.cols { (image * g.rows + row) * g.cols + column } else { NONE }
        });
        Self { groups, tokens, order: Some(order.collect()) }
    }

    /// Panels of a group.
    pub fn period(&self) -> usize {
        self.tokens.div_ceil(PANEL)
    }

    /// Panels of all groups.
    pub fn panels(&self) -> usize {
        self.groups * self.period()
    }

    /// Tiles of the panels from `first` on, as a left-hand factor.
    pub fn panels_from<'a>(&self, first: usize, tiles: &'a [Tile], steps: usize) -> Panels<'a> {
        Panels { tiles, count: self.tokens, steps, period: self.period(), first }
    }

    /// The number of a panel's rows that a group has.
    pub fn count(&self, panel: usize) -> usize {
        PANEL.min(self.tokens - panel % self.period() * PANEL)
    }

    /// A panel's rows.
    pub fn of(&self, panel: usize) -> [usize; PANEL] {
        let first = panel / self.period() * self.tokens + panel % self.period() * PANEL;
        let count = self.count(panel);
        let mut rows = [NONE; PANEL];
        match &self.order {
            Some(order) => rows[..count].copy_from_slice(&order[first..first + count]),
            None => rows[..count].iter_mut().enumerate().for_each(|(r, row)| *row = first + r),
        }
        rows
    }
}

/// Factors of samples of so many rows.
#[derive(Clone, Copy)]
pub struct Factors<'a> {
    /// 1 where there are none.
    pub factors: Option<&'a [f32]>,
    /// Of a sample.
    pub rows: usize,
}

impl Factors<'_> {
    /// Of a row's sample.
    pub fn of(&self, row: usize) -> f32 {
        self.factors.map_or(1.0, |factors| factors[row / self.rows])
    }
}

/// The factors of a branch's samples.
#[derive(Clone)]
pub struct SampleFactors {
    factors: Option<Vec<f32>>,
    rows: usize,
}

impl SampleFactors {
    /// Drawn while training, of samples that are dropped at `rate`.
    pub fn of(graph: &mut Graph<Cpu>, x: &Tensor, rate: f32) -> Self {
        let samples = x.shape().axes()[0];
        let factors = (graph.is_training() && rate != 0.0).then(|| path_factors(graph, samples, rate));
        Self { factors, rows: x.shape().rows() / samples }
    }

    /// As passes read them.
    pub fn view(&self) -> Factors<'_> {
        Factors { factors: self.factors.as_deref(), rows: self.rows }
    }
}
