//! One sample of every event, and bytes that are no entry.

mod enrolment;
mod issuance;
mod recovery;

use convoy_fleet::{
    client::Suspicion,
    clock::{BootMark, ClockEvent},
    event::{Certificate, Connected, Imported, Joined, Publication, Purpose, Rejoined},
    rotation::{Phase, RotationOptions, Strategy},
};
use convoy_shared::{
    ack::Evidence,
    address::{Addresses, Listed},
    envelope::{Envelope, PayloadType, Role, SigningKey},
    id::{AnchorNumber, ClientId, Epoch, GroupName, Incarnation, InstanceId, RootVersion},
    root::Root,
    trust::{Anchor, AnchorKind, Anchors, Mode, ModeInForce},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::*;
use crate::documents::encode_root;

/// A sample of the variant that follows this one's in the order of [`Event`]; `None` after the last. A new variant needs an arm here, and the one
/// before it must lead there.
fn following(event: &Event) -> Option<Event> {
    Some(match event {
        Event::FleetFounded { .. } => Event::ReplicaStarted,
        Event::ReplicaStarted => Event::AlreadySo,
        Event::AlreadySo => Event::ServerNamesSet {
            names: vec!["a.example".to_owned(), "::1".to_owned()],
        },
        Event::ServerNamesSet { .. } => Event::AddressesSet {
            addresses: Addresses::new(vec![
                Listed {
                    address: "a.example:7443".parse().expect("good"),
                    ahead: false,
                },
                Listed {
                    address: "[::1]:1".parse().expect("good"),
                    ahead: true,
                },
            ])
            .expect("good"),
        },
        Event::AddressesSet { .. } => Event::AddressUsed {
            client: 7,
            address: "[::1]:1".parse().expect("good"),
        },
        Event::AddressUsed { .. } => Event::GroupCreated { group: group() },
        Event::GroupCreated { .. } => Event::TokenCreated {
            token: token(),
            group: group(),
            uses: 3,
            expires_at: at(50),
            public_key: key().public(),
        },
        Event::TokenCreated { .. } => Event::TokenRevoked { token: token() },
        Event::TokenRevoked { .. } => Event::ClientJoined(joined()),
        Event::ClientJoined(_) => Event::ClientRejoined(Rejoined {
            client: 7,
            token: token(),
            agent_version: "0.1.0".to_owned(),
            identity_expires_at: at(70),
        }),
        Event::ClientRejoined(_) => Event::IdentityIssued {
            client: 7,
            expires_at: at(60),
        },
        Event::IdentityIssued { .. } => Event::ClientConnected(connected(Some(Revision(0)))),
        Event::ClientConnected(_) => Event::EvidenceGiven {
            client: 7,
            revision: Revision(9),
            evidence: Evidence::Proved,
        },
        Event::EvidenceGiven { .. } => Event::RelaxationShown {
            client: 7,
            revision: Revision(9),
        },
        Event::RelaxationShown { .. } => Event::EvidenceCleared { client: 7 },
        Event::EvidenceCleared { .. } => Event::ClientSuspected {
            client: 0,
            suspicion: Suspicion::AcceptsDecoy,
        },
        Event::ClientSuspected { .. } => Event::ClientDuplicated { client: 7 },
        Event::ClientDuplicated { .. } => Event::ClientResolved { client: 7 },
        Event::ClientResolved { .. } => Event::ClientDecommissioned { client: 7 },
        Event::ClientDecommissioned { .. } => Event::CertificateImported(imported()),
        Event::CertificateImported(_) => Event::CertificateChainTaken {
            generation: Generation(1),
            chain: vec![vec![1; 40], vec![3; 40]],
        },
        Event::CertificateChainTaken { .. } => Event::CertificateRetired {
            generation: Generation(1),
        },
        Event::CertificateRetired { .. } => Event::CertificateLoaded {
            generation: Generation(2),
        },
        Event::CertificateLoaded { .. } => {
            Event::TrustPublished(publication(Mode::Verify, Purpose::Steady))
        }
        Event::TrustPublished(_) => started(Strategy::Overlap, None),
        Event::RotationStarted { .. } => entered(Phase::Aborted),
        Event::PhaseEntered { .. } => Event::RotationPaused {
            rotation: rotation(),
        },
        Event::RotationPaused { .. } => Event::RotationResumed {
            rotation: rotation(),
        },
        Event::RotationResumed { .. } => Event::ClientWaived {
            rotation: rotation(),
            client: 7,
            reason: "scrapped".to_owned(),
            until: at(-5),
        },
        Event::ClientWaived { .. } => match founded() {
            Event::FleetFounded { root, .. } => Event::RootRenewed { root },
            _ => return None,
        },
        Event::RootRenewed { .. } => Event::Clock(ClockEvent::Marked(boot())),
        Event::Clock(ClockEvent::Marked(_)) => Event::Clock(ClockEvent::Doubted { wall: at(-9) }),
        Event::Clock(ClockEvent::Doubted { .. }) => Event::Clock(ClockEvent::Believed {
            confirmed: true,
            mark: Some(boot()),
        }),
        Event::Clock(ClockEvent::Believed { .. }) => Event::Clock(ClockEvent::Interrupted),
        Event::Clock(ClockEvent::Interrupted) => return None,
        // Their samples are in a file of their own.
        Event::Enrolment(_) | Event::Issuance(_) | Event::Recovery(_) => return None,
    })
}

fn boot() -> BootMark {
    BootMark {
        boot: "a boot".to_owned(),
        age: SignedDuration::new(5, 7),
    }
}

fn samples() -> Vec<Event> {
    let every = std::iter::successors(Some(founded()), following);
    let lease = SignedDuration::new(5, 7);
    let others = [
        Event::ClientConnected(connected(None)),
        Event::TrustPublished(publication(
            Mode::Off { lease },
            Purpose::Prepare(rotation()),
        )),
        Event::TrustPublished(publication(Mode::Verify, Purpose::Enforce(rotation()))),
        started(Strategy::Toggle, Some(0)),
    ];
    let phases = [
        Phase::Planned,
        Phase::PausingReplication,
        Phase::Preparing,
        Phase::Swapping,
        Phase::Enforcing,
        Phase::ResumingReplication,
        Phase::Completed,
        Phase::RolledBack,
    ];
    every
        .chain(others)
        .chain(phases.map(entered))
        .chain(enrolment::samples())
        .chain(issuance::samples())
        .chain(recovery::samples())
        .collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 0).expect("in range")
}

