//! One log line per event that matters. Nothing else is done with an event here.

mod scep;

use convoy_fleet::{
    client::ClientNumber,
    clock::ClockEvent,
    event::{Entry, Event},
    recovery::RecoveryEvent,
    rotation::Phase,
    state::Fleet,
};
use roaring::RoaringBitmap;
use tracing::field;

/// A line names so many clients.
const NAMED: usize = 50;

pub(super) fn log(fleet: &Fleet, event: &Event, entry: &Entry) {
    let named = |number: &ClientNumber| {
        fleet
            .client(*number)
            .map(|client| field::display(client.id))
    };
    match event {
        Event::FleetFounded { fleet, .. } => tracing::info!(%fleet, "fleet founded"),
        Event::RootRenewed { root } => {
            tracing::info!(version = %root.root.version, expires_at = %root.root.expires_at, actor = ?entry.actor, "root renewed")
        }
        Event::AddressesSet { addresses } => {
            tracing::info!(addresses = ?addresses.to_try(&[]).iter().map(ToString::to_string).collect::<Vec<_>>(), actor = ?entry.actor, "addresses set")
        }
        Event::AddressUsed { client, address } => {
            tracing::info!(client = named(client), %address, "client has come by this address for the first time")
        }
        Event::GroupCreated { group } => tracing::info!(%group, "group created"),
        Event::TokenCreated { token, group, .. } => {
            tracing::info!(%token, %group, actor = ?entry.actor, "join token created")
        }
        Event::TokenRevoked { token } => {
            tracing::info!(%token, actor = ?entry.actor, "join token revoked")
        }
        Event::ClientJoined(joined) => {
            tracing::info!(client = %joined.id, name = joined.name, group = %joined.group, "client joined")
        }
        Event::ClientRejoined(rejoined) => tracing::info!(
            client = named(&rejoined.client),
            token = %rejoined.token,
            "client joined again in place: what it has shown no longer counts"
        ),
        Event::ClientSuspected { client, suspicion } => {
            tracing::warn!(client = named(client), %suspicion, "client reported: it does not count")
        }
        Event::ClientDuplicated { client } => tracing::warn!(
            client = named(client),
            "two live copies of one client: neither counts until `convoy clients resolve`"
        ),
        Event::ClientResolved { client } => {
            tracing::info!(client = named(client), actor = ?entry.actor, "client resolved")
        }
        Event::ClientDecommissioned { client } => {
            tracing::info!(client = named(client), actor = ?entry.actor, "client decommissioned")
        }
        Event::CertificateImported(imported) => {
            tracing::info!(generation = %imported.generation, fingerprint = %imported.certificate.fingerprint, "certificate imported")
        }
        Event::CertificateChainTaken { generation, chain } => {
            tracing::info!(%generation, certificates = chain.len(), actor = ?entry.actor, "the certificate's new chain is taken")
        }
        Event::CertificateRetired { generation } => {
            tracing::info!(%generation, actor = ?entry.actor, "certificate retired")
        }
        Event::CertificateLoaded { generation } => {
            tracing::info!(%generation, "certificate loaded")
        }
        Event::TrustPublished(publication) => {
            tracing::info!(revision = %publication.revision, mode = ?publication.mode, anchors = ?publication.anchors.numbers().iter().map(|anchor| anchor.0).collect::<Vec<_>>(), "trust published")
        }
        Event::RotationStarted {
            rotation,
            from,
            to,
            strategy,
            ..
        } => {
            tracing::info!(%rotation, %from, %to, ?strategy, actor = ?entry.actor, "rotation started")
        }
        Event::PhaseEntered {
            rotation,
            phase: phase @ Phase::RolledBack,
            reason,
            expected: _,
        } => {
            let stayed_away = fleet
                .rotation(*rotation)
                .map(|rotation| rotation.stayed_away.clone())
                .unwrap_or_default();
            tracing::warn!(%rotation, %phase, reason, count = stayed_away.len(), stayed_away = names(fleet, &stayed_away), "phase entered: these clients had not come back on the new certificate");
        }
        Event::PhaseEntered {
            rotation,
            phase,
            reason,
            expected: _,
        } => tracing::info!(%rotation, %phase, reason, "phase entered"),
        Event::RotationPaused { rotation } => {
            tracing::info!(%rotation, actor = ?entry.actor, "rotation paused")
        }
        Event::RotationResumed { rotation } => {
            tracing::info!(%rotation, actor = ?entry.actor, "rotation resumed")
        }
        Event::ClientWaived {
            rotation,
            client,
            reason,
            until,
        } => {
            tracing::warn!(%rotation, client = named(client), reason, %until, actor = ?entry.actor, "client waived")
        }
        Event::EvidenceGiven {
            client,
            revision,
            evidence,
        } => tracing::debug!(client = named(client), %revision, ?evidence, "evidence"),
        Event::RelaxationShown { client, revision } => {
            tracing::debug!(client = named(client), %revision, "verification shown to be off")
        }
        Event::EvidenceCleared { client } => tracing::warn!(
            client = named(client),
            "evidence cleared: the client went back to an earlier state"
        ),
        Event::ClientConnected(connected) => {
            tracing::debug!(client = named(&connected.client), served = %connected.served, held = connected.held.map(|revision| revision.0), "client stated something new")
        }
        Event::Enrolment(event) => scep::enrolment(
            &|number| {
                fleet
                    .client(*number)
                    .map(|client| client.id.to_string())
                    .unwrap_or_default()
            },
            event,
            entry,
        ),
        Event::Clock(ClockEvent::Doubted { wall }) => {
            tracing::error!(%wall, believed = %entry.time, "the wall clock is not believed")
        }
        Event::Clock(ClockEvent::Believed { confirmed, .. }) => {
            tracing::info!(time = %entry.time, confirmed, actor = ?entry.actor, "the wall clock is believed again")
        }
        Event::Clock(ClockEvent::Interrupted) => tracing::warn!(
            "for some time clients could not come back: the return window begins anew"
        ),
        Event::Issuance(event) => scep::issuance(event, entry),
        Event::Recovery(event) => recovery(event),
        Event::ReplicaStarted
        | Event::Clock(ClockEvent::Marked(_))
        | Event::AlreadySo
        | Event::ServerNamesSet { .. }
        | Event::IdentityIssued { .. } => {}
    }
}

