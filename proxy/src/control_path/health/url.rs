//! The check of one place that stands in no rules: of an instance, by who registers it.

use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use routing_rules::health::{Health, Thresholds, pause};
use routing_rules::rules::{HealthCheck, HttpProbe, Probe, Protocol};
use routing_rules::spec::StatusRange;
use tokio::time::{Instant, sleep_until};

use super::probe::{Opening, Outcome, probe};
use crate::snapshot::Transport;

/// A request to a URL again and again, whose answer is good if its status is from 200 to 299 and it comes in time.
pub struct UrlCheck {
    address: SocketAddr,
    rules: HealthCheck,
    health: Health,
    /// When it is asked next.
    next_at: Instant,
}

impl UrlCheck {
    /// The check of `http://IP:PORT/PATH`. Names are not looked up: what is checked is beside who checks it.
    ///
    /// # Errors
    /// It is no such URL.
    pub fn new(url: &str, interval: Duration, timeout: Duration) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a URL such as http://127.0.0.1:8080/healthz", url.escape_debug());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let address = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => authority.as_str().parse().map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).into();
        let http = HttpProbe { path, host: None, statuses: [StatusRange::SUCCESSFUL].into(), body: None };
        let thresholds = Thresholds { rise: 1, fall: 3 };
        let rules = HealthCheck { probe: Probe::Http(http), protocol: Protocol::Http1, interval, timeout, thresholds };
        Ok(Self { address, rules, health: Health::unproven(), next_at: Instant::now() })
    }

    /// Asks until it is well, or until it is not. At first it is not.
    pub async fn until(&mut self, is_up: bool) {
        while self.health.is_up() != is_up {
            sleep_until(self.next_at).await;
            let outcome = probe(&self.rules, &OPENING, self.address).await;
            self.next_at = Instant::now() + pause(self.rules.interval, crate::random::seed());
            self.take(&outcome);
        }
    }

    fn take(&mut self, outcome: &Outcome) {
        let (passed, result) = match outcome {
            Outcome::Passed(result) => (true, result),
            Outcome::Failed(result) => (false, result),
            Outcome::NotAsked(reason) => {
                tracing::warn!(address = %self.address, reason, "not checked for want of resources");
                return;
            }
        };
        if self.health.observe(passed, self.rules.thresholds).is_some() {
            tracing::info!(address = %self.address, result, passes = passed, "the check says otherwise than before");
        }
    }
}

/// Nothing of it is in any rules.
const OPENING: Opening = Opening { transport: Transport::Clear, announces: false };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_one_address() {
        let second = Duration::from_secs(1);
        let check = |url: &str| UrlCheck::new(url, second, second);
        let shown = |url: &str| match check(url).map(|check| (check.address, check.rules.probe)) {
            Ok((address, Probe::Http(http))) => format!("{address} {}", http.path),
            other => format!("{other:?}"),
        };
        assert_eq!(shown("http://127.0.0.1:8080/healthz?deep=1"), "127.0.0.1:8080 /healthz?deep=1");
        assert_eq!(shown("http://[::1]:80"), "[::1]:80 /");
        for wrong in
            ["", "127.0.0.1:8080/healthz", "https://127.0.0.1:1/", "http://localhost:1/", "http://127.0.0.1/", "/"]
        {
            assert!(check(wrong).err().unwrap().contains("is not a URL"), "{wrong}");
        }
    }

    #[test]
    fn three_failures_in_a_row_are_one_too_many() {
        let second = Duration::from_secs(1);
        let mut check = UrlCheck::new("http://127.0.0.1:1/", second, second).unwrap();
        let mut see = |passed: bool| {
            check.take(&if passed { Outcome::Passed("well".into()) } else { Outcome::Failed("ill".into()) });
            check.take(&Outcome::NotAsked("no descriptors".into()));
            check.health.is_up()
        };
        let seen = [false, true, false, false, true, false, false, false, true].map(&mut see);
        assert_eq!(seen, [false, true, true, true, true, true, true, false, true]);
    }
}
