//! Joining: from a token to a complete identity on disk, in one durable step. The token's secret is never sent.

mod again;

use std::{net::SocketAddr, path::PathBuf};

use bytes::Bytes;
use convoy_proto::{
    documents::{BadDocument, open_trust, required_envelope},
    v1,
};
use convoy_shared::{
    id::{BadId, ClientId, Digest, FleetId, GroupName, Incarnation, RootVersion},
    proof::join_message,
    root::Root,
    token::JoinToken,
    trust::BadReplacement,
};
use rustls_pki_types::CertificateDer;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    VERSION,
    address::{Address, BadAddress},
    clock::Mark,
    disk::{DiskError, StateDir},
    greet::{ANSWER_TIMEOUT, GreetError, Greeted, greet},
    key::{IdentityKey, KeyError},
    link::{Link, LinkError, road, told, told_all},
    refusal::Refusal,
    renew::{BadIdentity, accept},
    state::{SignedTrust, State, StateError},
    tls::{Tls, TlsError, unlabelled},
    verifier::Policy,
};

/// What came of joining.
#[derive(Debug)]
pub struct Joined {
    /// What is on disk now.
    pub state: State,
    /// What it is beside what was there before.
    pub how: How,
}

/// What a join has made of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// A client.
    New,
    /// Nothing: it belongs to a client that can connect.
    AlreadyThere,
    /// The client that it was, with the present trust.
    InPlace,
    /// A client of another fleet. The state that it had lies in this file.
    Replaced(PathBuf),
}

/// Asks people whether a client may leave its fleet for another.
pub type Confirm<'a> = dyn FnMut(&Change) -> Result<bool, std::io::Error> + 'a;

/// A client that is about to leave its fleet for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who it is in its present fleet.
    pub client: ClientId,
    /// What people call it there.
    pub name: String,
    /// The fleet whose controller is lost.
    pub from: FleetId,
    /// The token's fleet.
    pub to: FleetId,
}

/// Makes a client of this state folder, or gives the client that it belongs to the present trust, if that can connect no more. Tries the token's addresses
/// in order, until one leads to the fleet's controller. `replace_fleet`: whom to ask before the folder's client leaves its fleet for the token's.
///
/// # Errors
/// If no address leads to the fleet's controller, the controller refuses, or what it hands out is not to be believed. What is on disk is then what it was.
pub async fn join(
    dir: &StateDir,
    token: &JoinToken,
    name: &str,
    replace_fleet: Option<&mut Confirm<'_>>,
) -> Result<Joined, JoinError> {
    let _lock = dir.lock()?;
    let length = name.chars().count();
    if !(1..=253).contains(&length) || name.chars().any(char::is_control) {
        return Err(JoinError::BadName);
    }
    let addresses = token
        .addresses
        .iter()
        .map(|address| address.parse())
        .collect::<Result<Vec<Address>, _>>()?;
    let door = Door { token, addresses };
    match State::load(dir) {
        Err(StateError::Absent) => {
            if replace_fleet.is_some() {
                return Err(JoinError::NothingToReplace);
            }
            let key = IdentityKey::load_or_create(dir)?;
            let state = door.join_anew(&key, name).await?;
            state.store(dir)?;
            Ok(Joined {
                state,
                how: How::New,
            })
        }
        Ok(held) => {
            let key = IdentityKey::load(dir)?;
            again::join(dir, &door, &key, held, name, replace_fleet).await
        }
        Err(error) => Err(error.into()),
    }
}

/// What a token opens.
struct Door<'a> {
    token: &'a JoinToken,
    addresses: Vec<Address>,
}

