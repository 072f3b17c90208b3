//! Commands of operators, of hosts that join and of the controller itself: each becomes events, or a refusal. Repetition is success without events.
//! What clients state in their sessions is decided in [`statement`](crate::statement).

mod addresses;
mod certificates;
mod joining;
mod rotations;

use convoy_shared::{
    address::{Address, Addresses},
    envelope::PublicKey,
    id::{ClientId, Digest, Epoch, FleetId, Generation, GroupName, Revision, RotationId, TokenId},
    trust::{Anchor, Anchors, Mode},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{
    client::{ClientNumber, ClientState},
    clock::{self, BootMark, ClockCommand, ClockEvent},
    enrolment::{self, EnrolmentCommand},
    event::{Certificate, Event, Imported, Joined, Publication, Purpose, Rejoined, SignedRoot},
    issuance::{self, IssuanceCommand},
    recovery::{self, Ahead, Recover},
    refusal::Refusal,
    rotation::{RotationOptions, Strategy, TRUST_VALIDITY},
    state::{Fleet, names_with},
};

pub use addresses::needing;
use certificates::{adopt, attest, import, retire};
use joining::{join, rejoin};
use rotations::{abort, advance, everyone, publication, refresh, roll_back, running, start, waive};

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
        /// Where clients are to reach the controller.
        addresses: Addresses,
    },
    /// A controller process has begun.
    StartReplica {
        /// The names that server certificates must carry from now on.
        server_names: Vec<String>,
        /// The host's boot, if it is known.
        mark: Option<BootMark>,
    },
    /// Put a new root in force, and publish the present trust again under it.
    RenewRoot(SignedRoot),
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
    /// Give a client that cannot connect any more the present trust. That the caller holds the token, and the key that the roster records, was
    /// checked at the door.
    Rejoin(Rejoined),
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
    RetireCertificate {
        /// Which.
        generation: Generation,
        /// Also if clients are cut off by it.
        force: bool,
    },
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
    /// Tell clients where the controller is. That it is at each new address that is not ahead was proved at the door.
    SetAddresses {
        /// Best first, in place of those so far.
        addresses: Addresses,
        /// Also if a client has come by none that stays.
        force: bool,
    },
    /// Tell clients that the controller is at an address no more.
    RemoveAddress {
        /// Which.
        address: Address,
        /// Also if a client has come by no other.
        force: bool,
    },
    /// Let no phase begin.
    Pause(Option<RotationId>),
    /// Let phases begin again.
    Resume(Option<RotationId>),
    /// End a rotation before its swap.
    Abort(Option<RotationId>),
    /// Put the old certificate back while the clients are still coming back on the new one.
    RollBack(Option<RotationId>),
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
    Advance {
        /// Who is connected just now: if the swap begins, they are expected back.
        connected: RoaringBitmap,
    },
    /// Issue the present trust again before it expires.
    RefreshTrust,
    /// What lies beside the journal is newer than it, or an operator means an older journal.
    PutBack,
    /// A certificate that is held on disk, and that the journal does not know.
    AdoptCertificate(Imported),
    /// A client of the roster has shown a document of the fleet's policy key that the journal does not know.
    NoteAhead(Ahead),
    /// Go on from an old copy of the journal.
    FastForward(Box<Recover>),
    /// Something about SCEP settings.
    Enrolment(EnrolmentCommand),
    /// Something about the clock.
    Clock(ClockCommand),
    /// Something about the built-in CA.
    Issuance(IssuanceCommand),
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
        addresses,
    } = command
    {
        let publication = Founding {
            server_names,
            addresses,
            now,
        };
        return found(fleet, id, root, client_ca, certificate, publication);
    }
    if fleet.founded().is_none() {
        return Err(Refusal::NotFounded);
    }
    if needs_newest(&command) {
        fleet.is_newest()?;
    }
    match command {
        Command::Found { .. } => Err(Refusal::AlreadyFounded),
        Command::PutBack => Ok(recovery::put_back(fleet)),
        Command::AdoptCertificate(imported) => Ok(adopt(fleet, imported)),
        Command::NoteAhead(ahead) => Ok(recovery::note_ahead(fleet, ahead)),
        Command::FastForward(recover) => recovery::fast_forward(fleet, *recover, now),
        Command::StartReplica { server_names, mark } => {
            let mut events = vec![Event::ReplicaStarted];
            events.extend(mark.map(|mark| Event::Clock(ClockEvent::Marked(mark))));
            if fleet.server_names() != server_names {
                events.push(Event::ServerNamesSet {
                    names: server_names,
                });
            }
            Ok(events)
        }
        Command::RenewRoot(root) => renew_root(fleet, root, now),
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
        Command::Rejoin(rejoined) => rejoin(fleet, rejoined, now),
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
        Command::RetireCertificate { generation, force } => retire(fleet, generation, force),
        Command::AttestLoaded(generation) => Ok(attest(fleet, generation)),
        Command::StartRotation {
            rotation,
            to,
            strategy,
            options,
            allow_empty,
        } => start(fleet, rotation, to, strategy, options, allow_empty, now),
        Command::SetAddresses { addresses, force } => addresses::set(fleet, addresses, force, now),
        Command::RemoveAddress { address, force } => addresses::remove(fleet, &address, force, now),
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
        Command::RollBack(id) => roll_back(fleet, id, now),
        Command::Waive {
            rotation,
            client,
            reason,
            until,
        } => waive(fleet, rotation, client, reason, until, now),
        Command::Advance { connected } => Ok(advance(fleet, connected, now)),
        Command::RefreshTrust => Ok(refresh(fleet, now)),
        Command::Enrolment(command) => enrolment::decide(fleet, command),
        Command::Clock(command) => clock::decide(fleet, command, now),
        Command::Issuance(command) => issuance::decide(fleet, command, now),
    }
}

