//! Averaged weights (EMA): how fast they follow at the start, and how far they are from the weights.
//!
//! A decay d remembers about 1 / (1 - d) steps. A run not much longer than that would be judged by its first weights,
//! so the decay grows with the steps: as timm's `ModelEmaV3(use_warmup=True)` has it, or as ultralytics' `ModelEMA`.

use kat_backbone::Device;
use kat_backbone::checkpoint::model::export;
use kat_backbone::nn::Module;

use crate::config::{EmaWarmup, Train};

/// timm's `warmup_power`; its `warmup_gamma` is 1.
const POWER: f64 = 2.0 / 3.0;

/// The decay of update number `step`, counted from 0.
pub fn decay(train: &Train, step: u64) -> f64 {
    let full = train.ema_decay;
    match train.ema_warmup {
        EmaWarmup::None => full,
        EmaWarmup::Timm => (1.0 - (1.0 + step as f64).powf(-POWER)).min(full),
        EmaWarmup::Ultralytics => full * (1.0 - (-((step + 1) as f64) / train.ema_tau).exp()),
    }
}

/// Norm of the difference of two models over the norm of the first, over all their tensors.
pub fn distance<D: Device>(weights: &impl Module<D>, average: &impl Module<D>) -> f64 {
    let (weights, average) = (export(weights), export(average));
    let (mut apart, mut size) = (0.0, 0.0);
    for (name, tensor) in &weights.tensors {
        let Some(other) = average.get(name) else { continue };
        for (a, b) in tensor.data.iter().zip(&other.data) {
            apart += f64::from(a - b).powi(2);
            size += f64::from(*a).powi(2);
        }
    }
    if size > 0.0 { (apart / size).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(warmup: EmaWarmup, step: u64) -> f64 {
        decay(&Train { ema_decay: 0.9999, ema_warmup: warmup, ..Train::default() }, step)
    }

    /// Values of the formulas of timm (`ModelEmaV3.get_decay` at its step + 1, with its defaults) and of ultralytics
    /// (`ModelEMA`), computed in Python.
    #[test]
    fn decays_are_those_of_timm_and_ultralytics() {
        for (step, timm, ultralytics) in [
            (0, 0.0, 0.000499825033328626),
            (1, 0.3700394750525634, 0.0009994002166083156),
            (199, 0.9707598226178713, 0.09515306570584407),
            (9999, 0.9978455653099682, 0.9931627267956145),
        ] {
            assert!(
                (at(EmaWarmup::Timm, step) - timm).abs() < 1e-12,
                "{step}: {}",
                at(EmaWarmup::Timm, step)
            );
            let found = at(EmaWarmup::Ultralytics, step);
            assert!((found - ultralytics).abs() < 1e-12, "{step}: {found}");
            assert_eq!(at(EmaWarmup::None, step), 0.9999);
        }
        assert_eq!(at(EmaWarmup::Timm, 100_000_000), 0.9999);
    }
}