fn group() -> GroupName {
    GroupName::default_group()
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32]).expect("32 bytes")
}

fn token() -> TokenId {
    TokenId::from_bytes(&[2; 16]).expect("16 bytes")
}

fn rotation() -> RotationId {
    RotationId::from_bytes(&[4; 16]).expect("16 bytes")
}

fn founded() -> Event {
    let role = Role::new(vec![key().public()], 1).expect("a role");
    let root = Root {
        fleet_id: FleetId::from_bytes(&[1; 16]).expect("16 bytes"),
        version: RootVersion(1),
        root: role.clone(),
        policy: role,
        issued_at: at(1),
        expires_at: at(2),
        off_allowed: true,
        max_off: SignedDuration::from_hours(24),
    };
    Event::FleetFounded {
        fleet: root.fleet_id,
        root: SignedRoot {
            envelope: Envelope::sign(PayloadType::Root, encode_root(&root), &[&key()]),
            root,
        },
        client_ca: vec![1, 2, 3],
    }
}

fn joined() -> Joined {
    Joined {
        id: ClientId::from_bytes(&[5; 16]).expect("16 bytes"),
        number: 0,
        name: "printer-1".to_owned(),
        group: group(),
        key: Digest::of(b"key"),
        token: token(),
        agent_version: "0.1.0".to_owned(),
        identity_expires_at: at(70),
    }
}

fn addresses() -> Addresses {
    Addresses::of(vec!["a.example:7443".parse().expect("good")]).expect("good")
}

fn connected(held: Option<Revision>) -> Connected {
    Connected {
        client: 7,
        incarnation: Incarnation(2),
        instance: InstanceId::from_bytes(&[6; 16]).expect("16 bytes"),
        held,
        mode: ModeInForce::Off,
        agent_version: String::new(),
        served: Generation(3),
    }
}

