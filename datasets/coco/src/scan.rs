//! Finds where the records of a JSON array of objects begin and end without reading what is in them, so that records
//! can be parsed on all cores. Exact, not guessed: strings are stepped over, braces are counted.

use memchr::{memchr2, memchr3};

/// What stands where something else was expected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScanError {
    pub offset: usize,
    pub expected: &'static str,
    pub found: String,
}

/// A position in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

type Scan<T> = Result<T, ScanError>;

impl<'a> Scanner<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        // A byte-order mark is not JSON, but some editors leave one.
        let at = if bytes.starts_with(&[0xEF, 0xBB, 0xBF]) { 3 } else { 0 };
        Scanner { bytes, at }
    }

    pub fn offset(&self) -> usize {
        self.at
    }

    /// The next byte that is not white space, not consumed.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(&b) = self.bytes.get(self.at) {
            if !matches!(b, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(b);
            }
            self.at += 1;
        }
        None
    }

    pub fn error(&self, expected: &'static str) -> ScanError {
        let found = match self.bytes.get(self.at) {
            None => "the end of the file (is it truncated?)".to_string(),
            Some(_) => {
                let rest = &self.bytes[self.at..self.bytes.len().min(self.at + 20)];
                format!("`{}`", String::from_utf8_lossy(rest).escape_debug())
            }
        };
        ScanError { offset: self.at, expected, found }
    }

    pub fn expect(&mut self, byte: u8, name: &'static str) -> Scan<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(name))
        }
    }

    /// Consumes `byte` if it comes next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// A string with its quotes.
    pub fn string(&mut self) -> Scan<&'a [u8]> {
        if self.peek() != Some(b'"') {
            return Err(self.error("a string"));
        }
        let start = self.at;
        self.at = self.after_string(start)?;
        Ok(&self.bytes[start..self.at])
    }

    /// Any value, stepped over.
    pub fn value(&mut self) -> Scan<&'a [u8]> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => return self.string(),
            Some(b'{' | b'[') => {}
            Some(_) => {
                let rest = &self.bytes[start..];
                let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']'));
                self.at = start + end.unwrap_or(rest.len());
                return Ok(&self.bytes[start..self.at]);
            }
            None => return Err(self.error("a value")),
        }
        let mut depth = 0usize;
        while let Some(&b) = self.bytes.get(self.at) {
            match b {
                b'"' => {
                    self.at = self.after_string(self.at)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(&self.bytes[start..self.at]);
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(self.error("the end of the value"))
    }

    /// Up to the next `}` that closes the object standing here. Brackets need no counting: they cannot close an object.
    pub fn object(&mut self) -> Scan<&'a [u8]> {
        if self.peek() != Some(b'{') {
            return Err(self.error("an object"));
        }
        let start = self.at;
        let mut depth = 0usize;
        loop {
            let Some(step) = memchr3(b'{', b'}', b'"', &self.bytes[self.at..]) else {
                self.at = self.bytes.len();
                return Err(self.error("the end of the record"));
            };
            self.at += step;
            match self.bytes[self.at] {
                b'"' => {
                    self.at = self.after_string(self.at)?;
                    continue;
                }
                b'{' => depth += 1,
                _ => depth -= 1,
            }
            self.at += 1;
            if depth == 0 {
                return Ok(&self.bytes[start..self.at]);
            }
        }
    }

    fn after_string(&mut self, start: usize) -> Scan<usize> {
        let mut at = start + 1;
        loop {
            match memchr2(b'"', b'\\', self.bytes.get(at..).unwrap_or_default()) {
                None => {
                    self.at = self.bytes.len();
                    return Err(self.error("the end of the string"));
                }
                Some(step) if self.bytes[at + step] == b'"' => return Ok(at + step + 1),
                Some(step) => at += step + 2,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_in_strings_do_not_count() {
        let text = br#" {"a": "}{\"}", "b": {"c": [1, {"d": 2}]}} , rest"#;
        let mut scan = Scanner::new(text);
        assert!(scan.object().unwrap().ends_with(b"2}]}}"));
        assert!(scan.eat(b','));
    }

    #[test]
    fn values_of_every_kind_are_stepped_over() {
        let text = br#"[12.5e3, null, "x,]", {"k": []}, true]"#;
        let mut scan = Scanner::new(text);
        scan.expect(b'[', "`[`").unwrap();
        let mut seen = Vec::new();
        loop {
            seen.push(std::str::from_utf8(scan.value().unwrap()).unwrap());
            if !scan.eat(b',') {
                break;
            }
        }
        assert_eq!(seen, ["12.5e3", "null", r#""x,]""#, r#"{"k": []}"#, "true"]);
        scan.expect(b']', "`]`").unwrap();
    }

    #[test]
    fn truncation_is_told() {
        for text in [&br#"{"a": "b"#[..], br#"{"a": {}"#, br#"{"a\"#] {
            let error = Scanner::new(text).object().unwrap_err();
            assert!(error.found.contains("truncated"), "{error:?}");
        }
    }
}
