//! Confusion matrix: counts, heat map, and the pairs of classes confused most.

use ndarray::{Array2, ArrayView2};
use plotters::prelude::{Color as _, DrawingBackend, Rectangle};
use plotters::style::text_anchor::{HPos, VPos};

use super::pen::{Area, Drawn, Ink, Pen, Tip, upwards};
use super::{Drawing, Plot, PlotError};
use crate::draw::font::Font;
use crate::draw::palette::{blues, text_on};
use crate::report::html::visible;

/// Most classes that are shown by name; of more, it takes those with most mistakes.
const MAX_SHOWN: usize = 30;

/// How often each true class was taken for each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Confusion {
    names: Vec<String>,
    /// (true class, predicted class).
    counts: Array2<u64>,
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
        let counts = Array2::zeros((names.len(), names.len()));
        Confusion { names, counts }
    }

    /// What was counted already, (true class, predicted class); classes without a name are left out.
    pub fn of_counts(names: Vec<String>, counts: ArrayView2<'_, u64>) -> Self {
        let mut confusion = Self::new(names);
        for ((truth, predicted), count) in counts.indexed_iter() {
            confusion.add_many(truth, predicted, *count);
        }
        confusion
    }

    /// Counts one sample; classes beyond the matrix are left out.
    pub fn add(&mut self, truth: usize, predicted: usize) {
        self.add_many(truth, predicted, 1);
    }

    /// Counts `n` samples, or pixels, of one kind.
    pub fn add_many(&mut self, truth: usize, predicted: usize, n: u64) {
        if let Some(count) = self.counts.get_mut((truth, predicted)) {
            *count += n;
        }
    }

    /// Samples of class `truth` that were taken for class `predicted`.
    pub fn count(&self, truth: usize, predicted: usize) -> u64 {
        self.counts[(truth, predicted)]
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
        self.counts.row(truth).sum()
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

    /// The matrix as a heat map: rows are true classes, each row's color the share of its samples.
    ///
    /// # Errors
    /// None on the backends that there are.
    pub fn plot(&self) -> Result<Plot, PlotError> {
        let shown = self.shown();
        let font = Font::new();
        let cell = (440.0 / shown.len().max(1) as f32).clamp(18.0, 48.0).round();
        let size = (cell * 0.42).clamp(9.0, 12.0);
        let names: Vec<String> =
            shown.iter().map(|c| font.fit(&visible(&self.names[*c]), size, 130.0)).collect();
        let widest = names.iter().map(|n| font.width(n, size)).fold(20.0, f32::max);
        let heading = if shown.len() < self.names.len() {
            let (shown, all) = (shown.len(), self.names.len());
            format!("Confusion matrix, the {shown} classes with most mistakes of {all}")
        } else {
            "Confusion matrix".to_owned()
        };
        // All cells say the same kind of number: counts, or shares where the counts (of pixels) are long.
        let most = shown.iter().flat_map(|t| shown.iter().map(|p| self.count(*t, *p))).max().unwrap_or(0);
        Plot::of(HeatMap {
            confusion: self.clone(),
            shown,
            names,
            heading,
            shares: most >= 100_000,
            cell,
            size,
            left: (widest + 22.0).round(),
            top: (widest + 50.0).round(),
        })
    }
}

/// A matrix with the places of its cells, in CSS pixels.
struct HeatMap {
    confusion: Confusion,
    /// Classes to draw.
    shown: Vec<usize>,
    /// Their names, as far as there is room.
    names: Vec<String>,
    heading: String,
    /// Whether cells say shares.
    shares: bool,
    /// Side of a cell.
    cell: f32,
    /// Size of names and numbers.
    size: f32,
    /// Left edge of the cells.
    left: f32,
    /// Top edge of the cells.
    top: f32,
}

impl HeatMap {
    fn side(&self) -> f32 {
        self.cell * self.shown.len() as f32
    }

