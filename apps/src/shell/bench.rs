//! What the three `bench` commands share.

use clap::ValueEnum;
use serde::Serialize;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The forward pass
    Infer,
    /// Forward, backward and an optimiser step
    Train,
}

/// Sorts, and gives the middle value.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The most memory this process has held, where the system tells.
pub fn peak_resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_memory_is_read() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        if cfg!(target_os = "linux") {
            assert!(peak_resident_mib().unwrap() > 1.0);
        }
    }
}
