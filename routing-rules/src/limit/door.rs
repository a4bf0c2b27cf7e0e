//! How many requests are being worked on and how many wait, as one number.
//!
//! Who may enter follows from the number and the limits, so the number can stand in an atomic and every change is one
//! compare-and-exchange. The order of those who wait and their patience are the caller's: it keeps the queue itself, first
//! come first served, and takes out who has waited for too long.

/// The limits at a door; they may change at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Requests worked on at once.
    pub in_flight: u32,
    /// Requests that wait.
    pub queue: u32,
}

/// Who is inside and who waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Door {
    /// Worked on.
    pub in_flight: u32,
    /// Waiting.
    pub waiting: u32,
}

/// What a door says to a request; each is the door to put in the place of the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It enters.
    Enter(Door),
    /// It waits until it is called.
    Wait(Door),
    /// It is refused.
    Full,
}

impl Door {
    /// For an atomic.
    pub fn bits(self) -> u64 {
        u64::from(self.in_flight) << 32 | u64::from(self.waiting)
    }

    /// From an atomic.
    pub fn from_bits(bits: u64) -> Self {
        Self { in_flight: (bits >> 32) as u32, waiting: bits as u32 }
    }

    /// A request comes. Nobody overtakes those who wait.
    pub fn enter(self, places: Places) -> Entry {
        if self.waiting == 0 && self.in_flight < places.in_flight {
            return Entry::Enter(Self { in_flight: self.in_flight + 1, ..self });
        }
        match self.waiting < places.queue {
            true => Entry::Wait(Self { waiting: self.waiting + 1, ..self }),
            false => Entry::Full,
        }
    }

    /// A request that had entered is done.
    pub fn leave(self) -> Self {
        Self { in_flight: self.in_flight.saturating_sub(1), ..self }
    }

    /// The door after the first of those who wait has been given a place, if one waits and there is one: to be asked when
    /// one leaves, and again and again when the limit has become higher.
    pub fn call(self, places: Places) -> Option<Self> {
        let may = self.waiting > 0 && self.in_flight < places.in_flight;
        may.then(|| Self { in_flight: self.in_flight + 1, waiting: self.waiting - 1 })
    }

    /// One that had been called waits on, because it could not go further.
    pub fn uncall(self) -> Self {
        Self { waiting: self.waiting + 1, ..self.leave() }
    }

    /// One that waits goes away or has waited for too long.
    pub fn give_up(self) -> Self {
        Self { waiting: self.waiting.saturating_sub(1), ..self }
    }
}
