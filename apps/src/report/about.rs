//! The part of a page that says when, for how long, on what and by which command a run was trained.

use super::html::{Column, Page, Width};
use crate::run::sessions::Session;
use crate::shell::progress::span;

/// Adds the sessions of a run; nothing where none are recorded.
pub fn about(page: &mut Page, sessions: &[Session]) {
    let Some(last) = sessions.last() else { return };
    page.section("Run", Width::Whole);
    let seconds = sessions.iter().map(|s| s.seconds).sum();
    let times = if sessions.len() == 1 { String::new() } else { format!(" in {} sessions", sessions.len()) };
    page.paragraph(&format!("{} steps, trained {}{times}.", last.to, span(seconds)));
    let row = |s: &Session| {
        let steps = format!("{} to {}", s.from, s.to);
        vec![
            s.started.clone(),
            span(s.seconds),
            steps,
            s.device.clone(),
            s.version.clone(),
            s.command.clone(),
        ]
    };
    let heads = [
        ("started (UTC)", Column::Text),
        ("duration", Column::Number),
        ("steps", Column::Number),
        ("device", Column::Text),
        ("version", Column::Text),
        ("command", Column::Text),
    ];
    page.table(&heads, &sessions.iter().map(row).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_are_listed_and_their_time_added_up() {
        let session = |started: &str, seconds, from, to| Session {
            started: started.to_owned(),
            seconds,
            from,
            to,
            device: "cpu, 2 threads".into(),
            command: "classify train --config a.toml".into(),
            version: "0.1.0".into(),
            complete: true,
        };
        let mut page = Page::new("run", "");
        about(&mut page, &[]);
        assert!(!page.render().contains("Run</h2>"));
        about(
            &mut page,
            &[session("2026-01-02T03:04:05Z", 100.0, 0, 40), session("2026-01-03T03:04:05Z", 20.0, 40, 60)],
        );
        let html = page.render();
        for part in ["60 steps, trained 2m 00s in 2 sessions", "2026-01-02T03:04:05Z", "40 to 60", "a.toml"] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
