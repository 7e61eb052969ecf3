//! Least-squares fit of a rational function to an activation.
//!
//! The function fitted is the one the group rational op computes,
//! `R(x) = (a₀ + a₁x + … + a_m x^m) / (1 + Σ b_i |x|^i)` with `b_i ≥ 0`, on a uniform grid over
//! [`RANGE`]. For fixed `b` the best `a` is a linear least-squares problem, so only `b` is searched
//! (variable projection, Golub & Pereyra 1973): Levenberg–Marquardt on both sets starting from many `b`,
//! with `b` projected to `b ≥ 0`, keeping the best. Deterministic: the starts are seeded.

use super::least_squares::solve;
use super::{InitError, Order};
use crate::ops::rational::Denominator;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// The interval on which tables are fitted and their errors stated: that of the published tables.
pub const RANGE: (f64, f64) = (-3.0, 3.0);
/// Grid points of the fit. Odd, so that 0 is one of them.
const POINTS: usize = 601;
/// Starting points of the search over the denominator.
const STARTS: u64 = 64;
/// Levenberg–Marquardt iterations from each start; convergence is usually within 60.
const ITERATIONS: usize = 400;
/// Largest denominator coefficient: keeps b·3^n and the numerator far inside what f32 resolves.
const B_MAX: f64 = 1e4;

/// A fitted rational function, its error measured with coefficients rounded to f32, as the op holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// `a₀ … a_m`.
    pub numerator: Vec<f32>,
    /// `b₁ … b_n`, all ≥ 0 in the kernels' form.
    pub denominator: Vec<f32>,
    /// Root mean square error on [`RANGE`].
    pub rms: f64,
    /// Largest absolute error on [`RANGE`].
    pub max_error: f64,
}

/// Value of the rational function (a, b, which denominator) at `x`, in double precision.
pub fn evaluate((numerator, denominator, form): (&[f32], &[f32], Denominator), x: f64) -> f64 {
    let p = numerator.iter().rev().fold(0.0, |acc, &a| acc * x + a as f64);
    p / form.at(denominator.iter().map(|&b| b as f64), x)
}

/// Root mean square and largest error of a rational function against `target` over `range`, on 20,001 points.
pub fn errors(
    function: (&[f32], &[f32], Denominator),
    target: impl Fn(f64) -> f64,
    range: (f64, f64),
) -> (f64, f64) {
    const FINE: usize = 20_001;
    let (mut squares, mut largest) = (0.0_f64, 0.0_f64);
    for i in 0..FINE {
        let x = range.0 + (range.1 - range.0) * i as f64 / (FINE - 1) as f64;
        let e = evaluate(function, x) - target(x);
        squares += e * e;
        largest = largest.max(e.abs());
    }
    ((squares / FINE as f64).sqrt(), largest)
}

/// Half-width of the interval on which the tail weight of [`fit`] applies.
pub const REACH: f64 = 8.0;

