//! Prints the speed of the ImageNet training pipeline: `cargo run --release -p kat-images --example bench_classify
//! [FILE.jpg …]`, on generated pictures of 500 x 375 where no file is given.

use std::error::Error;

use kat_images::bench::{classify_pipeline, sample_jpeg};

fn main() -> Result<(), Box<dyn Error>> {
    let mut jpegs = std::env::args().skip(1).map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    if jpegs.is_empty() {
        for seed in 0..16 {
            jpegs.push(sample_jpeg(500, 375, seed)?);
        }
    }
    for threads in [1, std::thread::available_parallelism()?.get()] {
        let figure = classify_pipeline(&jpegs, 500, threads, 7)?;
        println!("{} thread(s): {:.0} images/s", figure.threads, figure.images_per_second);
    }
    Ok(())
}
