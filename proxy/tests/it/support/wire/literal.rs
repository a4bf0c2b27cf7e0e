//! The one piece of Python the case tables use: bytes and text literals, joined by `+` and repeated by `*`.
//! An escape or a character outside that set is an error, never a guess.

/// Reads literals off the front of a text.
pub(super) struct Literals<'t> {
    rest: &'t str,
}

impl<'t> Literals<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text.trim() }
    }

    /// `term (+ term)*`, to the end of the text.
    pub(super) fn bytes_to_end(text: &'t str) -> Result<Vec<u8>, String> {
        let mut literals = Self::new(text);
        let bytes = literals.expression()?;
        literals.end().map(|()| bytes)
    }

    pub(super) fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("unexpected {:?}", self.rest)) }
    }

    /// Takes `token` if it comes next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest.trim_start();
        true
    }

    fn expression(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = self.term()?;
        while self.take("+") {
            bytes.extend(self.term()?);
        }
        Ok(bytes)
    }

    fn term(&mut self) -> Result<Vec<u8>, String> {
        let bytes = if self.take("(") {
            let inner = self.expression()?;
            if !self.take(")") {
                return Err("missing )".to_owned());
            }
            inner
        } else {
            self.bytes()?
        };
        if self.take("*") { Ok(bytes.repeat(self.number()?)) } else { Ok(bytes) }
    }

    fn number(&mut self) -> Result<usize, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        digits.parse().map_err(|_| format!("not a number: {digits:?}"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let Some(rest) = self.rest.strip_prefix('b') else {
            return Err(format!("not a bytes literal: {:?}", self.rest));
        };
        self.rest = rest;
        self.quoted()
    }

    /// A text literal; its characters are the table's, all of them ASCII.
    pub(super) fn text(&mut self) -> Result<String, String> {
        Ok(self.quoted()?.into_iter().map(char::from).collect())
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut characters = self.rest.chars();
        let quote = characters.next().filter(|c| matches!(c, '\'' | '"')).ok_or("missing quote")?;
        loop {
            match characters.next().ok_or("literal does not end")? {
                '\\' => bytes.push(escape(&mut characters)?),
                c if c == quote => break,
                c if c.is_ascii() => bytes.push(c as u8),
                c => return Err(format!("{c:?} in a literal")),
            }
        }
        self.rest = characters.as_str().trim_start();
        Ok(bytes)
    }
}

fn escape(characters: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match characters.next() {
        Some('r') => Ok(b'\r'),
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some(c @ ('\\' | '\'' | '"')) => Ok(c as u8),
        Some('x') => {
            let digits: String = characters.take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("bad escape \\x{digits}"))
        }
        other => Err(format!("unknown escape {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u8>, String> {
        Literals::bytes_to_end(text)
    }

    #[test]
    fn literals() {
        assert_eq!(read("b''"), Ok(vec![]));
        assert_eq!(read(r"b'a\r\n\t\x00\xff\\\'z'"), Ok(b"a\r\n\t\x00\xff\\'z".to_vec()));
        assert_eq!(read(r#"b"it's""#), Ok(b"it's".to_vec()));
    }

    #[test]
    fn expressions() {
        assert_eq!(read("b'ab'*3+b'c'"), Ok(b"abababc".to_vec()));
        assert_eq!(read("b'<' + b'a' * 2 + b'>'"), Ok(b"<aa>".to_vec()));
        assert_eq!(read("(b'a'+b'b')*2"), Ok(b"abab".to_vec()));
        assert_eq!(read("b'x'*0"), Ok(vec![]));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "'text'",
            "b'open",
            r"b'\q'",
            r"b'\xg0'",
            "b'a'*",
            "b'a' b'b'",
            "b'é'",
            "(b'a'",
            "b'a'*-1",
            "b'a'-b'b'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