/// Fits a rational function of `order` and `form` to `target` on [`RANGE`].
///
/// `tail` is the weight of the errors between the range and ±[`REACH`] beside 1 inside: 0 fits the range
/// alone; a little keeps a function honest where a transferred network drives it beyond the range.
///
/// # Errors
/// [`InitError::Order`] if the order is outside 1..=12 for the numerator or 0..=12 for the denominator
/// (powers above that leave f32's resolution on the range); [`InitError::NotFinite`] if no start gave
/// finite coefficients, for instance because `target` is not finite on the range.
pub fn fit(
    target: impl Fn(f64) -> f64 + Sync,
    (order, form): (Order, Denominator),
    tail: f64,
) -> Result<Fit, InitError> {
    order.check()?;
    let problem = Problem::new(&target, (order, form), tail);
    let best = (0..STARTS)
        .into_par_iter()
        .filter_map(|start| problem.descend(problem.start(start)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .ok_or(InitError::NotFinite("the fit of the rational function"))?
        .0;
    let numerator: Vec<f32> = best[..=order.numerator].iter().map(|&v| v as f32).collect();
    let denominator: Vec<f32> = best[order.numerator + 1..].iter().map(|&v| v as f32).collect();
    let (rms, max_error) = errors((&numerator, &denominator, form), &target, RANGE);
    if !rms.is_finite() {
        return Err(InitError::NotFinite("the fit of the rational function"));
    }
    Ok(Fit { numerator, denominator, rms, max_error })
}

/// The grid and the targets on it.
struct Problem {
    xs: Vec<f64>,
    ys: Vec<f64>,
    /// Weight of each residual.
    ws: Vec<f64>,
    order: Order,
    form: Denominator,
}

impl Problem {
    fn new(target: impl Fn(f64) -> f64, (order, form): (Order, Denominator), tail: f64) -> Self {
        let step = (RANGE.1 - RANGE.0) / (POINTS - 1) as f64;
        let mut xs: Vec<f64> = (0..POINTS).map(|i| RANGE.0 + step * i as f64).collect();
        let mut ws = vec![1.0; POINTS];
        if tail > 0.0 {
            let beyond = (1..).map(|i| RANGE.1 + 4.0 * step * i as f64).take_while(|x| *x <= REACH);
            xs.extend(beyond.flat_map(|x| [-x, x]));
            ws.resize(xs.len(), tail);
        }
        let ys = xs.iter().map(|&x| target(x)).collect();
        Self { xs, ys, ws, order, form }
    }

    /// Denominator of start number `start`: zero, then log-uniform magnitudes with some terms absent, every
    /// second time all odd powers (x/2 plus an even function, as GELU and swish are, needs an even Q).
    fn start(&self, start: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(start);
        (1..=self.order.denominator)
            .map(|i| {
                let magnitude = 10f64.powf(rng.random_range(-3.0..1.5)) / 2f64.powi(i as i32 - 1);
                let absent = start == 0 || rng.random_bool(0.3) || (start % 2 == 1 && i % 2 == 1);
                // In the paper's form a term may also be negative.
                let sign = if self.form == Denominator::Paper && rng.random_bool(0.5) { -1.0 } else { 1.0 };
                if absent { 0.0 } else { sign * magnitude }
            })
            .collect()
    }

    fn denominator_at(&self, b: &[f64], x: f64) -> f64 {
        self.form.at(b.iter().copied(), x)
    }

    /// What the paper's denominator takes the absolute value of.
    fn polynomial(&self, b: &[f64], x: f64) -> f64 {
        b.iter().rev().fold(0.0, |acc, &b| (acc + b) * x)
    }

    /// The best numerator for a given denominator.
    fn project(&self, b: &[f64]) -> Option<Vec<f64>> {
        let cols = self.order.numerator + 1;
        let mut design = Vec::with_capacity(cols * self.xs.len());
        for (&x, &w) in self.xs.iter().zip(&self.ws) {
            let q = self.denominator_at(b, x);
            design.extend((0..cols).map(|k| w * x.powi(k as i32) / q));
        }
        let mut ys: Vec<f64> = self.ys.iter().zip(&self.ws).map(|(y, w)| y * w).collect();
        solve(&mut design, &mut ys, cols)
    }

    /// Sum of squared residuals.
    fn cost(&self, theta: &[f64]) -> f64 {
        let (a, b) = theta.split_at(self.order.numerator + 1);
        self.xs
            .iter()
            .zip(&self.ys)
            .zip(&self.ws)
            .map(|((&x, &y), &w)| {
                let p = a.iter().rev().fold(0.0, |acc, &a| acc * x + a);
                (w * (p / self.denominator_at(b, x) - y)).powi(2)
            })
            .sum()
    }

    /// Levenberg–Marquardt from one denominator. Returns (a ++ b, cost).
    fn descend(&self, b: Vec<f64>) -> Option<(Vec<f64>, f64)> {
        let mut theta = self.project(&b)?;
        theta.extend(b);
        let mut cost = self.cost(&theta);
        let mut damping = 1e-3;
        for _ in 0..ITERATIONS {
            let Some(next) = self.step(&theta, damping) else { break };
            let next_cost = self.cost(&next);
            if next_cost < cost {
                let gain = (cost - next_cost) / cost.max(f64::MIN_POSITIVE);
                (theta, cost) = (next, next_cost);
                damping = (damping * 0.3).max(1e-15);
                if gain < 1e-10 {
                    break;
                }
            } else {
                damping *= 4.0;
                if damping > 1e12 {
                    break;
                }
            }
        }
        cost.is_finite().then_some((theta, cost))
    }

    /// One damped Gauss–Newton step, `b` projected to [0, B_MAX] ([-B_MAX, B_MAX] in the paper's form), then `a` made optimal for it.
    fn step(&self, theta: &[f64], damping: f64) -> Option<Vec<f64>> {
        let (m, n) = (self.order.numerator, self.order.denominator);
        let (a, b) = theta.split_at(m + 1);
        let cols = m + 1 + n;
        let mut jacobian = Vec::with_capacity((self.xs.len() + cols) * cols);
        let mut residual = Vec::with_capacity(self.xs.len() + cols);
        let mut scale = vec![0.0_f64; cols];
        for ((&x, &y), &w) in self.xs.iter().zip(&self.ys).zip(&self.ws) {
            let p = a.iter().rev().fold(0.0, |acc, &a| acc * x + a);
            let q = self.denominator_at(b, x);
            let row = jacobian.len();
            jacobian.extend((0..=m).map(|k| w * x.powi(k as i32) / q));
            let (v, sign) = match self.form {
                Denominator::Kernel => (x.abs(), 1.0),
                Denominator::Paper => (x, self.polynomial(b, x).signum()),
            };
            jacobian.extend((1..=n).map(|i| -w * p * sign * v.powi(i as i32) / (q * q)));
            for (s, j) in scale.iter_mut().zip(&jacobian[row..]) {
                *s += j * j;
            }
            residual.push(w * (y - p / q));
        }
        // Marquardt's scaling: the damping rows carry each column's own norm.
        for (c, s) in scale.iter().enumerate() {
            let row = jacobian.len();
            jacobian.resize(row + cols, 0.0);
            jacobian[row + c] = (damping * s.max(1e-30)).sqrt();
            residual.push(0.0);
        }
        let delta = solve(&mut jacobian, &mut residual, cols)?;
        let least = if self.form == Denominator::Kernel { 0.0 } else { -B_MAX };
        let b: Vec<f64> = b.iter().zip(&delta[m + 1..]).map(|(b, d)| (b + d).clamp(least, B_MAX)).collect();
        let mut next = self.project(&b)?;
        next.extend(b);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovers_a_rational_function_exactly() {
        let truth = |x: f64| (0.5 + x - 0.25 * x * x) / (1.0 + 0.3 * x.abs() + 0.1 * x * x);
        let fit = fit(truth, (Order { numerator: 2, denominator: 2 }, Denominator::Kernel), 0.0).unwrap();
        assert!(fit.rms < 1e-6, "{fit:?}");
        assert!((fit.denominator[0] - 0.3).abs() < 1e-4 && (fit.denominator[1] - 0.1).abs() < 1e-4);
    }

    #[test]
    fn recovers_one_of_the_papers_form_with_terms_of_both_signs() {
        let truth = |x: f64| (0.5 + x - 0.25 * x * x) / (1.0 + (0.3 * x - 0.2 * x * x).abs());
        let fit = fit(truth, (Order { numerator: 2, denominator: 2 }, Denominator::Paper), 0.0).unwrap();
        assert!(fit.rms < 1e-6, "{fit:?}");
        assert!((fit.denominator[0] / fit.denominator[1] + 1.5).abs() < 1e-3, "{fit:?}");
    }

    #[test]
    fn other_orders_get_better_with_degree_and_stay_valid() {
        let tanh = |x: f64| x.tanh();
        let low = fit(tanh, (Order { numerator: 3, denominator: 2 }, Denominator::Kernel), 0.0).unwrap();
        let high = fit(tanh, (Order { numerator: 7, denominator: 6 }, Denominator::Kernel), 0.0).unwrap();
        assert!(high.rms < low.rms && low.rms < 5e-3, "{} {}", low.rms, high.rms);
        assert!(low.denominator.iter().chain(&high.denominator).all(|&b| b >= 0.0));
    }

    #[test]
    fn impossible_orders_and_targets_are_refused() {
        let bad = Order { numerator: 0, denominator: 4 };
        assert!(matches!(
            fit(|x| x, (bad, Denominator::Kernel), 0.0),
            Err(InitError::Order { numerator: 0, .. })
        ));
        assert!(fit(|x| x, (Order { numerator: 40, denominator: 4 }, Denominator::Kernel), 0.0).is_err());
        assert_eq!(
            fit(|_| f64::NAN, (Order::default(), Denominator::Kernel), 0.0),
            Err(InitError::NotFinite("the fit of the rational function"))
        );
    }
}
