//! How much one client, or one address, may have written down: into the journal, and into the log.

use std::time::{Duration, Instant};

use convoy_agent::{
    disk::StateDir,
    key::IdentityKey,
    link::Link,
    tls::{Tls, unlabelled},
    verifier::Policy,
};
use convoy_controller::journal::{Journal as _, redb::RedbJournal};
use convoy_proto::{
    agent::trust_ack,
    v1::{self, session_request},
};
use convoy_shared::{
    ack::{AckOutcome, Held},
    id::{Digest, Revision},
    token::JoinToken,
};
use tonic::Code;

use crate::{crowd::COUNTED, fleet::Fleet, metrics::get, puppet::Puppet, road::runtime};

/// So many at once of anything that one client does in its session, or has written about it.
const BURST: usize = 120;
const LINES: usize = 60;

#[test]
fn a_client_that_says_too_much_has_little_written_down() {
    // Given a fleet, and a client in session,
    let mut fleet = Fleet::with_agents(&["honest"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("loud", &token);
    let puppet = Puppet::of(&fleet, "loud");
    let before = entries(&mut fleet);
    fleet.await_connected(&["honest"]);
    let began = Instant::now();
    let mut loud = puppet.open();

    // when it refuses documents at length, and reports again and again, as fast as it is heard,
    let sent = (0..900_u64)
        .take_while(|number| loud.press(noise(*number), Duration::from_secs(3)))
        .count();
    assert!(sent > 3 * BURST, "only {sent} were sent");

    // then little of it is in the log,
    fleet.eventually("the client is heard", |fleet| {
        fleet
            .log("controller")
            .contains("client refuses a trust document")
            .then_some(())
    });
    let log = fleet.log("controller");
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 2;
    let lines = log
        .lines()
        .filter(|line| line.contains("client refuses a trust document"));
    let (count, longest) = lines.fold((0, 0), |(count, longest), line| {
        (count + 1, longest.max(line.len()))
    });
    assert!(
        count <= LINES + seconds && longest < 1000,
        "{count} lines of up to {longest} bytes"
    );

    // the honest client is served,
    fleet.rotate(&[]);
    fleet.await_missing(&["loud"]);
    // the loud one is still in its session,
    assert_eq!(fleet.client("loud")["connected"], true);
    drop(loud.hear());

    // and little of it is in the journal.
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 2;
    let more = entries(&mut fleet) - before;
    let others = 40;
    assert!(
        more <= BURST + seconds + others,
        "{more} entries in {seconds} s"
    );
}

#[test]
fn who_tries_to_join_again_and_again_has_few_lines_written() {
    // Given a controller, and a token that it has never made,
    let other = Fleet::start();
    let token: JoinToken = other.ok(&["token", "create"]).parse().expect("a token");
    let fleet = Fleet::start_with(&[COUNTED, "--metrics-addr", "127.0.0.1:0"]);
    let address = fleet.agents_addr().to_string().parse().expect("an address");
    let runtime = runtime();
    let tls = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let own: JoinToken = fleet.ok(&["token", "create"]).parse().expect("a token");

    // when somebody tries to join with it, and with the id of a good one alone, many times,
    let began = Instant::now();
    let key = StateDir::create(&fleet.path("x")).expect("a folder");
    let key = IdentityKey::load_or_create(&key).expect("a key");
    let csr = key.certificate_request("host").expect("a request");
    let mut link = None;
    for number in 0..300 {
        // A stranger says little on one connection.
        if number % 20 == 0 {
            let protocols = unlabelled();
            let opened = Link::open(&address, &tls, &protocols);
            link = Some(runtime.block_on(opened).expect("a connection"));
        }
        let link = link.as_mut().expect("a connection");
        let id = if number % 2 == 0 { token.id } else { own.id };
        let request = v1::JoinRequest {
            token_id: id.as_bytes().to_vec().into(),
            certificate_request: csr.clone().into(),
            token_signature: vec![1; 64].into(),
            name: format!("host-{number}"),
            agent_version: "0".to_owned(),
            ..v1::JoinRequest::default()
        };
        let refused = runtime
            .block_on(link.client.join(request))
            .expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }

    // then few lines say so.
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("short") + 2;
    let lines = fleet
        .log("controller")
        .lines()
        .filter(|line| line.contains("tried to join") || line.contains("may not join"))
        .count();
    assert!(
        (1..=LINES + seconds).contains(&lines),
        "{lines} lines in {seconds} s"
    );
    // How many were left out is counted: the token that nobody made causes none.
    let text = get(&fleet, "/metrics");
    let mut counts = text.lines();
    let left_out = counts.find_map(|line| line.strip_prefix("convoy_log_lines_left_out_total "));
    let left_out: usize = left_out.and_then(|count| count.parse().ok()).expect(&text);
    assert!(left_out >= 150 - LINES - seconds, "{left_out} left out");
}

/// What a client says that wants to be written about.
fn noise(number: u64) -> session_request::Message {
    let never_sent = Held {
        revision: Revision(1000 + number),
        digest: Digest::of(&number.to_be_bytes()),
    };
    if number.is_multiple_of(2) {
        let length = if number.is_multiple_of(100) { 2000 } else { 3 };
        let refused = AckOutcome::Refused("no ".repeat(length));
        return session_request::Message::TrustAck(trust_ack(never_sent, refused));
    }
    session_request::Message::ScepReport(v1::ScepReport {
        revision: number,
        records: vec![],
    })
}

/// How many entries the journal has. The controller is started again.
fn entries(fleet: &mut Fleet) -> usize {
    fleet.kill_controller();
    let journal = RedbJournal::open(fleet.data_dir().join("journal.redb")).expect("a journal");
    let runtime = runtime();
    let mut last = 0;
    loop {
        let page = runtime
            .block_on(journal.read(last + 1, 1024))
            .expect("entries");
        match page.last() {
            Some((number, _)) => last = *number,
            None => break,
        }
    }
    drop(journal);
    fleet.start_controller();
    usize::try_from(last).expect("few")
}
