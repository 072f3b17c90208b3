//! Somebody stands between agents and the controller, or in its place: real TLS, real relaying, and no obedience.

use std::{collections::BTreeSet, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use convoy_agent::{tls::Tls, verifier::Policy};
use convoy_proto::{
    documents::decode_trust,
    v1::{self, session_request, session_response},
};
use prost::Message as _;
use rustls::{
    AlertDescription,
    pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _},
};
use serde_json::Value;

use crate::{
    fleet::Fleet,
    forged::{Forged, LIES},
    puppet::Puppet,
    road::{Intercepted, Interceptor, Road, Rule, by_way_of},
};

/// Part of the envelope of every trust document.
const TRUST: &[u8] = b"application/vnd.convoy.trust.v1";

#[test]
fn a_token_that_leads_to_a_man_in_the_middle_admits_nobody() {
    // Given a join token whose address is that of a man in the middle, who relays everything,
    let fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "1"]);
    let road = Road::to(fleet.agents_addr());
    let stranger = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let man = Interceptor::new(fleet.agents_addr(), stranger, b"");
    road.lead(Rule::Intercept(man));

    // when a host joins with it,
    let said = fleet
        .try_join("one", &by_way_of(&[road.address], &token))
        .failed(1);

    // then it says who is there, and has sent him nothing but a nonce: no token, no key, no request;
    for part in [
        "no address of the join token leads to the fleet's controller",
        "about another TLS channel: somebody stands between",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let all = road.intercepted();
    assert_eq!(all.len(), 1);
    let messages = all[0].said();
    assert_eq!(messages.len(), 1);
    let greet = v1::GreetRequest::decode(messages[0].as_slice()).expect("a greeting");
    assert_eq!(greet.nonce.len(), 32);
    assert!(!all[0].betrays(&token_secret(&token)));
    assert!(!fleet.state_dir("one").join("state").exists());
    assert_eq!(clients(&fleet), 0);

    // and the token is as good as new.
    fleet.join("one", &token);
    assert_eq!(clients(&fleet), 1);
}

