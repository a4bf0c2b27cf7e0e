//! A service says who is let in: what it is told, what becomes of its answer, and that without one nobody is.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{HASH, basic};
use crate::support::client::request;
use crate::support::http2::{self, CANCEL, Frames};
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Everything goes to `app`, if one that is asked for `/verify` at the upstream `auth` lets it in.
fn serin(app: &Origin, auth: &str, filter: &str, more: &str) -> Serin {
    Serin::serving(&rules(app, auth, filter, more))
}

fn rules(app: &Origin, auth: &str, filter: &str, more: &str) -> String {
    let app = app.address();
    format!(
        "routes: {{all: {{upstream: app, filters: [{{forward_auth: {{upstream: auth, path: /verify{filter}}}}}]{more}}}}}\n\
         upstreams: {{app: {{endpoints: [\"{app}\"]}}, auth: {auth}}}\n"
    )
}

fn at(auth: &Origin) -> String {
    format!("{{endpoints: [\"{}\"]}}", auth.address())
}

fn met(serin: &Serin, what: &str) -> f64 {
    super::met(serin, what)
}

/// One that gives every request these bytes.
fn saying(answer: &'static str) -> Origin {
    Origin::start(move |visit| {
        visit.write(answer)?;
        Ok(Then::Keep)
    })
}

