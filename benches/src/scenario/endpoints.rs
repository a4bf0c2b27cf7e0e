//! The endpoints of a scenario: started, told what to do, killed, started again, and asked what they got.
//!
//! Usually one process has them all; where one is to be killed, it has a process of its own. What a killed process had
//! counted is asked for just before. Everything is ended when this is dropped.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::faulty::Order;
use crate::peers::local;
use crate::process::{self, Interrupt, Running};

/// How endpoints are made.
#[derive(Clone, Debug)]
pub struct Make {
    /// The program `faulty`.
    pub program: PathBuf,
    pub folder: PathBuf,
    pub core: usize,
    pub mean_ms: f64,
    pub sigma: f64,
    pub seed: u64,
}

#[derive(Debug)]
pub struct Endpoints {
    make: Make,
    slots: Vec<usize>,
    addresses: Vec<SocketAddrV4>,
    parts: Vec<Part>,
    /// Half seconds are counted from here.
    begin: Instant,
    /// What processes counted that are no more, by endpoint and half second.
    counted: Vec<Vec<u32>>,
}

/// A process and its endpoints; none while it is killed.
#[derive(Debug)]
struct Part {
    endpoints: Range<usize>,
    alive: Option<Alive>,
}

#[derive(Debug)]
struct Alive {
    // Before the process: it would wait for nobody.
    control: BufReader<TcpStream>,
    running: Running,
}

impl Endpoints {
    /// Starts one endpoint for each of `slots`; the last one as its own process if need be.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start(make: Make, slots: &[usize], last_alone: bool, interrupt: &Interrupt) -> io::Result<Self> {
        let count = slots.len();
        let addresses = (0..count).map(|_| process::free_port().map(local)).collect::<io::Result<_>>()?;
        let split = if last_alone { count.saturating_sub(1) } else { count };
        let ranges = [0..split, split..count].into_iter().filter(|range| !range.is_empty());
        let mut endpoints = Self {
            make,
            slots: slots.to_vec(),
            addresses,
            parts: ranges.map(|endpoints| Part { endpoints, alive: None }).collect(),
            begin: Instant::now(),
            counted: vec![Vec::new(); count],
        };
        for part in 0..endpoints.parts.len() {
            endpoints.start_part(part, interrupt)?;
        }
        Ok(endpoints)
    }

    #[must_use]
    pub fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    fn start_part(&mut self, place: usize, interrupt: &Interrupt) -> io::Result<()> {
        let Make { program, folder, core, mean_ms, sigma, seed } = &self.make;
        let control = local(process::free_port()?);
        let endpoints = self.parts[place].endpoints.clone();
        let mut command = Command::new(program);
        command.args(["--control", &control.to_string(), "--mean-ms", &mean_ms.to_string()]);
        // Endpoints of one process have seeds in a row.
        command.args(["--sigma", &sigma.to_string(), "--seed", &(seed + endpoints.start as u64).to_string()]);
        command.args(endpoints.map(|endpoint| format!("{}/{}", self.addresses[endpoint], self.slots[endpoint])));
        let running = Running::start(command, *core, folder, &format!("faulty-{place}"))?;
        self.parts[place].alive = Some(Alive::reach(running, control, interrupt)?);
        Ok(())
    }

    fn part(&mut self, endpoint: usize) -> io::Result<(usize, usize)> {
        let place = self.parts.iter().position(|part| part.endpoints.contains(&endpoint));
        let place = place.ok_or_else(|| io::Error::other(format!("there is no endpoint {endpoint}")))?;
        Ok((place, endpoint - self.parts[place].endpoints.start))
    }

    /// Tells an endpoint what to do and waits until it does.
    ///
    /// # Errors
    /// When it is not there or refuses.
    pub fn tell(&mut self, endpoint: usize, order: Order) -> io::Result<()> {
        let (part, within) = self.part(endpoint)?;
        self.parts[part].ask(&format!("{within} {order}")).map(drop)
    }

    /// Kills the process of an endpoint, and with it all endpoints it has.
    ///
    /// # Errors
    /// When it is not there.
    pub fn kill(&mut self, endpoint: usize) -> io::Result<()> {
        let (part, _) = self.part(endpoint)?;
        self.collect(part)?;
        if let Some(alive) = self.parts[part].alive.take() {
            alive.running.kill();
        }
        Ok(())
    }

    /// Starts a killed process again.
    ///
    /// # Errors
    /// When that fails.
    pub fn start_again(&mut self, endpoint: usize, interrupt: &Interrupt) -> io::Result<()> {
        let (part, _) = self.part(endpoint)?;
        self.start_part(part, interrupt)?;
        self.begin_part(part)
    }

    /// Counts requests from now on.
    ///
    /// # Errors
    /// When a process is not there.
    pub fn begin(&mut self) -> io::Result<Instant> {
        self.begin = Instant::now();
        self.counted.iter_mut().for_each(Vec::clear);
        (0..self.parts.len()).try_for_each(|part| self.begin_part(part))?;
        Ok(self.begin)
    }

    fn begin_part(&mut self, part: usize) -> io::Result<()> {
        let ago_ms = self.begin.elapsed().as_millis();
        self.parts[part].ask(&format!("begin {ago_ms}")).map(drop)
    }

    /// How many requests each endpoint got in each half second.
    ///
    /// # Errors
    /// When a process is not there.
    pub fn counts(mut self) -> io::Result<Vec<Vec<u32>>> {
        for part in 0..self.parts.len() {
            if self.parts[part].alive.is_some() {
                self.collect(part)?;
            }
        }
        Ok(std::mem::take(&mut self.counted))
    }

    fn collect(&mut self, part: usize) -> io::Result<()> {
        let lines = self.parts[part].ask("counts")?;
        for (endpoint, line) in self.parts[part].endpoints.clone().zip(lines) {
            let counts = line.split_ascii_whitespace().map(|count| count.parse().map_err(io::Error::other));
            add(&mut self.counted[endpoint], &counts.collect::<io::Result<Vec<u32>>>()?);
        }
        Ok(())
    }
}

