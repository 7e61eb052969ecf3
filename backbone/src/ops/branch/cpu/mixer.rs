//! x + f · fc2(act2(fc1(act1(norm(x))))).
//!
//! Forward a task takes some panels of rows through all of it. Backward a task makes the gradients at its rows, and the factors
//! of the weights' gradients, whose inner length are the rows, as it meets them: of the rows' values it reads x and the hidden
//! tokens before act2, and makes the others anew.

use super::blocks::{add_bias, next_of, read_slopes, turn, write_sum};
use super::normed::{Normed, Statistics};
use super::rows::{Factors, Rows, SampleFactors};
use super::weights::{WeightGradient, backward_factor};
use super::{Layer, MixerBranch, Stream, sum_of, sums};
use super::{TASK, fits, packed, steps_of, tasks, whole};
use crate::cpu::Cpu;
use crate::cpu::gemm::{Block, PANEL, Packed, Tiles, sweep, with_tiles};
use crate::cpu::scatter::{Gather, Scatter};
use crate::error::Result;
use crate::ops::activation::Function;
use crate::ops::branch::Middle;
use crate::ops::rational::{CoefficientSums, Geometry, MAX_COEFFICIENTS, OnBlocks};
use crate::ops::residual_norm::Rational;
use crate::tensor::{Graph, Tensor};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Panels of rows in a backward task: it writes twice what it reads.
const BACKWARD_TASK: usize = 4;

/// Between the layers.
enum Act2 {
    Rational(OnBlocks),
    Function(Function),
}

impl Act2 {
    fn apply(&self, column: usize, block: &mut Block) {
        match self {
            Self::Rational(rational) => rational.apply(column, block),
            Self::Function(function) => function.apply(block),
        }
    }

    fn gradient(&self, column: usize, x: &mut Block, dy: &mut Block, sums: &mut [CoefficientSums]) {
        match self {
            Self::Rational(rational) => rational.gradient(column, x, dy, sums),
            Self::Function(function) => function.gradient(x, dy),
        }
    }
}

/// Parameters as tensors, for the backward pass.
#[derive(Clone)]
struct Parameters {
    norm: [Tensor; 2],
    act1: Option<([Tensor; 2], Geometry)>,
    fc1: (Tensor, Option<Tensor>),
    act2: Result2,
    fc2: (Tensor, Option<Tensor>),
}

/// act2's parameters, or which function it is.
type Result2 = std::result::Result<([Tensor; 2], Geometry), Function>;

impl Parameters {
    fn of(branch: &MixerBranch<'_, Cpu>, x: &Tensor, hidden: usize) -> Result<Option<Self>> {
        let channels = x.shape().last();
        let rational = |rational: &Rational<'_, Cpu>, channels: usize| -> Result<_> {
            let Rational { numerator, denominator, groups, form } = *rational;
            let like = Tensor::zeros(x.device(), [0, channels])?;
            let geometry = Geometry::of(&like, numerator, denominator, groups, form)?;
            Ok(([numerator.clone(), denominator.clone()], geometry))
        };
        let act1 = branch.act1.as_ref().map(|act1| rational(act1, channels)).transpose()?;
        let act2 = match &branch.act2 {
            Middle::Rational(act2) => Ok(rational(act2, hidden)?),
            Middle::Function(function) => Err(*function),
        };
        let layer = |layer: &Layer<'_, Cpu>| (layer.weight.clone(), layer.bias.cloned());
        let rationals = act1.iter().chain(act2.as_ref().ok());
        if !rationals.map(|(_, geometry)| geometry).all(OnBlocks::fit) {
            return Ok(None);
        }
        Ok(Some(Self {
            norm: [branch.norm.weight.clone(), branch.norm.bias.clone()],
            act1,
            fc1: layer(&branch.fc1),
            act2,
            fc2: layer(&branch.fc2),
        }))
    }

    fn all(&self) -> impl Iterator<Item = &Tensor> {
        let rationals = self.act1.iter().chain(self.act2.as_ref().ok()).flat_map(|(tensors, _)| tensors);
        let layers = [&self.fc1, &self.fc2];
        let layers = layers.into_iter().flat_map(|(weight, bias)| [weight].into_iter().chain(bias));
        self.norm.iter().chain(rationals).chain(layers)
    }

    fn act1(&self) -> Option<OnBlocks> {
        self.act1.as_ref().map(on_blocks)
    }

    fn act2(&self) -> Act2 {
        match &self.act2 {
            Ok(rational) => Act2::Rational(on_blocks(rational)),
            Err(function) => Act2::Function(*function),
        }
    }

    fn pass<'a>(&'a self, x: Gather<'a, f32>, eps: f32, factors: Factors<'a>) -> Pass<'a> {
        Pass {
            normed: Normed { x, weight: self.norm[0].view(), bias: self.norm[1].view(), eps },
            act1: self.act1(),
            act2: self.act2(),
            factors,
        }
    }
}

