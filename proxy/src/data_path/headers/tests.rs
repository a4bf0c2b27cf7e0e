use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

fn check_request(fields: &[(&str, &str)], trusted: bool, left: &[(&str, &str)]) {
    let mut cleaned = headers(fields);
    let seen = Seen::of(&cleaned);
    clean_request(&mut cleaned, seen, trusted);
    assert_eq!(cleaned, headers(left), "{fields:?}");
}

#[test]
fn nominated_fields_end_here_but_framing_cannot_be_taken_away() {
    check_request(
        &[("connection", "x-a, Host, close"), ("x-a", "1"), ("host", "a.test"), ("x-b", "2")],
        false,
        &[("host", "a.test"), ("x-b", "2")],
    );
    check_request(
        &[("connection", "X-A"), ("Connection", " ,,x-b\t, x-c;q=1"), ("x-a", "1"), ("x-b", "1"), ("x-c", "1")],
        false,
        &[("x-c", "1")],
    );
    let kept = [
        ("host", "a.test"),
        ("content-length", "3"),
        ("authorization", "Bearer t"),
        ("cookie", "a=b"),
        ("content-type", "text/plain"),
        ("origin", "http://a.test"),
    ];
    let names: Vec<&str> = kept.iter().map(|(name, _)| *name).collect();
    let all = names.join(", ");
    check_request(&[&[("connection", all.as_str())], &kept[..]].concat(), false, &kept);
}

#[test]
fn nomination_survives_bytes_that_are_no_text() {
    let mut fields = headers(&[("x-a", "1")]);
    fields.append(header::CONNECTION, HeaderValue::from_bytes(b"\xff\xfe, x-a, \xe9").unwrap());
    let seen = Seen::of(&fields);
    clean_request(&mut fields, seen, false);
    assert!(fields.is_empty(), "{fields:?}");
}

#[test]
fn a_client_cannot_take_away_what_a_trusted_proxy_says() {
    check_request(
        &[("connection", "x-forwarded-for, x-request-id"), ("x-forwarded-for", "1.2.3.4"), ("x-request-id", "a")],
        true,
        &[("x-forwarded-for", "1.2.3.4"), ("x-request-id", "a")],
    );
}

#[test]
fn fields_of_this_connection_end_here() {
    let hop_by_hop = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "http2-settings",
        "proxy-authenticate",
        "proxy-authorization",
        "expect",
    ];
    let fields: Vec<(&str, &str)> = hop_by_hop.iter().map(|name| (*name, "x")).collect();
    check_request(&[&fields[..], &[("x-end", "1")]].concat(), true, &[("x-end", "1")]);
    let mut response = headers(&[&fields[..], &[("transfer-encoding", "chunked"), ("set-cookie", "a=b")]].concat());
    let seen = Seen::of(&response);
    clean_response(&mut response, seen);
    assert_eq!(response, headers(&[("set-cookie", "a=b")]));
}

#[test]
fn claims_are_for_trusted_peers() {
    let claims = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "forwarded",
        "x-real-ip",
        "x-client-ip",
        "true-client-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-request-id",
    ];
    let fields: Vec<(&str, &str)> = claims.iter().map(|name| (*name, "x")).collect();
    check_request(&fields, false, &[]);
    check_request(&fields, true, &fields);
}

#[test]
fn our_own_names_and_aliases_are_for_nobody() {
    let forbidden = [
        "x-serin-group",
        "x-serin-release",
        "x-serin-new",
        "x_serin_group",
        "x-serin_group",
        "content_length",
        "transfer_encoding",
        "Transfer-Encoding_",
        "host_",
        "x_forwarded_for",
        "x-forwarded_for",
        "x_real_ip",
        "x_request_id",
        "proxy_authorization",
    ];
    for name in forbidden {
        let name = name.to_ascii_lowercase();
        // A trailing underscore makes another name, which is no alias.
        let is_alias = !name.ends_with('_');
        let left = [(name.as_str(), "x")];
        check_request(&left, true, if is_alias { &[] } else { &left });
    }
    check_request(
        &[("x_custom", "1"), ("user_agent_of_mine", "2")],
        false,
        &[("x_custom", "1"), ("user_agent_of_mine", "2")],
    );
}