fn add(sums: &mut Vec<u32>, counts: &[u32]) {
    sums.resize(sums.len().max(counts.len()), 0);
    sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

impl Part {
    /// Sends a line and gives back those before `ok`.
    fn ask(&mut self, line: &str) -> io::Result<Vec<String>> {
        let alive = self.alive.as_mut().ok_or_else(|| io::Error::other(format!("`{line}` to a killed process")))?;
        alive.control.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let mut reply = String::new();
            if alive.control.read_line(&mut reply)? == 0 {
                return Err(io::Error::other(format!(
                    "`{line}`: the endpoints are gone: {}",
                    alive.running.last_words()
                )));
            }
            match reply.trim_end() {
                "ok" => return Ok(lines),
                error if error.starts_with("error: ") => return Err(io::Error::other(format!("`{line}`: {error}"))),
                other => lines.push(other.to_owned()),
            }
        }
    }
}

impl Alive {
    fn reach(mut running: Running, control: SocketAddrV4, interrupt: &Interrupt) -> io::Result<Self> {
        let patience = Instant::now() + Duration::from_secs(5);
        loop {
            interrupt.check()?;
            if let Some(why) = running.ended() {
                return Err(io::Error::other(why));
            }
            match TcpStream::connect(control) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                    return Ok(Self { control: BufReader::new(stream), running });
                }
                Err(error) if Instant::now() > patience => return Err(error),
                Err(_) => interrupt.sleep(Duration::from_millis(2))?,
            }
        }
    }
}

/// The program that is built together with this one.
///
/// # Errors
/// When it is not.
pub fn program() -> io::Result<PathBuf> {
    crate::peers::beside("faulty").ok_or_else(|| io::Error::other("the program `faulty` is not built"))
}

impl Make {
    /// Endpoints as every scenario has them, but so many times slower.
    ///
    /// # Errors
    /// When their program is not built.
    pub fn usual(folder: &Path, core: usize, slower: f64, seed: u64) -> io::Result<Self> {
        let mean_ms = super::MEAN_MS * slower;
        Ok(Self { program: program()?, folder: folder.to_owned(), core, mean_ms, sigma: super::SIGMA, seed })
    }
}
