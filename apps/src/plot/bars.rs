//! Horizontal bars with a name and a value each: IoU or AP by class.

use super::axis::label;
use super::scene::{Anchor, Ink, Scene, Stroke};
use crate::draw::font::Font;
use crate::draw::palette::Rgb;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it stands for.
    pub name: String,
    /// Its value in [0, 1], or none where there is nothing to measure.
    pub value: Option<f64>,
    /// Its colour.
    pub colour: Rgb,
}

/// Bars for values in [0, 1], below each other in the order given.
pub fn bars(title: &str, bars: &[Bar]) -> Scene {
    const ROW: f32 = 20.0;
    const TOP: f32 = 48.0;
    let font = Font::new();
    let names: Vec<String> = bars.iter().map(|b| font.fit(&b.name, 12.0, 200.0)).collect();
    let left = names.iter().map(|n| font.width(n, 12.0)).fold(40.0, f32::max) + 16.0;
    let (width, height) = (560.0, TOP + ROW * bars.len() as f32 + 8.0);
    let right = width - 56.0;
    let mut scene = Scene::new(title, width, height);
    scene.text((8.0, 18.0), title, 14.0, Ink::Text, Anchor::Start);
    for quarter in 0..=4 {
        let x = left + (right - left) * quarter as f32 / 4.0;
        scene.line([(x, TOP - 6.0), (x, height - 6.0)], Stroke::solid(Ink::Grid, 1.0));
        scene.text((x, TOP - 12.0), label(f64::from(quarter) / 4.0), 11.0, Ink::Muted, Anchor::Middle);
    }
    for (i, (bar, name)) in bars.iter().zip(names).enumerate() {
        let y = TOP + ROW * i as f32;
        scene.text((left - 8.0, y + 13.0), name, 12.0, Ink::Text, Anchor::End);
        match bar.value.filter(|v| v.is_finite()) {
            Some(value) => {
                let length = (right - left) * value.clamp(0.0, 1.0) as f32;
                let tip = format!("{}: {value:.4}", bar.name);
                scene.rect_with_tip([left, y + 2.0, length, ROW - 5.0], Ink::Fixed(bar.colour), tip);
                let at = (left + length + 6.0, y + 13.0);
                scene.text(at, format!("{:.1} %", 100.0 * value), 11.0, Ink::Text, Anchor::Start);
            }
            None => scene.text((left + 6.0, y + 13.0), "not present", 11.0, Ink::Muted, Anchor::Start),
        }
    }
    scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Shape;

    #[test]
    fn lengths_are_proportional_and_absent_classes_are_said() {
        let bar = |name: &str, value| Bar { name: name.into(), value, colour: [1, 2, 3] };
        let all = [bar("a", Some(1.0)), bar("b", Some(0.25)), bar("c", None), bar("d", Some(f64::NAN))];
        let scene = bars("IoU", &all);
        let lengths: Vec<f32> = scene
            .shapes
            .iter()
            .filter_map(|s| match s {
                Shape::Rect { frame, .. } => Some(frame[2]),
                _ => None,
            })
            .collect();
        assert_eq!(lengths.len(), 2);
        assert!((lengths[0] - 4.0 * lengths[1]).abs() < 1e-3);
        let absent =
            scene.shapes.iter().filter(|s| matches!(s, Shape::Text(t) if t.text == "not present")).count();
        assert_eq!(absent, 2);
    }
}