/// Whether an older journal must not do it: what it would sign, clients have seen otherwise; and what it admits may have been used up.
const fn needs_newest(command: &Command) -> bool {
    matches!(
        command,
        Command::RenewRoot(_)
            | Command::CreateGroup(_)
            | Command::CreateToken { .. }
            | Command::Join { .. }
            | Command::Rejoin(_)
            | Command::StartRotation { .. }
            | Command::Abort(_)
            | Command::RollBack(_)
            | Command::SetAddresses { .. }
            | Command::RemoveAddress { .. }
    )
}

/// What a fleet begins with beside its keys.
struct Founding {
    server_names: Vec<String>,
    addresses: Addresses,
    now: Timestamp,
}

fn found(
    fleet: &Fleet,
    id: FleetId,
    root: SignedRoot,
    client_ca: Vec<u8>,
    certificate: Certificate,
    Founding {
        server_names,
        addresses,
        now,
    }: Founding,
) -> Result<Vec<Event>, Refusal> {
    if fleet.founded().is_some() {
        return Err(Refusal::AlreadyFounded);
    }
    let imported = Imported {
        generation: Generation(1),
        anchor: fleet.anchor_for(&certificate.spki),
        certificate,
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
        Event::AddressesSet {
            addresses: addresses.clone(),
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
            epoch: Epoch::FIRST,
            mode: Mode::Verify,
            anchors,
            server_names: names_with(&server_names, addresses.hosts()),
            addresses,
            issued_at: now,
            expires_at,
            purpose: Purpose::Steady,
            groups: vec![GroupName::default_group()],
            documents: vec![],
        }));
    }
    Ok(events)
}

fn renew_root(fleet: &Fleet, root: SignedRoot, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    if let Some(running) = fleet.running() {
        return Err(Refusal::RotationRunning {
            running: running.id,
            phase: running.phase,
        });
    }
    let current = fleet.root().ok_or(Refusal::NotFounded)?;
    current
        .check_next(&root.root, &root.envelope)
        .map_err(Refusal::BadRoot)?;
    let version = root.root.version;
    let again = fleet
        .template()
        .and_then(|(mode, anchors, purpose)| everyone(fleet, now, mode, anchors, purpose));
    let mut events = vec![Event::RootRenewed { root }];
    if let Some(Event::TrustPublished(publication)) = again {
        events.push(Event::TrustPublished(Publication {
            root_version: version,
            ..publication
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

fn active(fleet: &Fleet, client: ClientNumber) -> Result<&crate::client::Client, Refusal> {
    let known = fleet.client(client).ok_or(Refusal::NoSuchClient)?;
    match known.state {
        ClientState::Active | ClientState::Duplicated => Ok(known),
        ClientState::Decommissioned => Err(Refusal::ClientDecommissioned),
    }
}
