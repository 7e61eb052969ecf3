//! How often the held-out part is evaluated: a number of epochs, of steps, or so that any run has about ten evaluations.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Evaluations that "auto" aims at where the ends of epochs do not give 8 to 12.
const AIM: usize = 10;
/// Runs of fewer steps are over before ten evaluations would tell anything: they are evaluated each epoch.
const SHORT: usize = 8 * AIM;

/// Time between evaluations on the held-out part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvalEvery {
    /// 8 to 12 times over the run.
    Auto,
    /// At the end of every so many epochs.
    Epochs(usize),
    /// Every so many steps.
    Steps(usize),
}

impl EvalEvery {
    /// Steps between two evaluations in a run of `total` steps.
    pub fn steps(self, total: usize, steps_per_epoch: usize) -> usize {
        let per_epoch = steps_per_epoch.max(1);
        match self {
            Self::Epochs(n) => n.saturating_mul(per_epoch),
            Self::Steps(n) => n,
            Self::Auto if total < SHORT => per_epoch,
            Self::Auto => {
                // the ends of epochs where they do, since a checkpoint is written there in any case
                let epochs = total.div_ceil(per_epoch);
                (1..=epochs.div_ceil(8))
                    .find(|every| (8..=12).contains(&total.div_ceil(every * per_epoch)))
                    .map_or(total.div_ceil(AIM), |every| every * per_epoch)
            }
        }
        .max(1)
    }

    /// Whether it is some time at all.
    pub(super) fn is_positive(self) -> bool {
        !matches!(self, Self::Epochs(0) | Self::Steps(0))
    }
}

impl fmt::Display for EvalEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Epochs(n) => write!(f, "{n}"),
            Self::Steps(n) => write!(f, "{n} steps"),
        }
    }
}

impl FromStr for EvalEvery {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let number = number.parse().map_err(|_| ())?;
        match unit.trim() {
            "" | "epoch" | "epochs" => Ok(Self::Epochs(number)),
            "step" | "steps" => Ok(Self::Steps(number)),
            _ => Err(()),
        }
    }
}

impl Serialize for EvalEvery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Epochs(n) => serializer.serialize_u64(*n as u64),
            other => serializer.collect_str(other),
        }
    }
}

impl<'de> Deserialize<'de> for EvalEvery {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;
        impl Visitor<'_> for Expected {
            type Value = EvalEvery;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of epochs, \"500 steps\" or \"auto\"")
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<EvalEvery, E> {
                let number = usize::try_from(value);
                number
                    .map(EvalEvery::Epochs)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(value), &self))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<EvalEvery, E> {
                let number = usize::try_from(value);
                number
                    .map(EvalEvery::Epochs)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(value), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EvalEvery, E> {
                text.parse().map_err(|()| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_any_length_are_evaluated_eight_to_twelve_times() {
        for per_epoch in [1, 3, 7, 50, 200, 250, 625, 750, 10_009, 1_000_000] {
            for total in (80..600).chain([1500, 1600, 4321, 100_000, 375_300]) {
                let every = EvalEvery::Auto.steps(total, per_epoch);
                let count = total.div_ceil(every);
                assert!(
                    (8..=12).contains(&count),
                    "{total} steps of {per_epoch}: every {every}, {count} times"
                );
            }
        }
        // epochs where they fit
        assert_eq!(EvalEvery::Auto.steps(1600, 200), 200);
        assert_eq!(EvalEvery::Auto.steps(300 * 1251, 1251), 25 * 1251);
        assert_eq!(EvalEvery::Auto.steps(500, 250), 50);
        assert_eq!(EvalEvery::Auto.steps(9, 3), 3);
        assert_eq!((EvalEvery::Epochs(2).steps(9, 3), EvalEvery::Steps(2).steps(9, 3)), (6, 2));
    }

    #[test]
    fn what_is_written_reads_back() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Table {
            every: EvalEvery,
        }
        for (text, every) in [
            ("every = 5\n", EvalEvery::Epochs(5)),
            ("every = \"500 steps\"\n", EvalEvery::Steps(500)),
            ("every = \"auto\"\n", EvalEvery::Auto),
        ] {
            let table: Table = toml::from_str(text).unwrap();
            assert_eq!((table.every, toml::to_string(&table).unwrap().as_str()), (every, text));
        }
        assert_eq!(
            ("2 epochs".parse(), "1step".parse()),
            (Ok(EvalEvery::Epochs(2)), Ok(EvalEvery::Steps(1)))
        );
        for bad in ["\"often\"", "-1", "\"5 hours\"", "true"] {
            let error = toml::from_str::<Table>(&format!("every = {bad}")).unwrap_err().to_string();
            assert!(error.contains("a number of epochs, \"500 steps\" or \"auto\""), "{error}");
        }
    }
}
