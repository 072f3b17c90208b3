//! A whole fleet of real processes in a temporary folder, driven as a user would. What a test proves stands in the test, never here.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

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
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// What a program says that was started beside the test.
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().expect("the program ends");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What it said, if it failed with this code.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.stderr
    }
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
        for line in addresses.lines() {
            match line.split_once(' ') {
                Some(("agents", address)) => address.clone_into(&mut self.agents_addr),
                Some(("api", address)) => address.clone_into(&mut self.api_addr),
                Some(("metrics", _)) => {}
                Some(("scep", address)) => self.keep_scep_addr(address),
                other => panic!("{other:?} in the addresses"),
            }
        }
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

    fn program(&self, program: &str, log: &str) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{log}.log")))
            .expect("a log");
        let mut command = Command::new(PROGRAM);
        command
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET");
        if let Some(filter) = self.filter {
            command.env("RUST_LOG", filter);
        }
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run_program(&self, program: &str, args: &[&str]) -> Said {
        let mut command = Command::new(PROGRAM);
        command
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET");
        if let Some(filter) = self.filter {
            command.env("RUST_LOG", filter);
        }
        let output = command.output().expect("the program runs");
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs `convoy` on the local socket.
    pub(crate) fn convoy(&self, args: &[&str]) -> Said {
        let data_dir = self.data_dir();
        let mut all = vec!["--data-dir", data_dir.to_str().expect("UTF-8")];
        all.extend(args);
        self.run_program("convoy", &all)
    }

    /// Starts `convoy` beside the test; [`Said::of`] waits for it.
    pub(crate) fn spawn_convoy(&self, args: &[&str]) -> Child {
        Command::new(PROGRAM)
            .args(["convoy", "--data-dir"])
            .arg(self.data_dir())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET")
            .spawn()
            .expect("the program runs")
    }

    /// Runs `convoy`, which must succeed; what it says on stdout, trimmed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.convoy(args);
        assert_eq!(said.code, 0, "convoy {args:?}: {said:?}");
        said.stdout.trim_end().to_owned()
    }

    /// Runs `convoy … -o json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        serde_json::from_str(&self.ok(&args)).expect("JSON")
    }

    /// Runs `convoy-agent`.
    pub(crate) fn agent(&self, args: &[&str]) -> Said {
        self.run_program("convoy-agent", args)
    }

    /// Joins a host with a token; the client's id.
    #[track_caller]
    pub(crate) fn join(&self, name: &str, token: &str) -> String {
        let said = self.try_join(name, token);
        assert_eq!(said.code, 0, "join {name}: {said:?}");
        said.stdout.trim_end().to_owned()
    }

    pub(crate) fn try_join(&self, name: &str, token: &str) -> Said {
        let state = self.state_dir(name);
        let state = state.to_str().expect("UTF-8");
        self.agent(&["join", token, "--state-dir", state, "--name", name])
    }

    /// Starts an agent that has joined.
    pub(crate) fn run(&mut self, name: &str) {
        assert!(!self.agents.contains_key(name), "{name} is running already");
        let child = self
            .program("convoy-agent", name)
            .args(["-v", "run", "--state-dir"])
            .arg(self.state_dir(name))
            .spawn()
            .expect("an agent");
        self.agents.insert(name.to_owned(), child);
    }

    /// Joins these hosts, starts their agents and waits until all are connected.
    pub(crate) fn join_and_run(&mut self, names: &[&str]) {
        let uses = names.len().to_string();
        let token = self.ok(&["token", "create", "--uses", &uses]);
        for name in names {
            self.join(name, &token);
            self.run(name);
        }
        self.await_connected(names);
    }

    pub(crate) fn await_connected(&mut self, names: &[&str]) {
        for name in names {
            self.eventually(&format!("{name} is connected"), |fleet| {
                (fleet.client(name)["connected"] == true).then_some(())
            });
        }
    }

    /// The process of an agent.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.agents.get(name).expect("a running agent").id()
    }

    /// `kill -9` of an agent.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut child = self.agents.remove(name).expect("a running agent");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// Kills an agent, and waits until the controller has noticed.
    pub(crate) fn switch_off(&mut self, name: &str) {
        self.kill(name);
        self.eventually(&format!("{name} is gone"), |fleet| {
            (fleet.client(name)["connected"] == false).then_some(())
        });
    }

    pub(crate) fn client(&self, name: &str) -> Value {
        self.json(&["clients", "show", name])
    }

    /// What an agent's own disk says.
    pub(crate) fn agent_status(&self, name: &str) -> Value {
        let state = self.state_dir(name);
        let said = self.agent(&[
            "status",
            "--state-dir",
            state.to_str().expect("UTF-8"),
            "-o",
            "json",
        ]);
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout).expect("JSON")
    }

    /// Whether an agent accepts what is served to everyone, on a fresh connection with verification on.
    pub(crate) fn accepts(&self, name: &str) -> bool {
        let state = self.state_dir(name);
        self.agent(&["check", "--state-dir", state.to_str().expect("UTF-8")])
            .code
            == 0
    }

    /// Asserts that none of these is orphaned.
    #[track_caller]
    pub(crate) fn assert_no_orphans(&self, names: &[&str]) {
        for name in names {
            assert!(self.accepts(name), "{name} is orphaned");
        }
    }

    /// Makes a new certificate for the controller's names and imports it; its generation and fingerprint.
    #[track_caller]
    pub(crate) fn import_new(&self) -> (String, String) {
        let (certificate, key) = self.new_certificate("new", &["127.0.0.1", "localhost"]);
        let generation = self.import(&certificate, &key);
        let shown = self.json(&["cert", "show", &generation]);
        (
            generation,
            shown["fingerprint"].as_str().expect("hex").to_owned(),
        )
    }

    #[track_caller]
    pub(crate) fn import(&self, certificate: &Path, key: &Path) -> String {
        self.ok(&[
            "cert",
            "import",
            "--cert",
            certificate.to_str().expect("UTF-8"),
            "--key",
            key.to_str().expect("UTF-8"),
        ])
    }

    /// A self-signed certificate and its key as PEM files.
    pub(crate) fn new_certificate(&self, stem: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        self.pem_files(stem, &made.cert.pem(), &made.signing_key.serialize_pem())
    }

    pub(crate) fn pem_files(&self, stem: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let paths = (
            self.path(&format!("{stem}.crt")),
            self.path(&format!("{stem}.key")),
        );
        fs::write(&paths.0, certificate).expect("written");
        fs::write(&paths.1, key).expect("written");
        paths
    }

    /// Imports a new certificate and starts a rotation to it; the rotation's id.
    #[track_caller]
    pub(crate) fn rotate(&self, more: &[&str]) -> String {
        let (generation, _) = self.import_new();
        let mut args = vec!["rotation", "start", "--to", &generation];
        args.extend(more);
        self.ok(&args)
    }

    /// Does what opens gate A, and holds the rotation in Swapping: this agent was connected when that began, and is off now. The others are back.
    pub(crate) fn swap_without(&mut self, away: &str, open_gate: impl FnOnce(&mut Self)) {
        let running: Vec<String> = self.agents.keys().cloned().collect();
        self.kill_controller();
        self.start_controller_held_at("entered.Swapping");
        self.await_serving();
        for name in &running {
            self.await_connected(&[name]);
        }
        open_gate(self);
        self.await_held();
        self.kill(away);
        self.restart_controller();
        self.await_missing(&[away]);
        assert_eq!(self.phase(), "Swapping");
    }

    /// The newest rotation.
    pub(crate) fn rotation(&self) -> Value {
        self.json(&["rotation", "status"])
    }

    pub(crate) fn phase(&self) -> String {
        self.rotation()["phase"]
            .as_str()
            .expect("a phase")
            .to_owned()
    }

    /// The names that the newest rotation waits for.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rotation()["missing"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|client| client["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        names
    }

    /// Waits for a phase of the newest rotation; the rotation then.
    pub(crate) fn await_phase(&mut self, phase: &str) -> Value {
        self.eventually(&format!("phase {phase}"), |fleet| {
            let rotation = fleet.rotation();
            (rotation["phase"] == phase).then_some(rotation)
        })
    }

    /// Waits until the newest rotation waits for exactly these.
    pub(crate) fn await_missing(&mut self, names: &[&str]) {
        let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        self.eventually(&format!("{names:?} are missing"), |fleet| {
            (fleet.missing() == names).then_some(())
        });
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
