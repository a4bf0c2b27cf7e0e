//! Sessions: a client comes back to the endpoint that served it, as long as that takes requests.

use std::collections::BTreeSet;
use std::net::TcpStream;

use crate::support::control::replace;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};

fn rules(endpoints: &[&Origin], balance: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|origin| origin.address().to_string()).collect();
    format!(
        "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: {endpoints:?}, balance: {balance}}}}}\n"
    )
}

/// Name and value of the session cookie that a reply sets.
fn session(reply: &Reply) -> Option<String> {
    let line = reply.header("set-cookie")?;
    Some(line.split(';').next().expect("a cookie has a value").to_owned())
}

fn come_back(client: &mut Client, cookie: &str) -> Reply {
    client.request("GET", "/", &[("Cookie", &format!("a=b; {cookie}"))], b"")
}

#[test]
fn a_client_comes_back_to_where_it_was() {
    let endpoints = [Origin::named("a"), Origin::named("b"), Origin::named("c")];
    let serin = Serin::serving(&rules(&endpoints.each_ref(), "sticky"));
    let mut served = BTreeSet::new();
    for _ in 0..30 {
        let mut client = serin.client();
        let first = client.get("/");
        let cookie = session(&first).expect("a new client gets a cookie");
        let line = first.header("set-cookie").expect("as seen");
        assert!(line.starts_with("serin-session-app=") && line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{line}");
        for _ in 0..10 {
            let again = come_back(&mut client, &cookie);
            assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
        }
        served.insert(first.text().to_owned());
    }
    assert_eq!(served.len(), 3, "new clients are divided");
}

#[test]
fn a_life_is_told_to_the_browser() {
    let origin = Origin::named("a");
    let serin = Serin::serving(&rules(&[&origin], "{sticky: {life: 12h}}"));
    let reply = serin.client().get("/");
    let line = reply.header("set-cookie").expect("a new client gets a cookie");
    assert!(line.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{line}");
}

#[test]
fn a_cookie_that_is_not_right_is_no_cookie() {
    let (one, two) = (Origin::named("a"), Origin::named("b"));
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app}}, other: {{paths: [{{prefix: /other}}], upstream: other}}}}\nupstreams:\n  \
         app: {{endpoints: [\"{}\"], balance: sticky}}\n  other: {{endpoints: [\"{}\"], balance: sticky}}\n",
        one.address(),
        two.address()
    ));
    let mut client = serin.client();
    let cookie = session(&client.get("/")).expect("a new client gets a cookie");
    let value = cookie.strip_prefix("serin-session-app=").expect("the upstream's cookie");
    let forged = format!("serin-session-app={}B", &value[1..]);
    for wrong in [&*forged, "serin-session-app=", "serin-session-app=%00", "serin-session-app=10.0.0.1:80"] {
        let reply = come_back(&mut client, wrong);
        assert_eq!((reply.status, session(&reply).is_some()), (200, true), "{wrong}");
    }
    let borrowed = format!("serin-session-other={value}");
    let reply = client.request("GET", "/other", &[("Cookie", &borrowed)], b"");
    assert_eq!((reply.text(), session(&reply).is_some()), ("b", true), "one upstream's cookie opens no other");
}

#[test]
fn who_loses_the_endpoint_gets_another_and_stays_there() {
    let endpoints = [Origin::named("a"), Origin::named("b")];
    let serin = Serin::serving(&rules(&endpoints.each_ref(), "sticky"));
    let mut client = serin.client();
    let first = client.get("/");
    let cookie = session(&first).expect("a new client gets a cookie");
    let (home, away) = if first.text() == "a" { (0, 1) } else { (1, 0) };
    // Drained by the rules: the session's endpoint takes nothing more.
    let text = rules(&endpoints.each_ref(), "sticky");
    let text = text.replace(
        &format!("{:?}", endpoints[home].address().to_string()),
        &format!("{{address: \"{}\", weight: 0}}", endpoints[home].address()),
    );
    let before = serin.server().snapshot().generation;
    let common = std::fs::read_to_string(serin.config()).expect("the rules are there");
    let common = &common[..common.find("routes:").expect("rules have routes")];
    replace(&serin.config(), &format!("{common}{text}"));
    eventually(PATIENCE, "the swap", || serin.server().snapshot().generation > before);
    let moved = come_back(&mut client, &cookie);
    assert_ne!(moved.text(), first.text());
    let moved_to = session(&moved).expect("a new endpoint, a new cookie");
    // It is back, and so are new clients; who has moved stays.
    replace(&serin.config(), &format!("{common}{}", rules(&endpoints.each_ref(), "sticky")));
    eventually(PATIENCE, "the swap", || serin.server().snapshot().generation > before + 1);
    let stays = come_back(&mut client, &moved_to);
    assert_eq!((stays.text(), stays.header("set-cookie")), (moved.text(), None));
    assert_eq!(endpoints[away].requests().len(), 2);
    assert_eq!(come_back(&mut client, &cookie).text(), first.text(), "the endpoint knows its old cookie again");
}

#[test]
fn an_endpoint_that_is_gone_loses_its_sessions_and_no_request() {
    let (one, two) = (Origin::named("a"), Origin::named("b"));
    let serin = Serin::serving(&rules(&[&one, &two], "sticky"));
    let mut client = serin.client();
    let at_one = loop {
        let reply = client.get("/");
        if reply.text() == "a" {
            break session(&reply).expect("a new client gets a cookie");
        }
    };
    let address = one.address();
    drop(one);
    eventually(PATIENCE, "nobody listens there", || TcpStream::connect(address).is_err());
    let reply = come_back(&mut client, &at_one);
    assert_eq!((reply.text(), session(&reply).is_some()), ("b", true));
}
