//! Commands of operators, of hosts that join and of the controller itself: each becomes events, or a refusal. Repetition is success without events.
//! What clients state in their sessions is decided in [`statement`](crate::statement).

use convoy_shared::{
    envelope::PublicKey,
    id::{ClientId, Digest, FleetId, Generation, GroupName, Revision, RotationId, TokenId},
    trust::{Anchor, Anchors, Mode},
};
use jiff::Timestamp;

use crate::{
    client::{ClientNumber, ClientState},
    event::{Certificate, Event, Imported, Joined, Publication, Purpose, SignedRoot},
    gate,
    refusal::Refusal,
    rotation::{self, Phase, Rotation, RotationOptions, Strategy, TRUST_VALIDITY},
    state::{Fleet, KeptCertificate},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a fleet is founded once, and no command is kept in numbers"
)]
pub enum Command {
    /// Begin a fleet.
    Found {
        /// Its id.
        fleet: FleetId,
        /// Root version 1.
        root: SignedRoot,
        /// The client CA's certificate, DER.
        client_ca: Vec<u8>,
        /// The first server certificate.
        certificate: Certificate,
        /// The names that server certificates must carry.
        server_names: Vec<String>,
    },
    /// A controller process has begun.
    StartReplica {
        /// The names that server certificates must carry from now on.
        server_names: Vec<String>,
    },
    /// Create a group.
    CreateGroup(GroupName),
    /// Create a join token.
    CreateToken {
        /// Its id.
        token: TokenId,
        /// The group that it admits to.
        group: GroupName,
        /// How many clients it admits.
        uses: u32,
        /// When it stops.
        expires_at: Timestamp,
        /// The public half of its key.
        public_key: PublicKey,
    },
    /// Revoke a join token.
    RevokeToken(TokenId),
    /// Make a client. That the caller holds the token and the key was checked at the door.
    Join {
        /// The token.
        token: TokenId,
        /// The id that it gets if it is new.
        id: ClientId,
        /// SHA-256 of its identity key's SubjectPublicKeyInfo.
        key: Digest,
        /// What people call it.
        name: String,
        /// Its agent's version.
        agent_version: String,
        /// When the identity certificate that is about to be issued expires.
        identity_expires_at: Timestamp,
    },
    /// Issue a new identity certificate.
    IssueIdentity {
        /// To whom.
        client: ClientNumber,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// Only one copy of the client is left, or its suspicion was looked into.
    Resolve(ClientNumber),
    /// Remove a client for good.
    Decommission(ClientNumber),
    /// Take in a server certificate. Its key is on disk already.
    ImportCertificate(Certificate),
    /// Serve an old certificate to nobody any more.
    RetireCertificate(Generation),
    /// A certificate is held with its key, and served if it is the one to be served.
    AttestLoaded(Generation),
    /// Start a rotation.
    StartRotation {
        /// Its id.
        rotation: RotationId,
        /// The generation to go to.
        to: Generation,
        /// How.
        strategy: Strategy,
        /// As asked for.
        options: RotationOptions,
        /// Start although the roster is empty.
        allow_empty: bool,
    },
    /// Let no phase begin.
    Pause(Option<RotationId>),
    /// Let phases begin again.
    Resume(Option<RotationId>),
    /// End a rotation before its swap.
    Abort(Option<RotationId>),
    /// Do not wait for a client.
    Waive {
        /// Which rotation. `None`: the one that runs.
        rotation: Option<RotationId>,
        /// Which client.
        client: ClientNumber,
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
    },
    /// Begin the next phase if it may begin. This is where gates open.
    Advance,
    /// Issue the present trust again before it expires.
    RefreshTrust,
}

/// Decides a command. Events come in one entry: all or none.
///
/// # Errors
/// A refusal says what is wrong and what to do. Nothing has changed then.
pub fn decide(fleet: &Fleet, command: Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if let Command::Found {
        fleet: id,
        root,
        client_ca,
        certificate,
        server_names,
    } = command
    {
        return found(fleet, id, root, client_ca, certificate, server_names, now);
    }
    if fleet.founded().is_none() {
        return Err(Refusal::NotFounded);
    }
    match command {
        Command::Found { .. } => Err(Refusal::AlreadyFounded),
        Command::StartReplica { server_names } => {
            let mut events = vec![Event::ReplicaStarted];
            if fleet.server_names() != server_names {
                events.push(Event::ServerNamesSet {
                    names: server_names,
                });
            }
            Ok(events)
        }
        Command::CreateGroup(group) => create_group(fleet, group, now),
        Command::CreateToken {
            token,
            group,
            uses,
            expires_at,
            public_key,
        } => {
            if fleet.group(&group).is_none() {
                return Err(Refusal::NoSuchGroup(group));
            }
            if expires_at <= now {
                return Err(Refusal::TokenBornExpired);
            }
            Ok(vec![Event::TokenCreated {
                token,
                group,
                uses,
                expires_at,
                public_key,
            }])
        }
        Command::RevokeToken(token) => match fleet.token(token) {
            None => Err(Refusal::UnknownToken(token)),
            Some(known) if known.revoked => Ok(vec![]),
            Some(_) => Ok(vec![Event::TokenRevoked { token }]),
        },
        Command::Join {
            token,
            id,
            key,
            name,
            agent_version,
            identity_expires_at,
        } => {
            let joined = Joined {
                id,
                number: fleet.next_client(),
                name,
                group: GroupName::default_group(),
                key,
                token,
                agent_version,
                identity_expires_at,
            };
            join(fleet, joined, now)
        }
        Command::IssueIdentity { client, expires_at } => {
            active(fleet, client)?;
            Ok(vec![Event::IdentityIssued { client, expires_at }])
        }
        Command::Resolve(client) => {
            let known = active(fleet, client)?;
            if known.state == ClientState::Duplicated || known.suspicion.is_some() {
                Ok(vec![Event::ClientResolved { client }])
            } else {
                Err(Refusal::NothingToResolve)
            }
        }
        Command::Decommission(client) => {
            let known = fleet.client(client).ok_or(Refusal::NoSuchClient)?;
            Ok(match known.state {
                ClientState::Decommissioned => vec![],
                ClientState::Active | ClientState::Duplicated => {
                    vec![Event::ClientDecommissioned { client }]
                }
            })
        }
        Command::ImportCertificate(certificate) => Ok(import(fleet, certificate)),
        Command::RetireCertificate(generation) => retire(fleet, generation),
        Command::AttestLoaded(generation) => Ok(attest(fleet, generation)),
        Command::StartRotation {
            rotation,
            to,
            strategy,
            options,
            allow_empty,
        } => start(fleet, rotation, to, strategy, options, allow_empty, now),
        Command::Pause(id) => {
            let rotation = running(fleet, id)?;
            Ok(if rotation.paused {
                vec![]
            } else {
                vec![Event::RotationPaused {
                    rotation: rotation.id,
                }]
            })
        }
        Command::Resume(id) => {
            let rotation = running(fleet, id)?;
            Ok(if rotation.paused {
                vec![Event::RotationResumed {
                    rotation: rotation.id,
                }]
            } else {
                vec![]
            })
        }
        Command::Abort(id) => abort(fleet, id, now),
        Command::Waive {
            rotation,
            client,
            reason,
            until,
        } => waive(fleet, rotation, client, reason, until, now),
        Command::Advance => Ok(advance(fleet, now)),
        Command::RefreshTrust => Ok(
            if rotation::due(fleet, now) == Some(rotation::Duty::RefreshTrust) {
                steady(fleet, now).into_iter().collect()
            } else {
                vec![]
            },
        ),
    }
}

fn found(
    fleet: &Fleet,
    id: FleetId,
    root: SignedRoot,
    client_ca: Vec<u8>,
    certificate: Certificate,
    server_names: Vec<String>,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if fleet.founded().is_some() {
        return Err(Refusal::AlreadyFounded);
    }
    let imported = Imported {
        generation: Generation(1),
        anchor: fleet.anchor_for(&certificate.spki),
        certificate,
        restored_from: None,
    };
    let anchor = Anchor {
        number: imported.anchor,
        kind: convoy_shared::trust::AnchorKind::Pin(imported.certificate.spki),
    };
    let root_version = root.root.version;
    let mut events = vec![
        Event::FleetFounded {
            fleet: id,
            root,
            client_ca,
        },
        Event::ServerNamesSet {
            names: server_names.clone(),
        },
        Event::CertificateImported(imported),
        Event::GroupCreated {
            group: GroupName::default_group(),
        },
    ];
    if let (Ok(anchors), Ok(expires_at)) =
        (Anchors::new(vec![anchor]), now.checked_add(TRUST_VALIDITY))
    {
        events.push(Event::TrustPublished(Publication {
            revision: Revision(1),
            root_version,
            mode: Mode::Verify,
            anchors,
            server_names,
            issued_at: now,
            expires_at,
            purpose: Purpose::Steady,
            groups: vec![GroupName::default_group()],
            documents: vec![],
        }));
    }
    Ok(events)
}

fn create_group(fleet: &Fleet, group: GroupName, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if fleet.group(&group).is_some() {
        return Err(Refusal::GroupExists(group));
    }
    // It is born with what the others have, also while a rotation runs.
    let (mode, anchors, purpose) = fleet.template().ok_or(Refusal::NotFounded)?;
    let trust = publication(fleet, now, mode, anchors, purpose, vec![group.clone()]);
    let mut events = vec![Event::GroupCreated { group }];
    events.extend(trust);
    Ok(events)
}

fn join(fleet: &Fleet, mut joined: Joined, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let token = fleet
        .token(joined.token)
        .ok_or(Refusal::UnknownToken(joined.token))?;
    if let Some(known) = fleet
        .client_by_key(&joined.key)
        .and_then(|number| fleet.client(number))
    {
        // The same key asks again: its answer was lost, or its state was. It is who it was, whatever has become of the token.
        return if known.state == ClientState::Decommissioned {
            Err(Refusal::ClientDecommissioned)
        } else {
            Ok(vec![])
        };
    }
    if token.revoked {
        return Err(Refusal::TokenRevoked);
    }
    if token.expires_at <= now {
        return Err(Refusal::TokenExpired(token.expires_at));
    }
    if token.used >= token.uses {
        return Err(Refusal::TokenUsedUp(token.uses));
    }
    joined.group = token.group.clone();
    Ok(vec![Event::ClientJoined(joined)])
}

fn active(fleet: &Fleet, client: ClientNumber) -> Result<&crate::client::Client, Refusal> {
    let known = fleet.client(client).ok_or(Refusal::NoSuchClient)?;
    match known.state {
        ClientState::Active | ClientState::Duplicated => Ok(known),
        ClientState::Decommissioned => Err(Refusal::ClientDecommissioned),
    }
}

fn import(fleet: &Fleet, certificate: Certificate) -> Vec<Event> {
    let same = fleet
        .certificates()
        .rev()
        .find(|(_, kept)| kept.certificate.fingerprint == certificate.fingerprint);
    match same {
        Some((generation, kept)) if unused(fleet, generation, kept) => vec![],
        Some((generation, kept)) => vec![Event::CertificateImported(restored(
            fleet, generation, kept,
        ))],
        None => vec![Event::CertificateImported(Imported {
            generation: next_generation(fleet),
            anchor: fleet.anchor_for(&certificate.spki),
            certificate,
            restored_from: None,
        })],
    }
}

/// Whether a certificate can be rotated to under its own number, or is served.
fn unused(fleet: &Fleet, generation: Generation, kept: &KeptCertificate) -> bool {
    fleet.serving() == Some(generation) || (!kept.was_served && !kept.retired)
}

fn restored(fleet: &Fleet, generation: Generation, kept: &KeptCertificate) -> Imported {
    Imported {
        generation: next_generation(fleet),
        anchor: kept.anchor,
        certificate: kept.certificate.clone(),
        restored_from: Some(generation),
    }
}

fn next_generation(fleet: &Fleet) -> Generation {
    fleet
        .certificates()
        .next_back()
        .map_or(Generation(1), |(generation, _)| generation.next())
}

fn retire(fleet: &Fleet, generation: Generation) -> Result<Vec<Event>, Refusal> {
    let kept = fleet
        .certificate(generation)
        .ok_or(Refusal::NoSuchGeneration(generation))?;
    let in_rotation = fleet
        .running()
        .is_some_and(|rotation| [rotation.from, rotation.to].contains(&generation));
    if fleet.serving() == Some(generation) || in_rotation {
        return Err(Refusal::CertificateInUse(generation));
    }
    Ok(if kept.retired {
        vec![]
    } else {
        vec![Event::CertificateRetired { generation }]
    })
}

fn attest(fleet: &Fleet, generation: Generation) -> Vec<Event> {
    let news = fleet.running().is_some_and(|rotation| {
        rotation.to == generation
            && match rotation.phase {
                Phase::Preparing => !rotation.candidate_held,
                Phase::Swapping => !rotation.swapped,
                Phase::Planned
                | Phase::PausingReplication
                | Phase::Enforcing
                | Phase::ResumingReplication
                | Phase::Completed
                | Phase::Aborted
                | Phase::RolledBack => false,
            }
    });
    if news {
        vec![Event::CertificateLoaded { generation }]
    } else {
        vec![]
    }
}

fn start(
    fleet: &Fleet,
    id: RotationId,
    to: Generation,
    strategy: Strategy,
    options: RotationOptions,
    allow_empty: bool,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    if let Some(running) = fleet.running() {
        return Err(Refusal::RotationRunning {
            running: running.id,
            phase: running.phase,
        });
    }
    let kept = fleet.certificate(to).ok_or(Refusal::NoSuchGeneration(to))?;
    let from = fleet.serving().ok_or(Refusal::NotFounded)?;
    let served = fleet.certificate(from).ok_or(Refusal::NotFounded)?;
    if served.certificate.fingerprint == kept.certificate.fingerprint {
        return Err(Refusal::AlreadyServed(from));
    }
    if kept.certificate.not_after <= now {
        return Err(Refusal::CertificateExpired {
            generation: to,
            not_after: kept.certificate.not_after,
        });
    }
    if kept.certificate.not_before > now {
        return Err(Refusal::CertificateNotYetValid {
            generation: to,
            not_before: kept.certificate.not_before,
        });
    }
    if fleet.roster().is_empty() && !allow_empty {
        return Err(Refusal::NobodyToWaitFor);
    }
    if strategy == Strategy::Toggle
        && let Some(root) = fleet.root()
    {
        if !root.off_allowed {
            return Err(Refusal::OffForbidden);
        }
        if options.off_lease > root.max_off {
            return Err(Refusal::LeaseTooLong {
                max_off_seconds: root.max_off.as_secs(),
            });
        }
    }
    let mut events = Vec::with_capacity(2);
    let mut target = to;
    if !unused(fleet, to, kept) {
        // Putting an old certificate back makes a new generation.
        let imported = restored(fleet, to, kept);
        target = imported.generation;
        events.push(Event::CertificateImported(imported));
    }
    events.push(Event::RotationStarted {
        rotation: id,
        from,
        to: target,
        strategy,
        options,
    });
    Ok(events)
}

fn running(fleet: &Fleet, id: Option<RotationId>) -> Result<&Rotation, Refusal> {
    match id {
        None => fleet.running().ok_or(Refusal::NoRotationRunning),
        Some(id) => {
            let rotation = fleet.rotation(id).ok_or(Refusal::NoSuchRotation(id))?;
            if rotation.phase.is_terminal() {
                Err(Refusal::RotationOver {
                    rotation: id,
                    phase: rotation.phase,
                })
            } else {
                Ok(rotation)
            }
        }
    }
}

fn abort(fleet: &Fleet, id: Option<RotationId>, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    let rotation = match id.and_then(|id| fleet.rotation(id)) {
        Some(rotation) if rotation.phase == Phase::Aborted => return Ok(vec![]),
        Some(_) | None => running(fleet, id)?,
    };
    if rotation.phase >= Phase::Swapping {
        return Err(Refusal::TooLateToAbort {
            rotation: rotation.id,
            phase: rotation.phase,
            from: rotation.from,
        });
    }
    let mut events = vec![Event::PhaseEntered {
        rotation: rotation.id,
        phase: Phase::Aborted,
        reason: "aborted by an operator".to_owned(),
    }];
    if rotation.phase >= Phase::Preparing {
        events.extend(steady(fleet, now));
    }
    Ok(events)
}

fn waive(
    fleet: &Fleet,
    id: Option<RotationId>,
    client: ClientNumber,
    reason: String,
    until: Timestamp,
    now: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let rotation = running(fleet, id)?;
    active(fleet, client)?;
    if until <= now {
        return Err(Refusal::WaiverBornExpired);
    }
    let repeated = rotation
        .waivers
        .get(&client)
        .is_some_and(|waiver| waiver.reason == reason && waiver.until == until);
    if repeated {
        return Ok(vec![]);
    }
    let others = rotation
        .waivers
        .iter()
        .filter(|(other, waiver)| {
            **other != client && waiver.until > now && fleet.roster().contains(**other)
        })
        .count();
    let waived = u64::try_from(others).unwrap_or(u64::MAX);
    let cap = gate::waiver_cap(fleet);
    if waived >= cap {
        return Err(Refusal::WaiverCap { waived, cap });
    }
    Ok(vec![Event::ClientWaived {
        rotation: rotation.id,
        client,
        reason,
        until,
    }])
}

fn advance(fleet: &Fleet, now: Timestamp) -> Vec<Event> {
    let Some(rotation) = fleet.running() else {
        return vec![];
    };
    let Some(phase) = rotation::next_phase(fleet, rotation, now) else {
        return vec![];
    };
    let reason = if phase == Phase::RolledBack {
        let missing = gate::missing(fleet, rotation, now).len();
        format!(
            "{missing} of {} clients did not come back on the new certificate within {:#}; at most {} may stay away",
            rotation.expected.len(),
            rotation.options.return_window,
            rotation.max_missing(),
        )
    } else {
        String::new()
    };
    let mut events = vec![Event::PhaseEntered {
        rotation: rotation.id,
        phase,
        reason,
    }];
    events.extend(match phase {
        Phase::Preparing => prepare(fleet, rotation, now),
        Phase::Enforcing => fleet.anchor(rotation.to).and_then(|new| {
            let anchors = Anchors::new(vec![new]).ok()?;
            let purpose = Purpose::Enforce(rotation.id);
            everyone(fleet, now, Mode::Verify, anchors, purpose)
        }),
        Phase::RolledBack => fleet.anchor(rotation.from).and_then(|old| {
            let anchors = Anchors::new(vec![old]).ok()?;
            everyone(fleet, now, Mode::Verify, anchors, Purpose::Steady)
        }),
        Phase::Planned
        | Phase::PausingReplication
        | Phase::Swapping
        | Phase::ResumingReplication
        | Phase::Completed
        | Phase::Aborted => None,
    });
    events
}

fn prepare(fleet: &Fleet, rotation: &Rotation, now: Timestamp) -> Option<Event> {
    let mut anchors = vec![fleet.anchor(rotation.from)?];
    let new = fleet.anchor(rotation.to)?;
    // A certificate with the same key has the same anchor.
    if anchors.iter().all(|anchor| anchor.number != new.number) {
        anchors.push(new);
    }
    let mode = match rotation.strategy {
        Strategy::Overlap => Mode::Verify,
        Strategy::Toggle => Mode::Off {
            lease: rotation.options.off_lease,
        },
    };
    let purpose = Purpose::Prepare(rotation.id);
    everyone(fleet, now, mode, Anchors::new(anchors).ok()?, purpose)
}

/// Trust in what is served, for everyone.
fn steady(fleet: &Fleet, now: Timestamp) -> Option<Event> {
    let anchors = Anchors::new(vec![fleet.anchor(fleet.serving()?)?]).ok()?;
    everyone(fleet, now, Mode::Verify, anchors, Purpose::Steady)
}

fn everyone(
    fleet: &Fleet,
    now: Timestamp,
    mode: Mode,
    anchors: Anchors,
    purpose: Purpose,
) -> Option<Event> {
    let groups = fleet.groups().map(|(name, _)| name.clone()).collect();
    publication(fleet, now, mode, anchors, purpose, groups)
}

fn publication(
    fleet: &Fleet,
    now: Timestamp,
    mode: Mode,
    anchors: Anchors,
    purpose: Purpose,
    groups: Vec<GroupName>,
) -> Option<Event> {
    Some(Event::TrustPublished(Publication {
        revision: fleet.revision().next(),
        root_version: fleet.root()?.version,
        mode,
        anchors,
        server_names: fleet.server_names().to_vec(),
        issued_at: now,
        expires_at: now.checked_add(TRUST_VALIDITY).ok()?,
        purpose,
        groups,
        documents: vec![],
    }))
}