fn on_blocks(([numerator, denominator], geometry): &([Tensor; 2], Geometry)) -> OnBlocks {
    OnBlocks::new(numerator.view(), denominator.view(), *geometry)
}

/// What the backward pass reads again.
struct Kept {
    /// Of every panel of rows, the hidden tokens before act2.
    hidden: Tiles,
    /// Of every row.
    statistics: Vec<Statistics>,
}

/// The branch, if its sizes are whole steps.
pub fn branch(graph: &mut Graph<Cpu>, x: Tensor, branch: &MixerBranch<'_, Cpu>) -> Result<Stream<Cpu>> {
    let channels = x.shape().last();
    let [hidden, _] = branch.fc1.weight.axes("linear", "a weight (outputs, inputs)")?;
    let fit = fits(&branch.fc1, hidden, channels) && fits(&branch.fc2, channels, hidden);
    if !whole(channels) || !whole(hidden) || !fit || x.numel() == 0 {
        return Ok(Stream::Same(x));
    }
    let Some(parameters) = Parameters::of(branch, &x, hidden)? else { return Ok(Stream::Same(x)) };
    crate::ops::layer_norm::check(&x, branch.norm.weight, branch.norm.bias)?;
    let factors = SampleFactors::of(graph, &x, branch.drop_path);
    let inputs: Vec<&Tensor> = parameters.all().collect();
    let eps = branch.norm.eps;
    let weights = [packed(&branch.fc1)?, packed(&branch.fc2)?];
    let biases = [&branch.fc1, &branch.fc2].map(|layer| layer.bias.map(Tensor::view));
    let forward = |x: Gather<'_, f32>, y: &Scatter<'_, _>, keep| {
        parameters.pass(x, eps, factors.view()).forward(weights, biases, keep, y)
    };
    let y = sum_of(graph, x, &inputs, forward, |x, kept| {
        let (parameters, factors) = (parameters.clone(), factors.clone());
        Box::new(move |dy, grads| {
            let pass = parameters.pass(x.view().into(), eps, factors.view());
            let slopes = pass.backward(&parameters, kept, dy);
            for (layer, product) in [(&parameters.fc2, &slopes.fc2), (&parameters.fc1, &slopes.fc1)] {
                grads.update(&layer.0, |earlier| Ok(product.onto(earlier)))?;
            }
            for (bias, slope) in [(&parameters.fc1.1, slopes.bias1), (&parameters.fc2.1, slopes.bias2)] {
                if let Some(bias) = bias {
                    grads.add(bias, slope)?;
                }
            }
            for (rational, slopes) in
                [(parameters.act1.as_ref(), slopes.act1), (parameters.act2.as_ref().ok(), slopes.act2)]
            {
                for (tensor, slope) in rational.iter().flat_map(|r| &r.0).zip(slopes.into_iter().flatten()) {
                    grads.add(tensor, slope)?;
                }
            }
            for (tensor, slope) in parameters.norm.iter().zip(slopes.norm) {
                grads.add(tensor, slope)?;
            }
            grads.add(&x, slopes.x)
        })
    })?;
    Ok(Stream::Done(y))
}

/// What both passes read.
struct Pass<'a> {
    normed: Normed<'a>,
    act1: Option<OnBlocks>,
    act2: Act2,
    factors: Factors<'a>,
}

/// Gradients, those of weights as the products that they are.
struct Slopes {
    x: Vec<f32>,
    norm: [Vec<f32>; 2],
    act1: Option<[Vec<f32>; 2]>,
    act2: Option<[Vec<f32>; 2]>,
    fc1: WeightGradient,
    fc2: WeightGradient,
    bias1: Vec<f32>,
    bias2: Vec<f32>,
}

