//! The acts of the demo: how far the release is in each.

/// One act.
pub(super) struct Act {
    /// What people call it.
    pub(super) label: &'static str,
    /// The percent of each audience rule, in the order of [`RULES`].
    pub(super) percents: [u8; RULES.len()],
}

/// An audience rule.
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Its conditions, as they stand in the file.
    pub(super) conditions: &'static str,
    /// Its conditions, for people.
    pub(super) meaning: &'static str,
}

/// The audience.
pub(super) const RULES: [Rule; 3] = [
    Rule { name: "office", conditions: "ip: [10.8.0.0/16], ", meaning: "from 10.8.0.0/16" },
    Rule {
        name: "campus iPhones",
        conditions: "ip: [203.0.113.0/24], device: [iphone], ",
        meaning: "iPhone, from 203.0.113.0/24",
    },
    Rule { name: "everyone", conditions: "", meaning: "whoever is left" },
];

/// The percent only grows, until the rollback.
pub(super) const ACTS: [Act; 5] = [
    Act { label: "1 %", percents: [100, 50, 1] },
    Act { label: "10 %", percents: [100, 50, 10] },
    Act { label: "50 %", percents: [100, 50, 50] },
    Act { label: "100 %", percents: [100, 100, 100] },
    Act { label: "rollback", percents: [0, 0, 0] },
];

impl Act {
    /// Whether users are taken out of the canary on purpose.
    pub(super) fn is_rollback(&self) -> bool {
        self.percents == [0; RULES.len()]
    }

    /// Whether everybody should be in the canary.
    pub(super) fn is_complete(&self) -> bool {
        self.percents == [100; RULES.len()]
    }
}
