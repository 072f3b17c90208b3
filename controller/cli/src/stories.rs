//! Whole commands against a controller that plays a script: what is asked, what is printed where, and the exit code. No
//! process is started here.

mod authority;
mod batch;
mod controller;
mod fleet;
mod reader;
mod scep;

use std::{
    collections::{HashMap, VecDeque},
    io,
    io::Write,
    path::PathBuf,
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::Parser as _;
use controller::{Controller, Script};
use convoy_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    args::{Arguments, Format},
    connect::{Place, Session},
    failure::Failure,
    output::Screen,
    rotations::{examples, watch},
};

struct Said {
    out: String,
    err: String,
    code: u8,
}

/// Runs a command line as a script does.
fn convoy(controller: &Controller, line: &str) -> Said {
    let data_dir = controller.data_dir().to_str().unwrap();
    let arguments = ["convoy", "--data-dir", data_dir]
        .into_iter()
        .chain(line.split(' '));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = Arguments::try_parse_from(arguments).unwrap();
    let code = crate::run(arguments, None, &mut Screen::of_scripts(&mut out, &mut err));
    Said {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
    }
}

fn changes(controller: &Controller) -> Vec<String> {
    controller.script.lock().unwrap().changes.clone()
}

fn rotation(phase: v1::Phase) -> v1::Rotation {
    v1::Rotation {
        phase: phase.into(),
        ..examples::preparing()
    }
}

#[test]
fn a_token_is_alone_on_stdout() {
    let controller = Controller::start(Script::default());
    let said = convoy(
        &controller,
        "token create --group berlin --uses 3 --expires 1h30m --request-id r-1",
    );
    assert_eq!((said.out.as_str(), said.code), ("convoy-token-x\n", 0));
    assert!(
        said.err.contains("admits 3 clients to the group berlin"),
        "{}",
        said.err
    );
    assert_eq!(changes(&controller), ["token berlin 3 5400 s r-1"]);
}

#[test]
fn every_change_has_a_fresh_request_id() {
    let controller = Controller::start(Script::default());
    convoy(&controller, "token create");
    convoy(&controller, "token create");
    let changes = changes(&controller);
    assert!(
        changes[0].starts_with("token default 1 3600 s "),
        "{changes:?}"
    );
    assert_ne!(changes[0], changes[1]);
    assert_eq!(changes[0].rsplit(' ').next().unwrap().len(), 36);
}

#[test]
fn a_list_is_followed_to_its_last_page() {
    let names: Vec<String> = (1..=5).map(|number| format!("pc-{number}")).collect();
    let controller = Controller::start(Script {
        clients: names.clone(),
        ..Script::default()
    });
    let said = convoy(&controller, "clients list -o json");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let listed: Vec<&str> = listed
        .iter()
        .map(|client| client["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed, names);
    assert_eq!(convoy(&controller, "clients list").out.lines().count(), 6);
}

#[test]
fn nobody_is_decommissioned_without_being_asked() {
    let controller = Controller::start(Script::default());
    let said = convoy(&controller, "clients decommission pc-1");
    assert_eq!((said.out.as_str(), said.code), ("", 2));
    assert!(
        said.err.starts_with("error: ") && said.err.contains("--yes"),
        "{}",
        said.err
    );
    assert!(changes(&controller).is_empty());

    assert_eq!(
        convoy(&controller, "clients decommission pc-1 --yes").code,
        0
    );
    assert_eq!(changes(&controller), ["decommission pc-1"]);
}

#[test]
fn a_rotation_is_started_as_told_and_its_id_is_alone_on_stdout() {
    let controller = Controller::start(Script::default());
    let said = convoy(
        &controller,
        "rotation start --to 2 --strategy toggle --return-window 5m --max-missing 0 --off-lease 2d",
    );
    assert_eq!(
        (said.out.as_str(), said.code),
        ("0198c2f0-0000-7000-8000-000000000001\n", 0)
    );
    assert_eq!(
        changes(&controller),
        ["start 2 Toggle window Some(300) missing Some(0) lease Some(172800)"]
    );
    assert_eq!(
        convoy(&controller, "rotation start --to 2 --off-lease 2d").code,
        2
    );
}

#[test]
fn changes_of_a_running_rotation_say_what_they_did_on_stderr() {
    let controller = Controller::start(Script::default());
    for line in [
        "rotation pause",
        "rotation resume some-id",
        "rotation abort",
        "rotation rollback",
        "rotation waive pc-1 --reason holiday --until 2026-08-31T12:00:00Z",
        "clients resolve pc-1",
    ] {
        let said = convoy(&controller, line);
        assert_eq!((said.out.as_str(), said.code), ("", 0), "{line}");
        assert!(!said.err.is_empty(), "{line}");
    }
    assert_eq!(
        changes(&controller),
        [
            "pause \"\"",
            "resume \"some-id\"",
            "abort \"\"",
            "rollback \"\"",
            "waive pc-1 \"holiday\" until Some(1788177600)",
            "resolve pc-1",
        ]
    );
    let said = convoy(&controller, "rotation pause -o json");
    let shown: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(shown["phase"], "Preparing");
}

#[test]
fn a_refusal_is_shown_with_its_reason() {
    let details = ErrorDetails::with_error_info("NOBODY_TO_WAIT_FOR", "convoy", HashMap::new());
    let refusal =
        Status::with_error_details(Code::FailedPrecondition, "the roster is empty", details);
    let controller = Controller::start(Script {
        refusal: Some(refusal),
        ..Script::default()
    });
    let said = convoy(&controller, "rotation start --to 2");
    assert_eq!((said.out.as_str(), said.code), ("", 1));
    assert_eq!(
        said.err,
        "error: the roster is empty [NOBODY_TO_WAIT_FOR]\n"
    );
}

#[test]
fn an_answer_that_makes_no_sense_is_not_guessed_at() {
    let controller = Controller::start(Script::default());
    let said = convoy(&controller, "token revoke t-1");
    assert_eq!(said.code, 1);
    assert_eq!(
        said.err,
        "error: the controller's answer has no token. Use the `convoy` that came with this controller\n"
    );
}

#[test]
fn what_is_not_served_is_said_to_be_so() {
    let controller = Controller::start(Script::default());
    let said = convoy(&controller, "groups list");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("older than this `convoy`"),
        "{}",
        said.err
    );
}

#[test]
fn without_a_controller_it_says_where_it_looked() {
    let mut controller = Controller::start(Script::default());
    controller.stop();
    let said = convoy(&controller, "rotation status");
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .starts_with("error: no controller is running here: nobody listens at /"),
        "{}",
        said.err
    );

    std::fs::remove_file(controller.socket()).unwrap();
    let said = convoy(&controller, "rotation status --watch");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("there is no socket /") && said.err.contains("--data-dir"),
        "{}",
        said.err
    );
}

