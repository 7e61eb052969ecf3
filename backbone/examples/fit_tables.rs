//! Fits the coefficient tables of the rational activations and prints the file `src/init/tables.toml`:
//!
//! `cargo run --release -p kat-backbone --example fit_tables > tables.toml && mv tables.toml backbone/src/init/`
//!
//! With `paper` as the first argument the tables of the paper's denominator, `tables_paper.toml`. Another order than (5, 4)
//! can be given for a look at its accuracy: `… --example fit_tables 7 6`.

use kat_backbone::init::{Activation, Coefficients, Order, fit, tables, variance};
use kat_backbone::ops::rational::Denominator;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let paper = words.first().is_some_and(|word| word == "paper");
    words.drain(..usize::from(paper));
    let arguments: Vec<usize> = words.iter().map(|a| a.parse()).collect::<Result<_, _>>()?;
    let order = match arguments[..] {
        [] => Order::default(),
        [numerator, denominator] => Order { numerator, denominator },
        _ => return Err("expected no argument, or the degrees of numerator and denominator".into()),
    };
    order.check()?;
    let (form, q, word) = match paper {
        true => (Denominator::Paper, "1 + |b1 x + b2 x^2 + …|", " paper"),
        false => (Denominator::Kernel, "1 + b1|x| + b2|x|^2 + …", ""),
    };
    println!("# Coefficients of P(x)/Q(x), P = a0 + a1 x + …, Q = {q}, fitted on [-3, 3] by");
    println!(
        "# least squares: cargo run --release -p kat-backbone --example fit_tables{word}. Do not edit by hand."
    );
    println!("# rms and max_error: against the exact function on [-3, 3], coefficients rounded to f32.");
    println!("# max_error_6: the same on [-6, 6]. gain: 1/sqrt(E[F(x)^2]) for x ~ N(0, 1).");
    for activation in Activation::ALL {
        let f = |x| activation.evaluate(x);
        let Coefficients { numerator, denominator, rms, max_error } = match activation {
            Activation::Identity => tables::coefficients(activation, order, form)?,
            _ => fit::fit(f, (order, form), activation.tail_weight())?.into(),
        };
        let (_, wide) = fit::errors((&numerator, &denominator, form), f, (-6.0, 6.0));
        println!("\n[{activation}]\nnumerator = {numerator:?}\ndenominator = {denominator:?}");
        println!("rms = {rms:.4e}\nmax_error = {max_error:.4e}\nmax_error_6 = {wide:.2e}");
        println!("gain = {:.9}", variance::gain(activation));
    }
    Ok(())
}
