//! Text from outside on its way to a terminal: names, paths and messages may hold control characters that move the
//! cursor, change its colors or turn the direction of writing around.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

/// Whether a character is not shown but acted on. All of them are below U+FFFF.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escaped(text: &str, keep: fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| acts(c) && !keep(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) && !keep(c) {
            // as JSON has it, so that its texts stay what they are
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A text of lines with every other control character escaped.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// A name or message with every control character escaped, the ends of lines too.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Writes to stdout; where the reader went away (`| head`), that is an error of kind broken pipe, not a panic.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(printable(text).as_bytes())?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_the_rest_stays() {
        assert_eq!(one_line("a\u{1b}[31m\nb\u{202e}c\u{9b}"), "a\\u001b[31m\\u000ab\\u202ec\\u009b");
        assert_eq!(printable("a\r\nb\tc"), "a\\u000d\nb\tc");
        assert!(matches!(printable("caf\u{e9} \u{6f22}\n"), Cow::Borrowed(_)));
        // a text of JSON stays that text
        let json = printable("{\"a\": \"\u{202e}\"}").into_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a"], "\u{202e}");
    }
}
