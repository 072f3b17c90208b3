//! The fleet's processes and folders: one controller and its agents. What their operator asks for stands elsewhere, and in
//! which order things happen too.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail, ensure};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    addresses::Addresses,
    operator::Operator,
    patience::Patience,
    process::{self, Running},
    role::Role,
};

/// The names that agents and certificates use. The address comes first, so that nothing has to be looked up.
pub(crate) const NAMES: [&str; 2] = ["127.0.0.1", "localhost"];

/// How long a controller may take until it serves.
const START: Duration = Duration::from_secs(60);
/// Between two looks at a file.
const LOOK: Duration = Duration::from_millis(50);
/// Processes that are started side by side, where each ends by itself.
const AT_ONCE: usize = 8;

/// One machine that plays a whole fleet. Its processes end, and its folder goes, when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) operator: Operator,
    controller: Option<Running>,
    agents: Vec<Agent>,
    addresses: Addresses,
    patience: Patience,
    dir: TempDir,
}

#[derive(Debug)]
struct Agent {
    name: String,
    state: PathBuf,
    log: PathBuf,
    /// None while it is switched off.
    process: Option<Running>,
}

/// What `convoy-agent check -o json` found on a fresh connection.
#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) ok: bool,
    pub(crate) reason: Option<String>,
    pub(crate) certificate_fingerprint: Option<String>,
}

impl Machine {
    /// Starts a controller in a fresh folder, and waits until it serves: with SCEP or without.
    pub(crate) fn start(with_scep: bool, patience: &Patience) -> anyhow::Result<Self> {
        // Not the TMPDIR of whoever calls: the path of a Unix socket has 107 bytes at most.
        let dir = tempfile::Builder::new()
            .prefix("convoy-demo-")
            .tempdir_in("/tmp")
            .context("cannot make a folder in /tmp")?;
        for folder in ["agents", "logs"] {
            fs::create_dir(dir.path().join(folder))?;
        }
        let data_dir = dir.path().join("controller");
        let mut command = Role::Controller.command()?;
        command.arg("--data-dir").arg(&data_dir);
        command.args(["--agents-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"]);
        if with_scep {
            command.args(["--scep-addr", "127.0.0.1:0"]);
        }
        for name in NAMES {
            command.args(["--name", name]);
        }
        let log = controller_log(&dir);
        let mut controller = Running::start(command, &log)?;
        let addresses = await_addresses(&mut controller, &data_dir, &log, with_scep, patience)?;
        Ok(Self {
            operator: Operator::of(data_dir, patience),
            controller: Some(controller),
            agents: Vec::new(),
            addresses,
            patience: patience.clone(),
            dir,
        })
    }

    /// The folder of everything that the demo makes.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Lets so many hosts join with this token; says after each how many have.
    pub(crate) fn join(
        &mut self,
        hosts: u16,
        token: &str,
        mut joined: impl FnMut(u16),
    ) -> anyhow::Result<()> {
        let hosts: Vec<Agent> = (1..=hosts)
            .map(|number| {
                let name = format!("agent-{number:03}");
                Agent {
                    state: self.dir.path().join("agents").join(&name),
                    log: self.dir.path().join("logs").join(format!("{name}.log")),
                    process: None,
                    name,
                }
            })
            .collect();
        let patience = &self.patience;
        let mut done = 0;
        process::each(
            &hosts,
            AT_ONCE,
            |host| join(host, token, patience),
            |outcome| {
                outcome?;
                done += 1;
                joined(done);
                Ok(())
            },
        )?;
        self.agents = hosts;
        Ok(())
    }

    /// The names of the last `count` agents.
    pub(crate) fn last(&self, count: u16) -> Vec<String> {
        let first = self.agents.len().saturating_sub(count.into());
        self.agents
            .iter()
            .skip(first)
            .map(|agent| agent.name.clone())
            .collect()
    }

    /// Switches on every agent that is off. By the calling thread, with which the agents end.
    pub(crate) fn switch_on(&mut self) -> anyhow::Result<()> {
        for agent in self
            .agents
            .iter_mut()
            .filter(|agent| agent.process.is_none())
        {
            let mut command = Role::Agent.command()?;
            command.args(["run", "--state-dir"]).arg(&agent.state);
            agent.process = Some(Running::start(command, &agent.log)?);
        }
        Ok(())
    }

    /// Switches these agents off.
    pub(crate) fn switch_off(&mut self, names: &[String]) {
        let processes = self
            .agents
            .iter_mut()
            .filter(|agent| names.contains(&agent.name))
            .filter_map(|agent| agent.process.take())
            .collect();
        process::end(processes);
    }

    /// Connects each agent once more, from nothing but its disk and with verification on.
    pub(crate) fn check(&self, mut checked: impl FnMut(&str, Check)) -> anyhow::Result<()> {
        process::each(
            &self.agents,
            AT_ONCE,
            |agent| check(agent, &self.patience).map(|check| (agent.name.as_str(), check)),
            |outcome| {
                let (name, check) = outcome?;
                checked(name, check);
                Ok(())
            },
        )
    }

    /// Fails with the end of its log if a process has ended that nobody has ended.
    pub(crate) fn all_live(&mut self) -> anyhow::Result<()> {
        self.controller_lives()?;
        for agent in &mut self.agents {
            if let Some(process) = &mut agent.process {
                lives(process, &agent.name, &agent.log)?;
            }
        }
        Ok(())
    }

