//! Fits the coefficient tables of the rational activations and prints the file `src/init/tables.toml`:
//!
//! `cargo run --release -p kat-backbone --example fit_tables > tables.toml && mv tables.toml backbone/src/init/`
//!
//! Another order than (5, 4) can be given for a look at its accuracy: `… --example fit_tables 7 6`.

use kat_backbone::init::fit::{self, Fit};
use kat_backbone::init::{Activation, Order, variance};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<_, _>>()?;
    let order = match arguments[..] {
        [] => Order::default(),
        [numerator, denominator] => Order { numerator, denominator },
        _ => return Err("expected no argument, or the degrees of numerator and denominator".into()),
    };
    order.check()?;
    println!(
        "# Coefficients of P(x)/Q(x), P = a0 + a1 x + …, Q = 1 + b1|x| + b2|x|^2 + …, fitted on [-3, 3] by"
    );
    println!(
        "# least squares: cargo run --release -p kat-backbone --example fit_tables. Do not edit by hand."
    );
    println!("# rms and max_error: against the exact function on [-3, 3], coefficients rounded to f32.");
    println!("# max_error_6: the same on [-6, 6]. gain: 1/sqrt(E[F(x)^2]) for x ~ N(0, 1).");
    for activation in Activation::ALL {
        let f = |x| activation.evaluate(x);
        let Fit { numerator, denominator, rms, max_error } = if activation == Activation::Identity {
            let mut numerator = vec![0.0; order.numerator + 1];
            numerator[1] = 1.0;
            Fit { numerator, denominator: vec![0.0; order.denominator], rms: 0.0, max_error: 0.0 }
        } else {
            fit::fit(f, order, activation.tail_weight())?
        };
        let (_, wide) = fit::errors((&numerator, &denominator), f, (-6.0, 6.0));
        println!("\n[{activation}]\nnumerator = {numerator:?}\ndenominator = {denominator:?}");
        println!("rms = {rms:.4e}\nmax_error = {max_error:.4e}\nmax_error_6 = {wide:.2e}");
        println!("gain = {:.9}", variance::gain(activation));
    }
    Ok(())
}
