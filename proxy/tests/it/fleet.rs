//! Several instances on one real etcd: what they say of themselves, who leads, and what holds for all of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::control::{Program, serin};
use crate::support::etcd::Etcd;
use crate::support::{Client, Origin, PATIENCE, Serin, eventually, get};

const COMMON: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";

fn following(etcd: &Etcd) -> Serin {
    Serin::serving(&rules(etcd))
}

fn rules(etcd: &Etcd) -> String {
    format!("sources: {{etcd: {}}}\n", etcd.source())
}

fn put_rules(etcd: &Etcd, origin: &Origin) {
    etcd.put("/serin/upstreams/app", upstream(origin));
    etcd.put("/serin/routes/all", "upstream: app\n");
}

fn upstream(origin: &Origin) -> String {
    format!("{{\"endpoints\": [\"{}\"]}}", origin.address())
}

/// Those that one of them knows.
fn instances(serin: &Serin) -> Vec<serde_json::Value> {
    let told = serin.admin_json("/api/v1/instances");
    told["instances"].as_array().expect("a list").clone()
}

fn leaders(serin: &Serin) -> Vec<String> {
    let leads = |it: &serde_json::Value| it["leader"] == true;
    instances(serin).iter().filter(|it| leads(it)).map(|it| it["id"].to_string()).collect()
}

/// A command that asks etcd.
fn ask(etcd: &Etcd, arguments: &[&str]) -> (String, Option<i32>) {
    let urls = etcd.urls().join(",").replace('"', "");
    let Output { stdout, stderr, status } = serin(&[arguments, &["--etcd", &urls]].concat());
    (String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned(), status.code())
}

/// A process of its own that follows etcd.
fn program(etcd: &Etcd, folder: &Path) -> Program {
    let config = folder.join("serin.yaml");
    fs::write(&config, format!("{COMMON}{}", rules(etcd))).expect("a file");
    Program::start(&config)
}

#[test]
fn instances_say_what_they_have_applied_and_what_they_refuse() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    put_rules(&etcd, &origin);
    let (a, b) = (following(&etcd), following(&etcd));
    eventually(PATIENCE, "both are there", || [&a, &b].iter().all(|serin| instances(serin).len() == 2));
    eventually(PATIENCE, "one leads", || leaders(&a).len() == 1 && leaders(&a) == leaders(&b));
    let revision = etcd.put_at("/serin/routes/all", "{upstream: app, hosts: [\"not a host\"]}");
    eventually(PATIENCE, "both have looked at it", || instances(&b).iter().all(|it| it["applied"] == revision));
    let (text, code) = ask(&etcd, &["instances"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.matches(" rejects /serin/routes/all: routes.all.hosts[0]: ").count(), 2, "{text}");
    let says = instances(&b);
    for it in &says {
        assert_eq!((&it["ready"], &it["rejected"]), (&true.into(), &1.into()));
        assert_eq!(it["problems"][0]["revision"], revision);
    }
    assert_eq!(says.iter().filter(|it| it["this"] == true).count(), 1);
    etcd.put("/serin/routes/all", "{upstream: app}");
    eventually(PATIENCE, "all is well", || instances(&a).iter().all(|it| it["rejected"] == 0));
    // Each has a secret of its own, which no release needs yet.
    let (text, code) = ask(&etcd, &["instances", "--json"]);
    assert!(text.contains("different secrets") && code == Some(0), "{text}");
    // What instances and the leader write is no rule, and nothing that anybody rejects.
    assert_eq!(a.metric("serin_rules_rejected"), 0.0);
    assert_eq!(a.metric("serin_etcd_instances"), 2.0);
    assert_eq!(a.metric("serin_etcd_leader") + b.metric("serin_etcd_leader"), 1.0);
    drop(b);
    eventually(PATIENCE, "it has left", || instances(&a).len() == 1 && leaders(&a).len() == 1);
}

