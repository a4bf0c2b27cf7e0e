//! Passwords: who is let in, who has to wait, and who is not kept waiting.

use super::{HASH, basic, behind_proxy, met, serin};
use crate::support::client::request;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually};

/// A hash of `other`, likewise.
const OTHER_HASH: &str = "$2y$04$abcdefghijklmnopqrstuu0HtfOlPbTiymk5tcV.3TsFPDd3SYZqu";

fn ask(client: &mut Client, authorization: &str) -> Reply {
    client.request("POST", "/", &[("Authorization", authorization), ("X-Serin-User", "root")], b"a small body")
}

#[test]
fn passwords_open_the_route() {
    let origin = Origin::named("app");
    let serin = serin(&origin, &format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}, realm: staff}}}}"));
    let mut client = serin.client();
    let reply = client.get("/");
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"staff\", charset=\"UTF-8\""));
    for wrong in ["ann:wrong", "bob:password", ":"] {
        let reply = ask(&mut client, &basic(wrong));
        assert_eq!((reply.status, reply.header_lines("www-authenticate").len()), (401, 1), "{wrong}");
        assert!(!reply.announces_close(), "the connection goes on");
    }
    assert_eq!(origin.requests().len(), 0);
    for _ in 0..2 {
        assert_eq!(ask(&mut client, &basic("ann:password")).status, 200);
        let seen = origin.requests().pop().expect("the request came");
        assert_eq!(seen.header_lines("x-serin-user"), ["ann"]);
        assert_eq!(seen.header_lines("authorization"), Vec::<&str>::new(), "the password ends here");
        assert_eq!(seen.body, b"a small body");
    }
    assert_eq!((met(&serin, "no_password"), met(&serin, "wrong_password")), (1.0, 3.0));
}

#[test]
fn a_password_that_changes_is_forgotten() {
    let origin = Origin::named("app");
    let rules = |users: &str| {
        format!(
            "routes: {{all: {{upstream: app, filters: [{{basic_auth: {{keep_authorization: true, users: {{{users}}}}}}}]}}}}\n\
             upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            origin.address()
        )
    };
    let ann = format!("ann: \"{HASH}\"");
    let serin = Serin::serving(&rules(&ann));
    let mut client = serin.client();
    assert_eq!(ask(&mut client, &basic("ann:password")).status, 200);
    assert_eq!(origin.request().header_lines("authorization"), [basic("ann:password")]);
    serin.reload_serving(&rules(&format!("ann: \"{OTHER_HASH}\"")));
    assert_eq!(ask(&mut client, &basic("ann:password")).status, 401);
    assert_eq!(ask(&mut client, &basic("ann:other")).status, 200);
    serin.reload_serving(&rules(&ann.replace("ann", "bob")));
    assert_eq!(ask(&mut client, &basic("ann:other")).status, 401);
    assert_eq!(ask(&mut client, &basic("bob:password")).status, 200);
}

#[test]
fn who_tries_too_many_passwords_has_to_wait() {
    let origin = Origin::named("app");
    let filter = format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}, attempts: 2/h}}}}");
    let serin = behind_proxy(&origin, &filter);
    let mut client = serin.client();
    let mut ask = |from: &str, pair: &str| {
        let fields = [("X-Forwarded-For", from), ("Authorization", &*basic(pair))];
        client.request("GET", "/", &fields, b"")
    };
    assert_eq!(ask("192.0.2.1", "ann:password").status, 200);
    for guess in ["ann:wrong", "ann:worse"] {
        assert_eq!(ask("192.0.2.1", guess).status, 401, "who knew the password had not guessed");
    }
    let reply = ask("192.0.2.1", "ann:guess");
    assert!(reply.status == 429 && reply.header("retry-after").is_some(), "{reply:?}");
    assert_eq!(ask("192.0.2.1", "ann:password").status, 200, "what is known needs no look");
    for guess in ["ann:wrong", "ann:worse"] {
        assert_eq!(ask("192.0.2.2", guess).status, 401, "others are not concerned");
    }
    assert_eq!(
        ask("192.0.2.2", "ann:password").status,
        429,
        "what is known of one says nothing to who guesses elsewhere"
    );
    assert_eq!(met(&serin, "attempts"), 2.0);
}

/// A page that has just been opened asks for all its pictures at once.
#[test]
fn the_right_password_is_looked_at_once_however_many_requests_bring_it() {
    let origin = Origin::named("app");
    let serin = serin(&origin, &format!("{{basic_auth: {{users: {{ann: \"{HASH}\"}}, attempts: 1/h}}}}"));
    let ask = |_| {
        let mut client = serin.client();
        client.send(request("GET", "/", &[("Authorization", &basic("ann:password"))], b""));
        client
    };
    let mut clients: Vec<Client> = (0..100).map(ask).collect();
    let statuses: Vec<u16> = clients.iter_mut().map(|client| client.reply().status).collect();
    assert_eq!(statuses, [200; 100]);
}

/// One that takes many milliseconds to look at, as those in earnest do.
const SLOW_HASH: &str = "$2y$09$abcdefghijklmnopqrstuub/LlVfC1A62K0uqLz37ReP6nxxZrYNe";

/// More passwords than may wait come at once, to one route. Those who serve go on serving, who is turned away is told so, and the
/// passwords of other routes are looked at.
#[test]
fn passwords_hold_nobody_else_up() {
    let origin = Origin::named("app");
    let serin = Serin::serving(&format!(
        "trusted_proxies: [127.0.0.1]\nroutes:\n  all: {{upstream: app, filters: [{{basic_auth: {{users: {{ann: \"{SLOW_HASH}\"}}}}}}]}}\n  \
         other: {{upstream: app, paths: [{{exact: /other}}], filters: [{{basic_auth: {{users: {{ann: \"{HASH}\"}}}}}}]}}\n  \
         open: {{upstream: app, paths: [{{exact: /open}}]}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ));
    let guess = |number: usize| {
        let mut client = serin.client();
        let from = format!("192.0.2.{number}");
        let fields = [("X-Forwarded-For", &*from), ("Authorization", &*basic(&format!("ann:{number}")))];
        client.send(request("GET", "/", &fields, b""));
        client
    };
    let mut guesses: Vec<Client> = (0..60).map(guess).collect();
    eventually(PATIENCE, "passwords that find no place", || met(&serin, "busy") > 0.0);
    assert_eq!(serin.client().get("/open").status, 200);
    let looked_at = met(&serin, "wrong_password");
    assert!(looked_at < 25.0, "the open route waited for {looked_at} passwords");
    let mut late = serin.client();
    late.send(request("GET", "/other", &[("Authorization", &basic("ann:password"))], b""));
    let replies: Vec<Reply> = guesses.iter_mut().map(Client::reply).collect();
    let (wrong, busy): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.status == 401);
    assert!(wrong.len() >= 33, "{} were looked at", wrong.len());
    assert!(
        !busy.is_empty() && busy.iter().all(|reply| reply.status == 503 && reply.header("retry-after") == Some("1"))
    );
    assert_eq!(met(&serin, "busy"), busy.len() as f64);
    assert_eq!(late.reply().status, 200);
}
