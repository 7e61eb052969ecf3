//! How far two checkpoints are from one another.

use super::{HostTensor, TensorMap};

/// The largest |a - b| / |b| of tensors that are `among` those compared, as roots of mean squares, with its name. Of
/// tensors of small values (what is left of a bias that began at 0, gradients that are 0 but for rounding), |a - b| / `small`.
/// Infinite for a tensor that one of them lacks or has in another size.
pub fn furthest(
    a: &TensorMap,
    b: &TensorMap,
    small: f64,
    among: impl Fn(&str) -> bool,
) -> Option<(f64, String)> {
    let names = a.tensors.keys().chain(b.tensors.keys().filter(|name| !a.tensors.contains_key(*name)));
    let compared = names.filter(|name| among(name));
    let distance = |name: &String| match (a.get(name), b.get(name)) {
        (Some(a), Some(b)) if a.shape == b.shape => difference(a, b, small),
        _ => f64::INFINITY,
    };
    compared.map(|name| (distance(name), name.clone())).max_by(|a, b| a.0.total_cmp(&b.0))
}

fn difference(a: &HostTensor, b: &HostTensor, small: f64) -> f64 {
    let pairs = || a.data.iter().zip(&b.data).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let rms = |squares: f64| (squares / a.data.len().max(1) as f64).sqrt();
    let difference = rms(pairs().map(|(a, b)| (a - b) * (a - b)).sum());
    difference / rms(pairs().map(|(_, b)| b * b).sum()).max(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_tensor_is_named_and_a_missing_one_is_infinitely_far() {
        let map = |tensors: &[(&str, &[f32])]| {
            let mut map = TensorMap::default();
            for (name, values) in tensors {
                let tensor = HostTensor { shape: vec![values.len()], data: values.to_vec() };
                map.insert((*name).to_owned(), tensor);
            }
            map
        };
        let a = map(&[("far", &[1.0, 1.0]), ("near", &[4.0, 3.0]), ("small", &[1e-3])]);
        let b = map(&[("far", &[1.0, 2.0]), ("near", &[4.0, 3.0]), ("small", &[0.0])]);
        let (distance, name) = furthest(&a, &b, 0.1, |_| true).unwrap();
        assert!(name == "far" && (distance - (0.5f64 / 2.5).sqrt()).abs() < 1e-9, "{name} {distance}");
        let (distance, _) = furthest(&a, &b, 0.1, |name| name == "small").unwrap();
        assert!((distance - 1e-2).abs() < 1e-9, "{distance}");
        assert!(furthest(&a, &map(&[]), 0.1, |_| true).unwrap().0.is_infinite());
        assert!(furthest(&a, &b, 0.1, |_| false).is_none());
    }
}
