//! The layers of a segmentation head in plain f64 loops, written from their definitions and from nothing else.

use std::collections::BTreeMap;

/// A feature map (B, C, H, W).
#[derive(Clone, Debug)]
pub struct Map {
    pub shape: [usize; 4],
    pub data: Vec<f64>,
}

/// Weights by published name.
pub type Weights = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

impl Map {
    pub fn new(shape: [usize; 4], f: impl Fn([usize; 4]) -> f64) -> Self {
        let mut data = Vec::with_capacity(shape.iter().product());
        for b in 0..shape[0] {
            for c in 0..shape[1] {
                for y in 0..shape[2] {
                    data.extend((0..shape[3]).map(|x| f([b, c, y, x])));
                }
            }
        }
        Self { shape, data }
    }

    pub fn at(&self, [b, c, y, x]: [usize; 4]) -> f64 {
        let [_, channels, height, width] = self.shape;
        self.data[((b * channels + c) * height + y) * width + x]
    }
}

/// A convolution of odd kernel, stride 1, that keeps the size.
pub fn conv(x: &Map, weights: &Weights, name: &str) -> Map {
    let (shape, kernel) = &weights[&format!("{name}.weight")];
    let bias = weights.get(&format!("{name}.bias")).map(|(_, values)| values);
    let &[outputs, inputs, side, _] = &shape[..] else { panic!("{name} is no convolution") };
    let [batch, channels, height, width] = x.shape;
    assert_eq!(channels, inputs, "{name}");
    let reach = side / 2;
    Map::new([batch, outputs, height, width], |[b, o, y, column]| {
        let mut sum = bias.map_or(0.0, |bias| bias[o]);
        for c in 0..inputs {
            for dy in 0..side {
                for dx in 0..side {
                    let (row, col) = (y + dy, column + dx);
                    if row < reach || col < reach || row - reach >= height || col - reach >= width {
                        continue;
                    }
                    let w = kernel[((o * inputs + c) * side + dy) * side + dx];
                    sum += w * x.at([b, c, row - reach, col - reach]);
                }
            }
        }
        sum
    })
}

/// Convolution, batch norm with the batch's own statistics, ReLU.
pub fn conv_norm_act(x: &Map, weights: &Weights, name: &str) -> Map {
    let x = conv(x, weights, &format!("{name}.conv"));
    let (scale, shift) = (&weights[&format!("{name}.bn.weight")].1, &weights[&format!("{name}.bn.bias")].1);
    let [batch, channels, height, width] = x.shape;
    let count = (batch * height * width) as f64;
    let values = |c: usize| {
        let x = &x;
        (0..batch).flat_map(move |b| {
            (0..height).flat_map(move |y| (0..width).map(move |column| x.at([b, c, y, column])))
        })
    };
    let mean: Vec<f64> = (0..channels).map(|c| values(c).sum::<f64>() / count).collect();
    let variance: Vec<f64> =
        (0..channels).map(|c| values(c).map(|v| (v - mean[c]).powi(2)).sum::<f64>() / count).collect();
    Map::new(x.shape, |at| {
        let c = at[1];
        let normed = (x.at(at) - mean[c]) / (variance[c] + 1e-5).sqrt();
        (normed * scale[c] + shift[c]).max(0.0)
    })
}

/// Bilinear, sample centres at half pixels.
pub fn resize(x: &Map, [height, width]: [usize; 2]) -> Map {
    let [batch, channels, from_height, from_width] = x.shape;
    let sample = |i: usize, to: usize, from: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
        let low = (at as usize).min(from - 1);
        (low, (low + 1).min(from - 1), at - low as f64)
    };
    Map::new([batch, channels, height, width], |[b, c, y, column]| {
        let (y0, y1, ty) = sample(y, height, from_height);
        let (x0, x1, tx) = sample(column, width, from_width);
        let line = |row: usize| x.at([b, c, row, x0]) * (1.0 - tx) + x.at([b, c, row, x1]) * tx;
        line(y0) * (1.0 - ty) + line(y1) * ty
    })
}

/// Averages over a grid of windows that cover the map.
pub fn pool(x: &Map, grid: usize) -> Map {
    let [batch, channels, height, width] = x.shape;
    let range = |i: usize, size: usize| i * size / grid..((i + 1) * size).div_ceil(grid);
    Map::new([batch, channels, grid, grid], |[b, c, i, j]| {
        let (rows, columns) = (range(i, height), range(j, width));
        let area = (rows.len() * columns.len()) as f64;
        let sum: f64 = rows
            .flat_map(|y| columns.clone().map(move |column| (y, column)))
            .map(|(y, z)| x.at([b, c, y, z]))
            .sum();
        sum / area
    })
}

/// Maps one after the other along the channels.
pub fn concat(maps: &[Map]) -> Map {
    let [batch, _, height, width] = maps[0].shape;
    let channels = maps.iter().map(|m| m.shape[1]).sum();
    Map::new([batch, channels, height, width], |[b, mut c, y, x]| {
        for map in maps {
            if c < map.shape[1] {
                return map.at([b, c, y, x]);
            }
            c -= map.shape[1];
        }
        unreachable!("the channel is in one of the maps")
    })
}

/// Pixel by pixel.
pub fn add(a: &Map, b: &Map) -> Map {
    Map::new(a.shape, |at| a.at(at) + b.at(at))
}

/// Weighted cross entropy over the labels below 255, divided by the number of all pixels.
pub fn cross_entropy(scores: &Map, labels: &[u8], class_weights: &[f64]) -> f64 {
    let [batch, classes, height, width] = scores.shape;
    let mut sum = 0.0;
    for b in 0..batch {
        for y in 0..height {
            for x in 0..width {
                let label = usize::from(labels[(b * height + y) * width + x]);
                if label < 255 {
                    let total: f64 = (0..classes).map(|c| scores.at([b, c, y, x]).exp()).sum();
                    sum += class_weights[label] * (total.ln() - scores.at([b, label, y, x]));
                }
            }
        }
    }
    sum / (batch * height * width) as f64
}