#[test]
fn exactly_one_leads_and_another_follows_it() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    put_rules(&etcd, &origin);
    let stays = following(&etcd);
    eventually(PATIENCE, "it leads", || stays.metric("serin_etcd_leader") == 1.0);
    let folders = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let mut others = folders.each_ref().map(|folder| program(&etcd, folder.path()));
    eventually(PATIENCE, "all are there", || instances(&stays).len() == 3);
    let leading = |others: &[Program]| others.iter().map(|other| other.metric("serin_etcd_leader")).sum::<u64>();
    assert_eq!(leading(&others), 0);
    // Whoever deletes the key calls an election; whoever wins it, it is one.
    etcd.delete("/serin/leader");
    eventually(PATIENCE, "one leads again", || leaders(&stays).len() == 1);
    eventually(PATIENCE, "and one knows", || stays.metric("serin_etcd_leader") as u64 + leading(&others) == 1);
    drop(stays);
    eventually(PATIENCE, "one of the others", || leading(&others) == 1);
    // One that ends in order is followed at once; one that is killed, when its lease is over.
    let first = others.iter().position(|other| other.metric("serin_etcd_leader") == 1).expect("one leads");
    others[first].signal("KILL");
    eventually(2 * PATIENCE, "the last", || others[1 - first].metric("serin_etcd_leader") == 1);
    eventually(2 * PATIENCE, "it is alone", || others[1 - first].metric("serin_etcd_instances") == 1);
    others[1 - first].signal("TERM");
    assert_eq!(others[1 - first].exit_code(), Some(0));
    assert_eq!((etcd.get("/serin/leader"), etcd.values("/serin/instances/").len()), (None, 0));
}

