use super::*;

fn bodies(bytes: &[u8], ended: bool) -> Vec<(u16, String, bool)> {
    let answers = parse_answers(bytes, false, ended).unwrap();
    answers.into_iter().map(|a| (a.status, String::from_utf8(a.body).unwrap(), a.complete)).collect()
}

#[test]
fn answers_in_order() {
    let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n";
    let expected = [(103, "", true), (200, "ok", true), (200, "abc", true), (204, "", true), (404, "", true)];
    let expected: Vec<_> = expected.iter().map(|(s, b, c)| (*s, (*b).to_owned(), *c)).collect();
    assert_eq!(bodies(bytes, false), expected);
}

#[test]
fn what_is_cut_is_incomplete() {
    assert_eq!(bodies(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", true), [(200, "abc".to_owned(), false)]);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc";
    assert_eq!(bodies(chunked, true), [(200, "abc".to_owned(), false)]);
    let ends_without_last_chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    assert_eq!(bodies(ends_without_last_chunk, true), [(200, "abc".to_owned(), false)]);
    assert_eq!(bodies(b"HTTP/1.1 200 OK\r\nConte", true), [(0, String::new(), false)]);
}

#[test]
fn the_end_completes_an_answer_without_length() {
    let bytes = b"HTTP/1.1 200 OK\r\n\r\nrest";
    assert_eq!(bodies(bytes, false), [(200, "rest".to_owned(), false)]);
    assert_eq!(bodies(bytes, true), [(200, "rest".to_owned(), true)]);
}

#[test]
fn an_answer_to_head_has_no_body() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    assert!(parse_answers(bytes, true, false).unwrap()[0].complete);
    assert!(!parse_answers(bytes, false, false).unwrap()[0].complete);
}

#[test]
fn breaches() {
    for bytes in [
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 Odd\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert!(parse_answers(bytes.as_bytes(), false, true).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_forgiving_reader() {
    let script = b"HTTP/1.1 103 Early Hints\n\nHTTP/1.1 200\nContent-Length: 2\n\nokHTTP/1.1 200 OK\r\n\r\n";
    let answer = lenient_answer(script, false).unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
    assert_eq!(lenient_answer(b"", false), None);
}
