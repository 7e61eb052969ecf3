//! Confusion matrix: counts, picture, and the pairs of classes confused most.

use super::scene::{Anchor, Ink, Scene, Text};
use crate::draw::font::Font;
use crate::draw::palette::{blues, text_on};

/// Most classes a picture shows by name; of more, it takes those with most mistakes.
const MAX_SHOWN: usize = 30;

/// How often each true class was taken for each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    names: Vec<String>,
    /// Row-major, true class by predicted class.
    counts: Vec<u64>,
}

/// One kind of mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Confused {
    /// Name of the true class.
    pub truth: String,
    /// Name it was given.
    pub predicted: String,
    /// How often.
    pub count: u64,
    /// Share of the true class's samples.
    pub share: f64,
}

impl Confusion {
    /// An empty matrix over these classes.
    pub fn new(names: Vec<String>) -> Self {
        let counts = vec![0; names.len() * names.len()];
        Confusion { names, counts }
    }

    /// Counts one sample; classes beyond the matrix are left out.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        self.add_many(truth, predicted, 1);
    }

    /// Counts `n` samples, or pixels, of one kind.
    pub fn add_many(&mut self, truth: usize, predicted: usize, n: u64) {
        let classes = self.names.len();
        if truth < classes && predicted < classes {
            self.counts[truth * classes + predicted] += n;
        }
    }

    /// Samples of class `truth` that were taken for class `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[truth * self.names.len() + predicted]
    }

    /// The `k` most frequent kinds of mistake, most frequent first.
    pub fn most_confused(&self, k: usize) -> Vec<Confused> {
        let classes = self.names.len();
        let mut pairs: Vec<(usize, usize)> = (0..classes)
            .flat_map(|t| (0..classes).map(move |p| (t, p)))
            .filter(|(t, p)| t != p && self.count(*t, *p) > 0)
            .collect();
        pairs.sort_by_key(|(t, p)| std::cmp::Reverse(self.count(*t, *p)));
        pairs.truncate(k);
        pairs
            .into_iter()
            .map(|(t, p)| Confused {
                truth: self.names[t].clone(),
                predicted: self.names[p].clone(),
                count: self.count(t, p),
                share: self.count(t, p) as f64 / self.total(t) as f64,
            })
            .collect()
    }

    fn total(&self, truth: usize) -> u64 {
        let classes = self.names.len();
        self.counts[truth * classes..(truth + 1) * classes].iter().sum()
    }

    /// Classes to draw: all, or those that take part in most mistakes, in their own order.
    fn shown(&self) -> Vec<usize> {
        let classes = self.names.len();
        let mut order: Vec<usize> = (0..classes).collect();
        if classes > MAX_SHOWN {
            let mistakes = |c: usize| -> u64 {
                (0..classes).filter(|o| *o != c).map(|o| self.count(c, o) + self.count(o, c)).sum()
            };
            order.sort_by_cached_key(|c| std::cmp::Reverse(mistakes(*c)));
            order.truncate(MAX_SHOWN);
            order.sort_unstable();
        }
        order
    }

    /// The matrix as a heat map: rows are true classes, each row's colour the share of its samples.
    pub fn scene(&self) -> Scene {
        let shown = self.shown();
        let font = Font::new();
        let cell = (440.0 / shown.len().max(1) as f32).clamp(18.0, 48.0);
        let size = (cell * 0.42).clamp(9.0, 12.0);
        let names: Vec<String> = shown.iter().map(|c| font.fit(&self.names[*c], size, 130.0)).collect();
        let widest = names.iter().map(|n| font.width(n, size)).fold(20.0, f32::max);
        let left = widest + 34.0;
        // Names above the columns stand at 45 degrees.
        let top = 34.0 + widest * 0.72 + 18.0;
        let side = cell * shown.len() as f32;
        let width = (left + side + widest * 0.72 + 12.0).max(320.0);
        let mut scene = Scene::new("Confusion matrix", width, top + side + 26.0);
        let heading = if shown.len() < self.names.len() {
            format!(
                "Confusion matrix, the {} classes with most mistakes of {}",
                shown.len(),
                self.names.len()
            )
        } else {
            "Confusion matrix".to_owned()
        };
        scene.text((8.0, 18.0), heading, 14.0, Ink::Text, Anchor::Start);
        // All cells say the same kind of number: counts, or shares where the counts (of pixels) are long.
        let most = shown.iter().flat_map(|t| shown.iter().map(|p| self.count(*t, *p))).max().unwrap_or(0);
        let shares = most >= 100_000;
        // Shows as the lines between the cells.
        scene.rect([left - 1.0, top - 1.0, side + 1.0, side + 1.0], Ink::Grid);
        for (row, truth) in shown.iter().enumerate() {
            let y = top + cell * row as f32;
            let total = self.total(*truth);
            scene.text((left - 6.0, y + cell / 2.0 + size * 0.36), &names[row], size, Ink::Text, Anchor::End);
            for (column, predicted) in shown.iter().enumerate() {
                let x = left + cell * column as f32;
                let count = self.count(*truth, *predicted);
                let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
                // The square root lets rare mistakes show beside a strong diagonal.
                let colour = blues(share.sqrt() as f32);
                let tip = format!(
                    "{} taken for {}: {count} ({:.1} %)",
                    self.names[*truth],
                    self.names[*predicted],
                    100.0 * share
                );
                let ink = if count == 0 { Ink::Surface } else { Ink::Fixed(colour) };
                scene.rect_with_tip([x, y, cell - 1.0, cell - 1.0], ink, tip);
                let said = match 100.0 * share {
                    _ if !shares => count.to_string(),
                    percent if percent > 0.0 && percent < 0.5 => "<1%".to_owned(),
                    percent => format!("{percent:.0}%"),
                };
                let room = (cell - 4.0) / font.width(&said, 1.0);
                let digits = size.min(room);
                if count > 0 && digits >= 6.5 {
                    let at = (x + cell / 2.0, y + cell / 2.0 + digits * 0.36);
                    scene.text(at, said, digits, Ink::Fixed(text_on(colour)), Anchor::Middle);
                }
            }
        }
        for (column, name) in names.into_iter().enumerate() {
            let at = (left + cell * (column as f32 + 0.5) + size * 0.3, top - 6.0);
            let (ink, anchor) = (Ink::Text, Anchor::Start);
            scene.turned_text(Text { at, text: name, size, ink, anchor, rotate: -45.0 });
        }
        let caption = "rows: true class, columns: predicted class, colour: share of the row";
        scene.text((8.0, top + side + 18.0), caption, 11.0, Ink::Muted, Anchor::Start);
        scene
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(classes: usize) -> Confusion {
        Confusion::new((0..classes).map(|i| format!("class {i}")).collect())
    }

    #[test]
    fn pairs_are_ordered_by_count_with_the_share_of_the_row() {
        let mut m = matrix(3);
        m.add_many(0, 0, 6);
        m.add_many(0, 1, 2);
        m.add_many(2, 0, 5);
        m.add(1, 1);
        m.add(7, 0);
        let pairs = m.most_confused(5);
        assert_eq!(pairs.len(), 2);
        assert_eq!(
            (pairs[0].truth.as_str(), pairs[0].predicted.as_str(), pairs[0].count),
            ("class 2", "class 0", 5)
        );
        assert_eq!((pairs[0].share, pairs[1].share), (1.0, 0.25));
    }

    #[test]
    fn many_classes_are_cut_to_the_troubled_ones() {
        let mut m = matrix(1000);
        for c in 0..1000 {
            m.add_many(c, c, 50);
        }
        m.add_many(700, 900, 9);
        assert!(m.shown().len() == MAX_SHOWN && m.shown().contains(&700) && m.shown().contains(&900));
        assert!(m.scene().width < 900.0);
    }

    #[test]
    fn an_empty_matrix_draws() {
        assert!(matrix(0).scene().width > 0.0);
        assert!(matrix(0).most_confused(3).is_empty());
    }

    #[test]
    fn cells_are_all_counts_or_all_shares() {
        let said = |many: u64| {
            let mut confusion = Confusion::new(vec!["a".into(), "b".into()]);
            confusion.add_many(0, 0, many);
            confusion.add_many(0, 1, 100);
            confusion.add_many(1, 1, 700);
            let texts = confusion.scene().shapes.into_iter().filter_map(|s| match s {
                crate::plot::scene::Shape::Text(t) => Some(t.text),
                _ => None,
            });
            texts.filter(|t| t.ends_with('%') || t.parse::<u64>().is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(said(300), ["300", "100", "700"]);
        assert_eq!(said(300_000), ["100%", "<1%", "100%"]);
    }
}
