//! The coefficient tables of the rational activations.
//!
//! `tables.toml` holds, for the published order (5, 4), the coefficients fitted by `examples/fit_tables.rs`
//! (`tables_paper.toml` those for the paper's denominator) with the error on [-3, 3] and the activation's second moment beside each. Other orders are fitted when
//! they are asked for, by the same code.

use super::InitError;
use super::fit::{self, Fit};
use crate::ops::rational::Denominator;
use kat_images::names::nearest;
use libm::erf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

/// The names accepted by [`Activation::from_str`], for messages.
pub const KNOWN: &str = "identity, relu, leaky_relu, gelu, gelu_tanh, quick_gelu, swish, tanh, sigmoid";

/// An activation that a rational function can start as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// x for x ≥ 0, x/100 below
    LeakyRelu,
    /// x Φ(x), with the exact normal distribution function
    Gelu,
    /// GELU by tanh: x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))
    GeluTanh,
    /// x / (1 + e^(-1.702 x)), OpenAI's CLIP
    QuickGelu,
    /// x / (1 + e^-x), also called SiLU
    Swish,
    /// tanh x
    Tanh,
    /// 1 / (1 + e^-x)
    Sigmoid,
}

impl Activation {
    /// All of them, in the order of the tables.
    pub const ALL: [Activation; 9] = [
        Self::Identity,
        Self::Relu,
        Self::LeakyRelu,
        Self::Gelu,
        Self::GeluTanh,
        Self::QuickGelu,
        Self::Swish,
        Self::Tanh,
        Self::Sigmoid,
    ];

    /// The name in configuration files and in `tables.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Relu => "relu",
            Self::LeakyRelu => "leaky_relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::QuickGelu => "quick_gelu",
            Self::Swish => "swish",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
        }
    }

    /// Weight of the errors beyond [-3, 3] in the fit of this activation.
    ///
    /// Those of ViTs have one: ViT → KAT transfer starts from them, and the pre-activations of a trained ViT reach well
    /// beyond 3. Without it the best fit on the range has b₄ = 0 and grows quadratically. SiLU's fit holds without.
    pub fn tail_weight(self) -> f64 {
        if matches!(self, Self::Gelu | Self::GeluTanh | Self::QuickGelu) { 0.01 } else { 0.0 }
    }

    /// The exact function, in double precision.
    pub fn evaluate(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            Self::Relu => x.max(0.0),
            Self::LeakyRelu => {
                if x >= 0.0 {
                    x
                } else {
                    0.01 * x
                }
            }
            Self::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + inner.tanh())
            }
            Self::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
            Self::Swish => x / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }
}

impl std::fmt::Display for Activation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Activation {
    type Err = InitError;

    /// Accepts the names of [`KNOWN`] and `silu` for swish, in any case.
    fn from_str(text: &str) -> Result<Self, InitError> {
        let lower = text.trim().to_ascii_lowercase();
        if lower == "silu" {
            return Ok(Self::Swish);
        }
        if let Some(found) = Self::ALL.into_iter().find(|a| a.name() == lower) {
            return Ok(found);
        }
        let hint = nearest(&lower, Self::ALL.iter().map(|a| a.name()))
            .map(|name| format!("; did you mean \"{name}\"?"))
            .unwrap_or_default();
        Err(InitError::UnknownActivation { found: text.to_owned(), hint })
    }
}

/// Degrees of the rational function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// m: the numerator has m + 1 coefficients a₀ … a_m.
    pub numerator: usize,
    /// n: the denominator has n coefficients b₁ … b_n.
    pub denominator: usize,
}

impl Default for Order {
    /// (5, 4), as in the paper and in every published checkpoint.
    fn default() -> Self {
        Self { numerator: 5, denominator: 4 }
    }
}

impl Order {
    /// Largest degree that the fit supports.
    pub const MAX: usize = 12;

    /// Checks that a rational function of this order can be initialized.
    ///
    /// # Errors
    /// [`InitError::Order`] with the rule that is broken.
    pub fn check(self) -> Result<(), InitError> {
        let fail = |reason| {
            Err(InitError::Order { numerator: self.numerator, denominator: self.denominator, reason })
        };
        if self.numerator == 0 {
            return fail("the numerator needs degree 1 or more, else it cannot represent the identity");
        }
        if self.numerator > Self::MAX || self.denominator > Self::MAX {
            return fail("degrees above 12 cannot be resolved in f32");
        }
        Ok(())
    }
}

