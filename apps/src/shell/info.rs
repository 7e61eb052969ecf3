//! `info`: the named models with their sizes and costs.

use std::io::{self, Write};

use clap::Args;
use kat_backbone::{Size, count, variants};
use serde::Serialize;

use super::Misuse;

/// List the named models with parameters, FLOPs and activations
#[derive(Debug, Args)]
#[command(
    after_help = "FLOPs are counted as in the paper's tables: multiply-adds of linear layers, norms and \
    rationals, without the products inside the attention.\n\nExamples, after the program's name:\n  \
    info\n  info kat_small_patch16_224 --image-size 384\n  info --json"
)]
pub struct InfoCommand {
    /// Only this model
    #[arg(value_name = "MODEL")]
    model: Option<String>,
    /// Side of the image in pixels, a multiple of the patch
    #[arg(long, value_name = "PIXELS")]
    image_size: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    model: String,
    image_size: usize,
    parameters: usize,
    flops: usize,
    activations: usize,
    summary: &'static str,
}

impl InfoCommand {
    /// Prints to stdout.
    pub fn run(&self) -> anyhow::Result<()> {
        let models = match &self.model {
            Some(name) => vec![variants::named(name).map_err(|e| Misuse(e.to_string()))?],
            None => variants::all(),
        };
        let rows = models.into_iter().map(|variant| {
            let size = self.image_size.map_or(variant.config.image_size, Size::square);
            let counted = count::count(&variant.config, size).map_err(|e| Misuse(e.to_string()))?;
            Ok(Row {
                model: variant.name,
                image_size: size.height,
                parameters: counted.parameters,
                flops: counted.flops,
                activations: counted.activations,
                summary: variant.summary,
            })
        });
        let rows: Vec<Row> = rows.collect::<anyhow::Result<_>>()?;
        let text = if self.json { serde_json::to_string_pretty(&rows)? + "\n" } else { table(&rows) };
        Ok(io::stdout().lock().write_all(text.as_bytes())?)
    }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.model.len()).max().unwrap_or(0).max(5);
    let mut out = format!("{:width$}  pixels  parameters    FLOPs  activations\n", "model");
    for row in rows {
        out += &format!(
            "{:width$}  {:>6}  {:>9.1}M  {:>6.2}G  {:>10.2}M  {}\n",
            row.model,
            row.image_size,
            row.parameters as f64 / 1e6,
            row.flops as f64 / 1e9,
            row.activations as f64 / 1e6,
            row.summary
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_published_figures_and_bad_input_is_misuse() {
        let row = |parameters, flops| Row {
            model: "kat_tiny".into(),
            image_size: 224,
            parameters,
            flops,
            activations: 1,
            summary: "",
        };
        assert!(table(&[row(5_718_328, 1_129_000_000)]).contains("5.7M    1.13G"));
        let run = |model: &str, image_size| {
            InfoCommand { model: Some(model.into()), image_size, json: false }.run().unwrap_err()
        };
        let error = run("kat_tiny_patch16_24", None);
        assert_eq!(crate::shell::status(&error), 2);
        assert!(error.to_string().contains("kat_tiny_patch16_224"), "{error}");
        let error = run("kat_tiny_patch16_224", Some(225));
        assert_eq!(crate::shell::status(&error), 2);
        assert!(error.to_string().contains("225"), "{error}");
    }
}