#[test]
fn more_fields_to_remove_than_usual() {
    let names: Vec<String> = (0..50).map(|number| format!("x-serin-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    check_request(&fields, false, &[]);
}

#[test]
fn tokens_are_whole_and_of_any_case() {
    let fields = headers(&[("connection", "keep-alive"), ("connection", "x-upgrade, UPGRADE ")]);
    assert!(has_token(&fields, header::CONNECTION, "upgrade"));
    assert!(!has_token(&fields, header::CONNECTION, "keep"));
    assert!(!has_token(&fields, header::UPGRADE, "upgrade"));
}

fn trusted(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10)
}

fn client(peer: &str, chain: &[&str]) -> String {
    let fields: Vec<(&str, &str)> = chain.iter().map(|value| ("x-forwarded-for", *value)).collect();
    client_address(&headers(&fields), peer.parse().unwrap(), trusted).to_string()
}

#[test]
fn the_client_is_the_right_most_stranger() {
    assert_eq!(client("192.0.2.1", &["1.1.1.1"]), "192.0.2.1");
    assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    assert_eq!(client("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
    assert_eq!(client("10.0.0.1", &["1.1.1.1, 2.2.2.2, 10.0.0.2"]), "2.2.2.2");
    assert_eq!(client("10.0.0.1", &["1.1.1.1", "10.0.0.3, 10.0.0.2"]), "1.1.1.1");
    assert_eq!(client("10.0.0.1", &["10.0.0.3", "10.0.0.2"]), "10.0.0.3");
}

#[test]
fn garbage_ends_the_search_at_the_last_good_hop() {
    for bad in ["unknown", "", "_hidden", "1.2.3", "1.1.1.1 1.1.1.1", "[1.1.1.1", "1.1.1.1:99999", "for=1.1.1.1"] {
        assert_eq!(client("10.0.0.1", &[&format!("1.1.1.1, {bad}, 10.0.0.2")]), "10.0.0.2", "{bad:?}");
        assert_eq!(client("10.0.0.1", &[&format!("{bad}, 2.2.2.2")]), "2.2.2.2", "{bad:?}");
    }
    let mut fields = HeaderMap::new();
    fields.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"1.1.1.1, \xff").unwrap());
    assert_eq!(client_address(&fields, "10.0.0.1".parse().unwrap(), trusted).to_string(), "10.0.0.1");
}

#[test]
fn hops_may_have_ports_and_brackets() {
    let cases = [
        ("1.1.1.1:80", "1.1.1.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:1.1.1.1", "1.1.1.1"),
        ("[::ffff:1.1.1.1]:80", "1.1.1.1"),
    ];
    for (entry, address) in cases {
        assert_eq!(client("10.0.0.1", &[entry]), address);
    }
}

fn forwarded(fields: &[(&str, &str)], trusted: bool) -> HeaderMap {
    let mut fields = headers(fields);
    ForwardingFacts::new("192.0.2.1".parse().unwrap(), 8080, "http").add_to(&mut fields, trusted);
    fields
}

#[test]
fn strangers_get_facts_only() {
    let expected = headers(&[
        ("host", "a.test:81"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8080"),
        ("x-forwarded-host", "a.test:81"),
    ]);
    assert_eq!(forwarded(&[("host", "a.test:81")], false), expected);
}

#[test]
fn the_chain_of_a_trusted_proxy_grows_by_its_own_address() {
    let chain = |values: &[&str]| {
        let mut fields = vec![("host", "a.test")];
        fields.extend(values.iter().map(|value| ("x-forwarded-for", *value)));
        let fields = forwarded(&fields, true);
        let lines: Vec<&str> = fields.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap()).collect();
        lines.join(" | ")
    };
    assert_eq!(chain(&[]), "192.0.2.1");
    assert_eq!(chain(&["1.1.1.1"]), "1.1.1.1, 192.0.2.1");
    assert_eq!(chain(&["1.1.1.1, 10.0.0.1", "10.0.0.2"]), "1.1.1.1, 10.0.0.1, 10.0.0.2, 192.0.2.1");
}

#[test]
fn usable_facts_of_a_trusted_proxy_stay() {
    let given = [
        ("host", "a.test"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "b.test"),
        ("x-forwarded-port", "443"),
    ];
    let fields = forwarded(&given, true);
    for (name, value) in given {
        assert_eq!(fields.get(name).unwrap(), value);
    }
    let fields = forwarded(
        &[("host", "a.test"), ("x-forwarded-proto", "wss"), ("x-forwarded-host", ""), ("x-forwarded-port", "0x1")],
        true,
    );
    assert_eq!(
        (fields["x-forwarded-proto"].as_bytes(), fields["x-forwarded-host"].as_bytes()),
        (&b"http"[..], &b"a.test"[..])
    );
    assert_eq!(fields["x-forwarded-port"], "8080");
}

#[test]
fn whatever_claims_to_be_forwarded_needs_trust() {
    let claims =
        [("x-forwarded-user", "admin"), ("x_forwarded_client_cert", "By=spiffe://x"), ("X-Forwarded-Uri", "/")];
    check_request(&claims, false, &[]);
    check_request(&claims, true, &[("x-forwarded-user", "admin"), ("x-forwarded-uri", "/")]);
}

#[test]
fn values_of_their_own_keep_nothing_that_was_read_with_them() {
    let read = bytes::Bytes::from(b"a: one\r\nb: two\r\nand more".to_vec());
    let mut fields = HeaderMap::new();
    for (name, range) in [("a", 3..6), ("b", 11..14)] {
        fields.insert(name, HeaderValue::from_maybe_shared(read.slice(range)).expect("visible"));
    }
    fields.get_mut("b").expect("it is there").set_sensitive(true);
    assert!(!read.is_unique());
    detach_values(&mut fields);
    assert!(read.is_unique());
    assert_eq!(fields, headers(&[("a", "one"), ("b", "two")]));
    assert!(fields["b"].is_sensitive() && !fields["a"].is_sensitive());
}

#[test]
fn what_passes_for_a_name_is_one_in_every_version() {
    let is_name = |byte: &u8| HeaderName::from_lowercase(&[*byte]).is_ok_and(|name| is_token(&name));
    let marks = *b"!#$%&'*+-.^_`|~";
    let expected: Vec<u8> = (0..=255)
        .filter(|byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase() || marks.contains(byte))
        .collect();
    assert_eq!((0..=255).filter(is_name).collect::<Vec<u8>>(), expected);
}
