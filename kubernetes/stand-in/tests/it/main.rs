//! The stand-in as its clients see it: over the wire, with the client the project uses, and with kubectl.

mod support;

mod definitions;
mod discovery;
mod events;
mod faults;
mod lists;
mod patches;
mod sets;
mod status;
mod tables;
mod test_side;
mod watches;
mod writes;

mod client;
mod kubectl;
