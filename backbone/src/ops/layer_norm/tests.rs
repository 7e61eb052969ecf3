use super::*;
use crate::ops::check::Case;

#[test]
fn matches_plain_loops() {
    for (rows, channels) in [(1, 1), (5, 7), (70, 48)] {
        Case::new()
            .input([rows, channels], -2.0..3.0)
            .input([channels], -1.0..1.0)
            .input([channels], -1.0..1.0)
            .gradients_match(
                |graph, t| layer_norm(graph, &t[0], &t[1], &t[2], 1e-3),
                |t| {
                    let rows = t[0].chunks(channels).flat_map(|row| {
                        let mean = row.iter().sum::<f64>() / channels as f64;
                        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
                        let inverse = 1.0 / (variance + 1e-3).sqrt();
                        row.iter().map(move |x| (x - mean) * inverse).collect::<Vec<_>>()
                    });
                    rows.enumerate().map(|(i, x)| x * t[1][i % channels] + t[2][i % channels]).collect()
                },
                2e-5,
            );
    }
}
