//! An explanation for people.

use std::fmt;

use super::{DiscoveryExplanation, Explanation, ListenerExplanation};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {}{} from {}", self.host, self.path, self.client)?;
        if let Some(at) = &self.at {
            writeln!(f, "at        {at}")?;
        }
        if let Some(listener) = &self.listener {
            writeln!(f, "listener  {listener}")?;
        }
        writeln!(f, "route     {}", self.route.as_deref().unwrap_or("none matches"))?;
        if let Some(template) = &self.template {
            writeln!(f, "template  {template} has such hosts, but no environment with this one is known here")?;
        }
        if let Some(asks) = &self.asks {
            writeln!(f, "asks      {} for {}", asks.upstream, asks.path)?;
        }
        if let Some(release) = &self.release {
            writeln!(f, "release   {}: {} ({})", release.name, release.group, release.text)?;
            if let Some(pin) = &release.pin_refused {
                writeln!(f, "pin       ignored: {}", pin.text)?;
            }
        }
        if let Some(upstream) = &self.upstream {
            writeln!(f, "upstream  {upstream}")?;
        }
        for part in &self.split {
            writeln!(f, "split     {} {:.1} %", part.name, part.percent)?;
        }
        for discovery in &self.discovery {
            writeln!(f, "discovery {discovery}")?;
        }
        for endpoint in &self.endpoints {
            write!(f, "endpoint  {} weight {} ({:.1} %)", endpoint.address, endpoint.weight, endpoint.percent)?;
            match &endpoint.tls_failure {
                Some(reason) => writeln!(f, "; no TLS with it the last time: {reason}")?,
                None => writeln!(f)?,
            }
        }
        if let Some(mirror) = &self.mirror {
            writeln!(f, "mirror    {} {} %", mirror.upstream, mirror.percent)?;
        }
        match &self.answer {
            Some(answer) => writeln!(f, "answer    {answer}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for DiscoveryExplanation {
    /// `shop by DNS SRV of shop.service.consul, not looked up here`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.upstream, self.asks)?;
        match (&self.failure, self.looked_up) {
            (_, false) => f.write_str(", not looked up here"),
            (Some(reason), true) => write!(f, "; the last lookup failed: {reason}"),
            (None, true) => Ok(()),
        }
    }
}

impl fmt::Display for ListenerExplanation {
    /// `internal, assumed; through web: route site`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.is_assumed {
            f.write_str(", assumed")?;
        }
        match &*self.otherwise {
            [] => f.write_str("; no other listener gives another route"),
            others => others.iter().try_for_each(|other| match &other.route {
                Some(route) => write!(f, "; through {}: route {route}", other.name),
                None => write!(f, "; through {}: no route", other.name),
            }),
        }
    }
}
