//! The names timm gives to RandAugment settings, such as `rand-m9-mstd0.5-inc1`.

use super::TransformError;
use super::rand_augment::{RandAugment, Severity};

const EXPECTED: &str = "rand[-mM][-nN][-mstdS][-mmaxX][-pP][-inc0|1], such as rand-m9-mstd0.5-inc1";

/// Reads a name; what it leaves out is timm's default: m10, n2, p0.5, no noise, the plain set.
pub(super) fn parse(name: &str) -> Result<RandAugment, TransformError> {
    let wrong =
        || TransformError::Config { field: "auto_augment", found: format!("{name:?}"), expected: EXPECTED };
    let mut parts = name.split('-');
    if parts.next() != Some("rand") {
        return Err(wrong());
    }
    let mut found = RandAugment::default();
    for part in parts {
        let digit = part.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
        let (key, text) = part.split_at(digit);
        let value: f64 = text.parse().map_err(|_| wrong())?;
        let whole = value.fract() == 0.0;
        match key {
            "m" => found.magnitude = value,
            "n" if whole && (1.0..=100.0).contains(&value) => found.count = value as usize,
            "p" if value <= 1.0 => found.probability = value,
            // timm: more than 100 means drawn evenly from 0 to the magnitude
            "mstd" => found.deviation = if value > 100.0 { f64::INFINITY } else { value },
            "mmax" if value > 0.0 => found.max_magnitude = value,
            "inc" if whole => {
                found.severity = if value == 0.0 { Severity::Plain } else { Severity::Increasing };
            }
            _ => return Err(wrong()),
        }
    }
    Ok(found)
}
