//! Weights and outputs that are numbers: a network with NaN in it still gives an answer, which means nothing.

use std::path::Path;

use anyhow::bail;
use kat_backbone::checkpoint::TensorMap;

/// Checks the weights of a checkpoint.
///
/// # Errors
/// Names the first tensor that holds a value that is not finite.
pub fn weights(map: &TensorMap, path: &Path) -> anyhow::Result<()> {
    for (name, tensor) in &map.tensors {
        let bad = tensor.data.iter().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            bail!(
                "{}: {bad} of {} values of the tensor {name} are not finite: the file is damaged or its training \
                 diverged",
                path.display(),
                tensor.data.len()
            );
        }
    }
    Ok(())
}

/// Checks what a network gave for one image.
///
/// # Errors
/// A value that is not finite.
pub fn output(values: &[f32], image: &Path) -> anyhow::Result<()> {
    if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
        bail!("{}: the network's output is {bad}, expected finite numbers", image.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kat_backbone::checkpoint::HostTensor;

    use super::*;

    #[test]
    fn what_is_not_finite_is_named() {
        let mut map = TensorMap::default();
        map.insert("head.weight", HostTensor::new(vec![2], vec![1.0, 2.0]).unwrap());
        weights(&map, Path::new("a")).unwrap();
        map.insert("head.bias", HostTensor::new(vec![2], vec![f32::NAN, f32::INFINITY]).unwrap());
        let error = weights(&map, Path::new("a")).unwrap_err().to_string();
        assert!(error.contains("2 of 2 values of the tensor head.bias"), "{error}");
        assert!(output(&[0.0, f32::NAN], Path::new("x.jpg")).unwrap_err().to_string().contains("x.jpg"));
    }
}
