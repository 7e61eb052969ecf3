//! Outputs that are numbers: a network with NaN in it still gives an answer, which means nothing.

use std::path::Path;

use anyhow::bail;

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
    use super::*;

    #[test]
    fn what_is_not_finite_is_named() {
        assert!(output(&[0.0, f32::NAN], Path::new("x.jpg")).unwrap_err().to_string().contains("x.jpg"));
    }
}
