//! The parts of a head as the factors that attention's products take.

use super::Pass;
use crate::cpu::gemm::{PANEL, Panels, Tile, right_of_rows};

/// Which of a head's parts.
#[derive(Clone, Copy)]
pub enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// Where a head's tiles lie among those of all channels.
#[derive(Clone, Copy)]
pub struct Head {
    /// The group's first panel.
    pub first: usize,
    /// Panels of the group.
    pub panels: usize,
    /// Tokens of the group.
    pub tokens: usize,
    /// Steps of a head.
    pub steps: usize,
    /// Steps of all heads.
    pub all: usize,
    /// The head's number.
    pub head: usize,
}

impl Head {
    pub fn new(pass: &Pass<'_>, group: usize, head: usize) -> Self {
        let panels = pass.rows.period();
        Self {
            first: group * panels,
            panels,
            tokens: pass.rows.tokens,
            steps: pass.head_dim() / PANEL,
            all: pass.channels() / PANEL,
            head,
        }
    }

    /// Rows of one of the group's panels.
    pub fn count(&self, panel: usize) -> usize {
        PANEL.min(self.tokens - panel * PANEL)
    }

    /// The place of a part's step among the tiles of queries, keys and values.
    pub fn place(&self, part: Part, panel: usize, step: usize) -> usize {
        2 * ((self.first + panel) * 3 * self.all + part as usize * self.all + self.head * self.steps + step)
    }

    /// The place of a step among the tiles of what attention made.
    pub fn attended_place(&self, panel: usize, step: usize) -> usize {
        2 * ((self.first + panel) * self.all + self.head * self.steps + step)
    }

    /// The number of tiles of one part of the group's tokens.
    pub fn len(&self) -> usize {
        2 * self.panels * self.steps
    }

    /// Of rows, which `place` finds by panel and step: the right-hand factor whose columns they are.
    pub fn columns_of(&self, tiles: &[Tile], place: impl Fn(usize, usize) -> usize, factor: &mut [Tile]) {
        for panel in 0..self.panels {
            let start = place(panel, 0);
            let factor = &mut factor[2 * panel * self.steps..][..2 * self.steps];
            factor.copy_from_slice(&tiles[start..start + 2 * self.steps]);
            factor.iter_mut().for_each(Tile::transpose);
        }
    }

    /// Of rows, which `place` finds by panel and step: the right-hand factor whose inner length they are.
    pub fn inner_of(&self, tiles: &[Tile], place: impl Fn(usize, usize) -> usize, factor: &mut [Tile]) {
        for step in 0..self.steps {
            for panel in 0..self.panels {
                let start = place(panel, step);
                let to = 2 * (step * self.panels + panel);
                right_of_rows(&tiles[start..start + 2], &mut factor[to..to + 2]);
            }
        }
    }

    /// A factor whose columns are tokens.
    pub fn by_token<'a>(&self, tiles: &'a [Tile]) -> Panels<'a> {
        Panels { tiles, count: self.tokens, steps: self.steps, period: self.panels, first: 0 }
    }

    /// A factor whose columns are channels, of `inner` panels of tokens.
    pub fn by_channel<'a>(&self, tiles: &'a [Tile], inner: usize) -> Panels<'a> {
        Panels { tiles, count: self.steps * PANEL, steps: inner, period: self.steps, first: 0 }
    }
}

/// The steps of one panel, of which so many rows count.
pub fn one(tiles: &[Tile], count: usize, steps: usize) -> Panels<'_> {
    Panels { tiles, count, steps, period: 1, first: 0 }
}
