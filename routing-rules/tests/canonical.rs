//! The canonical form of hosts and paths: cases as data, then what holds for every input.

use std::borrow::Cow;

use routing_rules::request::canonical::{has_encoded_slash, host, path, replace_prefix};

/// `text => canonical`, or `text => ! why not`. `\xNN` stands for a byte.
const PATHS: &str = r"
/ => /
/a => /a
/a/ => /a/
/a/b/ => /a/b/
/a//b => /a/b
//a => /a
//// => /
/a/// => /a/
/a/./b => /a/b
/a/. => /a/
/a/.. => /
/a/b/.. => /a/
/a/../b => /b
/a//../b => /b
/../x => /x
/../../.. => /
/./ => /
/. => /
/.. => /
/.well-known/x => /.well-known/x
/..a => /..a
/... => /...
/a/.../b => /a/.../b
/a/%2e%2e/b => /b
/a/%2E./b => /b
/a/.%2e/b => /b
/%2e => /
/%2e%2e => /
/a/%2e/b => /a/b
/.%20 => /.%20
/%61bc => /abc
/%7Eme => /~me
/%41%5a%2d%5f => /AZ-_
/a%20b => /a%20b
/a%c3%a9 => /a%C3%A9
/%E4%B8%AD => /%E4%B8%AD
/%25 => /%25
/%252e%252e/x => /%252e%252e/x
/%2561 => /%2561
/a%2fb => /a%2Fb
/a%5cb => /a%5Cb
/a;v=1/b => /a;v=1/b
/a;../b => /a;../b
/a%3bb => /a%3Bb
/a..;x => /a..;x
/!$&'()*+,;=:@ => /!$&'()*+,;=:@
/a[0]{1}|^`<>x => /a%5B0%5D%7B1%7D%7C%5E%60%3C%3Ex
/%21 => /%21
/%3f%23 => /%3F%23
/%C3%80 => /%C3%80
/%C0 => /%C0
/%E0%A4%85 => /%E0%A4%85
/%F0%9F%98%80 => /%F0%9F%98%80

 => ! does not begin with `/`
* => ! does not begin with `/`
a/b => ! does not begin with `/`
http://a/ => ! does not begin with `/`
/a b => ! has a character that must be escaped
/a\x00 => ! has a character that must be escaped
/a\x09 => ! has a character that must be escaped
/a\x0d\x0a => ! has a character that must be escaped
/a\x7f => ! has a character that must be escaped
/\xc3\xa9 => ! has a character that must be escaped
/\xff => ! has a character that must be escaped
/a\x5cb => ! has a character that must be escaped
/a?b => ! has a character that must be escaped
/a#b => ! has a character that must be escaped
/[\x20 => ! has a character that must be escaped
/% => ! has a `%` without two hexadecimal digits
/%4 => ! has a `%` without two hexadecimal digits
/%zz => ! has a `%` without two hexadecimal digits
/%4/ => ! has a `%` without two hexadecimal digits
/%u002e => ! has a `%` without two hexadecimal digits
/%+1 => ! has a `%` without two hexadecimal digits
/%61%zz => ! has a `%` without two hexadecimal digits
/%00 => ! has an escaped control character
/a%0d%0aHost:%20x => ! has an escaped control character
/%7f => ! has an escaped control character
/%61%1F => ! has an escaped control character
/%c0%af => ! has an overlong UTF-8 form of an ASCII character
/%c0%ae%c0%ae/x => ! has an overlong UTF-8 form of an ASCII character
/%C1%9C => ! has an overlong UTF-8 form of an ASCII character
/%E0%80%AF => ! has an overlong UTF-8 form of an ASCII character
/%F0%80%80%AF => ! has an overlong UTF-8 form of an ASCII character
/a/..;/b => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/.;x/b => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/%2e%2e;x=1/b => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/..%3bx => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/..%2fb => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/x%2f.. => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/x%5C..%5Cb => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/%2e%2e%5cb => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
/a/x%2f%2e%2e;y%2fb => ! has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently
";

#[test]
fn paths() {
    check(PATHS, |raw| path(raw).map(Cow::into_owned).map_err(|error| error.to_string()));
}

/// `text => name`, `name port`, or `! why not`; `(changed)` where the text itself must not be forwarded.
const HOSTS: &str = r"
shop.example.com => shop.example.com
Shop.EXAMPLE.com => shop.example.com (changed)
shop.example.com. => shop.example.com (changed)
localhost => localhost
a => a
a_b-c.d => a_b-c.d
-a => -a
192.0.2.1 => 192.0.2.1
192.0.2.1:80 => 192.0.2.1 80
shop.example.com:8080 => shop.example.com 8080
shop.example.com.:8080 => shop.example.com 8080 (changed)
shop.example.com: => shop.example.com (changed)
a:1 => a 1
a:65535 => a 65535
a:080 => a 80 (changed)
[::1] => [::1]
[::1]:8443 => [::1] 8443
[::1]: => [::1] (changed)
[2001:DB8:0:0::1] => [2001:db8::1] (changed)
[::ffff:192.0.2.1] => [::ffff:192.0.2.1]
[::ffff:c000:201] => [::ffff:192.0.2.1] (changed)
 => 

. => ! has an empty label
.a => ! has an empty label
a..b => ! has an empty label
a.. => ! has an empty label
:80 => ! has a port but no name
: => ! has a port but no name
a:0 => ! has a port that is not a number from 1 to 65535
a:65536 => ! has a port that is not a number from 1 to 65535
a:99999999999999999999 => ! has a port that is not a number from 1 to 65535
a:000080 => ! has a port that is not a number from 1 to 65535
a:+80 => ! has a port that is not a number from 1 to 65535
a:8 0 => ! has a port that is not a number from 1 to 65535
a:80:80 => ! has a port that is not a number from 1 to 65535
a:http => ! has a port that is not a number from 1 to 65535
a,b => ! has a character that a host name cannot have
a, b => ! has a character that a host name cannot have
user@a => ! has a character that a host name cannot have
a/b => ! has a character that a host name cannot have
a\x5cb => ! has a character that a host name cannot have
a%2eb => ! has a character that a host name cannot have
a?b => ! has a character that a host name cannot have
a#b => ! has a character that a host name cannot have
a b => ! has a character that a host name cannot have
\x20a => ! has a character that a host name cannot have
a\x09 => ! has a character that a host name cannot have
a\x00 => ! has a character that a host name cannot have
a\x0d\x0a => ! has a character that a host name cannot have
b\xc3\xbccher.example => ! has a character that a host name cannot have
*.a => ! has a character that a host name cannot have
a[::1] => ! has a character that a host name cannot have
[::1]a => ! has a character that a host name cannot have
[::1]. => ! has a character that a host name cannot have
[::1 => ! has brackets without an IPv6 address in them
[] => ! has brackets without an IPv6 address in them
[192.0.2.1] => ! has brackets without an IPv6 address in them
[fe80::1%25eth0] => ! has brackets without an IPv6 address in them
[v1.x] => ! has brackets without an IPv6 address in them
[::1]:0 => ! has a port that is not a number from 1 to 65535
";

#[test]
fn hosts() {
    check(HOSTS, |raw| match host(raw) {
        Ok(host) => {
            let port = host.port().map_or(String::new(), |port| format!(" {port}"));
            assert_eq!(host.is_canonical(), raw == host.to_string().as_bytes(), "{host}");
            let changed = if host.is_canonical() { "" } else { " (changed)" };
            Ok(format!("{}{port}{changed}", host.name()))
        }
        Err(error) => Err(error.to_string()),
    });
}

#[test]
fn host_lengths() {
    let label = "a".repeat(63);
    let name = [&*label, &*label, &*label, &label[..61]].join(".");
    assert_eq!(name.len(), 253);
    assert_eq!(host(name.as_bytes()).unwrap().name(), name);
    assert_eq!(host(format!("{name}.:80").as_bytes()).unwrap().name(), name);
    assert_eq!(host(format!("{name}a").as_bytes()).unwrap_err().to_string(), "is longer than 253 characters");
    assert_eq!(
        host(format!("{label}a.b").as_bytes()).unwrap_err().to_string(),
        "has a label longer than 63 characters"
    );
    assert_eq!(
        host(format!("b.{label}a:80").as_bytes()).unwrap_err().to_string(),
        "has a label longer than 63 characters"
    );
}

/// `path from to => result`; `-` is the empty text.
const REPLACED: &str = r"
/api/x /api - => /x
/api /api - => /
/api/ /api - => /
/apix /api - => none
/api../x /api - => none
/api;v=1/x /api - => none
/x /api - => none
/ /api - => none
/api/x /api /v2 => /v2/x
/api /api /v2 => /v2
/api/ /api /v2 => /v2/
/api/x - /v2 => /v2/api/x
/ - /v2 => /v2/
/x - - => /x
/a%2Fb/c /a%2Fb /z => /z/c
/a%2Fb/c /a /z => none
* - /v2 => none
/a/b/c /a/b /c/d => /c/d/c
";

#[test]
fn replaced_prefixes() {
    check(REPLACED, |raw| {
        let text = std::str::from_utf8(raw).unwrap();
        let [from_path, from, to] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let or_empty = |text| if text == "-" { "" } else { text };
        let replaced = replace_prefix(from_path, or_empty(from), or_empty(to));
        if let Some(result) = &replaced {
            assert_eq!(path(result.as_bytes()).unwrap(), *result, "the result is canonical");
        }
        Ok(replaced.unwrap_or_else(|| "none".into()))
    });
}

#[test]
fn encoded_slashes() {
    for (text, expected) in [
        ("/a", false),
        ("/a%2Fb", true),
        ("/a%5C", true),
        ("/%252F", false),
        ("/%20%2F", true),
        ("/2F", false),
        ("/%", false),
    ] {
        assert_eq!(has_encoded_slash(text), expected, "{text}");
    }
}

#[test]
fn canonical_texts_are_borrowed() {
    for text in
        ["/", "/shop/cart/items/1234567890abc", "/.well-known/acme-challenge/x", "/a%20b/%E4%B8%AD", "/a;v=1/..b/..."]
    {
        assert!(matches!(path(text.as_bytes()), Ok(Cow::Borrowed(_))), "{text}");
    }
}

#[test]
fn every_path_has_one_form_that_stays_below_the_root() {
    let mut random = Random(7);
    let (mut accepted, mut changed) = (0, 0);
    for _ in 0..400_000 {
        let raw = random.bytes(&[
            "/", "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5c", ";", "a", "b", "%61", "%", "%c3%a9", "%c0", "%ae",
            "%25", "~", "[", "\\", "é", "%3b",
        ]);
        let Ok(once) = path(&raw) else { continue };
        let shown = String::from_utf8_lossy(&raw);
        accepted += 1;
        changed += usize::from(matches!(once, Cow::Owned(_)));
        assert_eq!(path(once.as_bytes()).as_deref(), Ok(&*once), "idempotent: {shown}");
        assert!(once.starts_with('/') && !once.contains("//"), "{shown} -> {once}");
        assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{shown} -> {once}");
        assert_eq!(&*once, naive(&raw), "{shown}");
    }
    assert!(accepted > 50_000 && changed > 20_000, "{accepted} accepted, {changed} changed: too few to say anything");
}

#[test]
fn hosts_are_idempotent() {
    let mut random = Random(11);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let raw = random.bytes(&["a", "B", "example", ".", ":", "80", "-", "_", "[", "]", "::1", "0", "9", " ", "@"]);
        let Ok(once) = host(&raw) else { continue };
        accepted += 1;
        let written = once.to_string();
        let twice = host(written.as_bytes()).unwrap();
        assert_eq!((twice.name(), twice.port(), twice.is_canonical()), (once.name(), once.port(), true), "{written}");
        assert_eq!(once.is_canonical(), written.as_bytes() == raw, "{written}");
    }
    assert!(accepted > 5_000, "{accepted} accepted: too few to say anything");
}

#[test]
fn long_paths_take_linear_time() {
    for unit in ["/a", "/..", "//", "/%2e%2e", "%41", "/a/..", "/..;"] {
        let raw = "/".to_owned() + &unit.repeat(500_000);
        #[expect(clippy::disallowed_types, reason = "the test is about real time")]
        let started = std::time::Instant::now();
        let _ = path(raw.as_bytes());
        assert!(started.elapsed().as_millis() < 2_000, "{unit}");
    }
}

/// The same rules, said a second time as a textbook would.
fn naive(raw: &[u8]) -> String {
    let mut text = String::new();
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, was_escaped) = match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), true)
            }
            _ => (byte, false),
        };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let allowed = unreserved || b"/!$&'()*+,;=:@".contains(&byte);
        match if was_escaped { unreserved } else { allowed } {
            true => text.push(byte as char),
            false => text += &format!("%{byte:02X}"),
        }
    }
    let mut stack = Vec::new();
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        match segment {
            "." => {}
            ".." => drop(stack.pop()),
            _ => stack.push(segment),
        }
    }
    let folder = ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
    let end = if folder && !stack.is_empty() { "/" } else { "" };
    format!("/{}{end}", stack.join("/"))
}

fn check(cases: &str, canonical: impl Fn(&[u8]) -> Result<String, String>) {
    let mut wrong = String::new();
    for case in cases.lines().filter(|line| line.contains(" => ")) {
        let (text, expected) = case.split_once(" => ").unwrap();
        let answer = canonical(&unescape(text)).unwrap_or_else(|error| format!("! {error}"));
        if answer != expected {
            wrong += &format!("{text}\n  expected: {expected}\n  answer:   {answer}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// `\xNN` to the byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(part[2..].bytes());
    }
    bytes
}

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % limit
    }

    /// One to nine of the pieces, sometimes with a byte of any kind among them.
    fn bytes(&mut self, pieces: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        if pieces[0] == "/" && self.below(8) > 0 {
            bytes.push(b'/');
        }
        for _ in 0..=self.below(9) {
            match self.below(50) {
                0 => bytes.push(self.below(256) as u8),
                _ => bytes.extend(pieces[self.below(pieces.len())].bytes()),
            }
        }
        bytes
    }
}
