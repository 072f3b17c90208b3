//! What those are told who watch certificate requests, over the API and on the command line. What states mean is proven in `scep_details`; nothing here asks twice.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::Child,
    sync::{Arc, mpsc},
    thread,
};

use convoy_proto::v1::{
    ScepStatus, ScepTrigger, WatchScepStatusRequest, WatchScepStatusResponse,
    scep_service_client::ScepServiceClient,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime, time::timeout};
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::{
    calls::{assert_refused, explained, local, port},
    fleet::{Fleet, PATIENCE, Said},
    puppet::Puppet,
    road::runtime,
};

const FAR: &str = "2099-01-01T00:00:00Z";
/// The built-in server, for devices that wait for its operator as long as it takes.
const PATIENT: &str = "--server built-in --challenge built-in --common-name {ip} --no-san \
    --timeout 20s --polls 1000 --poll-interval 1s";

/// A stream of states.
struct Watch {
    runtime: Runtime,
    stream: Streaming<WatchScepStatusResponse>,
    waiting: VecDeque<ScepStatus>,
    told: Vec<ScepStatus>,
}

impl Watch {
    /// Opens one on the local socket, with what it begins with.
    #[track_caller]
    fn open(fleet: &Fleet, group: &str) -> (Self, Vec<ScepStatus>) {
        let runtime = runtime();
        let stream = runtime.block_on(async { watch(local(fleet).await, group).await });
        let mut watch = Self {
            runtime,
            stream: stream.expect("a stream"),
            waiting: VecDeque::new(),
            told: Vec::new(),
        };
        let first = watch.response().expect("a response").statuses;
        watch.told.extend(first.iter().cloned());
        (watch, first)
    }

    #[track_caller]
    fn response(&mut self) -> Result<WatchScepStatusResponse, Status> {
        let next = async { timeout(PATIENCE, self.stream.message()).await };
        let next = self.runtime.block_on(next).expect("told in time")?;
        Ok(next.expect("a stream without an end"))
    }

    /// Goes on until this is told.
    #[track_caller]
    fn until(&mut self, told: impl Fn(&ScepStatus) -> bool) -> ScepStatus {
        loop {
            let Some(next) = self.waiting.pop_front() else {
                let response = self.response().expect("a response");
                assert!(!response.statuses.is_empty(), "nothing was told");
                self.waiting.extend(response.statuses);
                continue;
            };
            self.told.push(next.clone());
            if told(&next) {
                return next;
            }
        }
    }

    /// What was told of a device, in its order.
    fn told_of(&self, name: &str) -> Vec<&ScepStatus> {
        let told = self.told.iter();
        told.filter(|status| status.name == name).collect()
    }

    /// The words of a device's status, each as long as it lasted.
    fn words_of(&self, name: &str) -> Vec<&str> {
        let told = self.told_of(name).into_iter();
        let mut words: Vec<&str> = told.map(|status| status.status.as_str()).collect();
        words.dedup();
        words
    }

    /// Nothing was told that had been told already.
    #[track_caller]
    fn assert_changes_alone(&self, names: &[&str]) {
        for name in names {
            for pair in self.told_of(name).windows(2) {
                assert_ne!(pair[0], pair[1], "told twice");
            }
        }
    }
}

async fn watch(
    channel: Channel,
    group: &str,
) -> Result<Streaming<WatchScepStatusResponse>, Status> {
    let group = group.to_owned();
    let request = WatchScepStatusRequest { group };
    let mut service = ScepServiceClient::new(channel);
    Ok(service.watch_scep_status(request).await?.into_inner())
}

/// A controller with SCEP whose operator approves, with a device of the default group and one of the group `lab`, and settings for both.
fn lab() -> Fleet {
    let mut fleet = Fleet::serving_scep(&[]);
    fleet.ok(&["scep", "approval", "manual"]);
    fleet.ok(&["groups", "create", "lab"]);
    for group in ["default", "lab"] {
        let settings = ["--group", group].into_iter();
        fleet.scep_set(&settings.chain(PATIENT.split(' ')).collect::<Vec<_>>());
    }
    for (name, group) in [("one", "default"), ("two", "lab")] {
        let token = fleet.ok(&["token", "create", "--group", group]);
        fleet.join(name, &token);
        fleet.run(name);
        fleet.await_connected(&[name]);
        fleet.await_settings(name);
    }
    fleet
}

