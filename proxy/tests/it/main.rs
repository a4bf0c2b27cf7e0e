//! Whole-proxy tests: a real Serin in this process, real sockets, endpoints and clients of our own.

mod support;

mod wire_cases;
