//! Ingresses that take users from others: releases of the routes that these have.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::HTTPIngressPath;
use routing_rules::spec::{RouteSpec, UpstreamSpec};

use super::Work;
use super::annotations::Canary;
use super::served::{Asked, Served};
use crate::ObjectName;

/// The routes of a path of a main Ingress.
pub(super) struct Main<'w> {
    pub(super) served: &'w Served<'w>,
    /// Their names.
    pub(super) routes: Vec<String>,
    /// Their upstream; none if they lead elsewhere.
    pub(super) stable: Option<String>,
    /// Who takes users already.
    pub(super) canary: Option<&'w ObjectName>,
}

/// A path of a host as it is written: host, kind, path. A canary has no annotations about paths, so its paths are compared as they are.
pub(super) type Written = (Option<String>, String, String);

impl Asked<'_> {
    pub(super) fn written(&self) -> Written {
        let HTTPIngressPath { path, path_type, .. } = self.path;
        let path = path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        (self.host.clone(), path_type.clone(), path.to_owned())
    }
}

impl<'w> Work<'w> {
    pub(super) fn take_canary(&mut self, served: &'w Served<'w>, canary: &Canary) {
        // Paths with the same upstreams are one release: their users move together.
        let mut releases = BTreeMap::new();
        for asked in served.paths() {
            if let Err(reason) = self.take_users(served, canary, &asked, &mut releases) {
                self.warn(served.name, "Canary", format!("{}: {reason}", asked.place));
            }
        }
        if served.spec.default_backend.is_some() {
            self.warn(served.name, "Canary", "spec.defaultBackend: a canary takes users of paths only".into());
        }
    }

    fn take_users(
        &mut self,
        served: &'w Served<'w>,
        canary: &Canary,
        asked: &Asked<'_>,
        releases: &mut BTreeMap<(String, String), String>,
    ) -> Result<(), String> {
        let name = served.name;
        let written = asked.written();
        let (main, stable) = self.free(name, &written)?;
        let tuned = inherited(&main.tuning.upstream, &served.tuning.upstream);
        let upstream = self.backend(name, &asked.path.backend, &tuned)?;
        if upstream == stable {
            return Err(format!("it has the same Service and port as Ingress {}", main.name));
        }
        if let Some(split) = canary.split(&stable, &upstream) {
            self.give(name, &written, |route| {
                route.upstream = None;
                route.split.clone_from(&split);
            });
            return Ok(());
        }
        let number = releases.len();
        let release = releases.entry((stable.clone(), upstream.clone())).or_insert_with(|| {
            let release = format!("ingress.{}.{}.{number}", name.namespace, name.name);
            let spec = canary.release(stable, upstream);
            self.drafts.of(format!("Ingress {name}")).releases.insert(release.clone(), spec);
            release
        });
        self.give(name, &written, |route| route.release = vec![release.clone()]);
        Ok(())
    }

    /// The main Ingress of a path, and the path's upstream.
    ///
    /// # Errors
    /// There is none that a canary of this name may take users of.
    fn free(&self, canary: &ObjectName, written: &Written) -> Result<(&'w Served<'w>, String), String> {
        let main = self.mains.get(written).ok_or("no Ingress that is no canary has this path of this host")?;
        let name = main.served.name;
        if name.namespace != canary.namespace {
            return Err(format!("Ingress {name}, whose path it is, is in another namespace"));
        }
        match main.canary {
            Some(other) if other == canary => return Err("this Ingress has it twice".into()),
            Some(other) => return Err(format!("Ingress {other}, which is older, is its canary already")),
            None => {}
        }
        let stable = main.stable.clone().ok_or_else(|| format!("Ingress {name} sends all elsewhere"))?;
        Ok((main.served, stable))
    }

    /// Gives the routes of a path to a canary.
    fn give(&mut self, canary: &'w ObjectName, written: &Written, change: impl Fn(&mut RouteSpec)) {
        let Some(main) = self.mains.get_mut(written) else { return };
        main.canary = Some(canary);
        let drafts = &mut self.drafts.of(format!("Ingress {}", main.served.name)).routes;
        for name in &main.routes {
            if let Some(route) = drafts.get_mut(name) {
                change(route);
            }
        }
    }
}

/// The upstream of a canary is as that of the main Ingress; only which endpoint gets a request may be its own.
fn inherited(main: &UpstreamSpec, own: &UpstreamSpec) -> UpstreamSpec {
    let has_own = own.balance != UpstreamSpec::default().balance;
    let balance = if has_own { &own.balance } else { &main.balance };
    UpstreamSpec { balance: balance.clone(), ..main.clone() }
}