#[test]
fn an_etcd_that_is_away_or_empty_makes_nobody_forget_who_they_are() {
    let Some(mut etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    put_rules(&etcd, &origin);
    let (a, b) = (following(&etcd), following(&etcd));
    eventually(PATIENCE, "both are there", || instances(&a).len() == 2 && leaders(&a).len() == 1);
    etcd.kill(0);
    eventually(2 * PATIENCE, "nobody leads whom etcd does not know", || {
        a.metric("serin_etcd_leader") + b.metric("serin_etcd_leader") == 0.0
    });
    assert_eq!(a.admin_json("/api/v1/instances")["heard"], false);
    etcd.wipe(0);
    etcd.is_ready();
    put_rules(&etcd, &origin);
    for serin in [&a, &b] {
        eventually(3 * PATIENCE, "both are there again", || instances(serin).len() == 2 && leaders(serin).len() == 1);
    }
    eventually(2 * PATIENCE, "one of them leads", || {
        a.metric("serin_etcd_leader") + b.metric("serin_etcd_leader") == 1.0
    });
}

/// One order, at one instance, holds for all: for those that hold routes, and those that hold registrations.
#[test]
fn what_is_confirmed_at_one_is_confirmed_at_all() {
    let Some(etcd) = Etcd::start() else { return };
    let (origin, other) = (Origin::named("app"), Origin::named("other"));
    put_rules(&etcd, &origin);
    etcd.put("/serin/routes/other", "{upstream: shop, paths: [{prefix: /shop}]}");
    etcd.put("/serin/upstreams/shop", "{discovery: {etcd: {prefix: /shop_PRO/}}}");
    etcd.put("/shop_PRO/one", other.address().to_string());
    let (a, b) = (following(&etcd), following(&etcd));
    // One that is off meanwhile, and has stored all of it.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("serin.yaml"), format!("state_dir: state\n{COMMON}{}", rules(&etcd))).expect("a file");
    let start = || Program::start(&folder.path().join("serin.yaml"));
    let mut off = start();
    assert_eq!(get(off.address("web"), "/shop").text(), "other");
    off.signal("TERM");
    assert_eq!(off.exit_code(), Some(0));
    etcd.delete_prefix("/shop_PRO/");
    eventually(PATIENCE, "they are held", || {
        [&a, &b].iter().all(|serin| serin.admin_text("/api/v1/upstreams").contains("1 endpoints stay"))
    });
    let (status, answer) = a.order("/api/v1/sources/etcd/confirm?wait=applied");
    assert_eq!((status, answer["applied"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    for serin in [&a, &b] {
        eventually(PATIENCE, "they are let go", || Client::connect(serin.address()).get("/shop").status == 503);
    }
    // What goes later is not confirmed by that.
    etcd.delete_prefix("/serin/routes/");
    for serin in [&a, &b] {
        eventually(PATIENCE, "they are held", || serin.metric("serin_etcd_held_objects") == 2.0);
        assert_eq!(get(serin.address(), "/").text(), "app");
    }
    let (status, answer) = b.order("/api/v1/sources/etcd/confirm?wait=applied&timeout=20s");
    assert_eq!((status, &answer["confirmed"]), (200, &2.into()), "{answer}");
    assert!([&a, &b].iter().all(|serin| Client::connect(serin.address()).get("/").status == 404));
    // Whoever was off meanwhile has stored more, and knows from etcd that it has gone on purpose.
    let back = start();
    assert_eq!(Client::connect(back.address("web")).get("/").status, 404);
    assert_eq!(back.metric("serin_rules_stale"), 0);
    for wrong in ["wait=all", "timeout=10", "timeout=2h", "wiat=applied"] {
        assert_eq!(a.order(&format!("/api/v1/sources/etcd/confirm?{wrong}")).0, 400, "{wrong}");
    }
}

#[test]
fn a_confirmation_that_etcd_does_not_take_holds_here_and_says_so() {
    let Some(mut etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    put_rules(&etcd, &origin);
    let serin = following(&etcd);
    etcd.delete_prefix("/serin/");
    eventually(PATIENCE, "they are held", || serin.metric("serin_etcd_held_objects") == 2.0);
    etcd.kill(0);
    let (status, answer) = serin.order("/api/v1/sources/etcd/confirm");
    assert_eq!((status, &answer["confirmed"]), (503, &2.into()), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.starts_with("done here, but")), "{answer}");
    eventually(PATIENCE, "it holds here", || Client::connect(serin.address()).get("/").status == 404);
}

#[test]
fn a_push_waits_for_all_instances() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    put_rules(&etcd, &origin);
    let a = following(&etcd);
    // This one has a route of that name in its file, which comes first.
    let file = format!("{}routes: {{new: {{upstream: app, paths: [{{prefix: /file}}]}}}}\n", rules(&etcd));
    let folder = tempfile::tempdir().expect("a folder");
    eventually(PATIENCE, "it is there", || instances(&a).len() == 1);
    let new = |path: &str| {
        let text = format!("routes: {{new: {{upstream: app, paths: [{{prefix: {path}}}]}}}}\n");
        fs::write(folder.path().join("new.yaml"), text).expect("a file");
    };
    let push = || ask(&etcd, &["etcd", "push", &folder.path().to_string_lossy(), "--wait"]);
    new("/1");
    let (text, code) = push();
    assert!(text.ends_with("applied by 1 of 1 instances\n") && code == Some(0), "{text}");
    let b = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n{file}"
    ));
    eventually(PATIENCE, "both are there", || instances(&a).len() == 2);
    new("/2");
    let (text, code) = push();
    assert!(text.contains(" refuses /serin/routes/new: ") && code == Some(1), "{text}");
    assert!(text.contains("applied by 2 of 2 instances\n"), "{text}");
    drop(b);
    // One that does not say.
    etcd.put("/serin/instances/silent", "{}");
    new("/3");
    let (text, code) = ask(&etcd, &["etcd", "push", &folder.path().to_string_lossy(), "--wait=300ms"]);
    assert!(text.contains("not yet applied by ") && text.contains("silent\n") && code == Some(1), "{text}");
    etcd.put("/serin/instances/silent", "\u{1b}[31mnot JSON");
    let (text, code) = ask(&etcd, &["instances"]);
    assert!(text.contains("what it says cannot be read") && code == Some(1), "{text}");
    etcd.put("/serin/instances/silent", r#"{"version": "\u001b]0;x\u0007", "problems": [{"reason": "\u001b[31m"}]}"#);
    let (text, _) = ask(&etcd, &["instances"]);
    assert!(text.contains("\\u{1b}]0;x") && !text.contains('\u{1b}'), "{text:?}");
    etcd.delete("/serin/instances/silent");
    let (status, answer) = a.order("/api/v1/sources/etcd/confirm?wait=applied");
    assert_eq!((status, answer["applied"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
    // Nothing is left to write, and it is asked all the same.
    let (text, code) = push();
    assert!(text.ends_with("0 to write, 1 the same\napplied by 1 of 1 instances\n") && code == Some(0), "{text}");
    drop(a);
    let (text, code) = push();
    assert!(text.ends_with("no instance is there that could apply it\n") && code == Some(1), "{text}");
}

/// What was confirmed before is nothing to an upstream that comes later: it waits for its first listing like any other.
#[test]
fn a_confirmation_does_not_stand_for_a_listing() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (origin, other) = (Origin::named("app"), Origin::named("other"));
    put_rules(&etcd, &origin);
    etcd.put("/shop_PRO/one", other.address().to_string());
    let serin = Serin::serving(&format!("state_dir: state\n{}", rules(&etcd)));
    assert_eq!(serin.order("/api/v1/sources/etcd/confirm?wait=applied").0, 200);
    for round in 0..10 {
        let (name, discovery) = (format!("/serin/upstreams/u{round}"), "{discovery: {etcd: {prefix: /shop_PRO/}}}");
        let route = format!("upstream: u{round}\n");
        etcd.write(&[(&name, Some(discovery)), ("/serin/routes/all", Some(&route))]);
        let revision = etcd.put_at(&name, discovery);
        eventually(PATIENCE, "it is applied", || {
            assert_eq!(Client::connect(serin.address()).get("/").status, 200, "round {round}");
            instances(&serin).iter().all(|it| it["applied"].as_i64() >= Some(revision))
        });
    }
    // Nor does it where nothing was heard: what was stored stays.
    etcd.kill(0);
    let serin = serin.restart();
    assert_eq!(get(serin.address(), "/").text(), "other");
    let (status, answer) = serin.order("/api/v1/sources/etcd/confirm");
    assert_eq!(status, 503, "{answer}");
    assert_eq!(get(serin.address(), "/").text(), "other");
    assert_eq!(serin.metric("serin_rules_stale"), 1.0);
}

/// The same users ask both, at every step of a rollout and while it is made.
#[test]
fn two_instances_put_every_user_into_the_same_group() {
    let Some(etcd) = Etcd::start() else { return };
    let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
    etcd.put("/serin/upstreams/stable", upstream(&stable));
    etcd.put("/serin/upstreams/canary", upstream(&canary));
    etcd.put("/serin/routes/all", "{upstream: stable, release: next}");
    let release = |percent: &str, force: &str| {
        let audience = format!("[{{name: everyone, percent: {percent}}}]");
        etcd.put_at(
            "/serin/releases/next",
            format!(
                "{{stable: stable, canary: canary, audience: {audience}, sticky: {{key: [{{header: x-user-id}}]}}{force}}}"
            ),
        )
    };
    release("0", "");
    let (a, b) = (following(&etcd), following(&etcd));
    eventually(PATIENCE, "both are there", || instances(&a).len() == 2);
    let is_written = |epoch: usize| {
        eventually(PATIENCE, "it is written down", || {
            let release = a.admin_json("/api/v1/releases/next");
            release["number"].as_u64() > Some(0) && release["epoch"] == epoch
        });
    };
    is_written(0);
    let (mut at_a, mut at_b) = (a.client(), b.client());
    let group = |client: &mut Client, user: u32| {
        let reply = client.request("GET", "/", &[("x-user-id", &user.to_string())], b"");
        assert_eq!(reply.status, 200);
        reply.text() == "canary"
    };
    let users = 0..1_000;
    let mut before = BTreeSet::new();
    for (edits, percent) in ["1", "5.5", "20", "50", "50.01", "100", "30", "0"].into_iter().enumerate() {
        // Less has to be meant.
        let revision = release(percent, &format!(", force: {edits}"));
        // While it is being applied each answers as before or as after, and nothing else.
        let meanwhile: Vec<(u32, bool)> =
            users.clone().step_by(10).map(|user| (user, group(&mut at_b, user))).collect();
        eventually(PATIENCE, "both have applied it", || {
            instances(&a).iter().all(|it| it["applied"].as_i64().is_some_and(|applied| applied >= revision))
        });
        let now: BTreeSet<u32> = users.clone().filter(|user| group(&mut at_a, *user)).collect();
        let also: BTreeSet<u32> = users.clone().filter(|user| group(&mut at_b, *user)).collect();
        assert_eq!(now, also, "{percent} %");
        let share = now.len() as f64 / 10.0;
        assert!((share - percent.parse::<f64>().expect("a number")).abs() < 5.0, "{share} at {percent} %");
        assert!(now.is_subset(&before) || before.is_subset(&now), "{percent}: nobody changes places");
        for (user, is_canary) in meanwhile {
            assert!([before.contains(&user), now.contains(&user)].contains(&is_canary), "{user} at {percent} %");
        }
        before = now;
        is_written(edits + 1);
    }
}
