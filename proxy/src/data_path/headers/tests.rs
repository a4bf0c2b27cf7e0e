use super::*;

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

#[test]
fn nominated_fields_end_here_but_framing_cannot_be_taken_away() {
    let mut fields = headers(&[("connection", "x-a, Host, close"), ("x-a", "1"), ("host", "a.test"), ("x-b", "2")]);
    clean_request(&mut fields, false);
    assert_eq!(fields, headers(&[("host", "a.test"), ("x-b", "2")]));
}