/// Approves the only request that waits; the certificate's serial.
#[track_caller]
fn approve(fleet: &Fleet) -> String {
    let waiting = fleet.json(&["scep", "requests", "list"]);
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    let transaction = waiting[0]["transaction_id"].as_str().expect("text");
    fleet.ok(&["scep", "requests", "approve", transaction])
}

fn is_deferred(status: &ScepStatus) -> bool {
    status.status == "Processing..." && status.details == "Deferred"
}

#[test]
fn who_watches_is_told_what_is_and_then_every_change() {
    // Given a fleet without devices, then who watches is told so at once, and of a device as soon as it has joined.
    let fleet = Fleet::start();
    let (mut early, nobody) = Watch::open(&fleet, "");
    assert_eq!(nobody, []);
    fleet.join("first", &fleet.ok(&["token", "create"]));
    let joined = early.until(|_| true);
    assert_eq!(
        (joined.name.as_str(), joined.record, joined.connected),
        ("first", None, false)
    );
    drop(fleet);

    // Given two devices that have requested nothing, one of them in a group of its own,
    let mut fleet = lab();
    // when somebody watches all, and somebody that group, then both begin with what is,
    let (mut all, present) = Watch::open(&fleet, "");
    let (mut lab, of_lab) = Watch::open(&fleet, "lab");
    let states = |states: &[ScepStatus]| {
        let states = states.iter().map(|status| {
            assert!(status.supports.iter().any(|word| word == "RSA-2048"));
            assert_eq!((status.connected, &status.record), (true, &None));
            let words = [&status.name, &status.group, &status.status];
            words.map(Clone::clone).join("|")
        });
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(&present), ["one|default|", "two|lab|"]);
    assert_eq!(states(&of_lab), ["two|lab|"]);

    // when the timer is on and off again, then they are told what is due, and that it is not;
    fleet.ok(&["scep", "timer", "on", "--start", FAR]);
    let due = all.until(|status| status.status == "To Be Processed");
    assert_eq!((due.name.as_str(), due.connected), ("one", true));
    let next = due.next_request.expect("a time");
    assert_eq!(next.seconds, 4_070_908_800, "{FAR}");
    fleet.ok(&["scep", "timer", "off"]);
    all.until(|status| status.next_request.is_none());

    // when a certificate is requested by hand, then it is told until its successful end,
    fleet.ok(&["scep", "request", "one"]);
    let waits = all.until(is_deferred);
    assert_eq!(waits.name, "one");
    assert!(waits.cause.contains("waits for approval"), "{waits:?}");
    let serial = approve(&fleet);
    let done = all.until(|status| status.status == "Successful");
    let record = done.record.expect("a record");
    assert_eq!(record.trigger(), ScepTrigger::Manual);
    assert_eq!(record.certificate.expect("a certificate").serial, serial);
    assert_eq!(
        all.words_of("one"),
        ["", "To Be Processed", "", "Processing...", "Successful"]
    );
    assert_eq!(all.told_of("two").len(), 1, "{:?}", all.told_of("two"));

    // and when the timer of the other group has one requested, then both are told.
    fleet.ok(&["scep", "timer", "on", "--group", "lab"]);
    all.until(is_deferred);
    lab.until(is_deferred);
    let serial = approve(&fleet);
    for watch in [&mut all, &mut lab] {
        let done = watch.until(|status| status.status == "Successful");
        assert_eq!(done.name, "two");
        let record = done.record.expect("a record");
        assert_eq!(record.trigger(), ScepTrigger::Timer);
        assert_eq!(record.certificate.expect("a certificate").serial, serial);
        let mut words = watch.words_of("two");
        // It may have been due for an instant only.
        words.retain(|word| *word != "To Be Processed");
        assert_eq!(words, ["", "Processing...", "Successful"]);
    }
    // Who asked for the group has heard of nobody else, and nobody has heard anything twice.
    assert_eq!(lab.told_of("two").len(), lab.told.len(), "{:?}", lab.told);
    all.assert_changes_alone(&["one", "two"]);
    lab.assert_changes_alone(&["two"]);

    // When the controller ends, then so does the stream, with an error; the next one begins with what is.
    fleet.kill_controller();
    let broke = loop {
        if let Err(status) = all.response() {
            break status;
        }
    };
    assert_ne!(broke.code(), Code::Ok);
    fleet.start_controller();
    let (_, present) = Watch::open(&fleet, "");
    let words = present.iter().map(|status| status.status.as_str());
    assert_eq!(words.collect::<Vec<_>>(), ["Successful", "Successful"]);
}

