//! Joining: from a token to a complete identity on disk, in one durable step. The token's secret is never sent.

use std::net::SocketAddr;

use convoy_proto::{
    documents::{BadDocument, open_trust, required_envelope},
    v1,
};
use convoy_shared::{
    id::{BadId, ClientId, GroupName, Incarnation},
    proof::join_message,
    token::JoinToken,
    trust::Rejected,
};
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

/// Makes a client of this state folder. Tries the token's addresses in order, until one leads to the fleet's controller.
///
/// # Errors
/// If the folder belongs to a client already, no address leads to the fleet's controller, or the controller refuses.
pub async fn join(dir: &StateDir, token: &JoinToken, name: &str) -> Result<State, JoinError> {
    let _lock = dir.lock()?;
    match State::load(dir) {
        Err(StateError::Absent) => {}
        Ok(state) => return Err(JoinError::Already(state.client_id)),
        Err(error) => return Err(error.into()),
    }
    let length = name.chars().count();
    if !(1..=253).contains(&length) || name.chars().any(char::is_control) {
        return Err(JoinError::BadName);
    }
    let addresses = token
        .addresses
        .iter()
        .map(|address| address.parse())
        .collect::<Result<Vec<Address>, _>>()?;
    let key = IdentityKey::load_or_create(dir)?;
    let tls = Tls::stranger(Policy::AcceptAny)?;
    let mut failures = Vec::new();
    for address in &addresses {
        match reach(address, &tls, token).await {
            Ok((mut link, greeted)) => {
                let joined = enter(&mut link, greeted, token, &key, name, addresses).await;
                let shown = std::mem::take(&mut link.peer_certificates);
                link.close().await;
                let state = joined?;
                state.store(dir)?;
                if let Err(rejected) = would_accept(&state, &shown) {
                    tracing::warn!(%rejected, "the trust document does not vouch for the certificate that the controller shows without a label");
                }
                return Ok(state);
            }
            Err(error) => {
                tracing::info!(%address, error = told(&error), "not the way to the controller");
                failures.push((address.clone(), error));
            }
        }
    }
    Err(JoinError::NoController(failures))
}

/// Tries each IP address of the name, until one leads to the fleet's controller.
async fn reach(
    address: &Address,
    tls: &Tls,
    token: &JoinToken,
) -> Result<(Link, Greeted), ReachError> {
    let mut road = road(address, None).await?;
    let mut told = None;
    while let Some(step) = road.next().await {
        match reach_on(address, step, tls, token).await {
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
    token: &JoinToken,
) -> Result<(Link, Greeted), ReachError> {
    let mut link = Link::open_on(address, step, tls, &unlabelled()).await?;
    let greeted = greet(&mut link, token.root_digest).await?;
    Ok((link, greeted))
}

async fn enter(
    link: &mut Link,
    greeted: Greeted,
    token: &JoinToken,
    key: &IdentityKey,
    name: &str,
    addresses: Vec<Address>,
) -> Result<State, JoinError> {
    let fleet = greeted.root.root.fleet_id;
    let request = key.certificate_request(name)?;
    let signing_key = token.secret.signing_key().ok_or(JoinError::NoTokenKey)?;
    let message = join_message(fleet, token.id, &request, &link.exporter);
    let request = v1::JoinRequest {
        token_id: token.id.as_bytes().to_vec().into(),
        certificate_request: request.into(),
        token_signature: signing_key.sign(&message).into(),
        name: name.to_owned(),
        agent_version: VERSION.to_owned(),
    };
    let answer = timeout(ANSWER_TIMEOUT, link.client.join(request))
        .await
        .map_err(|_| JoinError::Silent)?
        .map_err(|status| JoinError::Refused(status.into()))?
        .into_inner();
    let client_id = ClientId::from_bytes(&answer.client_id)?;
    let group: GroupName = answer.group.parse()?;
    let envelope = required_envelope(answer.trust)?;
    let document = open_trust(&envelope, &greeted.root.root)?;
    if document.audience != group || document.root_version > greeted.root.root.version {
        return Err(JoinError::OtherAudience);
    }
    let identity = accept(answer.certificates, key, fleet, client_id)?;
    Ok(State {
        client_id,
        group,
        name: name.to_owned(),
        addresses: document.addresses.to_try(&addresses),
        earlier_roots: greeted.earlier_roots,
        root: greeted.root,
        trust: SignedTrust { envelope, document },
        identity,
        last_proof: greeted.time,
        mark: Mark::first(greeted.time),
        incarnation: Incarnation(0),
    })
}

fn would_accept(
    state: &State,
    shown: &[rustls_pki_types::CertificateDer<'static>],
) -> Result<(), Rejected> {
    Policy::Trust(state.snapshot(&state.clock()))
        .judge(shown)
        .map(|_| ())
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
    /// The folder belongs to a client.
    #[error(
        "already joined as {0}: start it with `convoy-agent run`. To make a second client of this host, use another --state-dir"
    )]
    Already(ClientId),
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
