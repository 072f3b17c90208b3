//! Where documents become signed bytes: each once per group, all of them here. What they say is decided in the fleet.

use convoy_fleet::event::{Event, SignedRoot};
use convoy_proto::{
    documents::{encode_channel_proof, encode_root, encode_trust},
    scep::encode_scep,
};
use convoy_shared::{
    envelope::{BadRole, Envelope, PayloadType, Role},
    id::{Epoch, FleetId, RootVersion},
    proof::{ChannelProof, Exporter, Nonce},
    root::Root,
    settings::ScepDocument,
};
use jiff::{SignedDuration, Timestamp};

use crate::{clock::SignedTime, keys::FleetKeys};

/// Roots are issued for so long. One that has expired is called stale, and kept.
const ROOT_VALIDITY: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// The longest that verification may stay off after a document was issued.
const MAX_OFF: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Signs the trust documents of the publications among the events. Publications that are signed already stay as they are.
pub fn seal(keys: &FleetKeys, fleet: FleetId, events: &mut [Event]) {
    for event in events {
        if let Event::TrustPublished(publication) = event
            && publication.documents.is_empty()
        {
            publication.documents = publication
                .groups
                .iter()
                .map(|group| {
                    let payload = encode_trust(&publication.document(fleet, group));
                    Envelope::sign(PayloadType::Trust, payload, &[&keys.policy])
                })
                .collect();
        }
    }
}

/// Signs a device's SCEP settings.
#[must_use]
pub fn sign_scep(keys: &FleetKeys, document: &ScepDocument) -> Envelope {
    Envelope::sign(PayloadType::Scep, encode_scep(document), &[&keys.policy])
}

/// The first root of a fleet.
///
/// # Errors
/// If the keys cannot be roles.
pub fn first_root(keys: &FleetKeys, fleet: FleetId, now: Timestamp) -> Result<SignedRoot, BadRole> {
    let root = Root {
        fleet_id: fleet,
        version: RootVersion(1),
        root: Role::new(vec![keys.root.public()], 1)?,
        policy: Role::new(vec![keys.policy.public()], 1)?,
        issued_at: now,
        expires_at: now.checked_add(ROOT_VALIDITY).unwrap_or(Timestamp::MAX),
        off_allowed: true,
        max_off: MAX_OFF,
    };
    let envelope = Envelope::sign(PayloadType::Root, encode_root(&root), &[&keys.root]);
    Ok(SignedRoot { envelope, root })
}

/// The root that follows this one: the same keys and limits, for another while.
#[must_use]
pub fn next_root(keys: &FleetKeys, current: &Root, now: Timestamp) -> SignedRoot {
    let root = Root {
        version: current.version.next(),
        issued_at: now,
        expires_at: now.checked_add(ROOT_VALIDITY).unwrap_or(Timestamp::MAX),
        ..current.clone()
    };
    let envelope = Envelope::sign(PayloadType::Root, encode_root(&root), &[&keys.root]);
    SignedRoot { envelope, root }
}

/// States that a TLS channel ends here.
#[must_use]
pub fn prove_channel(
    keys: &FleetKeys,
    fleet: FleetId,
    nonce: Nonce,
    exporter: Exporter,
    epoch: Epoch,
    now: SignedTime,
) -> Envelope {
    let proof = ChannelProof {
        fleet_id: fleet,
        nonce,
        exporter,
        time: now.time,
        doubted: now.doubted,
        epoch,
    };
    Envelope::sign(
        PayloadType::Channel,
        encode_channel_proof(&proof),
        &[&keys.policy],
    )
}
