//! One sample of every event about SCEP settings and requests, and messages that are none.

use convoy_fleet::enrolment::{Audience, EnrolmentEvent};
use convoy_shared::{
    enrolment::{ErrorDetail, IssuedCertificate, RequestRecord, RequestState, Trigger},
    settings::{KeyUse, ScepPatch, ScepSettings},
};

use super::*;
use crate::v1;

/// A sample of the variant that follows this one's; `None` after the last.
fn following(event: &EnrolmentEvent) -> Option<EnrolmentEvent> {
    Some(match event {
        EnrolmentEvent::SettingsSet { .. } => EnrolmentEvent::SecretStored {
            audience: Audience::Client(0),
            ndes: true,
            present: false,
        },
        EnrolmentEvent::SecretStored { .. } => reported(RequestState::ToBeProcessed),
        EnrolmentEvent::Reported { .. } => EnrolmentEvent::Stated {
            client: 7,
            held: Revision(3),
            supports: vec!["RSA-2048".to_owned(), "IEEE 802.1X".to_owned()],
        },
        EnrolmentEvent::Stated { .. } => return None,
    })
}

pub(super) fn samples() -> Vec<Event> {
    let nothing = set(Audience::Group(group()), ScepPatch::default());
    let everything = ScepPatch::all(&ScepSettings::default());
    let certificate = IssuedCertificate {
        issued_at: at(30),
        serial: "0A1B".to_owned(),
        subject: "CN=p1.example,O=Convoy".to_owned(),
        fingerprint: Digest::of(b"certificate"),
        not_before: at(-30),
        not_after: at(90),
    };
    let others = [
        set(Audience::Client(u32::MAX), everything),
        reported(RequestState::Processing {
            polls: 3,
            waiting: Some(ErrorDetail::TopErrorHttp(503)),
        }),
        reported(RequestState::Error(ErrorDetail::KeyUseLocation(
            "nginx: no such file".to_owned(),
        ))),
        reported(RequestState::Successful(certificate)),
        EnrolmentEvent::Stated {
            client: 0,
            held: Revision(0),
            supports: vec![],
        },
    ];
    let every = std::iter::successors(Some(nothing), following);
    every.chain(others).map(Event::Enrolment).collect()
}

fn set(audience: Audience, patch: ScepPatch) -> EnrolmentEvent {
    EnrolmentEvent::SettingsSet {
        audience,
        revision: Revision(4),
        patch: Box::new(patch),
    }
}

fn reported(state: RequestState) -> EnrolmentEvent {
    EnrolmentEvent::Reported {
        client: 7,
        record: RequestRecord {
            attempt: 1,
            trigger: Trigger::Timer,
            requested_at: at(10),
            key_name: "scep".to_owned(),
            key_use: KeyUse::Ieee8021X,
            state,
            updated_at: at(20),
            warnings: vec!["the function is off".to_owned()],
        },
    }
}

#[test]
fn no_part_of_an_enrolment_event_is_made_up() {
    use wire::enrolment_event::Kind;
    let read = |kind: Option<Kind>| enrolment_of(wire::EnrolmentEvent { kind });
    assert_eq!(read(None), BadEntry::Missing("enrolment"));
    let whole = |audience, patch| {
        Some(Kind::SettingsSet(wire::SettingsSet {
            audience,
            revision: 1,
            patch,
        }))
    };
    let nobody = Some(wire::Audience { kind: None });
    let somebody = Some(wire::Audience::from(&Audience::Client(7)));
    for audience in [None, nobody] {
        let bad = read(whole(audience, Some(v1::ScepSettings::default())));
        assert_eq!(bad, BadEntry::Missing("audience"));
        let secret = Kind::SecretStored(wire::SecretStored {
            audience: None,
            ndes: false,
            present: true,
        });
        assert_eq!(read(Some(secret)), BadEntry::Missing("audience"));
    }
    assert_eq!(
        read(whole(somebody.clone(), None)),
        BadEntry::Missing("patch")
    );
    let odd = v1::ScepSettings {
        port: Some(65_536),
        ..v1::ScepSettings::default()
    };
    let bad = read(whole(somebody, Some(odd)));
    assert_eq!(bad.to_string(), "port is not valid");
    let misnamed = Some(wire::Audience {
        kind: Some(wire::audience::Kind::Group("no such/name".to_owned())),
    });
    let bad = read(whole(misnamed, Some(v1::ScepSettings::default())));
    assert!(matches!(bad, BadEntry::Id(_)), "{bad}");
    let record = |record| read(Some(Kind::Reported(wire::Reported { client: 7, record })));
    assert_eq!(record(None), BadEntry::Missing("record"));
    let bad = record(Some(v1::ScepRecord::default()));
    assert!(matches!(bad, BadEntry::Scep(_)), "{bad}");
}

/// Why an entry with this event is refused.
fn enrolment_of(event: wire::EnrolmentEvent) -> BadEntry {
    let mut wire = wire_entry();
    wire.events[0].kind = Some(Kind::Enrolment(event));
    decode_entry(&wire.encode_to_vec()).expect_err("refused")
}