#[test]
fn watching_goes_on_over_restarts_and_ends_with_the_rotation() {
    let controller = Controller::start(Script {
        streams: VecDeque::from([
            vec![
                Ok(rotation(v1::Phase::Preparing)),
                Ok(rotation(v1::Phase::Swapping)),
            ],
            // The new stream begins with what is known already.
            vec![
                Ok(rotation(v1::Phase::Swapping)),
                Err(Status::unavailable("shutting down")),
            ],
            vec![
                Ok(rotation(v1::Phase::Swapping)),
                Ok(rotation(v1::Phase::Completed)),
            ],
        ]),
        ..Script::default()
    });
    let said = convoy(&controller, "rotation status --watch -o json");
    assert_eq!(said.code, 0, "{}", said.err);
    let phases: Vec<String> = said
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["phase"].to_string())
        .collect();
    assert_eq!(phases, ["\"Preparing\"", "\"Swapping\"", "\"Completed\""]);
    assert_eq!(
        said.err.matches("the controller is back").count(),
        2,
        "{}",
        said.err
    );
    // It is the same rotation that is followed, though another may have been started since.
    let id = examples::preparing().id;
    assert_eq!(
        controller.script.lock().unwrap().watched,
        [String::new(), id.clone(), id]
    );
}

#[test]
fn watching_a_rotation_that_was_rolled_back_fails() {
    let mut ended = rotation(v1::Phase::RolledBack);
    ended.reason = "too few came back".to_owned();
    let controller = Controller::start(Script {
        streams: VecDeque::from([vec![Ok(ended)]]),
        ..Script::default()
    });
    let said = convoy(&controller, "rotation status --watch");
    assert_eq!(said.code, 1);
    assert!(said.out.contains("Z RolledBack"), "{}", said.out);
    assert!(
        said.err.contains("ended as RolledBack: too few came back"),
        "{}",
        said.err
    );
}

/// Watches with little patience.
fn watch_briefly(socket: PathBuf, out: &mut dyn Write) -> (Failure, String) {
    let patience = watch::Patience {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        give_up: Duration::from_millis(50),
    };
    let session = Session {
        place: Place::choose(Some(socket), None, None),
        request_id: String::new(),
        format: Format::Text,
        toml: false,
    };
    let mut err = Vec::new();
    let mut screen = Screen::of_scripts(out, &mut err);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let watched = runtime.block_on(watch::watch(&session, &mut screen, String::new(), patience));
    (watched.unwrap_err(), String::from_utf8(err).unwrap())
}

#[test]
fn watching_notices_that_the_controller_has_died() {
    let mut controller = Controller::start(Script {
        streams: VecDeque::from([vec![Ok(rotation(v1::Phase::Preparing))]]),
        endless: true,
        ..Script::default()
    });
    let socket = controller.socket();
    let (told, shown) = mpsc::channel();
    let watcher = thread::spawn(move || watch_briefly(socket, &mut Told(told)));
    // Something was printed, so that there is something to come back to.
    shown.recv().unwrap();
    controller.stop();
    let (failure, notes) = watcher.join().unwrap();
    assert!(
        failure.to_string().contains("nobody listens at"),
        "{failure}"
    );
    assert!(
        notes.starts_with("lost the controller; connecting again"),
        "{notes}"
    );
    assert!(
        notes.contains("rotation status 0198c2f0-0000-7000-8000-000000000001 --watch"),
        "{notes}"
    );
}

#[test]
fn watching_gives_up_when_the_controller_stays_away() {
    let controller = Controller::start(Script {
        streams: VecDeque::from([vec![Ok(rotation(v1::Phase::Preparing))]]),
        ..Script::default()
    });
    let (failure, _) = watch_briefly(controller.socket(), &mut Vec::new());
    assert!(failure.to_string().starts_with("starting"), "{failure}");
    assert!(controller.script.lock().unwrap().watched.len() > 2);
}

/// Tells when something is printed.
struct Told(mpsc::Sender<()>);

impl Write for Told {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
