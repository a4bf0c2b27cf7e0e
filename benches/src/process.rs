//! Starting, pinning and ending the programs of a measurement.
//!
//! Every process started here is ended here, by its id, when its `Running` is dropped: also after a failure and after
//! Ctrl-C, which only sets a flag. Children get a process group of their own so that the terminal's Ctrl-C does not
//! reach them before that. Affinity and the descriptor limit are inherited: set on this thread, then spawned.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

use crate::usage;

/// A process that is ended when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    /// Starts `command` on `core`, its output in `folder/name.{out,err}`.
    ///
    /// # Errors
    /// When the program cannot be started or its output not be kept.
    pub fn start(mut command: Command, core: usize, folder: &Path, name: &str) -> io::Result<Self> {
        let output = folder.join(name).with_extension("out");
        let errors = folder.join(name).with_extension("err");
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(errors)?).process_group(0);
        let before = rustix::thread::sched_getaffinity(None)?;
        pin(core)?;
        let child = command.spawn();
        rustix::thread::sched_setaffinity(None, &before)?;
        Ok(Self { child: child?, output })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would, without a warning.
    pub fn kill(self) {
        signal(self.pid(), Signal::KILL);
    }

    /// Says how the process ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(format!("ended early ({status}): {}", self.last_words()))
    }

    /// It has done what it was started for and ended.
    ///
    /// # Errors
    /// With its last words when it ended in another way.
    pub fn has_succeeded(&mut self) -> io::Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => Err(io::Error::other(format!("ended ({status}): {}", self.last_words()))),
        }
    }

    /// What it has printed so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn printed(&self) -> io::Result<String> {
        fs::read_to_string(&self.output)
    }

    #[must_use]
    pub fn has_printed(&self, text: &str) -> bool {
        self.printed().is_ok_and(|output| output.contains(text))
    }

    /// The end of what the process wrote, for an error message.
    #[must_use]
    pub fn last_words(&self) -> String {
        let texts = [self.output.with_extension("err"), self.output.clone()]
            .map(|path| fs::read_to_string(path).unwrap_or_default());
        let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].join(" | ")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its own children (nginx's worker) are asked for first: after its end nobody knows whose they were.
        let tree = usage::tree(self.pid());
        if let Ok(None) = self.child.try_wait() {
            signal(self.pid(), Signal::TERM);
        }
        let patience = Instant::now() + Duration::from_secs(2);
        while let (Ok(None), true) = (self.child.try_wait(), Instant::now() < patience) {
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in tree.into_iter().rev() {
            if pid != self.pid() {
                signal(pid, Signal::KILL);
            }
        }
        // Both fail only when it has ended already, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error means that it has ended already.
        let _ended = rustix::process::kill_process(pid, signal);
    }
}

/// A folder that goes when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// When the folder cannot be made.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("serin-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it then is in the system's temporary folder, where it may be.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Keeps this thread, and what it starts, on `core`.
///
/// # Errors
/// When this process may not use that core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Raises the limit of open files as far as this user may, and says how far that is.
#[must_use]
pub fn raise_open_files() -> u64 {
    const WANTED: u64 = 65_536;
    let now = rustix::process::getrlimit(Resource::Nofile);
    let to =
        |limit| Rlimit { current: Some(limit), maximum: Some(now.maximum.map_or(limit, |maximum| maximum.max(limit))) };
    let hard = now.maximum.unwrap_or(WANTED);
    for limit in [WANTED.max(hard), hard] {
        if rustix::process::setrlimit(Resource::Nofile, to(limit)).is_ok() {
            return limit;
        }
    }
    now.current.unwrap_or(1024)
}

/// The process that calls this ends when the one that started it does, however that ended.
pub fn end_with_parent() {
    // Best effort: without it only an orphan after a hard kill is left.
    let _refused = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// A port nobody listens on, below those the kernel gives to outgoing connections.
///
/// # Errors
/// When every port of the range is taken.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = u16::try_from(std::process::id() % 8_000).unwrap_or(0);
    for _ in 0..10_000 {
        let port = 20_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port between 20000 and 32000"))
}

/// Set by Ctrl-C and by a request to terminate.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// # Errors
    /// When the signals cannot be taken.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// # Errors
    /// Once a signal has come: whoever waits gives up, and what it holds is ended.
    pub fn check(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"))
        } else {
            Ok(())
        }
    }

    /// # Errors
    /// When a signal came meanwhile.
    pub fn sleep(&self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.check()?;
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.check()
    }
}
