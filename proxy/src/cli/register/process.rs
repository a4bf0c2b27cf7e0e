//! The command, and the signals that this process gets in its stead.
//!
//! All children are waited for, not only the command: as the first process of a container this one inherits whatever the
//! command leaves behind.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};
use tokio::signal::unix::{self, SignalKind, signal};

/// The command if there is one, and the signals.
pub(super) struct Process {
    signals: Signals,
    command: Option<Pid>,
}

/// What happens to the process.
pub(super) enum Event {
    /// It is to end.
    Stop(Signal),
    /// The command has ended; the exit code.
    Ended(u8),
}

/// Why there is no process.
pub(super) struct Trouble {
    pub(super) reason: String,
    /// The exit code that shells have for it.
    pub(super) code: u8,
}

struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
    child: unix::Signal,
}

impl Process {
    /// Starts the command; nothing is started for an empty one.
    pub(super) fn start(command: &[OsString]) -> Result<Self, Trouble> {
        // Before anything is started: what comes during the start must be heard too.
        let signals = Signals::catch()
            .map_err(|error| Trouble { reason: format!("cannot handle signals: {error}"), code: super::NO })?;
        Ok(Self { signals, command: start(command)? })
    }

    /// Waits for something that matters here. Signals that are the command's alone are passed on.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            let signal = self.signals.next().await;
            match meaning(signal, self.command.is_some()) {
                Meaning::Stop => return Event::Stop(signal),
                Meaning::PassOn => self.pass_on(signal),
                Meaning::Ignore => {}
                Meaning::Reap => {
                    if let Some(status) = reap(self.command) {
                        return Event::Ended(exit_code(status));
                    }
                }
            }
        }
    }

    /// Stops the command and waits for its end, however long that takes; the exit code.
    pub(super) async fn stop(&mut self, signal: Signal) -> u8 {
        let mut event = Event::Stop(signal);
        loop {
            match event {
                Event::Ended(code) => return code,
                Event::Stop(_) if self.command.is_none() => return 0,
                Event::Stop(signal) => self.pass_on(signal),
            }
            event = self.next().await;
        }
    }

    fn pass_on(&self, signal: Signal) {
        // One that has just ended is reaped next.
        if let Some(Err(error)) = self.command.map(|command| kill_process(command, signal)) {
            tracing::warn!(?signal, %error, "cannot pass a signal on");
        }
    }
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
            child: signal(SignalKind::child())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.child.recv() => Signal::CHILD,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.user1.recv() => Signal::USR1,
            _ = self.user2.recv() => Signal::USR2,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Stop,
    PassOn,
    Ignore,
    Reap,
}

fn meaning(signal: Signal, has_command: bool) -> Meaning {
    match signal {
        Signal::TERM | Signal::INT | Signal::QUIT => Meaning::Stop,
        Signal::CHILD => Meaning::Reap,
        _ if has_command => Meaning::PassOn,
        // The terminal has gone, and nobody is left to stop this process.
        Signal::HUP => Meaning::Stop,
        _ => Meaning::Ignore,
    }
}

fn start(command: &[OsString]) -> Result<Option<Pid>, Trouble> {
    let [program, arguments @ ..] = command else { return Ok(None) };
    let mut command = Command::new(program);
    command.args(arguments);
    // In a group of its own, so that what is sent to ours does not reach it before the registration has gone. At a terminal
    // it stays in ours: only the group in the foreground may read from there.
    if !std::io::stdin().is_terminal() {
        command.process_group(0);
    }
    match command.spawn() {
        // Its end is noticed here; the standard library only waits for those it is asked for.
        Ok(child) => Ok(Some(Pid::from_child(&child))),
        Err(error) => Err(Trouble {
            reason: format!("cannot start {}: {error}", program.display()),
            code: if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE },
        }),
    }
}

/// Waits for all children that have ended. Signals of several may have become one.
fn reap(command: Option<Pid>) -> Option<WaitStatus> {
    let mut ended = None;
    while let Ok(Some((child, status))) = wait(WaitOptions::NOHANG) {
        if Some(child) == command {
            ended = Some(status);
        }
    }
    ended
}

/// As shells tell it.
fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(super::NO)
}

const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_stop_and_those_that_are_the_commands() {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
            assert_eq!([true, false].map(|has| meaning(signal, has)), [Meaning::Stop, Meaning::Stop]);
        }
        assert_eq!([true, false].map(|has| meaning(Signal::HUP, has)), [Meaning::PassOn, Meaning::Stop]);
        assert_eq!([true, false].map(|has| meaning(Signal::USR1, has)), [Meaning::PassOn, Meaning::Ignore]);
    }
}
