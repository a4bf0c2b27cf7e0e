//! Reads one cookie of a request without allocating.

use http::{HeaderMap, header::COOKIE};

/// The value of the first cookie of this name (RFC 6265 §4.2.1), without surrounding quotes.
///
/// Names are compared byte by byte; a malformed pair is passed over, since cookies come from other people's
/// software and one odd pair must not hide the others.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|&byte| byte == b';'))
        .find_map(|pair| value_of(pair.trim_ascii(), name.as_bytes()))
}

fn value_of<'a>(pair: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = pair.strip_prefix(name)?.strip_prefix(b"=")?;
    Some(value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_the_name() {
        let cases: &[(&[&str], &str, Option<&str>)] = &[
            (&["a=1; b=2"], "b", Some("2")),
            (&["ab=1;b=2"], "b", Some("2")),
            (&["a=1", "b=2"], "b", Some("2")),
            (&["b=1; b=2"], "b", Some("1")),
            (&["b"], "b", None),
            (&["B=1"], "b", None),
            (&["b=\"quoted\""], "b", Some("quoted")),
            (&["b="], "b", Some("")),
            (&[";;; =x; b=y=z"], "b", Some("y=z")),
            (&[], "b", None),
        ];
        for (fields, name, expected) in cases {
            let mut headers = HeaderMap::new();
            for field in *fields {
                headers.append(COOKIE, field.parse().unwrap());
            }
            assert_eq!(cookie(&headers, name), expected.map(str::as_bytes), "{fields:?}");
        }
    }
}