fn recovery(event: &RecoveryEvent) {
    match event {
        // The register of what is wrong says it.
        RecoveryEvent::PutBack | RecoveryEvent::AheadSeen(_) => {}
        RecoveryEvent::FastForwarded(forward) => tracing::warn!(
            epoch = forward.epoch.0,
            revision = forward.revision.0,
            serving = forward.serving.0,
            roots = forward.roots.len(),
            "the journal goes on in a new epoch; all join tokens and challenges are void"
        ),
        RecoveryEvent::Readmitted(client) => {
            tracing::warn!(client = %client.id, name = client.name, group = %client.group, "client readmitted");
        }
        RecoveryEvent::RevocationKept(kept) => {
            tracing::info!(
                serial = hex::encode(&kept.serial),
                "the revocation of a certificate that the journal does not know is kept"
            );
        }
    }
}

/// The names of these clients, or of the first of them.
pub(crate) fn names(fleet: &Fleet, clients: &RoaringBitmap) -> String {
    let named = clients
        .iter()
        .take(NAMED)
        .filter_map(|number| fleet.client(number))
        .map(|client| client.name.as_str());
    let mut names = named.collect::<Vec<_>>().join(", ");
    let others = clients.len().saturating_sub(NAMED.try_into().unwrap_or(0));
    if others > 0 {
        names = format!("{names} and {others} more");
    }
    names
}
