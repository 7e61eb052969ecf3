//! Resampling of position embeddings to another grid: bicubic with antialiasing, as timm and PyTorch do it.

use super::{CheckpointError, HostTensor};
use crate::config::Size;
use crate::ops::resize::grid::bicubic_grid;

/// Resamples the grid part of a position embedding; the prefix tokens stay.
///
/// # Shapes
/// `embed`: (1, prefix + h·w, C) → (1, prefix + h'·w', C).
///
/// # Errors
/// [`CheckpointError::PositionEmbedding`] if the embedding does not have this shape, or a grid is empty.
pub fn resample(
    embed: &HostTensor,
    prefix: usize,
    from: Size,
    to: Size,
) -> Result<HostTensor, CheckpointError> {
    let &[1, tokens, channels] = &embed.shape[..] else {
        return Err(error(format!("shape {:?}", embed.shape), "(1, tokens, channels)".into()));
    };
    let count = |grid: Size| grid.height.checked_mul(grid.width).and_then(|n| n.checked_add(prefix));
    if count(from) != Some(tokens) || embed.data.len() != tokens * channels {
        let expected = format!("{prefix} prefix tokens and a grid of {}x{}", from.height, from.width);
        return Err(error(format!("{tokens} tokens"), expected));
    }
    if [to.height, to.width, from.height, from.width].contains(&0) {
        return Err(error(
            format!("grids {}x{} and {}x{}", from.height, from.width, to.height, to.width),
            "at least one row and column".into(),
        ));
    }
    let (head, grid) = embed.data.split_at(prefix * channels);
    let mut data = head.to_vec();
    data.extend(bicubic_grid(grid, from, to, channels));
    Ok(HostTensor { shape: vec![1, prefix + to.area(), channels], data })
}

/// The square grid of `tokens` patches.
///
/// # Errors
/// [`CheckpointError::PositionEmbedding`] if the number is not a square.
pub fn square(tokens: usize) -> Result<Size, CheckpointError> {
    let side = tokens.isqrt();
    if side == 0 || side * side != tokens {
        return Err(error(format!("{tokens} patches"), "a square number, or the grid to be given".into()));
    }
    Ok(Size::square(side))
}

fn error(found: String, expected: String) -> CheckpointError {
    CheckpointError::PositionEmbedding { found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(h: usize, w: usize, prefix: usize) -> HostTensor {
        let grid = (0..h * w).flat_map(|i| [(i / w) as f32, (i % w) as f32]);
        let data: Vec<f32> = std::iter::repeat_n(-7.0, 2 * prefix).chain(grid).collect();
        HostTensor::new(vec![1, prefix + h * w, 2], data).unwrap()
    }

    #[test]
    fn the_same_grid_changes_nothing_and_prefixes_stay() {
        let embed = ramp(3, 5, 2);
        assert_eq!(resample(&embed, 2, Size::new(3, 5), Size::new(3, 5)).unwrap(), embed);
        let larger = resample(&embed, 2, Size::new(3, 5), Size::new(6, 4)).unwrap();
        assert_eq!(larger.shape, [1, 26, 2]);
        assert_eq!(larger.data[..4], [-7.0; 4]);
    }

    #[test]
    fn a_linear_ramp_stays_linear_inside() {
        let out = resample(&ramp(16, 16, 0), 0, Size::new(16, 16), Size::new(32, 32)).unwrap();
        // Row r of the new grid sits at (r + 0.5) / 2 - 0.5 of the old one.
        for r in 8..24 {
            let value = out.data[2 * (r * 32 + 16)];
            assert!((value - ((r as f32 + 0.5) / 2.0 - 0.5)).abs() < 1e-5, "{r} {value}");
        }
    }

    #[test]
    fn wrong_shapes_are_refused() {
        assert!(resample(&ramp(3, 3, 1), 1, Size::new(3, 4), Size::new(2, 2)).is_err());
        assert!(resample(&ramp(3, 3, 1), 1, Size::new(3, 3), Size::new(0, 2)).is_err());
        assert!(resample(&ramp(3, 3, 0), 0, Size::new(usize::MAX, 2), Size::new(2, 2)).is_err());
        assert_eq!(square(196).unwrap(), Size::square(14));
        assert!(square(195).unwrap_err().to_string().contains("195"));
    }
}
