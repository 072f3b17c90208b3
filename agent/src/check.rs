//! Handshakes that show what this client accepts: probe and decoy for the controller, and the production certificate for people. No session
//! is held here, and nothing is stored.

use std::{fmt, net::SocketAddr, sync::Arc};

use convoy_proto::{
    agent::{read_check_token, read_held},
    documents::BadDocument,
    v1,
};
use convoy_shared::{
    ack::{HandshakeOutcome, Held},
    id::{AnchorNumber, Digest, Generation},
    label::{CheckToken, Label},
    trust::{Accepted, ModeInForce},
};
use jiff::Timestamp;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    address::Address,
    clock::{Clock, wall},
    disk::StateDir,
    greet::{ANSWER_TIMEOUT, GreetError, greet},
    key::{IdentityKey, KeyError},
    link::{self, Link, LinkError, road, told, told_all},
    refusal::Refusal,
    state::{State, StateError},
    tls::{Resume, Tls, TlsError, labelled, session_label, unlabelled},
    verifier::Policy,
};

/// A check that the controller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Of the decoy's label.
    pub token: CheckToken,
    /// What must be on disk.
    pub trust: Held,
    /// The candidate, if one is to be probed.
    pub probe: Option<Generation>,
}

impl TryFrom<v1::Check> for Ask {
    type Error = BadDocument;

    fn try_from(wire: v1::Check) -> Result<Self, BadDocument> {
        Ok(Self {
            token: read_check_token(&wire.token)?,
            trust: read_held(wire.trust)?,
            probe: Some(wire.probe_generation)
                .filter(|generation| *generation != 0)
                .map(Generation),
        })
    }
}

/// How a handshake ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// The outcome.
    pub outcome: HandshakeOutcome,
    /// What failed, where there was no connection or the failure was not about the certificate. Empty otherwise.
    pub failure: String,
}

impl Shaken {
    const fn ended(outcome: HandshakeOutcome) -> Self {
        Self {
            outcome,
            failure: String::new(),
        }
    }

    fn failed(failure: String) -> Self {
        Self {
            outcome: HandshakeOutcome::Unreachable,
            failure,
        }
    }
}

/// One handshake on a fresh connection, with this label, over the IP address that `works` first. Sends nothing else. When it returns, the server has
/// seen the end, or was given two seconds to.
pub async fn handshake(
    address: &Address,
    works: Option<SocketAddr>,
    tls: &Tls,
    label: &Label,
) -> Shaken {
    match link::handshake(address, works, tls, &labelled(label)).await {
        Ok(stream) => {
            link::take_leave(stream).await;
            Shaken::ended(HandshakeOutcome::Accepted)
        }
        Err(LinkError::Rejected(rejected)) => {
            tracing::debug!(%label, %rejected, "refused the certificate");
            Shaken::ended(HandshakeOutcome::Refused)
        }
        Err(error) => {
            let failure = format!("{address}: {}", told(&error));
            tracing::warn!(%label, failure, "a check's handshake failed");
            Shaken::failed(failure)
        }
    }
}

/// Does a check from what is on disk now, and says how it went. `clock` is that of the session which asks for it.
pub async fn answer(
    dir: &StateDir,
    address: &Address,
    works: Option<SocketAddr>,
    ask: Ask,
    clock: &Clock,
) -> v1::CheckReport {
    match prepare(dir, ask.trust, clock) {
        Ok(ready) => ready.run(address, works, ask).await,
        Err(error) => {
            tracing::warn!(error = told(&error), "the check means nothing");
            let (held, mode) = State::load(dir).map_or((ask.trust, ModeInForce::Verify), |state| {
                (state.held(), state.mode(clock))
            });
            report(
                ask.token,
                held,
                mode,
                Shaken::ended(HandshakeOutcome::NotRun),
                Shaken::failed(told(&error)),
            )
        }
    }
}

struct Ready {
    state: State,
    key: IdentityKey,
    mode: ModeInForce,
    clock: Clock,
}

fn prepare(dir: &StateDir, expected: Held, clock: &Clock) -> Result<Ready, CheckError> {
    let state = State::load(dir)?;
    if state.held() != expected {
        return Err(CheckError::OtherTrust {
            held: state.held(),
            expected,
        });
    }
    let key = IdentityKey::load(dir)?;
    let mode = state.mode(clock);
    let clock = clock.clone();
    Ok(Ready {
        state,
        key,
        mode,
        clock,
    })
}

impl Ready {
    async fn run(self, address: &Address, works: Option<SocketAddr>, ask: Ask) -> v1::CheckReport {
        let Some(generation) = ask.probe else {
            let decoy = self.one(address, works, &Label::Decoy(ask.token)).await;
            let probe = Shaken::ended(HandshakeOutcome::NotRun);
            return report(ask.token, self.state.held(), self.mode, probe, decoy);
        };
        let ready = Arc::new(self);
        let others = Self::over_others(&ready, address, generation);
        let probe = ready.one(address, works, &Label::Probe(generation)).await;
        let decoy = ready.one(address, works, &Label::Decoy(ask.token)).await;
        let mut report = report(ask.token, ready.state.held(), ready.mode, probe, decoy);
        report.others = others.join_all().await;
        report
    }