#[test]
fn with_verification_on_a_man_in_the_middle_is_refused_in_the_handshake() {
    // Given an agent in session, when a man in the middle takes its road,
    let mut fleet = Fleet::start();
    let road = Road::to(fleet.agents_addr());
    fleet.set_addresses(&[road.address]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("one", &token);
    fleet.run("one");
    fleet.await_connected(&["one"]);
    let stranger = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let man = Interceptor::new(fleet.agents_addr(), stranger, b"");
    road.lead(Rule::Intercept(man));

    // then he is refused with an alert about his certificate, again and again, and completes no handshake;
    fleet.eventually("he was refused twice", |_| {
        (road.refused().len() >= 2).then_some(())
    });
    assert_eq!(
        BTreeSet::from_iter(road.refused().iter().map(|alert| u8::from(*alert))),
        BTreeSet::from([AlertDescription::UnknownCA.into()])
    );
    assert!(road.intercepted().is_empty());
    let log = fleet.log("one");
    assert!(log.contains("refused the server's certificate"), "{log}");
    assert!(!fleet.accepts("one"), "a check through him holds");

    // and when he is gone the agent comes back.
    road.lead(Rule::Pass(fleet.agents_addr()));
    fleet.await_connected(&["one"]);
    assert!(fleet.accepts("one"));
}

/// A fleet whose client `victim` comes by a road, and has verification off: the rotation waits for the client `late`.
fn switched_off(more: &[&str]) -> (Fleet, Road, String) {
    switched_off_with(more, |road, _| vec![road])
}

fn switched_off_with(
    more: &[&str],
    ways: impl FnOnce(SocketAddr, SocketAddr) -> Vec<SocketAddr>,
) -> (Fleet, Road, String) {
    let mut fleet = Fleet::start();
    let road = Road::to(fleet.agents_addr());
    fleet.set_addresses(&ways(road.address, fleet.agents_addr()));
    let token = fleet.ok(&["token", "create", "--uses", "3"]);
    fleet.join("victim", &token);
    // It knows the controller's own address too, until a session over the road has held.
    fleet.join("late", &by_way_of(&[fleet.agents_addr()], &token));
    for name in more {
        fleet.join(name, &token);
    }
    fleet.run("victim");
    fleet.await_connected(&["victim"]);
    fleet.rotate(&["--strategy", "toggle"]);
    for name in more {
        let reason = ["--reason", "in wrong hands", "--until", "1h"];
        fleet.ok(&[&["rotation", "waive", name], &reason[..]].concat());
    }
    fleet.await_missing(&["late"]);
    assert_eq!(fleet.agent_status("victim")["mode_in_force"], "off");
    assert_eq!(fleet.phase(), "Preparing");
    (fleet, road, token)
}

#[test]
fn with_verification_off_a_man_in_the_middle_gets_a_hello_and_nothing_else() {
    // Given a client whose verification is off, and a man in the middle who has stolen the identity of another client, so that the controller
    // speaks to him and he has its true welcome and its true orders to relay,
    let (mut fleet, road, token) = switched_off(&["insider"]);
    let before = fleet.agent_status("victim");
    let controller = fleet.agents_addr();
    let stolen = Puppet::of(&fleet, "insider").gullible();

    // when he takes the client's road,
    road.lead(Rule::Intercept(Interceptor::new(
        controller,
        stolen.clone(),
        b"",
    )));
    fleet.eventually("the client has left him twice", |_| {
        let over = |all: Vec<Intercepted>| all.iter().filter(|one| one.closed_by_agent).count();
        (over(road.intercepted()) >= 2).then_some(())
    });

    // and the rotation goes on without it, so that there is newer trust to relay, together with the welcome,
    fleet.eventually("the victim is gone", |fleet| {
        (fleet.client("victim")["connected"] == false).then_some(())
    });
    fleet.run("late");
    fleet.await_phase("Enforcing");
    fleet.await_missing(&["victim"]);
    let earlier = road.intercepted().len();
    road.lead(Rule::Intercept(Interceptor::new(controller, stolen, TRUST)));
    let relayed = fleet.eventually("newer trust was relayed", |_| {
        let all = road.intercepted();
        let mut over = all.iter().skip(earlier).filter(|one| one.closed_by_agent);
        over.find_map(|one| trust_to(one).map(|revision| (one.clone(), revision)))
    });
    let held = before["trust_revision"].as_u64().expect("a number");
    assert!(relayed.1 > held, "nothing newer was relayed");
    assert!(matches!(
        heard(&relayed.0).first(),
        Some(session_response::Message::Welcome(_))
    ));

    // then his certificate was accepted each time, he got a hello and nothing else,
    let log = fleet.log("victim");
    assert!(!log.contains("refused the server's certificate"), "{log}");
    let key = private_scalar(&fleet, "victim");
    for one in road.intercepted() {
        assert_eq!(one.label, "convoy/t/*");
        assert!(one.identified);
        let messages = one.said();
        assert_eq!(messages.len(), 1, "more than a hello: {messages:?}");
        let request = v1::SessionRequest::decode(messages[0].as_slice()).expect("a request");
        assert!(matches!(
            request.message,
            Some(session_request::Message::Hello(_))
        ));
        assert!(!one.betrays(&key));
        assert!(!one.betrays(&token_secret(&token)));
    }
    // the client obeyed nothing, and said who is there;
    assert_untouched(&fleet, &before);
    assert_eq!(fleet.client("victim")["evidence"], "applied");

    // and when he is gone the rotation completes.
    road.lead(Rule::Pass(controller));
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("victim")["evidence"], "confirmed");
    assert_eq!(fleet.client("victim")["suspicion"], "");
    fleet.assert_no_orphans(&["victim", "late"]);
}

