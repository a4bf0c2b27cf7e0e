//! How long may be waited.

use std::time::Duration;

use routing_rules::spec::Span;

use super::given::Given;
use crate::ingress::tuning::Tuning;

pub(super) fn read(given: &mut Given<'_>, tuning: &mut Tuning) {
    let mut seconds = |name| given.number(name, 1..=A_YEAR);
    let (connect, read, send) =
        (seconds("proxy-connect-timeout"), seconds("proxy-read-timeout"), seconds("proxy-send-timeout"));
    let span = |seconds: u32| Span::from(Duration::from_secs(seconds.into()));
    let timeouts = &mut tuning.timeouts;
    timeouts.connect = connect.map(span);
    timeouts.request = read.map(span);
    // One clock for both directions: what either allows must go on.
    if read.is_some() || send.is_some() {
        timeouts.idle = Some(span(read.unwrap_or(USUAL).max(send.unwrap_or(USUAL))));
    }
    timeouts.tunnel_idle = read.max(send).map(span);
}

/// What ingress-nginx has where nothing is said.
const USUAL: u32 = 60;

const A_YEAR: u32 = 366 * 86_400;
