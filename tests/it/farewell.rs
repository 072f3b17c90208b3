//! How programs end that are told to: in order, and heard by those who deal with them. And what a controller says that cannot keep up.

use convoy_agent::{
    disk::StateDir,
    greet::greet,
    key::IdentityKey,
    link::Link,
    tls::{Tls, unlabelled},
    verifier::Policy,
};
use convoy_proto::v1;
use convoy_shared::{proof::join_message, token::JoinToken};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{fleet::Fleet, road::runtime};

#[test]
fn a_controller_that_is_told_to_stop_takes_leave_of_its_agents() {
    // Given agents in session,
    let names = ["one", "two", "three"];
    let mut fleet = Fleet::with_agents(&names);

    // when the controller is told to stop, then it ends well, with nothing left under way,
    assert_eq!(fleet.stop_controller(), 0);
    let log = fleet.log("controller");
    assert!(log.contains(" stopped\n"), "{log}");

    // each agent was asked to come back later, and none was cut off,
    for name in names {
        let log = fleet.log(name);
        assert!(
            log.contains("asked to come back") && log.contains("the controller is stopping"),
            "{log}"
        );
        assert!(!log.contains("the session broke"), "{log}");
    }

    // and all come back when it serves again.
    fleet.start_controller();
    fleet.await_connected(&names);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
}

#[test]
fn a_controller_that_is_told_to_stop_does_not_wait_for_who_says_nothing() {
    // Given strangers that say nothing, on every port, and operators who watch,
    let mut fleet = Fleet::serving_scep(&[]);
    fleet.join_and_run(&["one"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("away", &token);
    fleet.rotate(&[]);
    fleet.await_missing(&["away"]);
    let silent: Vec<_> = [fleet.agents_addr(), fleet.api_addr(), fleet.scep_addr()]
        .iter()
        .flat_map(|port| [*port; 3])
        .map(|port| std::net::TcpStream::connect(port).expect("connected"))
        .collect();
    let watch = fleet.spawn_convoy(&["rotation", "status", "--watch"]);

    // when it is told to stop, then it ends well all the same.
    assert_eq!(fleet.stop_controller(), 0);
    drop(silent);
    drop(crate::fleet::Said::of(watch));
}

#[test]
fn an_agent_that_is_told_to_stop_takes_leave_of_its_controller() {
    let mut fleet = Fleet::with_agents(&["one"]);
    // Told in a session, an agent ends it in order, and the controller knows at once.
    assert_eq!(fleet.stop("one"), 0);
    fleet.eventually("the controller knows", |fleet| {
        (fleet.client("one")["connected"] == false).then_some(())
    });
    let ends = |fleet: &Fleet| fleet.log("one").matches("run: ends").count();
    assert_eq!(ends(&fleet), 1, "{}", fleet.log("one"));
    let log = fleet.log("controller");
    assert!(!log.contains("a connection ended error"), "{log}");

    // Told while it waits for a controller that is away, it ends too.
    fleet.kill_controller();
    fleet.run("one");
    fleet.eventually("the agent waits", |fleet| {
        fleet.log("one").contains("no session").then_some(())
    });
    assert_eq!(fleet.stop("one"), 0);
    assert_eq!(ends(&fleet), 2, "{}", fleet.log("one"));
}

#[test]
fn a_controller_that_cannot_keep_up_says_when_to_come_back() {
    // Given a controller whose keeper stands still, and a token for many,
    let mut fleet = Fleet::start();
    let text = fleet.ok(&["token", "create", "--uses", "1000"]);
    let token: JoinToken = text.parse().expect("a token");
    fleet.join("client", &text);
    fleet.import_new();
    fleet.kill_controller();
    fleet.start_controller_held_at("saved.Planned");
    fleet.await_serving();
    let mut start = fleet.spawn_convoy(&["rotation", "start", "--to", "2"]);
    fleet.await_held();

    // when more hosts ask to join than it works on at a time,
    let runtime = runtime();
    let tls = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let dir = StateDir::create(&fleet.path("host")).expect("a folder");
    let key = IdentityKey::load_or_create(&dir).expect("a key");
    let address = token.addresses[0].parse().expect("an address");
    let answers = runtime.block_on(async {
        let mut greeted = Vec::new();
        for _ in 0..MANY {
            let protocols = unlabelled();
            let opened = Link::open(&address, &tls, &protocols).await;
            let mut link = opened.expect("a connection");
            let fleet = greet(&mut link, token.root_digest).await.expect("greeted");
            greeted.push((link, fleet.root.root.fleet_id));
        }
        let mut asking = tokio::task::JoinSet::new();
        for (mut link, fleet_id) in greeted {
            let csr = key.certificate_request("host").expect("a request");
            let message = join_message(fleet_id, token.id, &csr, &link.exporter);
            let signing = token.secret.signing_key().expect("a key");
            let request = v1::JoinRequest {
                token_id: token.id.as_bytes().to_vec().into(),
                certificate_request: csr.into(),
                token_signature: signing.sign(&message).into(),
                name: "host".to_owned(),
                agent_version: "0".to_owned(),
                ..v1::JoinRequest::default()
            };
            asking.spawn(async move {
                let refused = link.client.join(request).await.expect_err("no answer");
                link.close().await;
                refused
            });
        }
        asking.join_all().await
    });

    // then those that are too many are told at once that they are, and the others in time that it takes too long: each with a time to come back.
    let of = |code: Code| {
        let answers = answers.iter().filter(|status| status.code() == code);
        answers.collect::<Vec<_>>()
    };
    let (shed, slow) = (of(Code::Unavailable), of(Code::DeadlineExceeded));
    assert_eq!(shed.len() + slow.len(), MANY);
    assert!(!shed.is_empty() && !slow.is_empty());
    for (statuses, reason) in [(shed, "OVERLOADED"), (slow, "TOO_SLOW")] {
        for status in statuses {
            assert_eq!(reason_of(status), reason);
            let wait = status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay);
            assert!(wait.is_some_and(|wait| (1..=5).contains(&wait.as_secs())));
        }
    }
    start.kill().expect("killed");
    start.wait().expect("reaped");
}

/// More than are worked on at a time.
const MANY: usize = 80;

fn reason_of(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.expect("a reason").reason
}
