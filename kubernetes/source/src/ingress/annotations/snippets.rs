//! Texts for the configuration of nginx.
//!
//! None is followed. But one may say who is let in, and that must not be lost: its words tell.

use super::given::Given;

pub(super) fn read(given: &mut Given<'_>) {
    for name in ["configuration-snippet", "server-snippet"] {
        if let Some(word) = given.text(name).and_then(guard) {
            let reason = format!(
                "`{word}` in it keeps somebody out, and what is written for the configuration of nginx means nothing here"
            );
            given.close(name, reason);
        }
    }
}

/// The directive of a snippet that keeps somebody out, if there is one.
fn guard(snippet: &str) -> Option<&str> {
    let lines = snippet.lines().filter(|line| !line.trim_start().starts_with('#'));
    let statements = lines.flat_map(|line| line.split([';', '{', '}'])).map(str::trim);
    statements.filter(|statement| is_guard(statement)).find_map(|statement| statement.split_whitespace().next())
}

fn is_guard(statement: &str) -> bool {
    let mut words = statement.split_whitespace();
    match (words.next(), words.next()) {
        (Some("return"), Some(status)) => status.starts_with('4'),
        (Some("allow" | "deny" | "limit_except" | "satisfy" | "secure_link" | "valid_referers"), _) => true,
        (Some(word), _) => GUARDS.iter().any(|guard| word.starts_with(guard)),
        (None, _) => false,
    }
}

/// How directives begin that keep somebody out.
const GUARDS: [&str; 6] = ["auth_", "access_by_lua", "limit_req", "limit_conn", "ssl_verify_client", "modsecurity"];

#[test]
fn directives_that_keep_somebody_out_are_found() {
    for snippet in
        ["deny all;", "location /admin { deny all; }", "if ($a) {\n return 403;\n}", "auth_basic off;", "satisfy any;"]
    {
        assert!(guard(snippet).is_some(), "{snippet}");
    }
    for snippet in ["", "more_set_headers \"deny: all\";", "return 301 /x;", "# deny all;", "add_header X-Deny all;"] {
        assert_eq!(guard(snippet), None, "{snippet}");
    }
}
