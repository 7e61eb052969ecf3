//! What `classify eval` prints: each class, what was taken for what, calibration, the whole.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::held_out::Evaluation;

/// Classes below which the five highest are nearly all of them.
pub const TOP5_FROM: usize = 6;
/// Most classes of which the whole matrix is printed.
const MATRIX: usize = 12;
/// Kinds of mistakes that are named.
const CONFUSED: usize = 10;

/// The figures of one class; NaN where there is nothing to divide by.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Name.
    pub class: String,
    /// Images of it.
    pub images: u64,
    /// Share of them that were recognized.
    pub recall: f64,
    /// Share of the images taken for it that are of it.
    pub precision: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// The figures of every class, in the order of their indices.
pub fn by_class(evaluation: &Evaluation, names: &[String]) -> Vec<ClassFigures> {
    let count = |truth, predicted| evaluation.confusion.count(truth, predicted);
    let classes = 0..names.len();
    let one = |class: usize| {
        let images: u64 = classes.clone().map(|p| count(class, p)).sum();
        let taken: u64 = classes.clone().map(|t| count(t, class)).sum();
        let right = count(class, class) as f64;
        let f1 = 2.0 * right / (images + taken) as f64;
        let (recall, precision) = (right / images as f64, right / taken as f64);
        ClassFigures { class: names[class].clone(), images, recall, precision, f1 }
    };
    classes.clone().map(one).collect()
}

/// As text, the most important figure last.
pub fn text(evaluation: &Evaluation, names: &[String]) -> String {
    let percent = |v: f64| if v.is_nan() { "-".to_owned() } else { format!("{:.2}", 100.0 * v) };
    let widest = |least: usize| names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(least);
    let width = widest("class".len());
    let mut out =
        format!("{:<width$} {:>7} {:>7} {:>9} {:>7}\n", "class", "images", "recall", "precision", "F1");
    for c in by_class(evaluation, names) {
        let [recall, precision, f1] = [c.recall, c.precision, c.f1].map(percent);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:<width$} {:>7} {recall:>7} {precision:>9} {f1:>7}", c.class, c.images);
    }
    out.push('\n');
    if names.len() <= MATRIX {
        out += &matrix(evaluation, names);
    } else {
        out += "most often taken for another class\n";
        for c in evaluation.confusion.most_confused(CONFUSED) {
            let share = percent(c.share);
            let _ = writeln!(
                out,
                "  {}, taken for {}: {} ({share} % of the class)",
                c.truth, c.predicted, c.count
            );
        }
    }
    let (loss, calibration) = (evaluation.mean_loss(), evaluation.calibration());
    let (ece, sure) = (percent(calibration.ece), percent(calibration.confidence));
    let accuracy = evaluation.top.accuracy();
    let _ =
        writeln!(out, "\ncross entropy {loss:.4}, calibration error (ECE) {ece} %, mean confidence {sure} %");
    if accuracy.not_a_number > 0 {
        let _ = writeln!(out, "{} images gave no number and count as wrong", accuracy.not_a_number);
    }
    let top5 = match names.len() >= TOP5_FROM {
        true => format!(", top-5 {:.2} %", 100.0 * accuracy.top5),
        false => String::new(),
    };
    let _ = writeln!(out, "top-1 {:.2} %{top5} of {} images", 100.0 * accuracy.top1, accuracy.samples);
    out
}

/// Rows are what images are of, columns what they were taken for.
fn matrix(evaluation: &Evaluation, names: &[String]) -> String {
    const SHORT: usize = 10;
    let short = |name: &String| name.chars().take(SHORT).collect::<String>();
    let head = "is / taken for";
    let width = names.iter().map(|n| n.chars().count()).max().unwrap_or(0).max(head.len());
    let mut out = format!("{head:<width$}");
    for name in names {
        let _ = write!(out, " {:>SHORT$}", short(name));
    }
    out.push('\n');
    for (truth, name) in names.iter().enumerate() {
        let _ = write!(out, "{name:<width$}");
        for predicted in 0..names.len() {
            let _ = write!(out, " {:>SHORT$}", evaluation.confusion.count(truth, predicted));
        }
        out.push('\n');
    }
    out
}

/// As JSON: all of it, the whole matrix too. A figure that cannot be had is null.
///
/// # Errors
/// None that is known: numbers and names can be written.
pub fn as_json(evaluation: &Evaluation, names: &[String]) -> anyhow::Result<Value> {
    let classes = 0..names.len();
    let row = |truth: usize| -> Vec<u64> {
        classes.clone().map(|predicted| evaluation.confusion.count(truth, predicted)).collect()
    };
    let mut object = serde_json::to_value(evaluation.top.accuracy())?;
    if names.len() < TOP5_FROM {
        object["top5"] = Value::Null;
    }
    object["cross_entropy"] = json!(evaluation.mean_loss());
    object["calibration"] = serde_json::to_value(evaluation.calibration())?;
    object["classes"] = serde_json::to_value(by_class(evaluation, names))?;
    object["confusion"] = json!(classes.clone().map(row).collect::<Vec<_>>());
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("class {i}")).collect()
    }

    #[test]
    fn classes_have_recall_precision_and_f1() {
        // three of class 0, one of them taken for 1; one of class 1; none of class 2
        let found = Evaluation::example(&[[2, 1, 0], [0, 1, 0], [0, 0, 0]], &[(0.9, true); 4]);
        let figures = by_class(&found, &names(3));
        assert_eq!((figures[0].images, figures[0].recall, figures[0].precision), (3, 2.0 / 3.0, 1.0));
        assert_eq!((figures[1].recall, figures[1].precision, figures[1].f1), (1.0, 0.5, 2.0 / 3.0));
        assert!(figures[2].recall.is_nan() && figures[2].f1.is_nan());
        let text = text(&found, &names(3));
        for part in [
            "class 0                 2          1          0\n",
            "class 2       0       -         -       -\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.trim_end().ends_with("of 4 images") && !text.contains("top-5"), "{text}");
        let json = as_json(&found, &names(3)).unwrap();
        assert_eq!((&json["confusion"][0], &json["top5"]), (&json!([2, 1, 0]), &Value::Null));
        assert_eq!(json["classes"][2]["recall"], Value::Null);
        assert!((json["calibration"]["ece"].as_f64().unwrap() - 0.1).abs() < 1e-9, "{json}");
    }

    #[test]
    fn many_classes_are_told_by_their_mistakes() {
        let mut counts = [[0; 13]; 13];
        counts[4][7] = 3;
        let text = text(&Evaluation::example(&counts, &[(0.5, false); 3]), &names(13));
        assert!(text.contains("class 4, taken for class 7: 3 (100.00 % of the class)"), "{text}");
        assert!(text.contains("top-5") && !text.contains("is / taken for"), "{text}");
    }
}