/// Coefficients of one rational function, shared by all groups at the start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Coefficients {
    /// a₀ … a_m.
    pub numerator: Vec<f32>,
    /// b₁ … b_n, all ≥ 0 for the kernels' denominator.
    pub denominator: Vec<f32>,
    /// Root mean square error on [-3, 3] against the exact function.
    pub rms: f64,
    /// Largest absolute error on [-3, 3].
    pub max_error: f64,
}

impl Coefficients {
    /// The numerator repeated for `groups` groups: (groups, m + 1), row-major.
    pub fn numerator_for(&self, groups: usize) -> Vec<f32> {
        self.numerator.repeat(groups)
    }

    /// The denominator repeated for `groups` groups: (groups, n), row-major.
    pub fn denominator_for(&self, groups: usize) -> Vec<f32> {
        self.denominator.repeat(groups)
    }
}

impl From<Fit> for Coefficients {
    fn from(fit: Fit) -> Self {
        let Fit { numerator, denominator, rms, max_error } = fit;
        Self { numerator, denominator, rms, max_error }
    }
}

type Tables = LazyLock<Result<BTreeMap<Activation, Coefficients>, InitError>>;

static TABLES: Tables = LazyLock::new(|| parse(include_str!("tables.toml"), Denominator::Kernel));
static PAPER_TABLES: Tables = LazyLock::new(|| parse(include_str!("tables_paper.toml"), Denominator::Paper));

/// Reads the table file: one section an activation, all of order (5, 4).
fn parse(text: &str, form: Denominator) -> Result<BTreeMap<Activation, Coefficients>, InitError> {
    let tables: BTreeMap<Activation, Coefficients> =
        toml::from_str(text).map_err(|e| InitError::Table(e.to_string()))?;
    let order = Order::default();
    for (activation, c) in &tables {
        let found = (c.numerator.len(), c.denominator.len());
        let expected = (order.numerator + 1, order.denominator);
        if found != expected {
            return Err(InitError::Table(format!(
                "[{activation}] has {found:?} coefficients, expected {expected:?}"
            )));
        }
        let least = if form == Denominator::Kernel { 0.0 } else { f32::MIN };
        if c.denominator.iter().any(|b| b.is_nan() || *b < least) {
            return Err(InitError::Table(format!("[{activation}] has a negative denominator coefficient")));
        }
    }
    Ok(tables)
}

/// b₂ with which the identity starts in the paper's form.
const IDENTITY_B2: f32 = 0.1;

/// The identity: exact in every order. In the kernels' form b = 0. In the paper's the derivative at b = 0 is 0, and
/// nothing would ever be learnt there: (x + c x³) / (1 + |c x²|).
fn identity(order: Order, form: Denominator) -> Result<Coefficients, InitError> {
    let mut numerator = vec![0.0; order.numerator + 1];
    let mut denominator = vec![0.0; order.denominator];
    numerator[1] = 1.0;
    if form == Denominator::Paper && order.denominator > 0 {
        let (Some(a), Some(b)) = (numerator.get_mut(3), denominator.get_mut(1)) else {
            return Err(InitError::Order {
                numerator: order.numerator,
                denominator: order.denominator,
                reason: "with the paper's denominator the identity needs degrees (3, 2) or more: at b = 0 there \
                         is no gradient at b",
            });
        };
        (*a, *b) = (IDENTITY_B2, IDENTITY_B2);
    }
    Ok(Coefficients { numerator, denominator, rms: 0.0, max_error: 0.0 })
}

