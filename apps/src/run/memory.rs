//! What a step of training, or a forward pass, takes at the least, before anything is allocated for it.

use kat_backbone::KatConfig;

use crate::shell::Misuse;
use crate::shell::bench::Mode;

/// Refuses a model and batch that this machine cannot hold. What is counted is a lower bound: weights with their
/// gradients and both moments, the batch, and a few maps a block; attention and heads come on top.
///
/// # Errors
/// More than the machine's memory, with both amounts and the keys that lower them.
pub fn check(config: &KatConfig, batch: usize) -> anyhow::Result<()> {
    check_mode(config, batch, Mode::Train, "train.batch_size")
}

/// As [`check`] of what `bench` times; `key` is how the batch is lowered.
///
/// # Errors
/// As [`check`].
pub fn check_mode(config: &KatConfig, batch: usize, mode: Mode, key: &str) -> anyhow::Result<()> {
    match machine() {
        Some(has) => check_against(config, (batch, key), mode, has),
        None => Ok(()),
    }
}

fn check_against(
    config: &KatConfig,
    (batch, key): (usize, &str),
    mode: Mode,
    has: u64,
) -> anyhow::Result<()> {
    let needs = least_bytes(config, batch, mode);
    if needs <= u128::from(has) {
        return Ok(());
    }
    let what = match mode {
        Mode::Train => "a step of training",
        Mode::Infer => "a forward pass",
    };
    let (side, tokens) = (config.image_size, tokens(config));
    Err(Misuse(format!(
        "{what} needs at least {} (images of {}x{}, {tokens} tokens each, {batch} in a batch); this machine \
         has {}: lower model.image_size or {key}, or raise model.patch",
        amount(needs),
        side.width,
        side.height,
        amount(has.into()),
    ))
    .into())
}

fn tokens(config: &KatConfig) -> u128 {
    let along = |side: usize, patch: usize| (side / patch.max(1)) as u128;
    along(config.image_size.height, config.patch_size.height)
        * along(config.image_size.width, config.patch_size.width)
}

fn least_bytes(config: &KatConfig, batch: usize, mode: Mode) -> u128 {
    let (dim, depth, tokens) = (config.dim as u128, config.depth as u128, tokens(config));
    let hidden = (f64::from(config.mlp_ratio) * config.dim as f64) as u128;
    let weights = depth * (4 * dim * dim + 2 * dim * hidden) + tokens * dim;
    let pixels = config.image_size.height as u128 * config.image_size.width as u128;
    // recomputed, a block keeps its input; otherwise also what lies between its layers
    let maps = if config.activation_checkpointing { dim } else { 6 * dim + 2 * hidden };
    let (copies, kept) = match mode {
        Mode::Train => (4, depth * maps),
        // a block's input and what its mixer lies between
        Mode::Infer => (1, dim + hidden),
    };
    let image = 3 * pixels + tokens * kept;
    // a batch as large as a number can be typed is refused too, not overflowed
    (batch as u128).saturating_mul(image).saturating_add(copies * weights).saturating_mul(4)
}

/// Bytes of memory, or what a container may use of them; `None` where the system does not say.
fn machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let total = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)))
}

fn amount(bytes: u128) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use kat_backbone::{Size, variants};

    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_both_amounts() {
        let mut config = variants::named("kat_tiny_patch16_224").unwrap().config;
        let train = |config: &KatConfig, batch, has| {
            check_against(config, (batch, "train.batch_size"), Mode::Train, has)
        };
        train(&config, 8, 2_000_000_000).unwrap();
        config.image_size = Size::square(100_000);
        let error = train(&config, 8, 23_000_000_000).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(" TB") && text.contains("has 23.0 GB"), "{text}");
        assert!(text.contains("train.batch_size") && crate::shell::status(&error) == 2, "{text}");
        config.image_size = Size::square(1 << 32);
        assert!(train(&config, usize::MAX, u64::MAX).is_err());
        let error = check_against(&config, (8, "--batch"), Mode::Infer, 23_000_000_000).unwrap_err();
        assert!(
            error.to_string().contains("a forward pass") && error.to_string().contains("--batch"),
            "{error}"
        );
    }

    #[test]
    fn the_bound_is_below_what_a_step_takes() {
        // 5.7 million parameters: four numbers of four bytes each, and 64 images of 224 pixels
        let config = variants::named("kat_tiny_patch16_224").unwrap().config;
        let least = least_bytes(&config, 64, Mode::Train);
        assert!(least > 4 * (4 * 5_000_000 + 64 * 3 * 224 * 224) && least < 4_000_000_000, "{least}");
    }
}
