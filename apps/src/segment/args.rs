//! The flags of `eval` and `predict` that decide how images are looked at.

use clap::Args;
use kat_upernet::Flip;

use crate::config::Plan;
use crate::segment::inference::{Extent, Resolution, Settings, Views};
use crate::shell::Misuse;

/// Windows, scales, mirroring.
#[derive(Debug, Clone, Args)]
pub struct ViewArgs {
    /// Step of the sliding window in pixels; 0 looks at the whole image at once [default: as trained]
    #[arg(long, value_name = "PIXELS")]
    pub stride: Option<u32>,
    /// Side of the sliding window in pixels [default: the training crop]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..))]
    pub window: Option<u32>,
    /// Look at several sizes and average, for example 0.5,0.75,1,1.25,1.5,1.75
    #[arg(long, value_name = "RATIO,…", value_delimiter = ',', default_value = "1")]
    pub scales: Vec<f64>,
    /// Look at each size mirrored too
    #[arg(long)]
    pub flip: bool,
    /// Look at images at their own size, not at the size of training; by windows unless --stride 0 is given
    #[arg(long)]
    pub native: bool,
}

impl ViewArgs {
    /// The settings of `plan` with what the flags change.
    ///
    /// # Errors
    /// A stride longer than the window, or a scale out of range.
    pub fn settings(&self, plan: &Plan) -> anyhow::Result<Settings> {
        let mut settings = Settings::of(plan);
        if self.scales.is_empty() || self.scales.iter().any(|s| !(0.1..=8.0).contains(s)) {
            let found = format!("{:?}", self.scales);
            return Err(Misuse(format!("--scales {found}, expected numbers from 0.1 to 8")).into());
        }
        let crop = self.window.unwrap_or(plan.segment.crop as u32);
        // Two thirds of the window, as mmsegmentation slides (341 of 512).
        let usual = (crop * 2 / 3).max(1);
        let stride = match (self.stride, self.native || self.window.is_some(), settings.extent) {
            (Some(stride), _, _) => stride,
            (None, false, Extent::Windows { stride, .. }) => stride,
            (None, false, Extent::Whole) => 0,
            (None, true, _) => usual,
        };
        if stride > crop {
            let reason = format!("--stride {stride} leaves gaps between windows of {crop} pixels");
            return Err(Misuse(reason).into());
        }
        settings.extent = if stride == 0 { Extent::Whole } else { Extent::Windows { crop, stride } };
        if self.native {
            settings.resolution = Resolution::Native;
        }
        let flips = if self.flip { vec![Flip::None, Flip::Horizontal] } else { vec![Flip::None] };
        settings.views = Views { scales: self.scales.clone(), flips };
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::TaskKind;
    use crate::config::{Override, load};

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        views: ViewArgs,
    }

    fn settings(args: &[&str]) -> anyhow::Result<Settings> {
        let changes = ["model.name=kat_tiny_patch16_224", "train.steps=1"];
        let overrides: Vec<_> = changes.iter().map(|c| Override::parse(c).unwrap()).collect();
        let plan = Plan::new(load(None, &overrides, TaskKind::Segment)?, TaskKind::Segment)?;
        Cli::try_parse_from([&["x"], args].concat())?.views.settings(&plan)
    }

    #[test]
    fn flags_change_what_training_said() {
        let plain = settings(&[]).unwrap();
        assert_eq!((plain.extent, plain.resolution), (Extent::Whole, Resolution::Trained { crop: 512 }));
        let windows = Extent::Windows { crop: 512, stride: 341 };
        let native = settings(&["--native", "--flip", "--scales", "0.5,1"]).unwrap();
        assert_eq!((native.extent, native.resolution), (windows, Resolution::Native));
        assert_eq!(native.views, Views { scales: vec![0.5, 1.0], flips: vec![Flip::None, Flip::Horizontal] });
        assert_eq!(settings(&["--native", "--stride", "0"]).unwrap().extent, Extent::Whole);
        assert_eq!(settings(&["--stride", "341"]).unwrap().extent, windows);
        for bad in [&["--stride", "600"][..], &["--scales", "0"], &["--scales", "nan"]] {
            assert_eq!(crate::shell::status(&settings(bad).unwrap_err()), 2, "{bad:?}");
        }
    }
}
