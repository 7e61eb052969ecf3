//! What a person sees while a program works: a bar with rate, values and time left on a terminal, plain lines
//! elsewhere, nothing when told to be quiet.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A bar that redraws itself.
    Bar,
    /// A line now and then.
    Lines,
    /// Nothing.
    Hidden,
}

impl Style {
    /// A bar where stderr is a terminal, else lines.
    pub fn detect() -> Self {
        if io::stderr().is_terminal() { Style::Bar } else { Style::Lines }
    }
}

/// Whether colors are wanted: unless NO_COLOR says otherwise (https://no-color.org).
pub fn colored() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The screen that bars and log lines share. Clones are the same screen.
#[derive(Debug, Clone)]
pub struct Screen {
    style: Style,
    bars: MultiProgress,
}

impl Screen {
    /// A screen of this style on stderr.
    pub fn new(style: Style) -> Self {
        let target = match style {
            Style::Bar => ProgressDrawTarget::stderr(),
            Style::Lines | Style::Hidden => ProgressDrawTarget::hidden(),
        };
        Screen { style, bars: MultiProgress::with_draw_target(target) }
    }

    /// The same screen, for work whose progress is worth a bar but no lines in a log.
    pub fn on_terminal(&self) -> Self {
        let style = if self.style == Style::Lines { Style::Hidden } else { self.style };
        Self { style, bars: self.bars.clone() }
    }

    /// Follows a piece of work of `total` `unit`s (a plural: "steps", "images") from `start` on.
    pub fn progress(&self, name: &str, unit: &'static str, start: u64, total: u64) -> Progress {
        let bar = self.bars.add(ProgressBar::new(total));
        let template = match colored() {
            true => "{prefix} {bar:24.cyan/black.bright} {pos}/{len} {msg} · {eta} left",
            false => "{prefix} {bar:24} {pos}/{len} {msg} · {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸━"));
        }
        bar.set_prefix(name.to_owned());
        bar.set_position(start);
        bar.reset_eta();
        let now = Instant::now();
        Progress { bar, style: self.style, name: name.to_owned(), unit, start, begun: now, said: None }
    }

    /// Runs `write` with the bars out of the way.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bars.suspend(write)
    }
}

/// Log lines go to stderr through the screen, so that a bar does not run through them.
#[derive(Debug, Clone)]
pub struct ScreenWriter(pub Screen);

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed stderr is no reason to stop, and nobody is there to tell.
        let _ = self.0.suspend(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A piece of work under way.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    style: Style,
    name: String,
    unit: &'static str,
    start: u64,
    begun: Instant,
    said: Option<Instant>,
}

impl Progress {
    /// Shows that `done` units are done, with values such as ("loss", 1.25) beside them.
    pub fn update(&mut self, done: u64, values: &[(&str, f64)]) {
        let rate = done.saturating_sub(self.start) as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_position(done);
        self.bar.set_message(message(rate, self.unit, values));
        let due = self.said.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if self.style == Style::Lines && due {
            self.said = Some(Instant::now());
            let total = self.bar.length().unwrap_or(done);
            let line = line(&self.name, (done, total), rate, self.unit, values);
            // A closed stderr is no reason to stop training.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Shows that `more` units are done.
    pub fn advance(&mut self, more: u64) {
        self.update(self.bar.position() + more, &[]);
    }

    /// Takes the bar away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

fn message(rate: f64, unit: &str, values: &[(&str, f64)]) -> String {
    let values: String = values.iter().map(|(name, value)| format!(" · {name} {}", short(*value))).collect();
    format!("· {} {unit}/s{values}", short(rate))
}

fn line(name: &str, (done, total): (u64, u64), rate: f64, unit: &str, values: &[(&str, f64)]) -> String {
    let left = total.saturating_sub(done) as f64 / rate;
    let eta = if rate > 0.0 && left.is_finite() { format!(" · {} left", span(left)) } else { String::new() };
    format!("{name} {done}/{total} {}{eta}", message(rate, unit, values))
}

/// Four significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        v if v == 0.0 || !v.is_finite() => format!("{value}"),
        v if v < 1e-3 => format!("{value:.2e}"),
        v if v < 10.0 => format!("{value:.4}"),
        v if v < 100.0 => format!("{value:.2}"),
        v if v < 1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// "2h 05m", "3m 20s", "12s".
pub fn span(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_where_how_fast_and_how_long() {
        let text = line("epoch 2/5", (150, 400), 2.5, "steps", &[("loss", 1.23456), ("lr", 5e-4)]);
        assert_eq!(text, "epoch 2/5 150/400 · 2.5000 steps/s · loss 1.2346 · lr 5.00e-4 · 1m 40s left");
        assert!(!line("a", (0, 4), 0.0, "steps", &[]).contains("left"));
        assert!(line("a", (9, 4), 1.0, "steps", &[("loss", f64::NAN)]).contains("loss NaN · 0s left"));
    }

    #[test]
    fn spans_are_read_at_a_glance() {
        for (seconds, text) in [(0.2, "0s"), (12.0, "12s"), (200.0, "3m 20s"), (7512.0, "2h 05m")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn a_resumed_bar_counts_only_its_own_work() {
        let screen = Screen::new(Style::Hidden);
        let mut progress = screen.progress("train", "steps", 1000, 2000);
        progress.begun = Instant::now() - Duration::from_secs(10);
        progress.update(1100, &[]);
        assert_eq!(progress.bar.position(), 1100);
        let rate: f64 = progress.bar.message().split(' ').nth(1).unwrap().parse().unwrap();
        assert!((9.0..=10.0).contains(&rate), "{rate}");
        progress.finish();
    }
}
