//! A whole fleet of real processes in a temporary folder, driven as a user would. What a test proves stands in the test, never here.

mod agents;
mod programs;
mod rotations;
mod unread;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) use programs::Said;
use unread::Unread;

/// The program that becomes each of the shipped ones.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_convoy-exec");
/// The option that has the controller serve SCEP.
const SCEP_ADDR: &str = "--scep-addr";
/// What has not happened by then will not: generous, because the machine is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A fleet.
pub(crate) struct Fleet {
    folder: TempDir,
    controller: Option<Child>,
    agents: BTreeMap<String, Child>,
    agents_addr: String,
    api_addr: String,
    options: Vec<String>,
    filter: Option<&'static str>,
    unread: Option<Unread>,
}

impl Fleet {
    /// A controller that has just started for the first time.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more options; they last over restarts.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut fleet = Self::unstarted();
        fleet.options = options.iter().map(|option| (*option).to_owned()).collect();
        fleet.start_controller();
        fleet
    }

    /// Nothing yet.
    pub(crate) fn unstarted() -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("cv")
                .tempdir_in("/tmp")
                .expect("a temporary folder"),
            controller: None,
            agents: BTreeMap::new(),
            agents_addr: "127.0.0.1:0".to_owned(),
            api_addr: "127.0.0.1:0".to_owned(),
            options: Vec::new(),
            filter: None,
            unread: None,
        }
    }

    /// Sets `RUST_LOG` for the programs that are started from now on.
    pub(crate) fn set_filter(&mut self, filter: &'static str) {
        self.filter = Some(filter);
    }

    /// A fleet with these agents joined and connected.
    pub(crate) fn with_agents(names: &[&str]) -> Self {
        let mut fleet = Self::start();
        fleet.join_and_run(names);
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("d")
    }

    pub(crate) fn state_dir(&self, agent: &str) -> PathBuf {
        self.path(&format!("a-{agent}"))
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    pub(crate) fn agents_addr(&self) -> SocketAddr {
        self.agents_addr.parse().expect("an address")
    }

    pub(crate) fn api_addr(&self) -> SocketAddr {
        self.api_addr.parse().expect("an address")
    }

    /// Starts the controller and waits until it serves. After the first time on the same ports, which tokens and agents know.
    pub(crate) fn start_controller(&mut self) {
        self.spawn_controller(None);
        self.await_serving();
    }

    /// Starts the controller so that it stops for good at a step, and returns at once.
    pub(crate) fn start_controller_held_at(&mut self, step: &str) {
        self.spawn_controller(Some(step));
    }

    fn spawn_controller(&mut self, failpoint: Option<&str>) {
        assert!(
            self.controller.is_none(),
            "the controller is running already"
        );
        drop(fs::remove_file(self.data_dir().join("addresses")));
        drop(fs::remove_file(self.path("held")));
        let mut command = self.program("convoy-controller", "controller");
        command
            .arg("--data-dir")
            .arg(self.data_dir())
            .args([
                "--agents-addr",
                &self.agents_addr,
                "--api-addr",
                &self.api_addr,
            ])
            .args(["--name", "127.0.0.1", "--name", "localhost", "-v"])
            .args(&self.options);
        if let Some(step) = failpoint {
            command
                .env("CONVOY_FAILPOINT", step)
                .env("CONVOY_FAILPOINT_FILE", self.path("held"));
        }
        self.controller = Some(command.spawn().expect("a controller"));
    }

    pub(crate) fn await_serving(&mut self) {
        let file = self.data_dir().join("addresses");
        let addresses = self.eventually("the controller serves", |fleet| {
            assert!(fleet.controller_lives(), "the controller has ended");
            fs::read_to_string(&file)
                .ok()
                .filter(|text| text.ends_with('\n'))
        });
        let mut agents = Vec::new();
        for line in addresses.lines() {
            match line.split_once(' ') {
                Some(("agents", address)) => agents.push(address.to_owned()),
                Some(("api", address)) => address.clone_into(&mut self.api_addr),
                Some(("metrics", _)) => {}
                Some(("scep", address)) => self.keep_scep_addr(address),
                other => panic!("{other:?} in the addresses"),
            }
        }
        // The others stand among the options.
        agents
            .into_iter()
            .next()
            .expect("an agents' port")
            .clone_into(&mut self.agents_addr);
    }

    /// Where agents are to connect from the next start on.
    pub(crate) fn move_agents_to(&mut self, address: SocketAddr) {
        self.agents_addr = address.to_string();
    }

    /// A controller that serves SCEP too, with more options.
    pub(crate) fn serving_scep(options: &[&str]) -> Self {
        Self::start_with(&[&[SCEP_ADDR, "127.0.0.1:0"], options].concat())
    }

    /// Where SCEP is served, also after the next start.
    pub(crate) fn scep_addr(&self) -> SocketAddr {
        let mut options = self.options.iter().skip_while(|name| *name != SCEP_ADDR);
        let address = options.nth(1).expect("a controller that serves SCEP");
        address.parse().expect("an address")
    }

    fn keep_scep_addr(&mut self, address: &str) {
        let options = self.options.iter_mut();
        let mut options = options.skip_while(|name| *name != SCEP_ADDR);
        address.clone_into(options.nth(1).expect("a controller that serves SCEP"));
    }

    /// The options of the next start, in place of those so far.
    pub(crate) fn set_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
    }

    /// Waits until the controller stands at its failpoint.
    pub(crate) fn await_held(&mut self) {
        self.eventually("the failpoint holds", |fleet| {
            fleet.path("held").exists().then_some(())
        });
    }

    pub(crate) fn controller_lives(&mut self) -> bool {
        self.controller
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("a child").is_none())
    }

    /// The controller's process.
    pub(crate) fn controller_pid(&self) -> u32 {
        self.controller.as_ref().expect("a running controller").id()
    }

    /// Tells the controller to stop; its exit code.
    pub(crate) fn stop_controller(&mut self) -> i32 {
        terminate(self.controller.as_ref().expect("a running controller"));
        self.await_controller_end()
    }

    /// `kill -9`.
    pub(crate) fn kill_controller(&mut self) {
        let mut child = self.controller.take().expect("a running controller");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// Waits for a controller that ends by itself.
    pub(crate) fn await_controller_end(&mut self) -> i32 {
        self.eventually("the controller ends", |fleet| {
            let child = fleet.controller.as_mut().expect("a controller");
            child.try_wait().expect("a child")
        });
        let mut child = self.controller.take().expect("a controller");
        child.wait().expect("reaped").code().unwrap_or(-1)
    }

    /// Kills the controller and starts it again.
    pub(crate) fn restart_controller(&mut self) {
        self.kill_controller();
        self.start_controller();
    }

    /// Asks again until there is an answer. The only place where a test waits for what it cannot be told of.
    #[track_caller]
    pub(crate) fn eventually<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
            thread::sleep(Duration::from_millis(30));
        }
    }
}

/// SIGTERM.
fn terminate(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("told");
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.agents.values_mut().chain(&mut self.controller) {
            drop(child.kill());
            drop(child.wait());
        }
        if thread::panicking() {
            let mut logs: Vec<_> = fs::read_dir(self.folder.path())
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|end| end == "log"))
                .collect();
            logs.sort();
            for log in logs {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                eprintln!("--- {} (last of {} lines)", log.display(), lines.len());
                for line in &lines[lines.len().saturating_sub(25)..] {
                    eprintln!("{line}");
                }
            }
        }
    }
}