    /// A cell and what it says; its tip.
    fn cell<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen, row: usize, column: usize) -> Drawn<Tip, B> {
        let (truth, predicted) = (self.shown[row], self.shown[column]);
        let (count, total) = (self.confusion.count(truth, predicted), self.confusion.total(truth));
        let share = if total == 0 { 0.0 } else { count as f64 / total as f64 };
        // The square root lets rare mistakes show beside a strong diagonal.
        let color = blues(share.sqrt() as f32);
        let ink = if count == 0 { Ink::Surface } else { Ink::Fixed(color) };
        let (x, y) = (self.left + self.cell * column as f32, self.top + self.cell * row as f32);
        let corners = [pen.at(x, y), pen.at(x + self.cell - 1.0, y + self.cell - 1.0)];
        area.draw(&Rectangle::new(corners, ink.color().filled()))?;
        let said = match 100.0 * share {
            _ if !self.shares => count.to_string(),
            percent if percent > 0.0 && percent < 0.5 => "<1%".to_owned(),
            percent => format!("{percent:.0}%"),
        };
        let digits = self.size.min((self.cell - 4.0) / Font::new().width(&said, 1.0));
        if count > 0 && digits >= 6.5 {
            let style = pen.text(digits, Ink::Fixed(text_on(color)), HPos::Center, VPos::Center);
            let middle = (self.cell - 1.0) / 2.0;
            pen.write(area, (x + middle, y + middle), &said, style)?;
        }
        let names = &self.confusion.names;
        let text =
            format!("{} taken for {}: {count} ({:.1} %)", names[truth], names[predicted], 100.0 * share);
        let [a, b] = corners;
        Ok(Tip { frame: [a.0, a.1, b.0 - a.0, b.1 - a.1], text })
    }
}

impl Drawing for HeatMap {
    fn title(&self) -> &str {
        "Confusion matrix"
    }

    fn size(&self) -> (u32, u32) {
        let width = (self.left + self.side() + 12.0).max(400.0);
        (width as u32, (self.top + self.side() + 26.0) as u32)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>, pen: Pen) -> Drawn<Vec<Tip>, B> {
        let heading = pen.text(14.0, Ink::Text, HPos::Left, VPos::Center);
        pen.write(area, (8.0, 14.0), &self.heading, heading)?;
        // Shows as the lines between the cells.
        let (left, top, side) = (self.left, self.top, self.side());
        let frame = [pen.at(left - 1.0, top - 1.0), pen.at(left + side, top + side)];
        area.draw(&Rectangle::new(frame, Ink::Grid.color().filled()))?;
        let mut tips = Vec::new();
        for (i, name) in self.names.iter().enumerate() {
            let middle = self.cell * (i as f32 + 0.5);
            let style = pen.text(self.size, Ink::Text, HPos::Right, VPos::Center);
            pen.write(area, (left - 6.0, top + middle), name, style)?;
            let style = upwards(pen.text(self.size, Ink::Text, HPos::Left, VPos::Center));
            pen.write(area, (left + middle, top - 6.0), name, style)?;
            for column in 0..self.names.len() {
                tips.push(self.cell(area, pen, i, column)?);
            }
        }
        let caption = "rows: true class, columns: predicted class, color: share of the row";
        let style = pen.text(11.0, Ink::Muted, HPos::Left, VPos::Center);
        pen.write(area, (8.0, top + side + 14.0), caption, style)?;
        Ok(tips)
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
        assert!(m.plot().unwrap().image().unwrap().width() < 2 * 900);
    }

    #[test]
    fn an_empty_matrix_draws() {
        assert!(matrix(0).plot().unwrap().image().unwrap().width() > 0);
        assert!(matrix(0).most_confused(3).is_empty());
    }

    #[test]
    fn cells_are_all_counts_or_all_shares() {
        let said = |many: u64| {
            let mut confusion = Confusion::new(vec!["a".into(), "b".into()]);
            confusion.add_many(0, 0, many);
            confusion.add_many(0, 1, 100);
            confusion.add_many(1, 1, 700);
            let plot = confusion.plot().unwrap();
            let texts = plot.svg().lines().map(|line| line.replace("&lt;", "<"));
            texts.filter(|t| t.ends_with('%') || t.parse::<u64>().is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(said(300), ["300", "100", "700"]);
        assert_eq!(said(300_000), ["100%", "<1%", "100%"]);
    }
}