impl Pass<'_> {
    fn rows(&self) -> Rows {
        Rows::new(1, self.normed.x.len() / self.normed.channels())
    }

    fn forward(
        &self,
        [fc1, fc2]: [&Packed; 2],
        [bias1, bias2]: [Option<&[f32]>; 2],
        keep: bool,
        y: &Scatter<'_, MaybeUninit<f32>>,
    ) -> Kept {
        let (channels, (hidden, _)) = (self.normed.channels(), fc1.size());
        let (c_steps, h_steps) = (channels / PANEL, hidden / PANEL);
        let (rows, panels) = (self.rows(), self.rows().panels());
        let mut kept = Kept {
            hidden: Tiles::new(if keep { 2 * panels * h_steps } else { 0 }),
            statistics: vec![[0.0; 2]; if keep { panels * PANEL } else { 0 }],
        };
        let (kept_hidden, kept_statistics) =
            (Scatter::new(&mut kept.hidden), Scatter::new(&mut kept.statistics));
        tasks(panels, TASK).into_par_iter().for_each(|task| {
            let len = task.len();
            with_tiles(2 * len * (c_steps + h_steps), |tiles| {
                let (input, middle) = tiles.split_at_mut(2 * len * c_steps);
                for (panel, tiles) in task.clone().zip(input.chunks_exact_mut(2 * c_steps)) {
                    let statistics = self.normed.panel(&rows.of(panel), self.act1.as_ref(), tiles);
                    if keep {
                        // SAFETY: the panel is this task's.
                        let kept = unsafe { kept_statistics.part(panel * PANEL..(panel + 1) * PANEL) };
                        kept.copy_from_slice(&statistics);
                    }
                }
                let panels = |tiles, steps| rows.panels_from(task.start, tiles, steps);
                sweep(panels(input, c_steps), 0..len, fc1.panels(), 0..h_steps, |i, column, sums| {
                    add_bias(sums, bias1, column);
                    if keep {
                        let place = steps_of(task.start + i, h_steps).start + 2 * column;
                        // SAFETY: the panel is this task's.
                        sums.write_left(unsafe { kept_hidden.part(place..place + 2) });
                    }
                    self.act2.apply(column * PANEL, sums);
                    sums.write_left(&mut middle[steps_of(i, h_steps)][2 * column..2 * column + 2]);
                });
                sweep(panels(middle, h_steps), 0..len, fc2.panels(), 0..c_steps, |i, column, sums| {
                    add_bias(sums, bias2, column);
                    let (now, next) = (rows.of(task.start + i), next_of(&rows, &task, i, column));
                    let (place, next) = ((channels, column), (&next.0, next.1));
                    // SAFETY: the panel's rows are this task's.
                    unsafe { write_sum(y, self.normed.x, place, &now, self.factors, sums, next) };
                });
            });
        });
        kept
    }

    fn backward(&self, parameters: &Parameters, kept: Kept, dy: Vec<f32>) -> Slopes {
        let (channels, hidden) = (self.normed.channels(), parameters.fc1.0.shape().axes()[0]);
        let (c_steps, h_steps) = (channels / PANEL, hidden / PANEL);
        let (rows, panels) = (self.rows(), self.rows().panels());
        let fc1 = backward_factor(&parameters.fc1.0, [hidden, channels]);
        let fc2 = backward_factor(&parameters.fc2.0, [channels, hidden]);
        let groups = [
            self.act1.as_ref().map_or(0, OnBlocks::groups),
            match &self.act2 {
                Act2::Rational(rational) => rational.groups(),
                Act2::Function(_) => 0,
            },
        ];
        // factors of the weights' gradients: a step for each panel of rows
        let space = |channels: usize| Tiles::new(2 * channels / PANEL * panels);
        let (mut dy_turned, mut hidden_turned) = (space(channels), space(hidden));
        let (mut middle, mut input) = (space(hidden), space(channels));
        // sums over the rows of each panel: at act1's and act2's coefficients, then at bias 1, bias 2, the norm's weight and bias
        let mut coefficients = vec![[[0.0; MAX_COEFFICIENTS]; 2]; (groups[0] + groups[1]) * panels];
        let len = hidden + 3 * channels;
        let mut columns = vec![0.0; len * panels];
        let mut dx = dy;
        {
            let turned =
                [&mut dy_turned, &mut hidden_turned, &mut middle, &mut input].map(|t| Scatter::new(t));
            let coefficients = Scatter::new(&mut coefficients);
            let columns = Scatter::new(&mut columns);
            let dx = Scatter::new(&mut dx);
            tasks(panels, BACKWARD_TASK).into_par_iter().for_each(|task| {
                let len = task.len();
                let sums = |panel: usize| {
                    let place = panel * (hidden + 3 * channels);
                    // SAFETY: a panel's sums, and the steps that its rows are, are its task's alone.
                    unsafe { columns.part(place..place + hidden + 3 * channels) }
                };
                let coefficient_sums = |panel: usize| {
                    let all = groups[0] + groups[1];
                    // SAFETY: as above.
                    unsafe { coefficients.part(panel * all..(panel + 1) * all) }.split_at_mut(groups[0])
                };
                let step = |which: usize, channel: usize, panel: usize| {
                    let place = 2 * (channel * panels + panel);
                    // SAFETY: as above.
                    unsafe { turned[which].part(place..place + 2) }
                };
                let mut block = Block::ZERO;
                let mut grads = vec![Block::ZERO; len * c_steps];
                with_tiles(2 * len * (c_steps + h_steps), |tiles| {
                    let (slopes, hidden_slopes) = tiles.split_at_mut(2 * len * c_steps);
                    for (i, panel) in task.clone().enumerate() {
                        for c in 0..c_steps {
                            // SAFETY: the panel's rows are this task's.
                            unsafe {
                                read_slopes(&dx, channels, &rows.of(panel), c, self.factors, &mut block)
                            };
                            sums::add_rows(&block, &mut sums(panel)[hidden + c * PANEL..][..PANEL]);
                            block.write_left(&mut slopes[steps_of(i, c_steps)][2 * c..2 * c + 2]);
                            turn(&block, step(0, c, panel));
                        }
                    }
                    let panels = |tiles, steps| rows.panels_from(task.start, tiles, steps);
                    sweep(panels(slopes, c_steps), 0..len, fc2.panels(), 0..h_steps, |i, column, slope| {
                        let panel = task.start + i;
                        let kept = &kept.hidden[steps_of(panel, h_steps)][2 * column..2 * column + 2];
                        block.read_left(kept);
                        self.act2.gradient(column * PANEL, &mut block, slope, coefficient_sums(panel).1);
                        sums::add_rows(slope, &mut sums(panel)[column * PANEL..][..PANEL]);
                        slope
                            .write_left(&mut hidden_slopes[steps_of(i, h_steps)][2 * column..2 * column + 2]);
                        turn(slope, step(1, column, panel));
                        block.write_right(step(2, column, panel));
                    });
                    sweep(
                        panels(hidden_slopes, h_steps),
                        0..len,
                        fc1.panels(),
                        0..c_steps,
                        |i, column, slope| {
                            grads[i * c_steps + column] = *slope;
                        },
                    );
                });
                for (i, panel) in task.clone().enumerate() {
                    let rows = rows.of(panel);
                    let statistics =
                        kept.statistics[panel * PANEL..][..PANEL].try_into().expect("a panel's rows");
                    let grads = &mut grads[i * c_steps..][..c_steps];
                    for (c, slope) in grads.iter_mut().enumerate() {
                        self.normed.block(&rows, statistics, c, &mut block);
                        if let Some(act1) = &self.act1 {
                            act1.gradient(c * PANEL, &mut block, slope, coefficient_sums(panel).0);
                        }
                        block.write_right(step(3, c, panel));
                    }
                    let (dweight, dbias) = sums(panel)[hidden + channels..].split_at_mut(channels);
                    // SAFETY: the panel's rows are this task's.
                    unsafe { self.normed.gradient(&rows, statistics, grads, &dx, [dweight, dbias]) };
                }
            });
        }
        let part = |range: std::ops::Range<usize>| {
            let parts: Vec<f32> =
                columns.chunks_exact(len).flat_map(|row| &row[range.clone()]).copied().collect();
            sums::total(&parts, range.len())
        };
        let of_act = |which: usize| {
            let range = if which == 0 { 0..groups[0] } else { groups[0]..groups[0] + groups[1] };
            let chunks = coefficients.chunks_exact((groups[0] + groups[1]).max(1));
            chunks.flat_map(|row| &row[range.clone()]).copied().collect::<Vec<_>>()
        };
        Slopes {
            x: dx,
            norm: [
                part(hidden + channels..hidden + 2 * channels),
                part(hidden + 2 * channels..hidden + 3 * channels),
            ],
            act1: self.act1.as_ref().map(|act1| act1.totals(&of_act(0))),
            act2: match &self.act2 {
                Act2::Rational(act2) => Some(act2.totals(&of_act(1))),
                Act2::Function(_) => None,
            },
            bias1: part(0..hidden),
            bias2: part(hidden..hidden + channels),
            fc1: WeightGradient::new((hidden_turned, hidden), (input, channels), panels),
            fc2: WeightGradient::new((dy_turned, channels), (middle, hidden), panels),
        }
    }
}
