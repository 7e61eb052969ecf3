//! Means over seeds, and whether two means differ.

/// Two-sided 95 % points of Student's t distribution for 1 to 30 degrees of freedom (Fisher & Yates, table III).
const T95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// Mean and spread of a figure.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Summary {
    /// Values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of a sample (n - 1); none of one value.
    pub std: Option<f64>,
}

impl Summary {
    /// Of these values; none of no value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        let mean = (n > 0).then(|| values.iter().sum::<f64>() / n as f64)?;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        Some(Self { n, mean, std: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()) })
    }

    /// Half the width of the 95 % confidence interval of the mean, by Student's t; none of one value.
    pub fn half_width(&self) -> Option<f64> {
        let t = T95.get(self.n.checked_sub(2)?).copied().unwrap_or(1.96);
        Some(t * self.std? / (self.n as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let five = Summary::of(&[70.0, 72.0, 74.0, 76.0, 78.0]).unwrap();
        assert_eq!((five.n, five.mean), (5, 74.0));
        assert!((five.std.unwrap() - 10f64.sqrt()).abs() < 1e-12);
        // 2.776 √10 / √5
        assert!((five.half_width().unwrap() - 2.776 * 2f64.sqrt()).abs() < 1e-9);
        let one = Summary::of(&[3.0]).unwrap();
        assert_eq!((one.std, one.half_width(), Summary::of(&[])), (None, None, None));
    }
}
