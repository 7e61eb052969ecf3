//! The tokens of an encoder's published weights beside those that another program computed:
//!
//! `cargo run --release -p kat-backbone --example compare_tokens -- WEIGHTS EXPECTED`
//!
//! WEIGHTS: any file that is recognized; EXPECTED: safetensors with `SIDE.image` (B, 3, SIDE, SIDE) and `SIDE.tokens`, by
//! `tests/parity/real_dinov2.py`. Positions come to each side as they do when the weights are used at that size.

use std::path::Path;

use kat_backbone::checkpoint::recognize::recognize;
use kat_backbone::checkpoint::transfer::HeadPolicy;
use kat_backbone::checkpoint::{load_any, safetensors};
use kat_backbone::{Cpu, Graph, Kat, KatConfig, Shape, Size, Tensor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights, expected] = &arguments[..] else { return Err("expected WEIGHTS and EXPECTED".into()) };
    let config = recognize(&load_any(Path::new(weights))?)?.config;
    let expected = safetensors::load(Path::new(expected))?;
    for (name, image) in &expected.tensors {
        let Some(side) = name.strip_suffix(".image") else { continue };
        let tokens = expected.get(&format!("{side}.tokens")).ok_or("no tokens beside the image")?;
        let config = KatConfig { image_size: Size::square(side.parse()?), ..config.clone() };
        let mut model = Kat::new(&Cpu::default(), &config, 0)?;
        let report = model.load(Path::new(weights), HeadPolicy::Strict)?;
        let image = Tensor::from_vec(&Cpu::default(), image.data.clone(), Shape::new(&image.shape)?)?;
        let found = model.tokens(&mut Graph::inference(), &image)?.to_vec();
        if found.len() != tokens.data.len() {
            return Err(format!("{} values, expected {}", found.len(), tokens.data.len()).into());
        }
        let apart = found.iter().zip(&tokens.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = tokens.data.iter().map(|v| v.abs()).fold(0.0, f32::max);
        println!("{side}: largest difference {apart:.1e} of values up to {largest:.1e}; {report}");
    }
    Ok(())
}