impl Door<'_> {
    /// A connection to the first address where a controller proves itself by a root that follows this one, or is it.
    async fn reach(&self, tls: &Tls, trusted: Digest) -> Result<(Link, Greeted), JoinError> {
        let mut failures = Vec::new();
        for address in &self.addresses {
            match reach(address, tls, &unlabelled(), trusted).await {
                Ok(reached) => return Ok(reached),
                Err(error) => {
                    tracing::info!(%address, error = told(&error), "not the way to the controller");
                    failures.push((address.clone(), error));
                }
            }
        }
        Err(JoinError::NoController(failures))
    }

    /// Makes a new client. Nothing is stored.
    async fn join_anew(&self, key: &IdentityKey, name: &str) -> Result<State, JoinError> {
        let tls = Tls::stranger(Policy::AcceptAny)?;
        let (mut link, greeted) = self.reach(&tls, self.token.root_digest).await?;
        let answered = self
            .ask(&mut link, greeted.root.root.fleet_id, key, name, None)
            .await;
        let shown = std::mem::take(&mut link.peer_certificates);
        link.close().await;
        let answer = Answer::read(answered?, &greeted.root.root)?;
        let identity = accept(
            answer.certificates,
            key,
            greeted.root.root.fleet_id,
            answer.client_id,
        )?;
        let state = State {
            client_id: answer.client_id,
            group: answer.group,
            name: name.to_owned(),
            addresses: answer.trust.document.addresses.to_try(&self.addresses),
            earlier_roots: greeted.earlier_roots,
            root: greeted.root,
            trust: answer.trust,
            identity,
            last_proof: greeted.time,
            mark: Mark::first(greeted.time),
            incarnation: Incarnation(0),
        };
        warn_unless_accepted(&state, &shown);
        Ok(state)
    }

    /// Asks to join. `in_place`: as the client that the connection has shown.
    async fn ask(
        &self,
        link: &mut Link,
        fleet: FleetId,
        key: &IdentityKey,
        name: &str,
        in_place: Option<ClientId>,
    ) -> Result<v1::JoinResponse, JoinError> {
        let token = self.token;
        let request = key.certificate_request(name)?;
        let signing_key = token.secret.signing_key().ok_or(JoinError::NoTokenKey)?;
        let message = join_message(fleet, token.id, &request, &link.exporter);
        let request = v1::JoinRequest {
            token_id: token.id.as_bytes().to_vec().into(),
            certificate_request: request.into(),
            token_signature: signing_key.sign(&message).into(),
            name: name.to_owned(),
            agent_version: VERSION.to_owned(),
            client_id: in_place
                .map(|client| client.as_bytes().to_vec().into())
                .unwrap_or_default(),
        };
        let answer = timeout(ANSWER_TIMEOUT, link.client.join(request))
            .await
            .map_err(|_| JoinError::Silent)?
            .map_err(|status| JoinError::Refused(status.into()))?;
        Ok(answer.into_inner())
    }
}

/// Tries each IP address of the name, until one leads to the fleet's controller.
async fn reach(
    address: &Address,
    tls: &Tls,
    protocols: &[Vec<u8>],
    trusted: Digest,
) -> Result<(Link, Greeted), ReachError> {
    let mut road = road(address, None).await?;
    let mut told = None;
    while let Some(step) = road.next().await {
        match reach_on(address, step, tls, protocols, trusted).await {
            Ok(reached) => return Ok(reached),
            Err(error) => told = Some(error),
        }
    }
    Err(told.unwrap_or_else(|| LinkError::NoAnswer(road.failed()).into()))
}

async fn reach_on(
    address: &Address,
    step: (SocketAddr, TcpStream),
    tls: &Tls,
    protocols: &[Vec<u8>],
    trusted: Digest,
) -> Result<(Link, Greeted), ReachError> {
    let mut link = Link::open_on(address, step, tls, protocols).await?;
    let greeted = greet(&mut link, trusted).await?;
    Ok((link, greeted))
}

/// What a controller that has proved itself hands out.
struct Answer {
    client_id: ClientId,
    group: GroupName,
    trust: SignedTrust,
    /// Not yet believed.
    certificates: Vec<Bytes>,
}

impl Answer {
    fn read(wire: v1::JoinResponse, root: &Root) -> Result<Self, JoinError> {
        let group: GroupName = wire.group.parse()?;
        let envelope = required_envelope(wire.trust)?;
        let document = open_trust(&envelope, root)?;
        if document.audience != group || document.root_version > root.version {
            return Err(JoinError::OtherAudience);
        }
        Ok(Self {
            client_id: ClientId::from_bytes(&wire.client_id)?,
            group,
            trust: SignedTrust { envelope, document },
            certificates: wire.certificates,
        })
    }
}

