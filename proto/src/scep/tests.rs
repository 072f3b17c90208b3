//! Settings, documents and records over the wire: as they were written, or refused by name.

use convoy_shared::{
    envelope::{Role, SigningKey},
    settings::{
        CaPin, Capacity, ChallengeSource, KeyLength, KeyUse, Periodic, RequestStart, ScepServer,
        SignatureHash,
    },
};
use jiff::{SignedDuration, Timestamp};

use super::*;

mod records;

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 5).expect("in range")
}

/// Settings of which none has its default.
fn others() -> ScepSettings {
    ScepSettings {
        server: ScepServer::Url("http://ca.example:8080/scep".to_owned()),
        port: 65_535,
        timeout: Span(SignedDuration::new(59, 999_999_999)),
        ca_identifier: "ca".to_owned(),
        ca_fingerprint: CaPin::Sha256(Digest::of(b"CA")),
        allow_legacy: true,
        get_only: true,
        challenge: ChallengeSource::Ndes,
        ndes_url: "http://ndes.example/certsrv/mscep_admin/".to_owned(),
        ndes_user: "DOMAIN\\convoy".to_owned(),
        ndes_cache: 50,
        timer: true,
        request_start: RequestStart::At(at(1_800_000_000)),
        auto_adjust: true,
        polls: 3,
        poll_interval: Span(SignedDuration::from_mins(1)),
        periodic: Periodic::Every(SignedDuration::from_hours(30 * 24)),
        restart: true,
        delete_old: true,
        capacity: Capacity::PerThousandSeconds(2_500),
        window: Span(SignedDuration::from_hours(8)),
        key_name: "k-{serial}".to_owned(),
        signature_algorithm: SignatureHash::Sha512,
        key_length: KeyLength::Rsa4096,
        organization: "Übung".to_owned(),
        common_name: "{ip}".to_owned(),
        subject_alt_names: vec![],
        key_use: KeyUse::Ieee8021X,
        ipsec_destination: "d".to_owned(),
        max_keys: 7,
    }
}

fn again(patch: &ScepPatch) -> ScepPatch {
    // Over bytes, as a field without a number of its own would show only there.
    let bytes = write_patch(patch).encode_to_vec();
    read_patch(v1::ScepSettings::decode(&*bytes).expect("own bytes")).expect("own message")
}

/// A function over every field's name.
macro_rules! every_field {
    ($each:ident) => {
        $each!(server port timeout ca_identifier ca_fingerprint allow_legacy get_only challenge ndes_url ndes_user
            ndes_cache timer request_start auto_adjust polls poll_interval periodic restart delete_old capacity window
            key_name signature_algorithm key_length organization common_name subject_alt_names key_use
            ipsec_destination max_keys)
    };
}

/// Each setting alone.
fn each_alone() -> Vec<ScepPatch> {
    let all = ScepPatch::all(&others());
    macro_rules! each {
        ($($field:ident)+) => {
            vec![$(ScepPatch { $field: all.$field.clone(), ..ScepPatch::default() }),+]
        };
    }
    every_field!(each)
}

#[test]
fn every_setting_travels_alone_and_with_all_others() {
    for settings in [ScepSettings::default(), others()] {
        let all = ScepPatch::all(&settings);
        assert_eq!(again(&all), all);
        assert_eq!(read_settings(write_settings(&settings)), Ok(settings));
    }
    let mut seen: Vec<&str> = vec![];
    for patch in each_alone() {
        assert_eq!(patch.fields().len(), 1);
        seen.extend(patch.fields());
        assert_eq!(again(&patch), patch, "{:?}", patch.fields());
    }
    assert_eq!(seen, ScepPatch::all(&others()).fields());
    let nothing = ScepPatch::default();
    assert_eq!(again(&nothing), nothing);
    assert!(write_patch(&nothing).encode_to_vec().is_empty());
}

#[test]
fn all_settings_are_all_or_refused_by_the_first_that_is_missing() {
    for alone in each_alone() {
        let field = alone.fields()[0];
        let mut wire = write_settings(&others());
        forget(&mut wire, field);
        assert_eq!(read_settings(wire), Err(BadScep::Missing(field)));
    }
}

fn forget(wire: &mut v1::ScepSettings, field: &str) {
    macro_rules! each {
        ($($name:ident)+) => {
            match field {
                $(stringify!($name) => wire.$name = None,)+
                other => panic!("{other}"),
            }
        };
    }
    every_field!(each);
}

#[test]
fn a_value_that_cannot_be_is_refused_by_its_name() {
    type Change = fn(&mut v1::ScepSettings);
    let text = |text: &str| Some(text.to_owned());
    let refused = |field: &str, wire: v1::ScepSettings| {
        let bad = read_patch(wire).expect_err(field).to_string();
        assert!(bad.contains(field), "{field}: {bad}");
    };
    for bad in ["https://h/", "ftp://h/", "http://", "h", "http://u:p@h/"] {
        let server = text(bad);
        refused(
            "server",
            v1::ScepSettings {
                server,
                ..Default::default()
            },
        );
    }
    let below = Some(prost_types::Duration {
        seconds: -1,
        nanos: 0,
    });
    let odd = Some(prost_types::Duration {
        seconds: 0,
        nanos: 1_000_000_000,
    });
    for length in [below, odd] {
        for field in ["timeout", "poll_interval", "window"] {
            let mut wire = v1::ScepSettings::default();
            match field {
                "timeout" => wire.timeout = length,
                "window" => wire.window = length,
                _ => wire.poll_interval = length,
            }
            refused(field, wire);
        }
    }
    let changes: [(&str, Change); 13] = [
        ("port", |w| w.port = Some(65_536)),
        ("ca_fingerprint", |w| w.ca_fingerprint = Some("0a".into())),
        ("challenge", |w| w.challenge = Some("s3cret".into())),
        ("request_start", |w| w.request_start = Some("soon".into())),
        ("request_start", |w| w.request_start = Some(String::new())),
        ("periodic", |w| w.periodic = Some("often".into())),
        ("capacity", |w| w.capacity = Some("0".into())),
        ("capacity", |w| w.capacity = Some("-1".into())),
        ("capacity", |w| w.capacity = Some("1.2345".into())),
        ("signature_algorithm", |w| {
            w.signature_algorithm = Some("MD5".into());
        }),
        ("key_length", |w| w.key_length = Some("1024".into())),
        ("key_use", |w| w.key_use = Some("SSL".into())),
        ("key_use", |w| w.key_use = Some(String::new())),
    ];
    for (field, change) in changes {
        let mut wire = v1::ScepSettings::default();
        change(&mut wire);
        refused(field, wire);
    }
}

