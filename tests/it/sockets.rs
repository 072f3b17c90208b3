//! Another user of the same machine at the local sockets of the controller and of an agent. Where the sockets lie, and what they answer to whom they serve, is proven elsewhere.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::{
    fleet::{Fleet, PROGRAM, Said},
    scep_peer::Peer,
};

/// Users of no account: the one of nobody, and another.
const NOBODY: u32 = 65_534;
const SOMEBODY: u32 = 65_533;

/// What the controller logs of each connection that it refuses.
const REFUSED: &str = "refused on the local socket uid=65534";

/// The shipped programs, where every user can run them.
struct Others(PathBuf);

impl Others {
    /// `None` unless the tests run as root: only root can run a program as somebody else.
    fn of(fleet: &Fleet) -> Option<Self> {
        let folder = fleet.path("");
        if fs::metadata(&folder).expect("a folder").uid() != 0 {
            return None;
        }
        let program = fleet.path("program");
        // By a process of its own: what this one has open for writing, a child that is born just now cannot run for an instant.
        let mut copy = Command::new("cp");
        copy.arg(PROGRAM).arg(&program);
        assert!(copy.status().expect("cp runs").success());
        chmod(&program, 0o755);
        chmod(&folder, 0o711);
        Some(Self(program))
    }

    fn command(&self, uid: u32, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        // The standard library drops root's other groups with it.
        command
            .args(args)
            .uid(uid)
            .gid(uid)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .env_remove("CONVOY_SOCKET");
        command
    }

    fn run(&self, uid: u32, args: &[&str]) -> Said {
        Said::of(self.command(uid, args).spawn().expect("the program runs"))
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).expect("there");
    metadata.permissions().mode() & 0o777
}

/// Nobody but the owner gets to this socket, by its own mode and by that of its folder.
#[track_caller]
fn assert_shut(folder: &Path, socket: &Path) {
    let metadata = fs::symlink_metadata(socket).expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(
        (mode(folder), mode(socket)),
        (0o700, 0o600),
        "{}",
        socket.display()
    );
}

/// Lets everybody get to a socket.
fn open_up(folder: &Path, socket: &Path) {
    chmod(folder, 0o711);
    chmod(socket, 0o666);
}