    /// Probes over the document's other addresses, all at once: one that leads nowhere takes its time.
    fn over_others(
        ready: &Arc<Self>,
        session: &Address,
        generation: Generation,
    ) -> JoinSet<v1::ProbeOver> {
        let mut probes = JoinSet::new();
        let listed = ready.state.trust.document.addresses.as_slice().iter();
        for (place, listed) in (0_u8..).zip(listed) {
            if listed.address == *session {
                continue;
            }
            let (ready, address) = (Arc::clone(ready), listed.address.clone());
            probes.spawn(async move {
                let label = Label::ProbeOver(generation, place);
                let shaken = ready.one(&address, None, &label).await;
                v1::ProbeOver {
                    place: place.into(),
                    outcome: v1::HandshakeOutcome::from(shaken.outcome).into(),
                    failure: shaken.failure,
                }
            });
        }
        probes
    }

    async fn one(&self, address: &Address, works: Option<SocketAddr>, label: &Label) -> Shaken {
        let policy = Policy::Trust(self.state.snapshot(&self.clock));
        match Tls::client(policy, &self.state.identity, &self.key, Resume::Never) {
            Ok(tls) => handshake(address, works, &tls, label).await,
            Err(error) => {
                tracing::error!(error = told(&error), "cannot check");
                Shaken::failed(told(&error))
            }
        }
    }
}

fn report(
    token: CheckToken,
    held: Held,
    mode: ModeInForce,
    probe: Shaken,
    decoy: Shaken,
) -> v1::CheckReport {
    v1::CheckReport {
        token: token.0.to_vec().into(),
        trust: Some(held.into()),
        probe: v1::HandshakeOutcome::from(probe.outcome).into(),
        decoy: v1::HandshakeOutcome::from(decoy.outcome).into(),
        mode: v1::VerificationMode::from(mode).into(),
        // What failed first is what to mend first.
        failure: if probe.failure.is_empty() {
            decoy.failure
        } else {
            probe.failure
        },
        wall_clock_seconds: wall().as_second(),
        others: Vec::new(),
    }
}

/// A production certificate that this client accepts, and a controller that has proved itself behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// SHA-256 of the certificate, DER.
    pub fingerprint: Digest,
    /// What vouches for it.
    pub anchor: AnchorNumber,
    /// The controller's time, signed.
    pub time: Timestamp,
    /// What the controller says of this client.
    pub standing: Standing,
}

/// What the controller says of a client that it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In the roster.
    Wanted,
    /// In the roster, with an identity certificate that has expired.
    Expired,
    /// In the roster, and two live copies of it were seen.
    Duplicated,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wanted => "it wants this client",
            Self::Expired => {
                "it wants this client, whose identity certificate has expired: start the agent, which renews it"
            }
            Self::Duplicated => {
                "it has seen two copies of this client, and counts neither: stop one, then have an operator say `convoy clients resolve`"
            }
        })
    }
}

/// A failed check of the production certificate.
#[derive(Debug)]
pub struct Unsound {
    /// SHA-256 of the certificate that was shown last, DER, if any was.
    pub fingerprint: Option<Digest>,
    /// Why.
    pub error: CheckError,
}

impl From<CheckError> for Unsound {
    fn from(error: CheckError) -> Self {
        Self {
            fingerprint: None,
            error,
        }
    }
}

/// Connects to the production certificate with the anchors on disk, verification on whatever the mode, and has the controller prove
/// itself, and say whether it wants this client. Tries each address, until one leads to it.
///
/// # Errors
/// If no address answers with a certificate that an anchor vouches for, the proof does not hold, or the controller does not want this client.
pub async fn production(dir: &StateDir) -> Result<Sound, Unsound> {
    let state = State::load(dir).map_err(CheckError::from)?;
    let key = IdentityKey::load(dir).map_err(CheckError::from)?;
    let policy = Policy::force_verify(state.snapshot(&state.clock()));
    let tls =
        Tls::client(policy, &state.identity, &key, Resume::Never).map_err(CheckError::from)?;
    let mut failures = Vec::new();
    let mut unproved = None;
    for address in &state.addresses {
        match production_at(address, &tls, &state).await {
            Ok(sound) => return Ok(sound),
            Err(NotThere::NoLink(error)) => failures.push((address.clone(), error)),
            // Who answers first need not be the controller.
            Err(NotThere::Unsound(unsound)) => unproved = unproved.or(Some(unsound)),
        }
    }
    Err(unproved.unwrap_or_else(|| Unsound {
        fingerprint: tls.verifier().seen().map(|seen| seen.fingerprint),
        error: CheckError::NoLink(failures),
    }))
}