/// A port, over TLS, as these credentials have it.
async fn showing(address: SocketAddr, credentials: Arc<ClientConfig>) -> Channel {
    Endpoint::from_static("http://localhost")
        .connect_with_connector(service_fn(move |_: Uri| {
            let connector = TlsConnector::from(Arc::clone(&credentials));
            async move {
                let tcp = TcpStream::connect(address).await?;
                let name = ServerName::from(address.ip());
                connector.connect(name, tcp).await.map(TokioIo::new)
            }
        }))
        .await
        .expect("a connection")
}

#[test]
fn who_is_no_operator_watches_nothing() {
    // Given a device with a good identity,
    let mut fleet = Fleet::start();
    fleet.join("one", &fleet.ok(&["token", "create"]));
    let device = Puppet::of(&fleet, "one");
    let credentials = device.tls().offering(&[b"h2".to_vec()]);
    let (api, agents) = (fleet.api_addr(), fleet.agents_addr());
    runtime().block_on(async {
        for group in ["", "default", "nowhere"] {
            // when somebody without credentials, or the device with its own, watches at the operators' port, then both are no operators;
            for channel in [
                port(api).await,
                showing(api, Arc::clone(&credentials)).await,
            ] {
                let refused = watch(channel, group).await.expect_err("refused");
                let reason = "OPERATOR_REQUIRED";
                assert_refused(group, &refused, Code::Unauthenticated, reason);
            }
            // at the agents' port nobody can ask for it.
            for channel in [
                port(agents).await,
                showing(agents, Arc::clone(&credentials)).await,
            ] {
                let refused = watch(channel, group).await.expect_err("refused");
                assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
                explained(group, &refused);
            }
        }
        // An operator is told that a group does not exist, or cannot.
        for (group, code, reason) in [
            ("nowhere", Code::NotFound, "GROUP_UNKNOWN"),
            ("A B", Code::InvalidArgument, "INVALID_ARGUMENT"),
        ] {
            let refused = watch(local(&fleet).await, group).await;
            let refused = refused.expect_err("refused");
            assert_refused(group, &refused, code, reason);
        }
        watch(local(&fleet).await, "").await.expect("a stream");
    });
    let mut screen = Screen::open(&fleet, &["--group", "nowhere"]);
    fleet.eventually("it has ended", |_| {
        let child = screen.child.as_mut().expect("a child");
        child.try_wait().expect("a child")
    });
    let said = Said::of(screen.child.take().expect("a child"));
    let why = said.failed(1);
    assert!(why.contains("[GROUP_UNKNOWN]"), "{why}");
}

/// `convoy scep status --watch`, whose stdout is read as it comes.
struct Screen {
    child: Option<Child>,
    lines: mpsc::Receiver<String>,
    told: Vec<String>,
}

