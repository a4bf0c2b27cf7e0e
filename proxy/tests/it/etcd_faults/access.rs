//! Passwords and permissions that change under way.

use etcd_client::{Client, Permission};

use super::fault;
use super::stage::{Setting, Stage};
use crate::support::{PATIENCE, eventually};

/// `root` keeps its password, so that the test may go on writing.
const ROOT: &str = "first";

fn setting() -> Setting {
    let source = "user: serin, password_file: \"FOLDER/password\"";
    Setting { is_linked: true, source, arguments: &["--auth-token-ttl", "5"], ..Setting::default() }
}

#[test]
fn passwords_change() {
    fault(
        "password",
        "the password changed, and the file rewritten later; authentication on and off",
        setting(),
        |stage| {
            // Nobody is asked who they are, and then everybody.
            stage.etcd.protect(ROOT);
            stage.etcd.call_with(Some(ROOT));
            goes_on(stage);

            let second = async |client: &mut Client| client.user_change_password("serin", "second").await;
            stage.etcd.call(second).expect("a new password");
            stage.links[0].reset();
            stage.change();
            stage.is_noticed();
            let log = || stage.serin.log();
            eventually(PATIENCE, "the log says why", || log().contains("authentication failed"));
            stage.steady.goes_on(500);
            std::fs::write(stage.folder.path().join("password"), "second").expect("room");
            stage.is_over();
            stage.is_right();

            stage.etcd.call(async |client| client.auth_disable().await).expect("it is off");
            stage.etcd.call_with(None);
            goes_on(stage);
        },
    );
}

#[test]
fn permissions_are_taken_away() {
    fault("permission", "the user may not read the prefix any more, and then again", setting(), |stage| {
        stage.etcd.protect(ROOT);
        stage.etcd.call_with(Some(ROOT));
        goes_on(stage);
        let revoke = async |client: &mut Client| {
            let options = etcd_client::RoleRevokePermissionOptions::new().with_prefix();
            client.role_revoke_permission("reader", "/serin/", Some(options)).await
        };
        stage.etcd.call(revoke).expect("they are taken away");
        stage.links[0].reset();
        stage.change();
        stage.is_noticed();
        eventually(PATIENCE, "the log says why", || stage.serin.log().contains("permission denied"));
        stage.steady.goes_on(500);
        let grant = async |client: &mut Client| {
            client.role_grant_permission("reader", Permission::read("/serin/").with_prefix()).await
        };
        stage.etcd.call(grant).expect("they are given");
        stage.is_over();
        stage.is_right();
        stage.etcd.call(async |client| client.auth_disable().await).expect("it is off");
        stage.etcd.call_with(None);
        goes_on(stage);
    });
}

/// A change is heard on the connection there is, and on a new one.
fn goes_on(stage: &mut Stage) {
    stage.follows_a_change();
    stage.links[0].reset();
    stage.follows_a_change();
}