/// The coefficients with which a rational function of `order` starts as `activation`.
///
/// Order (5, 4) is read from the table; the identity is exact in every order; any other order is fitted now, which takes
/// well under a second.
///
/// # Errors
/// [`InitError::Order`] for an order that cannot be initialized.
pub fn coefficients(
    activation: Activation,
    order: Order,
    form: Denominator,
) -> Result<Coefficients, InitError> {
    order.check()?;
    if activation == Activation::Identity {
        return identity(order, form);
    }
    if order == Order::default() {
        let tables = if form == Denominator::Kernel { &TABLES } else { &PAPER_TABLES };
        return (tables.as_ref().map_err(Clone::clone)?)
            .get(&activation)
            .cloned()
            .ok_or_else(|| InitError::Table(format!("no section [{activation}]")));
    }
    Ok(fit::fit(|x| activation.evaluate(x), (order, form), activation.tail_weight())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_near_misses_get_a_suggestion() {
        for a in Activation::ALL {
            assert_eq!(a.name().parse::<Activation>().unwrap(), a);
            assert!(KNOWN.contains(a.name()));
        }
        assert_eq!("SiLU".parse::<Activation>().unwrap(), Activation::Swish);
        let error = "gleu".parse::<Activation>().unwrap_err().to_string();
        assert!(error.contains("did you mean \"gelu\""), "{error}");
        let error = "mish-mash-mush".parse::<Activation>().unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
    }

    #[test]
    fn every_table_is_as_accurate_as_it_says_and_as_the_published_one() {
        // Published rms on [-3, 3] to the two digits known, so with half a digit allowed
        // (GELU: the aim, the published one being fitted to another denominator).
        let bound = [0.0, 5.15e-3, 5.05e-3, 1e-3, 1e-3, 1e-3, 2.85e-7, 1.25e-5, 4.65e-6];
        // The paper's form bends once less at 0.
        let paper = [0.0, 5.65e-3, 5.6e-3, 1e-3, 1e-3, 1e-3, 2.85e-7, 1.25e-5, 4.65e-6];
        let forms = [(Denominator::Kernel, bound), (Denominator::Paper, paper)];
        let cases =
            forms.map(|(form, bound)| Activation::ALL.into_iter().zip(bound).map(move |(a, b)| (form, a, b)));
        for (form, activation, bound) in cases.into_iter().flatten() {
            let c = coefficients(activation, Order::default(), form).unwrap();
            let f = |x| activation.evaluate(x);
            let of = (&c.numerator[..], &c.denominator[..], form);
            let (rms, max_error) = fit::errors(of, f, fit::RANGE);
            // The paper's identity is rounded: it is x + c x³ over 1 + c x².
            let rounding = 1e-15;
            assert!(rms <= bound + rounding, "{activation}: rms {rms:e} > {bound:e}");
            assert!((rms - c.rms).abs() <= 1e-3 * c.rms + rounding, "{activation}: says {} is {rms}", c.rms);
            assert!((max_error - c.max_error).abs() <= 1e-3 * c.max_error + rounding, "{activation}");
            // Outside the range the function may leave the activation, but only linearly.
            let (_, far) = fit::errors(of, f, (-12.0, 12.0));
            assert!(far < 8.0, "{activation}: {far} off somewhere on [-12, 12]");
        }
    }

    #[test]
    fn identity_is_exact_and_repeats_for_groups() {
        let order = Order { numerator: 3, denominator: 2 };
        let c = coefficients(Activation::Identity, order, Denominator::Kernel).unwrap();
        assert_eq!(c.numerator, [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(c.denominator_for(3), [0.0; 6]);
        assert_eq!(c.numerator_for(2), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_papers_identity_is_one_that_learns_or_an_error() {
        let order = Order { numerator: 3, denominator: 2 };
        let c = coefficients(Activation::Identity, order, Denominator::Paper).unwrap();
        assert!(c.denominator.iter().any(|b| *b != 0.0));
        let of = (&c.numerator[..], &c.denominator[..], Denominator::Paper);
        assert!(fit::errors(of, |x| x, (-20.0, 20.0)).1 < 1e-12);
        let low = Order { numerator: 2, denominator: 2 };
        let error = coefficients(Activation::Identity, low, Denominator::Paper).unwrap_err().to_string();
        assert!(error.contains("(3, 2)"), "{error}");
    }

    #[test]
    fn a_malformed_table_says_which_section() {
        let text = "[gelu]\nnumerator = [1.0]\ndenominator = []\nrms = 0.0\nmax_error = 0.0";
        let error = parse(text, Denominator::Kernel).unwrap_err();
        assert!(error.to_string().contains("[gelu] has (1, 0) coefficients, expected (6, 4)"), "{error}");
    }
}