impl Screen {
    fn open(fleet: &Fleet, more: &[&str]) -> Self {
        let mut child = fleet.spawn_convoy(&[&["scep", "status", "--watch"], more].concat());
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child: Some(child),
            lines,
            told: Vec::new(),
        }
    }

    /// Goes on until a line is this.
    #[track_caller]
    fn until(&mut self, is: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|why| panic!("{why} after {:#?}", self.told));
            self.told.push(line.clone());
            if is(&line) {
                return line;
            }
        }
    }

    /// What people were told, without the time of each line.
    fn said(&self) -> Vec<&str> {
        let lines = self.told.iter().map(|line| {
            let (time, words) = line.split_once(' ').expect("a time, and words");
            time.parse::<jiff::Timestamp>().expect("a time");
            words
        });
        lines.collect()
    }

    /// Interrupts it; what it said on stderr.
    fn close(mut self) -> String {
        let mut child = self.child.take().expect("running");
        assert_eq!(child.try_wait().expect("a child"), None, "it has ended");
        child.kill().expect("killed");
        Said::of(child).stderr
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[test]
fn the_command_line_shows_every_change_in_a_line() {
    // Given two devices that have requested nothing, and three who watch: all in text, all in JSON, and the group of one,
    let mut fleet = lab();
    let mut text = Screen::open(&fleet, &[]);
    let mut json = Screen::open(&fleet, &["-o", "json"]);
    let mut lab = Screen::open(&fleet, &["--group", "lab"]);
    for screen in [&mut text, &mut lab] {
        screen.until(|line| line.ends_with(" two (lab) no request yet"));
    }
    assert!(text.told[0].ends_with(" one (default) no request yet"));

    // when one requests a certificate, which has to be approved, then each change is a line,
    fleet.ok(&["scep", "request", "one"]);
    let deferred = "one (default) request 1 Processing...: Deferred: ";
    text.until(|line| line.contains(deferred));
    let serial = approve(&fleet);
    text.until(|line| line.contains("one (default) request 1 Successful: issued "));
    let mut said = text.said();
    // It may have waited for its first answer for an instant only.
    said.retain(|line| *line != "one (default) request 1 Processing...");
    let beginnings = [
        "one (default) no request yet",
        "two (lab) no request yet",
        deferred,
        "one (default) request 1 Successful: issued ",
    ];
    assert_eq!(said.len(), beginnings.len(), "{said:#?}");
    for (line, beginning) in said.iter().zip(beginnings) {
        assert!(line.starts_with(beginning), "{line} for {beginning}");
    }

    // or an object, the last of which is the state that there is;
    let status = |line: &str| serde_json::from_str::<Value>(line).expect("an object in a line");
    let last = json.until(|line| {
        let status = status(line);
        status["name"] == "one" && status["status"] == "Successful"
    });
    assert_eq!(status(&last), fleet.scep("one"));
    assert_eq!(status(&last)["record"]["certificate"]["serial"], serial);
    let of_one = json.told.iter().map(|line| status(line));
    let of_one = of_one.filter(|status| status["name"] == "one");
    let mut words: Vec<Value> = of_one.map(|status| status["status"].clone()).collect();
    words.dedup();
    assert_eq!(words, ["", "Processing...", "Successful"]);

    // when the controller starts anew, then they go on, and say nothing again.
    fleet.restart_controller();
    fleet.await_connected(&["one", "two"]);
    let before = text.told.len();
    for (name, request) in [
        ("one", "one (default) request 2 "),
        ("two", "two (lab) request 1 "),
    ] {
        fleet.ok(&["scep", "request", name]);
        text.until(|line| line.contains(&format!("{request}Processing...: Deferred: ")));
        approve(&fleet);
        text.until(|line| line.contains(&format!("{request}Successful: issued ")));
    }
    for line in &text.said()[before..] {
        let fresh = ["one (default) request 2 ", "two (lab) request 1 "];
        assert!(
            fresh.iter().any(|words| line.starts_with(words)),
            "{line}: {:#?}",
            text.told
        );
    }
    // Who watches the group has heard of its device alone.
    lab.until(|line| line.contains("two (lab) request 1 Successful: issued "));
    for line in lab.said() {
        assert!(line.starts_with("two (lab) "), "{line}");
    }
    for screen in [text, json, lab] {
        let notes = screen.close();
        assert!(
            notes.contains("lost the controller") && notes.contains("the controller is back"),
            "{notes}"
        );
    }
}
