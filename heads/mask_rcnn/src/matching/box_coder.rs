//! Boxes as shifts and log scales relative to a reference box (R-CNN, arXiv 1311.2524, appendix C).
//!
//! dx = wx (cx' − cx) / w, dy likewise, dw = ww ln(w' / w), dh likewise.

use serde::{Deserialize, Serialize};

use crate::error::HeadError;

/// Largest log scale: a 16-pixel reference becomes at most 1000 pixels long, so that the exponential of an untrained
/// prediction stays finite.
const MAX_LOG_SCALE: f32 = 4.135_166_6; // ln(1000 / 16)

/// Translates between boxes and deltas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoxCoder {
    /// Factors of dx, dy, dw, dh, which bring them to about unit variance.
    pub weights: [f32; 4],
}

impl BoxCoder {
    /// The RPN's: no factors.
    pub const RPN: Self = Self { weights: [1.0; 4] };
    /// The box head's.
    pub const BOX_HEAD: Self = Self { weights: [10.0, 10.0, 5.0, 5.0] };

    /// The deltas that lead from `reference` to `target`.
    ///
    /// # Errors
    /// A box with a side that is not positive: its logarithm would poison the loss.
    pub fn encode(&self, reference: [f32; 4], target: [f32; 4]) -> Result<[f32; 4], HeadError> {
        for (what, b) in [("reference box", reference), ("target box", target)] {
            if !(b[2] - b[0] > 0.0 && b[3] - b[1] > 0.0 && b.iter().all(|c| c.is_finite())) {
                return Err(HeadError::value(what, b, "finite corners and positive sides"));
            }
        }
        let ([cx, cy, w, h], [tx, ty, tw, th]) = (centred(reference), centred(target));
        let [wx, wy, ww, wh] = self.weights;
        Ok([wx * (tx - cx) / w, wy * (ty - cy) / h, ww * (tw / w).ln(), wh * (th / h).ln()])
    }

    /// The box that `deltas` lead to from `reference`. A NaN in the deltas gives NaN corners.
    #[inline]
    pub fn decode(&self, reference: [f32; 4], deltas: [f32; 4]) -> [f32; 4] {
        let [cx, cy, w, h] = centred(reference);
        let [wx, wy, ww, wh] = self.weights;
        // Not f32::min, which would turn a NaN into the limit.
        let limited = |d: f32| if d > MAX_LOG_SCALE { MAX_LOG_SCALE } else { d };
        let (x, y) = (deltas[0] / wx * w + cx, deltas[1] / wy * h + cy);
        let (w, h) = (limited(deltas[2] / ww).exp() * w, limited(deltas[3] / wh).exp() * h);
        [x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h]
    }
}

/// Centre, width and height.
#[inline]
fn centred([x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
    let (w, h) = (x1 - x0, y1 - y0);
    [x0 + 0.5 * w, y0 + 0.5 * h, w, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_by_hand() {
        // Centre (5, 10) to (7, 5), width 10 to 20, height 20 to 10.
        let deltas = BoxCoder::BOX_HEAD.encode([0., 0., 10., 20.], [-3., 0., 17., 10.]).unwrap();
        let ln2 = std::f32::consts::LN_2;
        assert_eq!(deltas, [2.0, -2.5, 5.0 * ln2, -5.0 * ln2]);
    }

    #[test]
    fn decode_inverts_encode() {
        for coder in [BoxCoder::RPN, BoxCoder::BOX_HEAD] {
            let (a, b) = ([3., 4., 50., 31.], [10.5, 2., 80., 99.]);
            let back = coder.decode(a, coder.encode(a, b).unwrap());
            assert!(back.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-4), "{back:?}");
        }
    }

    #[test]
    fn scale_is_limited() {
        assert!((f64::from(MAX_LOG_SCALE) - (1000.0f64 / 16.0).ln()).abs() < 1e-7);
        let b = BoxCoder::RPN.decode([0., 0., 16., 16.], [0., 0., 50., f32::INFINITY]);
        assert!((b[2] - b[0] - 1000.0).abs() < 1e-2 && (b[3] - b[1] - 1000.0).abs() < 1e-2);
        assert!(BoxCoder::RPN.decode([0., 0., 16., 16.], [0., 0., f32::NAN, 0.])[0].is_nan());
    }

    #[test]
    fn empty_boxes_are_refused() {
        let coder = BoxCoder::RPN;
        assert!(coder.encode([0., 0., 0., 5.], [0., 0., 1., 1.]).is_err());
        let text = coder.encode([0., 0., 1., 1.], [2., 2., 2., 3.]).unwrap_err().to_string();
        assert!(text.starts_with("target box: found [2.0, 2.0, 2.0, 3.0]"), "{text}");
    }
}