fn warn_unless_accepted(state: &State, shown: &[CertificateDer<'static>]) {
    if let Err(rejected) = Policy::Trust(state.snapshot(&state.clock())).judge(shown) {
        tracing::warn!(%rejected, "the trust document does not vouch for the certificate that the controller shows without a label");
    }
}

/// Why an address does not lead to the controller.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// No connection.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Somebody else.
    #[error(transparent)]
    Greet(#[from] GreetError),
}

/// Why this host has not joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The folder belongs to a client of another fleet.
    #[error(
        "this folder's client is of the fleet {own}, and the token is of the fleet {token}. Give a token of its own fleet. If the controller of its fleet is lost, and no \
         backup is left, `join --replace-fleet` makes it a client of the token's fleet"
    )]
    OtherFleet {
        /// On disk.
        own: FleetId,
        /// The token's.
        token: FleetId,
    },
    /// The controller is behind.
    #[error(
        "this client knows root version {held} of its fleet, and the controller has version {offered} only: it was restored from an older copy, and has to be brought in order first"
    )]
    OlderRoot {
        /// On disk.
        held: RootVersion,
        /// The controller's newest.
        offered: RootVersion,
    },
    /// The trust that is handed out may not replace the one on disk.
    #[error(
        "the controller's trust may not take the place of the trust on disk: was the controller restored from an older copy?"
    )]
    Replacement(#[from] BadReplacement),
    /// Another client's answer.
    #[error("the controller answered for the client {0}, which this one is not")]
    OtherClient(ClientId),
    /// No client is here.
    #[error("--replace-fleet is for the folder of a client, and this one has none: leave it out")]
    NothingToReplace,
    /// The token is of the fleet that the client is in.
    #[error(
        "the token is of this client's own fleet: leave --replace-fleet out, and it joins again as the same client"
    )]
    SameFleet,
    /// Nothing is lost.
    #[error(
        "the controller of this client's own fleet still proves itself: it is not lost, and --replace-fleet is for one that is. To move the host, decommission the \
         client there, and join with another --state-dir"
    )]
    NotLost,
    /// Others may not.
    #[error(
        "--replace-fleet is for root and the folder's owner (user {owner}), and this is user {user}"
    )]
    NotOwner {
        /// The folder's.
        owner: u32,
        /// This process's.
        user: u32,
    },
    /// Nobody can be asked.
    #[error("nobody could be asked, and nothing was changed")]
    Terminal(#[source] std::io::Error),
    /// Somebody said no.
    #[error(
        "that is not its name, so nothing was changed: run the command again, and type the name as shown"
    )]
    Declined,
    /// A name that nobody could read.
    #[error(
        "a client's name has 1 to 253 characters and no control characters: choose one with --name"
    )]
    BadName,
    /// An address of the token.
    #[error("the join token holds a bad address; create another with `convoy token create`")]
    Address(#[from] BadAddress),
    /// No address leads to the controller.
    #[error("no address of the join token leads to the fleet's controller: {}", told_all(.0))]
    NoController(Vec<(Address, ReachError)>),
    /// The token's key cannot be derived.
    #[error("the join token's key cannot be derived")]
    NoTokenKey,
    /// No answer.
    #[error(
        "the controller did not answer within {} s: run the same command again, which is safe",
        ANSWER_TIMEOUT.as_secs()
    )]
    Silent,
    /// The controller said no.
    #[error(transparent)]
    Refused(Refusal),
    /// A malformed answer.
    #[error("the controller's answer is malformed")]
    Id(#[from] BadId),
    /// A document that is not to be believed.
    #[error("the controller's answer is not to be believed")]
    Document(#[from] BadDocument),
    /// A document for others.
    #[error("the controller sent a trust document for another group or of an unknown root")]
    OtherAudience,
    /// A certificate for others.
    #[error(transparent)]
    Identity(#[from] BadIdentity),
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A state that cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