#[test]
fn who_is_let_in_is_who_the_service_says() {
    let app = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(200, &[("Set-Cookie", "own=1")], b"app")
    });
    let auth = saying(
        "HTTP/1.1 202 Accepted\r\nRemote-User: ann\r\nRemote-Groups: staff\r\nRemote-Groups: night\r\nX-Other: 1\r\n\
         Set-Cookie: session=new\r\nSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    );
    let filter = ", response_headers: [remote-user, remote-groups, remote-name], request_headers: [cookie, x-key]";
    let serin = serin(&app, &at(&auth), filter, "");
    let mut client = serin.client();
    let lies = [
        ("Remote-User", "root"),
        ("Remote_User", "root"),
        ("Remote-Name", "Root"),
        ("REMOTE-GROUPS", "admins"),
        // It may not take away what the service says, either.
        ("Connection", "remote-user, remote-groups"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/public"),
        ("X-Original-URL", "/public"),
        ("X-Serin-User", "root"),
    ];
    let truth = [
        ("Cookie", "a=b"),
        ("Cookie", "c=d"),
        ("Authorization", "Bearer secret"),
        ("X-Key", "7"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip"),
        ("User-Agent", "test"),
    ];
    for _ in 0..2 {
        let reply = client.request("POST", "/a/./b?c=d", &[&truth[..], &lies[..]].concat(), b"a body");
        assert_eq!((reply.status, reply.text()), (200, "app"));
        assert_eq!(reply.header_lines("set-cookie"), ["own=1", "session=new", "b=c"]);
        assert_eq!(reply.header("remote-user"), None);
    }
    let questions = auth.requests();
    let asked = &questions[1];
    assert_eq!((&*asked.method, &*asked.target), ("GET", "/verify"));
    let of_serin = ["host", "x-request-id", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"];
    let told = ["x-forwarded-for", "x-forwarded-method", "x-forwarded-uri", "cookie", "x-key", "accept", "user-agent"];
    let names: BTreeSet<String> = asked.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, of_serin.iter().chain(&told).map(|name| (*name).to_owned()).collect(), "and nothing else");
    let expected = [
        ("host", "a.test"),
        ("x-forwarded-host", "a.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/a/b?c=d"),
        ("cookie", "a=b; c=d"),
        ("x-key", "7"),
    ];
    for (name, value) in expected {
        assert_eq!(asked.header_lines(name), [value], "{name}");
    }
    assert_eq!(questions[0].connection, questions[1].connection, "it is kept");
    let served = app.requests().pop().expect("the request came");
    assert_eq!((&*served.method, &*served.target, &*served.body), ("POST", "/a/b?c=d", &b"a body"[..]));
    assert_eq!(served.header_lines("x-request-id"), asked.header_lines("x-request-id"));
    assert_eq!(served.header_lines("remote-user"), ["ann"]);
    assert_eq!(served.header_lines("remote-groups"), ["staff", "night"]);
    for gone in ["remote_user", "remote-name", "x-other", "x-serin-user", "x-forwarded-uri", "x-original-url"] {
        assert_eq!(served.header_lines(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!(serin.metric_of("serin_endpoint_requests_total", "upstream=\"auth\""), 2.0, "it counts as others do");
}

#[test]
fn what_else_the_service_says_goes_to_the_client() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| match visit.request.header("x-forwarded-uri") {
        Some("/page") => {
            visit.write(
                "HTTP/1.1 302 Found\r\nLocation: https://login.test/?rd=a\r\nSet-Cookie: state=1\r\nContent-Type: text/html\r\n\
                 Keep-Alive: timeout=5\r\nX-Serin-Group: canary\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nlogin\r\n0\r\n\r\n",
            )?;
            Ok(Then::Keep)
        }
        Some("/large") => {
            let fields = [("WWW-Authenticate", "Bearer"), ("Content-Type", "text/html")];
            visit.answer(401, &fields, &[b'x'; (64 << 10) + 1])
        }
        _ => visit.answer(500, &[], &[b'x'; 64 << 10]),
    });
    let serin = serin(&app, &at(&auth), "", "");
    let mut client = serin.client();
    for method in ["GET", "POST", "HEAD"] {
        let body: &[u8] = if method == "POST" { b"a small body" } else { b"" };
        client.send(request(method, "/page", &[("Remote-User", "root")], body));
        let reply = client.try_reply(method == "HEAD").expect("an answer");
        assert_eq!((reply.status, reply.header("location")), (302, Some("https://login.test/?rd=a")), "{method}");
        assert_eq!((reply.header("set-cookie"), reply.header("content-type")), (Some("state=1"), Some("text/html")));
        assert_eq!((reply.header("content-length"), reply.header("transfer-encoding")), (Some("5"), None));
        assert_eq!((reply.header("keep-alive"), reply.header("x-serin-group")), (None, None));
        assert_eq!(reply.text(), if method == "HEAD" { "" } else { "login" });
    }
    let reply = client.get("/large");
    assert_eq!(
        (reply.status, reply.header("www-authenticate"), reply.header("content-type")),
        (401, Some("Bearer"), None)
    );
    assert_eq!(reply.text(), "", "it is more than is passed on");
    let reply = client.get("/other");
    assert_eq!((reply.status, reply.body.len()), (500, 64 << 10));
    assert!(!reply.announces_close());
    assert!(app.requests().is_empty());
    assert_eq!((met(&serin, "denied"), serin.metric("serin_request_errors_total")), (5.0, 0.0));
}

#[test]
fn without_an_answer_nobody_is_let_in() {
    let app = Origin::named("app");
    let cases = [
        ("", "auth_failed"),
        ("HTTP/1.1 200", "auth_failed"),
        ("nonsense\r\n\r\n", "auth_failed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "auth_failed"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf", "auth_failed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12", "auth_failed"),
        ("HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", "auth_failed"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "auth_failed"),
    ];
    for (answer, reason) in cases {
        let auth = Origin::start(move |visit| {
            visit.write(answer)?;
            Ok(Then::Close)
        });
        is_refused(&app, &at(&auth), "", reason, answer);
    }
    for begun in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let auth = Origin::start(move |visit| {
            visit.write(begun)?;
            visit.wait_for_end()
        });
        is_refused(&app, &at(&auth), ", timeout: 200ms", "auth_timeout", begun);
        auth.wait_until("the question is taken back", |log| log.open == 0);
    }
    let gone = Origin::named("gone").address();
    is_refused(&app, &format!("{{endpoints: [\"{gone}\"]}}"), "", "auth_failed", "nobody listens");
    is_refused(&app, "{endpoints: []}", "", "auth_no_endpoint", "no endpoint");
    assert!(app.requests().is_empty());
}

fn is_refused(app: &Origin, auth: &str, filter: &str, reason: &str, what: &str) {
    let serin = serin(app, auth, filter, "");
    let mut client = serin.client();
    let reply = client.get("/");
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{what:?}: {reply:?}");
    assert_eq!(met(&serin, reason), 1.0, "{what:?}: {}", serin.admin_text("/metrics"));
    assert_eq!(serin.metric_of("serin_request_errors_total", "auth_unavailable"), 1.0, "{what:?}");
    assert_eq!(client.get("/").status, 503, "the connection goes on");
}

#[test]
fn a_service_is_not_asked_more_than_it_takes() {
    let app = Origin::named("app");
    let (go, told) = channel();
    let told = Mutex::new(told);
    let auth = Origin::start(move |visit| {
        told.lock().expect("no test panics here").recv().expect("the test goes on");
        visit.answer(204, &[], b"")
    });
    let auth_at = format!(
        "{{endpoints: [\"{}\"], limits: {{in_flight: 1, queue: {{length: 1, timeout: 10s}}}}}}",
        auth.address()
    );
    let serin = serin(&app, &auth_at, ", timeout: 10s", "");
    let ask = || {
        let mut client = serin.client();
        client.send(request("GET", "/", &[], b""));
        client
    };
    let mut first = ask();
    auth.wait_until("the question", |log| log.requests.len() == 1);
    let mut second = ask();
    eventually(PATIENCE, "one waits", || serin.metric_of("serin_upstream_requests_waiting", "auth") == 1.0);
    assert_eq!(ask().reply().status, 503);
    assert_eq!(met(&serin, "auth_full"), 1.0);
    for client in [&mut first, &mut second] {
        go.send(()).expect("the service waits");
        assert_eq!(client.reply().text(), "app");
    }
}

/// A connection that was closed meanwhile, and an endpoint that is not there, are no reason to keep anybody out.
#[test]
fn the_question_is_asked_again() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| match visit.place {
        0 => visit.answer(200, &[], b""),
        _ => Ok(Then::Close),
    });
    let serin_of = |auth: &str| serin(&app, auth, "", "");
    let serin = serin_of(&at(&auth));
    let mut client = serin.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!((auth.requests().len(), auth.log().accepted), (5, 3));
    assert_eq!(serin.metric_of("serin_endpoint_retries_total", "upstream=\"auth\""), 2.0);
    assert_eq!(serin.metric_of("serin_endpoint_errors_total", "upstream=\"auth\""), 0.0, "nobody is to blame");
    let gone = Origin::named("gone").address();
    let auth = saying(OK);
    let serin = serin_of(&format!("{{endpoints: [\"{}\", \"{gone}\"], balance: round_robin}}", auth.address()));
    let mut client = serin.client();
    for _ in 0..4 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(serin.metric_of("serin_endpoint_errors_total", &gone.to_string()) >= 1.0);
}