#[test]
fn with_verification_off_a_forged_controller_is_not_obeyed() {
    // Given a client whose verification is off, and a controller with keys of its own that knows every signed document, and a welcome of old,
    let (mut fleet, road, _) = switched_off(&[]);
    fleet.switch_off("victim");
    let puppet = Puppet::of(&fleet, "victim");
    let talk = puppet.open();
    let welcome = talk.welcome.clone().expect("a welcome");
    talk.close();
    let forged = Forged::start(puppet.state.clone(), welcome);
    let before = fleet.agent_status("victim");
    assert_eq!(before["mode_in_force"], "off");

    // when it takes the real one's place,
    road.lead(Rule::Pass(forged.address));
    fleet.run("victim");
    let mut told = Vec::new();
    fleet.eventually("it has told every lie", |_| {
        told.extend(forged.told());
        LIES.iter()
            .all(|lie| told.iter().any(|one| one.lie == *lie))
            .then_some(())
    });

    // then it gets a hello each time and nothing else, and nothing is obeyed;
    for one in &told {
        assert!(
            matches!(one.messages[..], [session_request::Message::Hello(_)]),
            "after {:?}: {:?}",
            one.lie,
            one.messages
        );
    }
    assert_untouched(&fleet, &before);
    let log = fleet.log("victim");
    for why in ["it was replayed", "the root is not signed", "signatures"] {
        assert!(log.contains(why), "no \"{why}\" in {log}");
    }

    // and when it is gone the rotation completes.
    road.lead(Rule::Pass(fleet.agents_addr()));
    fleet.run("late");
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["victim", "late"]);
}

#[test]
fn who_sits_on_one_road_does_not_keep_a_client_from_another() {
    // Given a client whose verification is off, with two roads to the controller, and a forged controller at the end of the first,
    let (mut fleet, road, _) = switched_off_with(&[], |road, controller| vec![road, controller]);
    fleet.switch_off("victim");
    let puppet = Puppet::of(&fleet, "victim");
    let talk = puppet.open();
    let welcome = talk.welcome.clone().expect("a welcome");
    talk.close();
    let forged = Forged::start(puppet.state.clone(), welcome);
    road.lead(Rule::Pass(forged.address));

    // when the client comes back, then it meets the forged one, and goes on to the second road;
    fleet.run("victim");
    fleet.await_connected(&["victim"]);
    assert!(!forged.told().is_empty());

    // and the rotation completes although the first stays as it is.
    fleet.run("late");
    fleet.await_phase("Completed");
    assert_eq!(fleet.client("victim")["evidence"], "confirmed");
}

/// Trust, root and the proof of the controller are as they were, and the log says why.
fn assert_untouched(fleet: &Fleet, before: &Value) {
    let after = fleet.agent_status("victim");
    for what in [
        "trust_revision",
        "trust_digest",
        "root_version",
        "last_proof",
        "mode_in_force",
    ] {
        assert_eq!(after[what], before[what], "{what}");
    }
    let log = fleet.log("victim");
    assert!(
        log.contains("somebody stands between this host and the controller"),
        "{log}"
    );
}

/// What the man in the middle let through to the agent.
fn heard(one: &Intercepted) -> Vec<session_response::Message> {
    one.heard()
        .iter()
        .filter_map(|message| {
            v1::SessionResponse::decode(message.as_slice())
                .expect("a response")
                .message
        })
        .collect()
}

/// The revision of the trust among it.
fn trust_to(one: &Intercepted) -> Option<u64> {
    heard(one).into_iter().find_map(|message| match message {
        session_response::Message::Trust(envelope) => {
            let document = decode_trust(&envelope.payload).expect("a document");
            Some(document.revision.0)
        }
        _ => None,
    })
}

fn clients(fleet: &Fleet) -> usize {
    let listed = fleet.json(&["clients", "list"]);
    let list = listed.as_array().or_else(|| listed["clients"].as_array());
    list.expect("a list").len()
}

/// The secret in a token: after the checksum, the root's digest and the id.
fn token_secret(token: &str) -> Vec<u8> {
    let body = token.strip_prefix("convoy1-").expect("a token");
    let bytes = URL_SAFE_NO_PAD.decode(body).expect("base64");
    bytes[52..84].to_vec()
}

/// The private number of a client's P-256 key: the octet string of RFC 5915 within PKCS#8.
fn private_scalar(fleet: &Fleet, name: &str) -> Vec<u8> {
    let file = fleet.state_dir(name).join("identity.key");
    let key = PrivatePkcs8KeyDer::from_pem_file(file).expect("a key");
    let der = key.secret_pkcs8_der();
    let at = der
        .windows(2)
        .position(|pair| pair == [0x04, 0x20])
        .expect("an octet string of 32 bytes");
    der[at + 2..at + 34].to_vec()
}
