//! Attention in plain loops and f64, to compare the kernels with.

use super::Geometry;

/// The height table, the width table and the grid.
pub type Relative<'a> = (&'a [f64], &'a [f64], (usize, usize));

/// Output (B, N, C).
pub fn forward(qkv: &[f64], relative: Option<Relative<'_>>, g: Geometry) -> Vec<f64> {
    let channels = g.heads * g.head_dim;
    let at = |image: usize, token: usize, part: usize, head: usize, d: usize| {
        qkv[((image * g.tokens + token) * 3 + part) * channels + head * g.head_dim + d]
    };
    let mut y = vec![0.0; g.batch * g.tokens * channels];
    for image in 0..g.batch {
        for head in 0..g.heads {
            for i in 0..g.tokens {
                let q = |d: usize| at(image, i, 0, head, d);
                let logits: Vec<f64> = (0..g.tokens)
                    .map(|j| {
                        let dot: f64 = (0..g.head_dim).map(|d| q(d) * at(image, j, 1, head, d)).sum();
                        let mut logit = dot / (g.head_dim as f64).sqrt();
                        if let Some((height, width, (rows, cols))) = relative {
                            let row = (i / cols + rows - 1) - j / cols;
                            let col = (i % cols + cols - 1) - j % cols;
                            for d in 0..g.head_dim {
                                logit += q(d) * (height[row * g.head_dim + d] + width[col * g.head_dim + d]);
                            }
                        }
                        logit
                    })
                    .collect();
                let max = logits.iter().fold(f64::MIN, |m, l| m.max(*l));
                let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
                for d in 0..g.head_dim {
                    y[(image * g.tokens + i) * channels + head * g.head_dim + d] =
                        (0..g.tokens).map(|j| (logits[j] - max).exp() / sum * at(image, j, 2, head, d)).sum();
                }
            }
        }
    }
    y
}