#[test]
fn what_comes_before_is_asked_before() {
    let app = Origin::named("app");
    let auth = saying(OK);
    let rules = format!(
        "trusted_proxies: [127.0.0.1]\nroutes: {{all: {{upstream: app, limits: {{body: 5}}, filters: [{{forward_auth: {{upstream: auth}}}},\n  \
         {{deny_ip: [192.0.2.1]}}, {{cors: {{origins: [\"https://a.test\"]}}}}, {{basic_auth: {{users: {{ann: \"{HASH}\"}}}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}, auth: {}}}\n",
        app.address(),
        at(&auth)
    );
    let serin = Serin::serving(&rules);
    let mut client = serin.client();
    let (good, bad) = (basic("ann:password"), basic("ann:wrong"));
    assert_eq!(client.request("GET", "/", &[("X-Forwarded-For", "192.0.2.1")], b"").status, 403);
    let preflight = [("Origin", "https://a.test"), ("Access-Control-Request-Method", "GET")];
    assert_eq!(client.request("OPTIONS", "/", &preflight, b"").status, 204);
    assert_eq!(client.get("/").status, 401);
    assert_eq!(client.request("GET", "/", &[("Authorization", &bad)], b"").status, 401);
    assert_eq!(serin.client().request("POST", "/", &[("Authorization", &good)], b"too much").status, 413);
    assert!(auth.requests().is_empty());
    assert_eq!(client.request("GET", "/a?b", &[("Authorization", &good)], b"").status, 200);
    let asked = auth.request();
    assert_eq!(asked.target, "/a?b", "it is asked for what the request is for");
    assert_eq!((asked.header("x-serin-user"), asked.header("authorization")), (Some("ann"), None));
}

