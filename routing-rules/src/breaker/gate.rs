//! Whether a request may pass, as one number that the control path and all workers share.
//!
//! The control path writes it when the state of a [`Breaker`](super::Breaker) changes; workers change it in two ways only:
//! a full streak trips it, and probes are taken and given back. Both are computed here and put in place by a
//! compare-and-exchange. Everything else of a breaker is decided on the control path.

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate(u64);

/// What a gate says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may pass.
    Pass,
    /// It may pass as a probe, if this gate can be put in the place of the one that was asked. Its end must be told with
    /// [`Gate::probed`].
    Probe(Gate),
    /// It may not.
    Refused,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeEnd {
    /// Answered, and not with 500 or above.
    Success,
    /// A failure of the endpoint.
    Failure,
    /// Nothing is known: the client went away.
    Abandoned,
}

/// What the probes say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Three have succeeded.
    Healthy,
    /// More have failed than succeeded.
    Failing,
}

impl Gate {
    /// Everything passes, in the first period: the gate of something nobody has seen yet. It does not trip until the
    /// control path has said that it may.
    pub const NEW: Self = Self(ALL << SHARE.shift);

    pub(super) fn closed(epoch: u32, share: u16, may_trip: bool) -> Self {
        Self::in_mode(CLOSED, epoch).with(SHARE, u64::from(share)).with(MAY_TRIP, u64::from(may_trip))
    }

    pub(super) fn open(epoch: u32) -> Self {
        Self::in_mode(OPEN, epoch)
    }

    pub(super) fn probing(epoch: u32) -> Self {
        Self::in_mode(PROBING, epoch)
    }

    /// Whether any request may be a probe.
    pub(super) fn with_any_probe(self, any: bool) -> Self {
        self.with(ANY_PROBE, u64::from(any))
    }

    fn in_mode(mode: u64, epoch: u32) -> Self {
        Self(0).with(MODE, mode).with(EPOCH, u64::from(epoch))
    }

    /// For an atomic.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// From an atomic.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The period between two openings. A result of a request that was let through in an earlier one is not counted: it
    /// says how the endpoint was.
    pub fn epoch(self) -> u32 {
        self.part(EPOCH) as u32
    }

    /// What it says to a request for an endpoint. While it ramps up everything passes: its weight does the rest. Probes
    /// are first left to requests that are `repeatable`, whose clients may not notice that one failed.
    pub fn admission(self, repeatable: bool) -> Admission {
        match self.part(MODE) {
            CLOSED => Admission::Pass,
            PROBING
                if self.part(IN_FLIGHT) == 0
                    && self.verdict().is_none()
                    && (repeatable || self.part(ANY_PROBE) == 1) =>
            {
                Admission::Probe(self.with(IN_FLIGHT, 1))
            }
            _ => Admission::Refused,
        }
    }

    /// What it says to a request for an upstream, by its place from 0 to 9,999: the line of the user's bucket, or a draw.
    /// While it ramps up the low places pass, so that a user who came back stays.
    pub fn admission_at(self, place: u16, repeatable: bool) -> Admission {
        match self.admission(repeatable) {
            Admission::Pass if u64::from(place) >= self.part(SHARE) => Admission::Refused,
            admission => admission,
        }
    }

    /// Of the places from 0 to 9,999, those below this pass: all of them, some while it ramps up, and none where only probes
    /// pass.
    pub fn share(self) -> u16 {
        if self.part(MODE) == CLOSED { u16::try_from(self.part(SHARE)).unwrap_or(u16::MAX) } else { 0 }
    }

    /// The gate after a full streak, if it may trip and has not: from here on nothing passes until the control path has
    /// looked at it.
    pub fn tripped(self) -> Option<Self> {
        let may = self.part(MODE) == CLOSED && self.part(MAY_TRIP) == 1;
        may.then(|| self.with(MODE, TRIPPED))
    }

    pub(super) fn is_tripped(self) -> bool {
        self.part(MODE) == TRIPPED
    }

    pub(super) fn is_probing_in(self, epoch: u32) -> bool {
        self.part(MODE) == PROBING && self.epoch() == epoch
    }

    /// The gate after a probe that was admitted in this period. Nothing if the period is over, or the probes are decided.
    pub fn probed(self, epoch: u32, end: ProbeEnd) -> Option<Self> {
        if self.part(MODE) != PROBING || self.epoch() != epoch || self.part(IN_FLIGHT) == 0 {
            return None;
        }
        let free = self.with(IN_FLIGHT, 0);
        Some(match end {
            ProbeEnd::Success => free.with(SUCCESSES, self.part(SUCCESSES) + 1),
            ProbeEnd::Failure => free.with(FAILURES, self.part(FAILURES) + 1),
            ProbeEnd::Abandoned => free,
        })
    }

    pub(super) fn verdict(self) -> Option<Verdict> {
        match (self.part(SUCCESSES), self.part(FAILURES)) {
            (successes, failures) if failures > successes => Some(Verdict::Failing),
            (ENOUGH.., _) => Some(Verdict::Healthy),
            _ => None,
        }
    }

    fn part(self, field: Field) -> u64 {
        self.0 >> field.shift & field.mask()
    }

    fn with(self, field: Field, value: u64) -> Self {
        Self(self.0 & !(field.mask() << field.shift) | value.min(field.mask()) << field.shift)
    }
}

#[derive(Clone, Copy)]
struct Field {
    shift: u32,
    width: u32,
}

impl Field {
    fn mask(self) -> u64 {
        (1 << self.width) - 1
    }
}

const MODE: Field = Field { shift: 0, width: 2 };
const MAY_TRIP: Field = Field { shift: 2, width: 1 };
const IN_FLIGHT: Field = Field { shift: 3, width: 1 };
const SUCCESSES: Field = Field { shift: 4, width: 4 };
const FAILURES: Field = Field { shift: 8, width: 4 };
/// In hundredths of a percent.
const SHARE: Field = Field { shift: 12, width: 14 };
const ANY_PROBE: Field = Field { shift: 26, width: 1 };
const EPOCH: Field = Field { shift: 32, width: 32 };

const CLOSED: u64 = 0;
const TRIPPED: u64 = 1;
const OPEN: u64 = 2;
const PROBING: u64 = 3;

const ALL: u64 = 10_000;
/// Successes of probes after which the ramp begins.
const ENOUGH: u64 = 3;