fn imported() -> Imported {
    Imported {
        generation: Generation(2),
        anchor: AnchorNumber(2),
        certificate: Certificate {
            chain: vec![vec![1; 40], vec![2; 40]],
            fingerprint: Digest::of(b"certificate"),
            spki: Digest::of(b"key"),
            subject: "CN=a".to_owned(),
            issuer: "CN=b".to_owned(),
            names: vec!["a.example".to_owned()],
            not_before: at(-70),
            not_after: at(70),
            key_algorithm: "ECDSA P-256".to_owned(),
        },
    }
}

fn publication(mode: Mode, purpose: Purpose) -> Publication {
    let anchors = vec![
        Anchor {
            number: AnchorNumber(1),
            kind: AnchorKind::Pin(Digest::of(b"pin")),
        },
        Anchor {
            number: AnchorNumber(2),
            kind: AnchorKind::Ca(vec![9; 30]),
        },
    ];
    let groups = vec![group(), "printers".parse().expect("a name")];
    let documents = groups
        .iter()
        .map(|group: &GroupName| {
            let bytes = group.to_string().into_bytes();
            Envelope::sign(PayloadType::Trust, bytes, &[&key()])
        })
        .collect();
    Publication {
        revision: Revision(9),
        root_version: RootVersion(1),
        epoch: Epoch(3),
        mode,
        anchors: Anchors::new(anchors).expect("anchors"),
        server_names: vec!["a.example".to_owned()],
        addresses: addresses(),
        issued_at: at(10),
        expires_at: at(20),
        purpose,
        groups,
        documents,
    }
}

fn started(strategy: Strategy, max_missing: Option<u32>) -> Event {
    Event::RotationStarted {
        rotation: rotation(),
        from: Generation(1),
        to: Generation(2),
        strategy,
        options: RotationOptions {
            return_window: SignedDuration::ZERO,
            max_missing,
            off_lease: SignedDuration::new(-3, -9),
        },
    }
}

fn entered(phase: Phase) -> Event {
    Event::PhaseEntered {
        rotation: rotation(),
        phase,
        reason: "by hand".to_owned(),
        expected: match phase {
            Phase::Swapping => (0..5000).chain([70_000, u32::MAX]).collect(),
            _ => RoaringBitmap::new(),
        },
    }
}

fn entry(events: Vec<Event>) -> Entry {
    Entry {
        time: Timestamp::new(1_800_000_000, 123_456_789).expect("in range"),
        actor: Actor::LocalAdmin(0),
        request: Some(Request {
            id: "again".to_owned(),
            body: Digest::of(b"body"),
        }),
        replica: "one".to_owned(),
        events,
    }
}

fn wire_entry() -> wire::Entry {
    let bytes = encode_entry(&entry(vec![Event::ReplicaStarted]));
    wire::Entry::decode(&*bytes).expect("own bytes")
}

#[test]
fn every_event_is_read_as_it_was_written() {
    for event in samples() {
        let entry = entry(vec![event]);
        assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
    }
    let all = entry(samples());
    assert_eq!(decode_entry(&encode_entry(&all)), Ok(all));
}

#[test]
fn every_word_is_read_as_it_was_written() {
    for evidence in [
        Evidence::Received,
        Evidence::Applied,
        Evidence::Proved,
        Evidence::Confirmed,
    ] {
        assert_eq!(wire::Evidence::from(evidence).try_into(), Ok(evidence));
    }
    for suspicion in [
        Suspicion::UnknownDocument,
        Suspicion::AcceptsDecoy,
        Suspicion::ContradictsSight,
        Suspicion::OffUnasked,
    ] {
        assert_eq!(wire::Suspicion::from(suspicion).try_into(), Ok(suspicion));
    }
    for mode in [ModeInForce::Verify, ModeInForce::Off] {
        assert_eq!(wire::VerificationMode::from(mode).try_into(), Ok(mode));
    }
    assert!(Phase::try_from(wire::Phase::Unspecified).is_err());
}