#[test]
fn settings_that_do_not_go_together_are_no_settings() {
    let mut settings = others();
    settings.ndes_url.clear();
    let bad = read_settings(write_settings(&settings)).expect_err("no URL");
    assert!(matches!(bad, BadScep::Setting(bad) if bad.field == "ndes_url"));
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("32 bytes")
}

fn root() -> Root {
    Root {
        fleet_id: FleetId::from_bytes(&[1; 16]).expect("16 bytes"),
        version: RootVersion(1),
        root: Role::new(vec![key(1).public()], 1).expect("a role"),
        policy: Role::new(vec![key(2).public()], 1).expect("a role"),
        issued_at: at(1),
        expires_at: at(2),
        off_allowed: false,
        max_off: SignedDuration::from_hours(24),
    }
}

fn client(number: u8) -> ClientId {
    ClientId::from_bytes(&[number; 16]).expect("16 bytes")
}

fn document() -> ScepDocument {
    ScepDocument {
        fleet_id: root().fleet_id,
        client: client(7),
        root_version: RootVersion(1),
        revision: Revision(9),
        issued_at: at(3),
        settings: others(),
        url: Some("http://ca.example:65535/scep".to_owned()),
        slot: Some(SignedDuration::new(77, 5)),
    }
}

fn signed(document: &ScepDocument, seed: u8) -> Envelope {
    Envelope::sign(PayloadType::Scep, encode_scep(document), &[&key(seed)])
}

#[test]
fn a_document_that_the_policy_key_signed_for_this_device_opens() {
    for document in [
        document(),
        ScepDocument {
            url: None,
            slot: None,
            revision: Revision(0),
            settings: ScepSettings::default(),
            ..document()
        },
        ScepDocument {
            slot: Some(SignedDuration::ZERO),
            ..document()
        },
    ] {
        let opened = open_scep(&signed(&document, 2), &root(), client(7));
        assert_eq!(opened, Ok(document));
    }
}

#[test]
fn nobody_elses_document_opens() {
    let document = document();
    let envelope = signed(&document, 2);
    // For another device, or of another fleet, though the same key signed it;
    assert_eq!(
        open_scep(&envelope, &root(), client(8)),
        Err(BadScep::Foreign)
    );
    let elsewhere = Root {
        fleet_id: FleetId::from_bytes(&[2; 16]).expect("16 bytes"),
        ..root()
    };
    assert_eq!(
        open_scep(&envelope, &elsewhere, client(7)),
        Err(BadScep::Foreign)
    );
    // as another kind of document, whichever way round;
    let payload = encode_scep(&document);
    for other in [PayloadType::Trust, PayloadType::Root, PayloadType::Channel] {
        let mut envelope = Envelope::sign(other, payload.clone(), &[&key(2)]);
        let bad = open_scep(&envelope, &root(), client(7));
        assert!(matches!(bad, Err(BadScep::Envelope(_))), "{bad:?}");
        envelope.payload_type = PayloadType::Scep.as_str().to_owned();
        let bad = open_scep(&envelope, &root(), client(7));
        assert!(matches!(bad, Err(BadScep::Envelope(_))), "{bad:?}");
    }
    // by any other key, the root's too; or by none;
    for seed in [1, 3] {
        let bad = open_scep(&signed(&document, seed), &root(), client(7));
        assert!(matches!(bad, Err(BadScep::Envelope(_))), "{bad:?}");
    }
    let unsigned = Envelope::sign(PayloadType::Scep, payload, &[]);
    assert!(open_scep(&unsigned, &root(), client(7)).is_err());
    // or with a bit changed.
    let mut changed = envelope;
    changed.payload[40] ^= 1;
    let bad = open_scep(&changed, &root(), client(7));
    assert!(matches!(bad, Err(BadScep::Envelope(_))), "{bad:?}");
}

#[test]
fn a_document_is_whole_or_none() {
    type Change = fn(&mut v1::ScepDocument);
    let changes: [Change; 6] = [
        |w| w.settings = None,
        |w| w.issued_at = None,
        |w| w.fleet_id = bytes::Bytes::new(),
        |w| w.client_id.truncate(15),
        |w| w.settings.as_mut().expect("settings").timer = None,
        |w| {
            w.slot = Some(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            });
        },
    ];
    for change in changes {
        let mut wire = v1::ScepDocument::decode(&*encode_scep(&document())).expect("own bytes");
        change(&mut wire);
        let envelope = Envelope::sign(PayloadType::Scep, wire.encode_to_vec(), &[&key(2)]);
        assert!(
            open_scep(&envelope, &root(), client(7)).is_err(),
            "{wire:?}"
        );
    }
    let garbage = Envelope::sign(PayloadType::Scep, vec![0xff; 9], &[&key(2)]);
    assert_eq!(
        open_scep(&garbage, &root(), client(7)),
        Err(BadScep::Malformed)
    );
}