#[test]
fn redirects_are_asked_about_too() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| visit.answer(if visit.request.target == "/in" { 200 } else { 403 }, &[], b""));
    let redirect = "filters: [{forward_auth: {upstream: auth}}, {redirect: {path: /secret}}]";
    let serin = Serin::serving(&format!("routes: {{all: {{{redirect}}}}}\nupstreams: {{auth: {}}}\n", at(&auth)));
    let mut client = serin.client();
    assert_eq!((client.get("/out").status, client.get("/in").status), (403, 302));
    assert!(app.requests().is_empty());
}

#[test]
fn upgrades_are_asked_about() {
    let app = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")?;
        visit.wait_for_end()
    });
    let auth = Origin::start(|visit| match visit.request.header("cookie") {
        Some("in") => visit.answer(200, &[("Set-Cookie", "session=new"), ("Remote-User", "ann")], b""),
        _ => visit.answer(401, &[], b"who?"),
    });
    let serin = serin(&app, &at(&auth), ", response_headers: [remote-user]", "");
    let ask = |client: &mut Client, cookie: &str| {
        let upgrade = [("Connection", "upgrade"), ("Upgrade", "websocket"), ("Cookie", cookie)];
        client.request("GET", "/", &upgrade, b"")
    };
    let reply = ask(&mut serin.client(), "out");
    assert_eq!((reply.status, reply.text()), (401, "who?"));
    assert!(app.requests().is_empty());
    let mut client = serin.client();
    let reply = ask(&mut client, "in");
    assert_eq!((reply.status, reply.header("set-cookie")), (101, Some("session=new")));
    assert_eq!(client.take(5).expect("the tunnel"), b"hello");
    assert_eq!(app.request().header("remote-user"), Some("ann"));
    for asked in auth.requests() {
        assert_eq!((asked.header("connection"), asked.header("upgrade")), (None, None));
    }
}

#[test]
fn streams_of_http2_are_asked_about() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| match visit.request.header("x-forwarded-uri") {
        Some("/in") => visit.answer(200, &[("Remote-User", "ann")], b""),
        Some("/out") => visit.answer(403, &[("Keep-Alive", "timeout=5")], b"no"),
        _ => visit.wait_for_end(),
    });
    let serin = serin(&app, &at(&auth), ", timeout: 60s, response_headers: [remote-user]", "");
    let mut client = Frames::connect(serin.address());
    let fields: Vec<_> = http2::request("GET", "/in").into_iter().chain([("remote-user", "root")]).collect();
    client.head(1, &fields, true);
    let answer = client.answer(1);
    assert_eq!((answer.status, &*answer.body), (Some(200), &b"app"[..]));
    assert_eq!(app.request().header_lines("remote-user"), ["ann"]);
    client.get(3, "/out");
    let answer = client.answer(3);
    assert_eq!((answer.status, &*answer.body), (Some(403), &b"no"[..]));
    client.post(5, "/never");
    auth.wait_until("the question", |log| log.requests.len() == 3);
    let before = auth.log().open;
    client.reset(5, CANCEL);
    auth.wait_until("the question is taken back", |log| log.open < before);
    serin.wait_until_quiet(PATIENCE);
}