enum NotThere {
    NoLink(LinkError),
    Unsound(Unsound),
}

/// Tries each IP address of the name.
async fn production_at(address: &Address, tls: &Tls, state: &State) -> Result<Sound, NotThere> {
    let mut road = road(address, None).await.map_err(NotThere::NoLink)?;
    let (mut told, mut unproved) = (None, None);
    while let Some(step) = road.next().await {
        match Link::open_on(address, step, tls, &unlabelled()).await {
            Ok(link) => match judge(link, tls, state).await {
                Ok(sound) => return Ok(sound),
                Err(unsound) => unproved = unproved.or(Some(unsound)),
            },
            Err(error) => told = Some(error.or_more_telling(told)),
        }
    }
    Err(match unproved {
        Some(unsound) => NotThere::Unsound(unsound),
        None => NotThere::NoLink(told.unwrap_or_else(|| LinkError::NoAnswer(road.failed()))),
    })
}

/// Tries whether an address leads to the controller, with the trust on disk and in the mode in force, and says what became of it.
pub async fn try_address(dir: &StateDir, order: v1::TryAddress, clock: &Clock) -> v1::AddressTried {
    let tried = async {
        let address: Address = order.address.parse().map_err(|error| told(&error))?;
        let state = State::load(dir).map_err(|error| told(&error))?;
        let key = IdentityKey::load(dir).map_err(|error| told(&error))?;
        let policy = Policy::Trust(state.snapshot(clock));
        let tls = Tls::client(policy, &state.identity, &key, Resume::Never)
            .map_err(|error| told(&error))?;
        let mut road = road(&address, None).await.map_err(|error| told(&error))?;
        let mut failure = None;
        while let Some(step) = road.next().await {
            let label = labelled(&session_label(&state, state.mode(clock)));
            let mut link = match Link::open_on(&address, step, &tls, &label).await {
                Ok(link) => link,
                Err(error) => {
                    failure = Some(told(&error));
                    continue;
                }
            };
            let greeted = greet(&mut link, state.root.envelope.digest()).await;
            link.close().await;
            match greeted {
                Ok(_) => return Ok(()),
                Err(error) => failure = Some(told(&error)),
            }
        }
        Err(failure.unwrap_or_else(|| told(&LinkError::NoAnswer(road.failed()))))
    };
    let failure: Result<(), String> = tried.await;
    v1::AddressTried {
        failure: failure
            .err()
            .unwrap_or_default()
            .chars()
            .take(500)
            .collect(),
        address: order.address,
    }
}

async fn judge(mut link: Link, tls: &Tls, state: &State) -> Result<Sound, Unsound> {
    let checked = prove_and_ask(&mut link, tls, state).await;
    link.close().await;
    checked.map_err(|error| Unsound {
        fingerprint: tls.verifier().seen().map(|seen| seen.fingerprint),
        error,
    })
}

async fn prove_and_ask(link: &mut Link, tls: &Tls, state: &State) -> Result<Sound, CheckError> {
    let greeted = greet(link, state.root.envelope.digest()).await?;
    let seen = tls.verifier().seen().ok_or(CheckError::Unverified)?;
    let Ok(Accepted::By(anchor)) = seen.verdict else {
        return Err(CheckError::Unverified);
    };
    Ok(Sound {
        fingerprint: seen.fingerprint,
        anchor,
        time: greeted.time,
        standing: standing(link).await?,
    })
}

/// Whether the controller wants this client.
async fn standing(link: &mut Link) -> Result<Standing, CheckError> {
    let asked = link.client.confirm_identity(v1::ConfirmIdentityRequest {});
    let answer = timeout(ANSWER_TIMEOUT, asked)
        .await
        .map_err(|_| CheckError::Silent)?
        .map_err(|status| CheckError::NotWanted(status.into()))?
        .into_inner();
    Ok(if answer.duplicated {
        Standing::Duplicated
    } else if answer.expired {
        Standing::Expired
    } else {
        Standing::Wanted
    })
}

/// Why a check failed, or means nothing.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Nothing to check with.
    #[error(transparent)]
    State(#[from] StateError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another document is on disk.
    #[error("the check is about revision {}, and revision {} is on disk", expected.revision, held.revision)]
    OtherTrust {
        /// On disk.
        held: Held,
        /// Asked for.
        expected: Held,
    },
    /// No address answered as it must.
    #[error("no address of the controller holds: {}", told_all(.0))]
    NoLink(Vec<(Address, LinkError)>),
    /// The controller has not proved itself.
    #[error(transparent)]
    Greet(#[from] GreetError),
    /// The controller does not want this client.
    #[error("the controller has proved itself, and does not want this client")]
    NotWanted(#[source] Refusal),
    /// It does not say.
    #[error("the controller has proved itself, and did not say within {} s whether it wants this client", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// The verifier was not asked.
    #[error("the server's certificate was not verified")]
    Unverified,
}
