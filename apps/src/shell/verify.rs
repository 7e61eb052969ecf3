//! `verify`: compares a model with the numbers of another implementation.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use kat_backbone::{Cpu, verify::Comparison, verify::verify};

/// Compare tokens, logits, loss and gradients with those in a file
#[derive(Debug, Args)]
#[command(
    after_help = "The file is safetensors with image, labels, tokens, logits, loss, weight.<name> and \
    grad.<name>, and in its metadata img_size, patch_size, embed_dim, num_heads, depth, num_classes (and \
    label_smoothing, 0.1 if absent). Exits with 1 if any tensor is off by more than the tolerance.\n\n\
    Example, after the program's name:\n  verify tests/golden/kat_small_model.safetensors --tolerance 1e-5"
)]
pub struct VerifyCommand {
    /// The file to compare with
    #[arg(value_name = "FILE.safetensors")]
    file: PathBuf,
    /// Largest relative error (norm of the difference over norm) that passes
    #[arg(long, value_name = "ERROR", default_value_t = 1e-5)]
    tolerance: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl VerifyCommand {
    /// Prints the comparison to stdout; an error if anything is off.
    pub fn run(&self) -> anyhow::Result<()> {
        if self.tolerance.is_nan() || self.tolerance < 0.0 {
            return Err(super::Misuse(format!("--tolerance {} is not at least 0", self.tolerance)).into());
        }
        let rows = verify(&Cpu::default(), &self.file)?;
        let text = if self.json {
            serde_json::to_string_pretty(&rows)? + "\n"
        } else {
            table(&rows, self.tolerance)
        };
        io::stdout().lock().write_all(text.as_bytes())?;
        let off = rows.iter().filter(|row| !passes(row, self.tolerance)).count();
        if off > 0 {
            let total = rows.len();
            anyhow::bail!("{off} of {total} tensors are off by more than {:e}", self.tolerance);
        }
        Ok(())
    }
}

/// Not a number does not pass.
fn passes(row: &Comparison, tolerance: f64) -> bool {
    row.relative_error <= tolerance && row.max_difference.is_finite()
}

fn table(rows: &[Comparison], tolerance: f64) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(6);
    let mut out = format!("{:width$}  relative error  largest difference\n", "tensor");
    for row in rows {
        let mark = if passes(row, tolerance) { "" } else { "  <- off" };
        out += &format!(
            "{:width$}  {:>14.2e}  {:>18.2e}{mark}\n",
            row.name, row.relative_error, row.max_difference
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_a_number_is_off() {
        let row = |relative_error| Comparison { name: "x".into(), relative_error, max_difference: 0.0 };
        assert!(passes(&row(1e-6), 1e-5));
        assert!(!passes(&row(1e-4), 1e-5));
        assert!(!passes(&row(f64::NAN), 1e-5));
        assert!(table(&[row(1e-4)], 1e-5).contains("<- off"));
    }

    #[test]
    fn a_missing_file_is_named() {
        let command = VerifyCommand { file: "no/such.safetensors".into(), tolerance: 1e-5, json: false };
        assert!(format!("{:#}", command.run().unwrap_err()).contains("no/such.safetensors"));
    }
}
