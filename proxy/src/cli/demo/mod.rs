//! `serin demo`: a release from 1 to 100 % and back, with endpoints, users and a Serin of its own.
//!
//! Nothing shown is made up: groups, endpoints and latencies come from responses, shares and rules from the admin API.
//! The percent is raised as an operator would do it, by writing the file that Serin watches. Everything is on free
//! ports of the loopback address and in a temporary folder, and gone in the end.

mod acts;

mod stage;

mod endpoints;

mod users;

mod load;

mod ledger;

mod admin;

mod view;

use std::cell::RefCell;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::terminal::{Screen, Style};
use super::{NO, complain, say};
use acts::ACTS;
use admin::Admin;
use endpoints::Endpoints;
use ledger::Ledger;
use load::Load;
use stage::Stage;
use view::Scene;

#[derive(clap::Args)]
pub(super) struct DemoArgs {
    /// How long the whole takes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
    /// Take about three seconds, print one table, and exit with 1 if a request failed or a user changed back.
    #[arg(long, conflicts_with = "seconds")]
    once: bool,
}

/// What ended the demo before its time, in words.
type Trouble = String;

pub(super) fn demo(args: &DemoArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NO),
        Err(trouble) => {
            complain(trouble);
            ExitCode::from(NO)
        }
    }
}

/// Whether all went as promised.
fn run(args: &DemoArgs) -> Result<bool, Trouble> {
    let endpoints = Endpoints::start().map_err(|error| format!("cannot start endpoints: {error}"))?;
    let stage = Stage::start(&endpoints)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
    LocalSet::new().block_on(&runtime, play(args, &stage))
}

async fn play(args: &DemoArgs, stage: &Stage) -> Result<bool, Trouble> {
    let mut end = End::new()?;
    let mut admin = Admin::connect(stage.admin()).await?;
    let users = users::population();
    let rules_of_users = admin.rules_of(&users).await?;
    let endpoints = admin.endpoints().await?;
    let ledger = Rc::new(RefCell::new(Ledger::new(rules_of_users, endpoints)));
    let length = Duration::from_secs(if args.once { ONCE_SECS } else { args.seconds });
    let load = Load::start(stage.proxy(), users, &ledger, args.once);
    let is_live = !args.once && std::io::stdout().is_terminal();
    let mut show = Show {
        began: Instant::now(),
        length,
        is_once: args.once,
        screen: is_live.then(|| Screen::open(view::LINES)).flatten(),
        stage,
        ledger: &ledger,
    };
    if !args.once && show.screen.is_none() {
        show.print(&view::opening(&show.scene(), &Style::plain()));
    }
    let is_whole = tokio::select! {
        result = show.run(&mut admin) => result.map(|()| true)?,
        () = end.asked() => false,
    };
    load.stop().await;
    show.close(is_whole);
    let all_is_well = ledger.borrow().all_is_well();
    Ok(all_is_well)
}

/// What the audience sees while the acts pass.
struct Show<'a> {
    began: Instant,
    length: Duration,
    is_once: bool,
    /// Absent where lines cannot be drawn over.
    screen: Option<Screen>,
    stage: &'a Stage,
    ledger: &'a Rc<RefCell<Ledger>>,
}

impl Show<'_> {
    async fn run(&mut self, admin: &mut Admin) -> Result<(), Trouble> {
        for (index, act) in ACTS.iter().enumerate() {
            self.ledger.borrow_mut().begin(index);
            let began = Instant::now();
            if act.is_rollback() {
                // An edit that takes everybody back would be refused; after this one nobody is left to take back.
                admin.roll_back().await?;
            }
            if index > 0 {
                self.stage.write(act).map_err(|error| format!("cannot write serin.yaml: {error}"))?;
                admin.wait_for(act).await?;
            }
            let shares = admin.shares().await?;
            self.ledger.borrow_mut().in_force(shares, (index > 0).then(|| began.elapsed()));
            self.wait_for_everybody(began).await;
            self.ledger.borrow_mut().end();
            if !self.is_once && self.screen.is_none() {
                self.print(&view::act_row(&self.scene(), index, &Style::plain()));
            }
        }
        Ok(())
    }

    /// An act is over when its time is, and when every user has come since its rules are in force: else the numbers
    /// of users would be those of the act before.
    async fn wait_for_everybody(&mut self, began: Instant) {
        let time = self.length / ACTS.len() as u32;
        loop {
            self.draw();
            let elapsed = began.elapsed();
            let is_everybody_here = self.ledger.borrow().has_seen_everybody();
            if elapsed >= time && is_everybody_here || elapsed >= time + PATIENCE {
                return;
            }
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn draw(&mut self) {
        let scene = self.scene();
        if let Some(screen) = &mut self.screen {
            let lines = view::frame(&scene, screen.style());
            screen.draw(&lines);
        }
    }

    fn scene(&self) -> Scene {
        Scene {
            ledger: self.ledger.borrow().clone(),
            elapsed: self.began.elapsed().min(self.length),
            length: self.length,
        }
    }

    fn print(&self, lines: &[String]) {
        lines.iter().for_each(say);
    }

    fn close(mut self, is_whole: bool) {
        self.draw();
        let scene = self.scene();
        let style = self.screen.as_ref().map_or_else(Style::plain, |screen| *screen.style());
        let was_live = self.screen.take().is_some();
        if self.is_once {
            self.print(&view::table(&scene, &Style::plain()));
        } else if !was_live {
            self.print(&view::closing(&scene, &style));
        }
        self.print(&view::verdict(&scene, is_whole, &style));
    }
}

/// Ctrl-C, or a request to end.
struct End {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl End {
    fn new() -> Result<Self, Trouble> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot handle signals: {error}"));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// How long `--once` takes if the machine is not busy.
const ONCE_SECS: u64 = 3;

/// How long an act waits for users who are late, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

const REDRAW: Duration = Duration::from_millis(100);
