//! A drawing as a list of shapes, independent of what it is written as. Units are CSS pixels, y down.

use crate::draw::palette::Rgb;

/// A colour that follows the reader's light or dark theme, or a fixed one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ink {
    /// Text.
    Text,
    /// Secondary text and axes.
    Muted,
    /// Grid lines and frames.
    Grid,
    /// The background.
    Surface,
    /// The same in every theme.
    Fixed(Rgb),
}

/// Where a text's reference point lies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// At its left end.
    Start,
    /// In its middle.
    Middle,
    /// At its right end.
    End,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour.
    pub ink: Ink,
    /// Width in pixels.
    pub width: f32,
    /// Lengths of dash and gap; none for a solid line.
    pub dash: Option<[f32; 2]>,
    /// In [0, 1].
    pub opacity: f32,
}

impl Stroke {
    /// A solid line.
    pub fn solid(ink: Ink, width: f32) -> Self {
        Stroke { ink, width, dash: None, opacity: 1.0 }
    }
}

/// A line of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// Reference point on the base line.
    pub at: (f32, f32),
    /// What it says.
    pub text: String,
    /// Pixels an em.
    pub size: f32,
    /// Colour.
    pub ink: Ink,
    /// Where the reference point is.
    pub anchor: Anchor,
    /// Degrees clockwise about the reference point.
    pub rotate: f32,
}

/// Something drawn.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Straight lines through points.
    Line {
        /// The points.
        points: Vec<(f32, f32)>,
        /// How.
        stroke: Stroke,
    },
    /// A filled rectangle.
    Rect {
        /// Left, top, width, height.
        frame: [f32; 4],
        /// Colour.
        ink: Ink,
        /// Shown when the pointer rests on it.
        tip: Option<String>,
    },
    /// Text.
    Text(Text),
}

/// Shapes on a surface of a given size.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scene {
    /// Pixels.
    pub width: f32,
    /// Pixels.
    pub height: f32,
    /// What it shows, for readers who cannot see it.
    pub title: String,
    /// In the order of drawing.
    pub shapes: Vec<Shape>,
}

impl Scene {
    /// An empty scene.
    pub fn new(title: impl Into<String>, width: f32, height: f32) -> Self {
        Scene { width, height, title: title.into(), shapes: Vec::new() }
    }

    /// Adds straight lines; points that are not finite break them.
    pub fn line(&mut self, points: impl IntoIterator<Item = (f32, f32)>, stroke: Stroke) {
        let mut run = Vec::new();
        for (x, y) in points.into_iter().chain([(f32::NAN, 0.0)]) {
            if x.is_finite() && y.is_finite() {
                run.push((x, y));
            } else if !run.is_empty() {
                self.shapes.push(Shape::Line { points: std::mem::take(&mut run), stroke });
            }
        }
    }

    /// Adds a filled rectangle: left, top, width, height.
    pub fn rect(&mut self, frame: [f32; 4], ink: Ink) {
        self.shapes.push(Shape::Rect { frame, ink, tip: None });
    }

    /// Adds a filled rectangle that explains itself under the pointer.
    pub fn rect_with_tip(&mut self, frame: [f32; 4], ink: Ink, tip: String) {
        self.shapes.push(Shape::Rect { frame, ink, tip: Some(tip) });
    }

    /// Adds horizontal text with its base line through `at`.
    pub fn text(&mut self, at: (f32, f32), text: impl Into<String>, size: f32, ink: Ink, anchor: Anchor) {
        self.shapes.push(Shape::Text(Text { at, text: text.into(), size, ink, anchor, rotate: 0.0 }));
    }

    /// Adds text turned by `rotate` degrees clockwise.
    pub fn turned_text(&mut self, text: Text) {
        self.shapes.push(Shape::Text(text));
    }

    /// Adds all of `other`, moved by `(dx, dy)`.
    pub fn place(&mut self, other: Scene, (dx, dy): (f32, f32)) {
        self.shapes.extend(other.shapes.into_iter().map(|shape| match shape {
            Shape::Line { points, stroke } => {
                Shape::Line { points: points.into_iter().map(|(x, y)| (x + dx, y + dy)).collect(), stroke }
            }
            Shape::Rect { frame: [x, y, w, h], ink, tip } => {
                Shape::Rect { frame: [x + dx, y + dy, w, h], ink, tip }
            }
            Shape::Text(text) => Shape::Text(Text { at: (text.at.0 + dx, text.at.1 + dy), ..text }),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_a_value_is_missing() {
        let mut scene = Scene::new("", 10.0, 10.0);
        let stroke = Stroke::solid(Ink::Text, 1.0);
        scene.line([(0.0, 0.0), (1.0, 1.0), (2.0, f32::NAN), (3.0, 1.0), (f32::INFINITY, 0.0)], stroke);
        let lengths: Vec<usize> = scene
            .shapes
            .iter()
            .map(|s| match s {
                Shape::Line { points, .. } => points.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(lengths, [2, 1]);
    }

    #[test]
    fn placing_moves_everything() {
        let mut inner = Scene::new("", 5.0, 5.0);
        inner.rect([1.0, 1.0, 2.0, 2.0], Ink::Grid);
        inner.text((0.0, 3.0), "a", 10.0, Ink::Text, Anchor::Start);
        let mut outer = Scene::new("", 20.0, 20.0);
        outer.place(inner, (10.0, 5.0));
        assert!(matches!(outer.shapes[0], Shape::Rect { frame: [11.0, 6.0, 2.0, 2.0], .. }));
        assert!(matches!(&outer.shapes[1], Shape::Text(t) if t.at == (10.0, 8.0)));
    }
}
