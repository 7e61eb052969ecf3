//! The learned functions of a backbone.

use kat_backbone::checkpoint::model::export;
use kat_backbone::init::Activation;
use kat_backbone::init::tables::coefficients;
use kat_backbone::{Device, Kat};
use ndarray::ArrayView2;

use crate::plot::Plot;
use crate::plot::rationals::{Rational, RationalLayer, rational_panels};

/// The rational functions of every layer, nothing for models without.
///
/// # Errors
/// A chart that cannot be drawn.
pub fn functions<D: Device>(model: &Kat<D>) -> anyhow::Result<Option<Plot>> {
    let (map, config) = (export(model), model.config());
    let start = |activation: Activation| -> anyhow::Result<Rational> {
        let form = config.denominator_form;
        let c = coefficients(activation, config.order, form)?;
        Ok(Rational { numerator: c.numerator, denominator: c.denominator, form })
    };
    let mut layers = Vec::new();
    for block in 0..config.depth {
        for (act, activation) in [("act1", config.act1), ("act2", config.act2)] {
            let name = format!("blocks.{block}.mlp.{act}");
            let rows = |part: &str| {
                let tensor = map.get(&format!("{name}.{part}"))?;
                let [rows, columns] = tensor.shape[..].try_into().ok()?;
                ArrayView2::from_shape((rows, columns), &tensor.data[..]).ok()
            };
            let (Some(p), Some(q)) = (rows("weight_numerator"), rows("weight_denominator")) else { continue };
            layers.extend(RationalLayer::new(name.as_str(), p, q, start(activation)?));
        }
    }
    Ok((!layers.is_empty()).then(|| rational_panels(&layers, 4)).transpose()?)
}
