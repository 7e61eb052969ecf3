//! A scene as SVG to stand inside an HTML page, whose CSS variables give the theme's colours.

use std::fmt::Write;

use super::scene::{Anchor, Ink, Scene, Shape, Stroke, Text};

/// Text made safe inside HTML and SVG, attributes included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in XML at all.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            // These turn the direction of what follows around.
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

/// The scene as an `<svg>` element.
pub fn to_svg(scene: &Scene) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {:.0} {:.0}\" width=\"{:.0}\" height=\"{:.0}\" role=\"img\" aria-label=\"{}\">",
        scene.width,
        scene.height,
        scene.width,
        scene.height,
        escape(&scene.title)
    );
    for shape in &scene.shapes {
        let _ = match shape {
            Shape::Line { points, stroke } => line(&mut out, points, stroke),
            Shape::Rect { frame: [x, y, w, h], ink, tip } => {
                let head = format!(
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{}\"",
                    w.max(0.0),
                    h.max(0.0),
                    css(*ink)
                );
                match tip {
                    Some(tip) => write!(out, "{head}><title>{}</title></rect>", escape(tip)),
                    None => write!(out, "{head}/>"),
                }
            }
            Shape::Text(t) => text(&mut out, t),
        };
    }
    out.push_str("</svg>");
    out
}

fn line(out: &mut String, points: &[(f32, f32)], stroke: &Stroke) -> std::fmt::Result {
    write!(out, "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\"", css(stroke.ink), stroke.width)?;
    out.push_str(" stroke-linejoin=\"round\" stroke-linecap=\"round\"");
    if let Some([dash, gap]) = stroke.dash {
        write!(out, " stroke-dasharray=\"{dash} {gap}\"")?;
    }
    if stroke.opacity < 1.0 {
        write!(out, " opacity=\"{}\"", stroke.opacity)?;
    }
    out.push_str(" points=\"");
    // A lone point, given twice, shows as a dot: browsers draw the round ends of a line of no length.
    let repeated = if points.len() == 1 { points.first() } else { None };
    for (i, (x, y)) in points.iter().chain(repeated).enumerate() {
        write!(out, "{}{x:.1},{y:.1}", if i == 0 { "" } else { " " })?;
    }
    out.push_str("\"/>");
    Ok(())
}

fn text(out: &mut String, t: &Text) -> std::fmt::Result {
    let anchor = match t.anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let (x, y) = t.at;
    write!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{anchor}\"",
        t.size,
        css(t.ink)
    )?;
    if t.rotate != 0.0 {
        write!(out, " transform=\"rotate({} {x:.1} {y:.1})\"", t.rotate)?;
    }
    write!(out, ">{}</text>", escape(&t.text))
}

fn css(ink: Ink) -> String {
    match ink {
        Ink::Text => "var(--text)".into(),
        Ink::Muted => "var(--muted)".into(),
        Ink::Grid => "var(--grid)".into(),
        Ink::Surface => "var(--surface)".into(),
        Ink::Fixed([r, g, b]) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_the_page() {
        let mut scene = Scene::new("\"><script>", 10.0, 10.0);
        scene.text((1.0, 2.0), "<b>&'\u{1b}", 9.0, Ink::Muted, Anchor::End);
        scene.rect_with_tip([0.0, 0.0, 1.0, 1.0], Ink::Fixed([255, 0, 16]), "a<b".into());
        let svg = to_svg(&scene);
        assert!(svg.contains("aria-label=\"&quot;&gt;&lt;script&gt;\""));
        assert!(svg.contains(">&lt;b&gt;&amp;&#39;\u{fffd}</text>"));
        assert!(svg.contains("fill=\"#ff0010\"><title>a&lt;b</title></rect>"));
    }

    #[test]
    fn lines_are_polylines() {
        let mut scene = Scene::new("", 10.0, 10.0);
        let stroke = Stroke { ink: Ink::Text, width: 2.0, dash: Some([4.0, 3.0]), opacity: 0.5 };
        scene.line([(0.0, 1.0), (2.0, 3.25)], stroke);
        let svg = to_svg(&scene);
        assert!(svg.contains("stroke-dasharray=\"4 3\" opacity=\"0.5\" points=\"0.0,1.0 2.0,3.2\""), "{svg}");
    }
}
