//! Agents of a fleet: how they join, run, are killed, and what they and the controller say of them. The controller's own life stands elsewhere.

use std::net::SocketAddr;

use serde_json::Value;

use super::{Fleet, Said, terminate};

impl Fleet {
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
        self.agent_on(name, &["join", token, "--state-dir", state, "--name", name])
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

    /// Tells clients these addresses of the controller, in place of those so far.
    #[track_caller]
    pub(crate) fn set_addresses(&self, addresses: &[SocketAddr]) {
        let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        let mut args = vec!["addresses", "set"];
        args.extend(addresses.iter().map(String::as_str));
        let said = self.convoy(&args);
        assert_eq!(said.code, 0, "{said:?}");
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

    /// Tells an agent to stop; its exit code.
    pub(crate) fn stop(&mut self, name: &str) -> i32 {
        terminate(self.agents.get(name).expect("a running agent"));
        self.eventually(&format!("{name} ends"), |fleet| {
            let child = fleet.agents.get_mut(name).expect("an agent");
            child.try_wait().expect("a child")
        });
        let mut child = self.agents.remove(name).expect("an agent");
        child.wait().expect("reaped").code().unwrap_or(-1)
    }

    /// Kills an agent, and waits until the controller has noticed.
    pub(crate) fn switch_off(&mut self, name: &str) {
        self.kill(name);
        self.eventually(&format!("{name} is gone"), |fleet| {
            (fleet.client(name)["connected"] == false).then_some(())
        });
    }

    /// Waits until it is on the disk who is connected, and who has gone: within a second.
    pub(crate) fn await_presence_saved(&mut self) {
        self.eventually("presence is saved", |fleet| {
            let log = fleet.log("controller");
            let last = |said| log.rfind(said);
            let changed = last("client connected").max(last("client disconnected"));
            (last("presence saved") > changed).then_some(())
        });
    }

    pub(crate) fn client(&self, name: &str) -> Value {
        self.json(&["clients", "show", name])
    }

    /// What an agent's own disk says.
    pub(crate) fn agent_status(&self, name: &str) -> Value {
        let state = self.state_dir(name);
        let said = self.agent_on(
            name,
            &[
                "status",
                "--state-dir",
                state.to_str().expect("UTF-8"),
                "-o",
                "json",
            ],
        );
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout).expect("JSON")
    }

    /// Whether an agent accepts what is served to everyone, on a fresh connection with verification on.
    pub(crate) fn accepts(&self, name: &str) -> bool {
        let state = self.state_dir(name);
        self.agent_on(
            name,
            &["check", "--state-dir", state.to_str().expect("UTF-8")],
        )
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
}