#[test]
fn the_controller_serves_no_other_user_even_where_its_socket_lies_open() {
    // Given a controller: its folder and its socket keep other users away.
    let fleet = Fleet::start();
    let data_dir = fleet.data_dir();
    let socket = data_dir.join("convoy.sock");
    assert_shut(&data_dir, &socket);
    // What follows needs another user: who cannot become one has seen the modes, and no more.
    let Some(others) = Others::of(&fleet) else {
        return;
    };
    let place = data_dir.to_str().expect("UTF-8");
    let convoy =
        |args: &[&str]| others.run(NOBODY, &[&["convoy", "--data-dir", place], args].concat());

    // When another user asks, then he is told why he does not get there, and who does.
    let said = convoy(&["groups", "create", "theirs"]).failed(1);
    for words in [
        "you may not use",
        "convoy.sock",
        "root and the controller's own user",
        "sudo",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(!fleet.log("controller").contains(REFUSED));

    // When folder and socket lie open, then he gets there, and is refused whatever he asks for,
    open_up(&data_dir, &socket);
    let asked: [&[&str]; 5] = [
        &["groups", "create", "theirs"],
        &["token", "create"],
        &["clients", "list"],
        &["rotation", "status", "--watch"],
        &["scep", "status", "--watch"],
    ];
    for (count, args) in asked.iter().enumerate() {
        let said = convoy(args);
        assert_eq!((said.code, said.stdout.as_str()), (1, ""), "{args:?}");
        for words in ["only root and the controller's own user", "sudo"] {
            assert!(said.stderr.contains(words), "{args:?}: {said:?}");
        }
        let refused = fleet.log("controller").matches(REFUSED).count();
        assert!(refused > count, "{args:?}: {}", fleet.log("controller"));
    }
    // nothing comes of it, and the operator is served as before.
    let groups = fleet.json(&["groups", "list"]);
    assert_eq!(groups.as_array().map(Vec::len), Some(1), "{groups}");
    assert_eq!(fleet.json(&["token", "list"]), json!([]));
}

/// A controller that runs as another user; killed in the end.
struct Theirs(Child);

impl Drop for Theirs {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_controller_serves_root_and_its_own_user() {
    let mut fleet = Fleet::unstarted();
    // Without root there is one user only, whom every other test has served.
    let Some(others) = Others::of(&fleet) else {
        return;
    };
    // Given a controller that runs as a user of its own, and whose socket lies open,
    let data_dir = fleet.path("theirs");
    fs::create_dir(&data_dir).expect("a folder");
    chmod(&data_dir, 0o700);
    chown(&data_dir, Some(NOBODY), Some(NOBODY)).expect("chown");
    let place = data_dir.to_str().expect("UTF-8").to_owned();
    let ports = ["--agents-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"];
    let start = [&["convoy-controller", "--data-dir", &place], &ports[..]].concat();
    let mut command = others.command(NOBODY, &start);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut theirs = Theirs(command.spawn().expect("a controller"));
    let socket = data_dir.join("convoy.sock");
    fleet.eventually("it serves", |_| {
        assert_eq!(theirs.0.try_wait().expect("a child"), None, "it has ended");
        data_dir.join("addresses").exists().then_some(())
    });
    assert_shut(&data_dir, &socket);
    open_up(&data_dir, &socket);

    // when root, that user and a third one ask, then the first two are served.
    for (uid, group, code) in [(0, "a", 0), (NOBODY, "b", 0), (SOMEBODY, "c", 1)] {
        let create = ["convoy", "--data-dir", &place, "groups", "create", group];
        let said = others.run(uid, &create);
        assert_eq!(said.code, code, "{uid}: {said:?}");
    }
    let list = ["convoy", "--data-dir", &place, "groups", "list"];
    let listed = others.run(NOBODY, &list).stdout;
    let groups: Vec<_> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(groups[1..], ["a", "b", "default"], "{listed}");
}

#[test]
fn an_agent_is_asked_by_nobody_but_its_owner() {
    // Given an agent that has a SCEP server to ask,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.scep_at(&peer.url("desk"), &[]);
    fleet.await_settings("one");
    let folder = fleet.state_dir("one");
    let socket = folder.join("agent.sock");
    // then its folder and its socket keep other users away.
    assert_shut(&folder, &socket);
    let place = folder.to_str().expect("UTF-8");

    // What needs another user is left out where nobody can become one: the modes were seen, and no more.
    if let Some(others) = Others::of(&fleet) {
        let asked = |what: &[&str]| {
            let end = ["--state-dir", place];
            others.run(NOBODY, &[&["convoy-agent"], what, &end].concat())
        };
        let file = fleet.path("settings.toml");
        let exported = fleet.at_device("one", &["settings", "export"]).stdout;
        fs::write(&file, exported).expect("written");
        chmod(&file, 0o644);
        let import = ["settings", "import", file.to_str().expect("UTF-8")];
        // When another user asks it for something, then he is told that he may not, and why,
        let denied = "Permission denied";
        for (what, why) in [
            (&["scep", "request"][..], denied),
            (&["scep", "status"], denied),
            (&import, denied),
        ] {
            let said = asked(what).failed(1);
            assert!(said.contains(place) && said.contains(why), "{said}");
        }
        // also where folder and socket lie open: then that is what is wrong.
        open_up(&folder, &socket);
        for what in [&["scep", "request"][..], &["scep", "status"], &import] {
            let said = asked(what).failed(1);
            let words = [place, "mode 0711", "chmod 0700"];
            assert!(words.iter().all(|words| said.contains(words)), "{said}");
        }
        // Who goes around these checks, by a folder of his own that leads to the agent's socket, is refused by the agent.
        let around = fleet.path("around");
        fs::create_dir(&around).expect("a folder");
        chmod(&around, 0o700);
        for file in ["agent.sock", "lock"] {
            symlink(folder.join(file), around.join(file)).expect("linked");
        }
        let state = "state";
        fs::copy(folder.join(state), around.join(state)).expect("copied");
        for path in [&around, &around.join(state)] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        chmod(&folder.join("lock"), 0o644);
        let around = ["--state-dir", around.to_str().expect("UTF-8")];
        let request = [&["convoy-agent", "scep", "request"][..], &around].concat();
        let said = others.run(NOBODY, &request).failed(1);
        assert!(
            said.contains("only root and the agent's own user"),
            "{said}"
        );
        let log = fleet.log("one");
        assert!(log.contains("refused on the administrator's socket uid=65534"));
        chmod(&folder.join("lock"), 0o600);
        chmod(&folder, 0o700);
        chmod(&socket, 0o600);
    }
    // Nothing came of it; who may ask gets what he asks for.
    assert_eq!(peer.posts("desk"), 0);
    assert_eq!(fleet.device_requests("one"), json!([]));
    let said = fleet.at_device("one", &["scep", "request"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(peer.issued("desk").len(), 1);

    // When it is started in a folder that lies open, then it does not start: that folder is what guards the socket.
    fleet.kill("one");
    chmod(&folder, 0o711);
    let why = fleet.at_device("one", &["run"]).failed(1);
    assert!(why.contains("mode 0711") && why.contains(place), "{why}");
}