#[test]
fn every_cause_is_read_as_it_was_written() {
    for actor in [
        Actor::Controller,
        Actor::LocalAdmin(0),
        Actor::LocalAdmin(1000),
        Actor::Clients,
        Actor::Stranger,
    ] {
        for request in [None, entry(vec![]).request] {
            let entry = Entry {
                actor: actor.clone(),
                request,
                ..entry(vec![Event::ReplicaStarted])
            };
            assert_eq!(decode_entry(&encode_entry(&entry)), Ok(entry));
        }
    }
}

#[test]
fn an_event_of_a_newer_version_is_refused_and_never_skipped() {
    let mut wire = wire_entry();
    wire.events.push(wire::Event { kind: None });
    assert_eq!(
        decode_entry(&wire.encode_to_vec()),
        Err(BadEntry::UnknownEvent { index: 1 })
    );
    // Field 5 of the entry, two bytes: an event whose kind is field 1000, an empty message … and then a known one.
    let newer = [&[0x2a, 3, 0xc2, 0x3e, 0][..], &wire_entry().encode_to_vec()].concat();
    assert_eq!(
        decode_entry(&newer),
        Err(BadEntry::UnknownEvent { index: 0 })
    );
}

#[test]
fn a_field_of_a_newer_version_is_refused() {
    // Field 15 of the entry, a number.
    let newer = [&wire_entry().encode_to_vec()[..], &[0x78, 1]].concat();
    assert_eq!(decode_entry(&newer), Err(BadEntry::UnknownField));
    // The same within the one event: field 15 of `Nothing`.
    let mut bytes = wire_entry().encode_to_vec();
    assert!(bytes.ends_with(&[0x2a, 2, 0x12, 0]));
    bytes.truncate(bytes.len() - 4);
    bytes.extend([0x2a, 4, 0x12, 2, 0x78, 1]);
    assert_eq!(decode_entry(&bytes), Err(BadEntry::UnknownField));
}

#[test]
fn nothing_that_is_missing_is_made_up() {
    let refused = |change: fn(&mut wire::Entry)| {
        let mut wire = wire_entry();
        change(&mut wire);
        decode_entry(&wire.encode_to_vec()).expect_err("refused")
    };
    assert_eq!(refused(|e| e.actor = None), BadEntry::Missing("actor"));
    assert_eq!(
        refused(|e| e.actor = Some(wire::Actor { kind: None })),
        BadEntry::UnknownActor
    );
    assert_eq!(refused(|e| e.events.clear()), BadEntry::Missing("events"));
    assert!(matches!(refused(|e| e.time = None), BadEntry::Time(_)));
    let short = |e: &mut wire::Entry| e.request = Some(wire::Request::default());
    assert!(matches!(refused(short), BadEntry::Id(_)));
    let unspecified = |e: &mut wire::Entry| {
        e.events[0].kind = Some(Kind::EvidenceGiven(wire::EvidenceGiven::default()));
    };
    assert_eq!(refused(unspecified), BadEntry::Missing("evidence"));
    let of_the_future = |e: &mut wire::Entry| {
        e.events[0].kind = Some(Kind::ClientSuspected(wire::ClientSuspected {
            client: 1,
            suspicion: 99,
        }));
    };
    assert_eq!(refused(of_the_future), BadEntry::Missing("suspicion"));
    let unsigned = |e: &mut wire::Entry| {
        let published = publication(Mode::Verify, Purpose::Steady);
        let mut wire = wire::TrustPublished::from(&published);
        wire.documents.clear();
        e.events[0].kind = Some(Kind::TrustPublished(wire));
    };
    assert_eq!(refused(unsigned), BadEntry::Missing("documents"));
    assert!(decode_entry(&[]).is_err());
}

#[test]
fn torn_and_garbled_bytes_are_refused_or_read_whole_and_never_panic() {
    for event in samples() {
        let whole = entry(vec![event]);
        let bytes = encode_entry(&whole);
        for end in 0..bytes.len() {
            assert!(decode_entry(&bytes[..end]).is_err(), "cut at {end}");
        }
        for place in 0..bytes.len() {
            let mut garbled = bytes.clone();
            for flip in [0x01, 0x10, 0x80, 0xff] {
                garbled[place] = bytes[place] ^ flip;
                if let Ok(read) = decode_entry(&garbled) {
                    assert_eq!(decode_entry(&encode_entry(&read)), Ok(read));
                }
            }
        }
    }
}