#[test]
fn a_client_that_leaves_takes_its_question_back() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| visit.wait_for_end());
    let serin = serin(&app, &at(&auth), ", timeout: 60s", "");
    let mut client = serin.client();
    client.send(request("GET", "/", &[], b""));
    auth.wait_until("the question", |log| log.requests.len() == 1);
    drop(client);
    auth.wait_until("it is taken back", |log| log.open == 0);
    serin.wait_until_quiet(PATIENCE);
    let failures = serin.metric_of("serin_endpoint_errors_total", "upstream=\"auth\"");
    assert_eq!((failures, met(&serin, "auth_timeout"), app.requests().len()), (0.0, 0.0, 0));
}

/// The route's limit on the whole holds for the question, those on bodies and answers do not.
#[test]
fn time_limits_of_the_request_go_on() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| visit.wait_for_end());
    let total = serin(&app, &at(&auth), ", timeout: 60s", ", timeouts: {total: 200ms}");
    assert_eq!(total.client().get("/").status, 503);
    assert_eq!((met(&total, "auth_timeout"), app.requests().len()), (1.0, 0));
    auth.wait_until("it is taken back", |log| log.open == 0);
    let slow = Origin::start(|visit| {
        // Longer than the limits below.
        std::thread::sleep(Duration::from_millis(700));
        visit.answer(200, &[], b"")
    });
    let others = serin(&app, &at(&slow), ", timeout: 60s", ", timeouts: {request: 300ms, idle: 300ms}");
    assert_eq!(others.client().request("POST", "/", &[], b"a body").text(), "app");
}

/// Releases may go by what the service says, and by nothing that the client says in its name. The route stays the one whose service
/// was asked.
#[test]
fn the_service_says_what_releases_ask_for() {
    let (app, canary, open) = (Origin::named("app"), Origin::named("canary"), Origin::named("open"));
    let auth = Origin::start(|visit| match visit.request.header("cookie") {
        Some("staff") => visit.answer(200, &[("Remote-Groups", "staff")], b""),
        _ => visit.answer(200, &[], b""),
    });
    let serin = Serin::serving(&format!(
        "routes:\n  all: {{upstream: app, release: next, headers: {{remote-groups: {{present: true}}}},\n    \
           filters: [{{forward_auth: {{upstream: auth, response_headers: [remote-groups]}}}}]}}\n  open: {{upstream: open}}\n\
         releases: {{next: {{stable: app, canary: canary, phases: [1], audience: [{{name: staff, header: {{remote-groups: staff}}, percent: 100}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}, canary: {{endpoints: [\"{}\"]}}, open: {{endpoints: [\"{}\"]}}, auth: {}}}\n",
        app.address(),
        canary.address(),
        open.address(),
        at(&auth)
    ));
    let mut client = serin.client();
    let mut ask = |cookie: &str| {
        let fields = [("Cookie", cookie), ("Remote-Groups", "staff")];
        client.request("GET", "/", &fields, b"").text().to_owned()
    };
    assert_eq!((ask("guest"), ask("staff")), ("app".to_owned(), "canary".to_owned()));
    assert_eq!(app.request().header("remote-groups"), None);
    assert_eq!(client.get("/").text(), "open");
}

/// Without its service a route is not served, so it stays as it was.
#[test]
fn a_service_that_others_name_stays() {
    let app = Origin::named("app");
    let auth = Origin::start(|visit| visit.answer(403, &[], b""));
    let with = rules(&app, &at(&auth), "", "");
    let serin = Serin::serving(&with);
    let at_auth = at(&auth);
    let without = with.replace(&format!(", auth: {at_auth}"), "");
    assert_ne!(with, without);
    crate::support::control::replace(&serin.config(), &format!("{}{without}", crate::support::COMMON));
    eventually(PATIENCE, "a problem", || !serin.server().problems().is_empty());
    let problems = format!("{:?}", serin.server().problems());
    assert!(problems.contains("filters[0].forward_auth.upstream"), "{problems}");
    assert_eq!(serin.client().get("/").status, 403);
}
