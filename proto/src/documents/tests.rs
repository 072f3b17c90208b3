//! Documents, read as they were written and refused where they must be.

use convoy_shared::envelope::SigningKey;
use jiff::{SignedDuration, Timestamp};

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("32 bytes")
}

fn fleet() -> FleetId {
    FleetId::from_bytes(&[1; 16]).expect("16 bytes")
}

fn root(version: u64, seed: u8) -> Root {
    Root {
        fleet_id: fleet(),
        version: RootVersion(version),
        root: Role::new(vec![key(seed).public()], 1).expect("a role"),
        policy: Role::new(vec![key(seed + 100).public()], 1).expect("a role"),
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
        off_allowed: false,
        max_off: SignedDuration::from_hours(24),
    }
}

fn signed(root: &Root, seeds: &[u8]) -> Envelope {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    let keys: Vec<_> = keys.iter().collect();
    Envelope::sign(PayloadType::Root, encode_root(root), &keys)
}

fn addresses() -> Addresses {
    let listed = |text: &str, ahead| Listed {
        address: text.parse().expect("good"),
        ahead,
    };
    Addresses::new(vec![
        listed("a.example:7443", false),
        listed("[::1]:1", true),
    ])
    .expect("good")
}

fn document() -> TrustDocument {
    TrustDocument {
        fleet_id: fleet(),
        audience: GroupName::default_group(),
        root_version: RootVersion(1),
        epoch: Epoch(4),
        revision: Revision(9),
        mode: Mode::Off {
            lease: SignedDuration::from_secs(77),
        },
        anchors: Anchors::new(vec![
            Anchor {
                number: AnchorNumber(2),
                kind: AnchorKind::Ca(vec![1, 2, 3]),
            },
            Anchor {
                number: AnchorNumber(1),
                kind: AnchorKind::Pin(Digest::of(b"x")),
            },
        ])
        .expect("anchors"),
        server_names: vec!["a.example".to_owned(), "192.0.2.1".to_owned()],
        addresses: addresses(),
        issued_at: Timestamp::from_second(1_800_000_000).expect("in range"),
        expires_at: Timestamp::from_second(1_900_000_000).expect("in range"),
    }
}

#[test]
fn documents_are_read_as_they_were_written() {
    assert_eq!(decode_root(&encode_root(&root(3, 1))), Ok(root(3, 1)));
    assert_eq!(decode_trust(&encode_trust(&document())), Ok(document()));
}

#[test]
fn a_chain_is_walked_from_the_expected_root_only() {
    let (one, two, three) = (root(1, 1), root(2, 2), root(3, 2));
    let chain = vec![
        signed(&one, &[1]),
        signed(&two, &[1, 2]),
        signed(&three, &[2]),
    ];
    let digests: Vec<_> = chain.iter().map(Envelope::digest).collect();
    for (start, digest) in digests.iter().enumerate() {
        let walked = chain_from(chain.clone(), *digest).expect("a chain");
        assert_eq!(walked.len(), 3 - start);
        assert_eq!(walked.last().map(|last| &last.root), Some(&three));
    }
    assert!(matches!(
        chain_from(chain.clone(), Digest::of(b"other")),
        Err(BadDocument::NoSuchRoot(_))
    ));
    let forged = vec![chain[0].clone(), signed(&two, &[2])];
    assert!(matches!(
        chain_from(forged, digests[0]),
        Err(BadDocument::Succession(_))
    ));
    assert_eq!(chain_after(&one, vec![]), Ok(vec![]));
}

#[test]
fn only_the_policy_role_orders_and_proves() {
    let root = root(1, 1);
    let trust = |seed| Envelope::sign(PayloadType::Trust, encode_trust(&document()), &[&key(seed)]);
    assert_eq!(open_trust(&trust(101), &root), Ok(document()));
    assert!(matches!(
        open_trust(&trust(1), &root),
        Err(BadDocument::Signature(_))
    ));
    let proof = ChannelProof {
        fleet_id: fleet(),
        nonce: [1; 32],
        exporter: [2; 32],
        time: Timestamp::from_second(5).expect("in range"),
        epoch: Epoch(4),
        doubted: true,
    };
    let envelope = Envelope::sign(
        PayloadType::Channel,
        encode_channel_proof(&proof),
        &[&key(101)],
    );
    assert_eq!(
        open_channel_proof(&envelope, &root, &[1; 32], &[2; 32]),
        Ok(Proved {
            time: proof.time,
            epoch: Epoch(4),
            doubted: true,
        })
    );
    assert!(open_channel_proof(&envelope, &root, &[1; 32], &[3; 32]).is_err());
}

#[test]
fn a_missing_or_unknown_field_is_an_error() {
    let mut wire = v1::TrustDocument::decode(&*encode_trust(&document())).expect("own bytes");
    wire.anchors[0].kind = None;
    assert_eq!(
        decode_trust(&wire.encode_to_vec()),
        Err(BadDocument::Missing("anchor kind"))
    );
    wire.anchors.clear();
    assert_eq!(
        decode_trust(&wire.encode_to_vec()),
        Err(BadDocument::Anchors(BadAnchors::None))
    );
    wire.mode = 17;
    assert!(decode_trust(&wire.encode_to_vec()).is_err());
    assert!(decode_trust(&[0xff]).is_err());
    assert!(decode_root(&[]).is_err());
}