    /// As [`Machine::all_live`], for the controller alone.
    pub(crate) fn controller_lives(&mut self) -> anyhow::Result<()> {
        let log = controller_log(&self.dir);
        match &mut self.controller {
            Some(controller) => lives(controller, "the controller", &log),
            None => Ok(()),
        }
    }

    /// What failed, with the end of the controller's log unless that is told already.
    pub(crate) fn autopsy(&mut self, error: &anyhow::Error) -> String {
        let told = format!("{error:#}");
        let more = match self.controller_lives() {
            Ok(()) => format!(
                "the controller's log ends:\n{}",
                process::tail(&controller_log(&self.dir))
            ),
            // Whoever asked a controller that was gone has not said why it went.
            Err(death) => format!("{death:#}"),
        };
        if told.contains(&more) {
            told
        } else {
            format!("{told}\n{more}")
        }
    }

    /// How to look around in a fleet that stays.
    pub(crate) fn directions(&self) -> anyhow::Result<String> {
        let program = std::env::current_exe()?;
        let (program, folder) = (program.display(), self.folder().display());
        let Addresses { agents, api, scep } = self.addresses;
        let (convoy, agent) = (Role::Convoy.argument(), Role::Agent.argument());
        let served = match scep {
            Some(scep) => format!("http://{scep}/scep"),
            None => "not served".to_owned(),
        };
        Ok(format!(
            "\
The fleet stays until Ctrl-C, and then is gone with its folder.

  agents    {agents}
  API       {api} (reflection and health), {folder}/controller/convoy.sock (everything)
  SCEP      {served}
  data dir  {folder}/controller
  agents'   {folder}/agents/agent-001 and so on
  logs      {folder}/logs

In another shell:

  convoy() {{ '{program}' {convoy} --data-dir '{folder}/controller' \"$@\"; }}
  convoy clients list
  convoy rotation status
  convoy cert list
  convoy scep status
  '{program}' {agent} status --state-dir '{folder}/agents/agent-001'
  '{program}' {agent} check --state-dir '{folder}/agents/agent-001'
  openssl s_client -connect {api} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256
"
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let agents = self
            .agents
            .iter_mut()
            .filter_map(|agent| agent.process.take());
        process::end(agents.collect());
        process::end(self.controller.take().into_iter().collect());
    }
}

fn controller_log(dir: &TempDir) -> PathBuf {
    dir.path().join("logs").join("controller.log")
}

fn await_addresses(
    controller: &mut Running,
    data_dir: &Path,
    log: &Path,
    with_scep: bool,
    patience: &Patience,
) -> anyhow::Result<Addresses> {
    let until = Instant::now() + START;
    loop {
        lives(controller, "the controller", log)?;
        match fs::read_to_string(data_dir.join("addresses")) {
            Ok(text) => {
                if let Some(addresses) = Addresses::read(&text, with_scep) {
                    return Ok(addresses);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(anyhow!(error).context("cannot read the controller's addresses"));
            }
        }
        if Instant::now() >= until {
            bail!(
                "the controller does not serve after {} s; its log ends:\n{}",
                START.as_secs(),
                process::tail(log)
            );
        }
        patience.pause(LOOK)?;
    }
}

fn lives(process: &mut Running, name: &str, log: &Path) -> anyhow::Result<()> {
    match process.ended()? {
        None => Ok(()),
        Some(status) => bail!(
            "{name} has ended by itself ({status}); its log ends:\n{}",
            process::tail(log)
        ),
    }
}

fn join(host: &Agent, token: &str, patience: &Patience) -> anyhow::Result<()> {
    let mut command = agent_command("join", &host.state)?;
    // The token goes in by stdin, so that it shows in no process list.
    command.args(["--name", &host.name, "-"]);
    let answer = process::ask(command, token, patience)?;
    ensure!(
        answer.status.success(),
        "{} cannot join ({}): {}",
        host.name,
        answer.status,
        answer.err.trim_end()
    );
    name_device(host)
}

/// All agents are on one machine, and have its name; their certificates are not to.
fn name_device(host: &Agent) -> anyhow::Result<()> {
    let name = &host.name;
    let path = host.state.join("agent.toml");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&path)
        .and_then(|mut file| {
            writeln!(
                file,
                "[device]\nhostname = \"{name}\"\nfqdn = \"{name}.example\""
            )
        })
        .with_context(|| format!("cannot write {}", path.display()))
}

fn check(agent: &Agent, patience: &Patience) -> anyhow::Result<Check> {
    let mut command = agent_command("check", &agent.state)?;
    command.args(["-o", "json"]);
    let answer = process::ask(command, "", patience)?;
    if answer.out.is_empty() && !answer.status.success() {
        // It did not get as far as connecting: just as lost.
        return Ok(Check {
            ok: false,
            reason: Some(answer.err.trim_end().to_owned()),
            certificate_fingerprint: None,
        });
    }
    let check: Check = serde_json::from_str(&answer.out)
        .with_context(|| format!("{}'s check printed JSON of another shape", agent.name))?;
    ensure!(
        check.ok == answer.status.success(),
        "{}'s check says ok = {}, and ends with {}",
        agent.name,
        check.ok,
        answer.status
    );
    Ok(check)
}

fn agent_command(verb: &str, state: &Path) -> anyhow::Result<Command> {
    let mut command = Role::Agent.command()?;
    command.arg(verb).arg("--state-dir").arg(state);
    Ok(command)
}
