//! The agent protocol's server: greeting, joining, renewing, and the opening of sessions. What a session then does lives in `session`.

mod duty;
mod hello;
mod session;
mod unknown;

use std::sync::Arc;

use convoy_fleet::{
    client::{ClientNumber, ClientState},
    decide::Command,
    event::{Actor, Rejoined},
    refusal::Refusal,
    state::{Fleet, Founded},
};
use convoy_proto::{
    documents::read_32,
    v1::{
        ConfirmIdentityRequest, ConfirmIdentityResponse, GreetRequest, GreetResponse, JoinRequest,
        JoinResponse, ObtainScepChallengeRequest, ObtainScepChallengeResponse,
        RenewIdentityRequest, RenewIdentityResponse, SessionRequest, SessionResponse,
        agent_service_server,
    },
};
use convoy_shared::{
    id::{ClientId, TokenId},
    proof::join_message,
};
use jiff::SignedDuration;
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{
    api::status,
    authority::IdentityRequest,
    checks::Checks,
    clock, documents,
    keeper::Keeper,
    keys::FleetKeys,
    pace::{Act, Paces},
    peer::{Identity, Peer},
    recovery::Hints,
    scep::Scep,
    sessions::Sessions,
    sights::Sights,
    stopping::Stopping,
};

/// The agent protocol's server.
pub struct Agents {
    /// The state.
    pub keeper: Keeper,
    /// Hints identities and channel proofs.
    pub keys: Arc<FleetKeys>,
    /// Checks under way.
    pub checks: Arc<Checks>,
    /// Open sessions.
    pub sessions: Arc<Sessions>,
    /// What tells why clients are missing.
    pub sights: Arc<Sights>,
    /// What hints that the journal is an old copy.
    pub hints: Arc<Hints>,
    /// SCEP.
    pub scep: Arc<Scep>,
    /// How long identities are valid.
    pub identity_validity: SignedDuration,
    /// How often a client may do what.
    pub paces: Arc<Paces>,
    /// The end of it all.
    pub stopping: Stopping,
}

/// A handle that tonic serves.
#[derive(Clone)]
pub struct AgentsService(pub Arc<Agents>);

#[async_trait]
impl agent_service_server::AgentService for AgentsService {
    async fn greet(
        &self,
        request: Request<GreetRequest>,
    ) -> Result<Response<GreetResponse>, Status> {
        let peer = peer(&request)?;
        let nonce = read_32(&request.get_ref().nonce, "nonce")
            .map_err(|bad| status::invalid("nonce", &bad))?;
        let fleet = self.0.keeper.read();
        let founded = not_superseded(&fleet)?;
        let proof = documents::prove_channel(
            &self.0.keys,
            founded.fleet,
            nonce,
            peer.exporter,
            fleet.epoch(),
            clock::signed(),
        );
        Ok(Response::new(GreetResponse {
            roots: founded
                .roots
                .iter()
                .map(|root| root.envelope.clone().into())
                .collect(),
            channel_proof: Some(proof.into()),
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let peer = peer(&request)?;
        self.0
            .join(&peer, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn renew_identity(
        &self,
        request: Request<RenewIdentityRequest>,
    ) -> Result<Response<RenewIdentityResponse>, Status> {
        let (peer, identity) = self.0.client(&request, Act::Renewal)?;
        self.0
            .renew(&peer, identity, request.into_inner())
            .await
            .map(Response::new)
    }

    async fn obtain_scep_challenge(
        &self,
        request: Request<ObtainScepChallengeRequest>,
    ) -> Result<Response<ObtainScepChallengeResponse>, Status> {
        let (peer, identity) = self.0.client(&request, Act::Challenge)?;
        not_superseded(&self.0.keeper.read())?;
        let scep = &self.0.scep;
        let answer = scep
            .obtain_challenge(&peer, identity, request.into_inner())
            .await?;
        // NDES may have taken its time.
        self.0.admit(&peer)?;
        Ok(Response::new(answer))
    }

    async fn confirm_identity(
        &self,
        request: Request<ConfirmIdentityRequest>,
    ) -> Result<Response<ConfirmIdentityResponse>, Status> {
        self.0.confirm(&*peer(&request)?).map(Response::new)
    }

    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = peer(&request)?;
        let (outbound, stream) = mpsc::channel(4);
        let agents = Arc::clone(&self.0);
        if let Some(unknown) = peer.unknown {
            let inbound = request.into_inner();
            self.0
                .stopping
                .spawn_until_asked(unknown::run(agents, peer, unknown, inbound, outbound));
            return Ok(Response::new(ReceiverStream::new(stream)));
        }
        let identity = self.0.admit(&peer)?;
        let session = session::run(agents, peer, identity, request.into_inner(), outbound);
        self.0.stopping.spawn(session);
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Agents {
    /// The client that asks for something, if it may do that now.
    fn client<T>(&self, request: &Request<T>, act: Act) -> Result<(Arc<Peer>, Identity), Status> {
        let peer = peer(request)?;
        let identity = self.admit(&peer)?;
        self.paces.admit(identity.client, act)?;
        Ok((peer, identity))
    }

    /// Who the peer is, if it may act as a client now. The one door of every call that is not open to strangers.
    fn admit(&self, peer: &Peer) -> Result<Identity, Status> {
        let identity = peer.identity.ok_or_else(|| {
            status::unauthenticated(
                "CLIENT_CERTIFICATE_REQUIRED",
                "this needs the certificate of a client of this fleet; join first with `convoy-agent join`",
            )
        })?;
        identity
            .admitted(&self.keeper.read())
            .map_err(|refusal| status::refused(&refusal))?;
        Ok(identity)
    }

    fn confirm(&self, peer: &Peer) -> Result<ConfirmIdentityResponse, Status> {
        let identity = self.admit(peer)?;
        let fleet = self.keeper.read();
        let record = identity
            .admitted(&fleet)
            .map_err(|refusal| status::refused(&refusal))?;
        Ok(ConfirmIdentityResponse {
            expired: identity.expired,
            duplicated: record.state == ClientState::Duplicated,
        })
    }

    async fn join(&self, peer: &Peer, request: JoinRequest) -> Result<JoinResponse, Status> {
        let token_id = TokenId::from_bytes(&request.token_id)
            .map_err(|bad| status::invalid("token_id", &bad))?;
        let name = host_name(&request.name)?;
        let asked = IdentityRequest::read(&request.certificate_request)
            .map_err(|bad| status::invalid("certificate_request", &bad))?;
        {
            let fleet = self.keeper.read();
            let founded = fleet
                .founded()
                .ok_or_else(|| status::refused(&Refusal::NotFounded))?;
            let token = fleet
                .token(token_id)
                .ok_or_else(|| status::refused(&Refusal::UnknownToken(token_id)))?;
            let message = join_message(
                founded.fleet,
                token_id,
                &request.certificate_request,
                &peer.exporter,
            );
            if !token.public_key.verify(&message, &request.token_signature) {
                tracing::warn!(peer = %peer.address, token = %token_id, name, "somebody tried to join with a token's id but without its secret");
                return Err(status::refused(&Refusal::UnknownToken(token_id)));
            }
        }
        // Who asks again and again is given a certificate again and again, each an entry in the journal.
        let known = self.keeper.read().client_by_key(&asked.key());
        if let Some(client) = known {
            self.paces.admit(client, Act::Join)?;
        }
        let now = clock::now();
        let agent_version = request.agent_version.chars().take(64).collect();
        let identity_expires_at = now.checked_add(self.identity_validity).unwrap_or(now);
        let (command, actor) = if request.client_id.is_empty() {
            let command = Command::Join {
                token: token_id,
                id: ClientId::new(uuid::Uuid::new_v4()),
                key: asked.key(),
                name: name.clone(),
                agent_version,
                identity_expires_at,
            };
            (command, Actor::Stranger)
        } else {
            let client = self.in_place(peer, &request.client_id, &asked)?;
            let command = Command::Rejoin(Rejoined {
                client,
                token: token_id,
                agent_version,
                identity_expires_at,
            });
            (command, Actor::Clients)
        };
        if let Err(error) = self.keeper.command(command, actor, None).await {
            tracing::warn!(peer = %peer.address, token = %token_id, name, %error, "a host may not join");
            return Err(status::from_keeper(&error));
        }
        let client = self
            .keeper
            .read()
            .client_by_key(&asked.key())
            .ok_or_else(|| status::internal("the client that has joined is not in the roster"))?;
        let certificates = self.issue(client, &asked)?;
        let fleet = self.keeper.read();
        let (record, trust) = record_and_trust(&fleet, client)?;
        Ok(JoinResponse {
            client_id: record.id.as_bytes().to_vec().into(),
            certificates,
            trust: Some(trust.envelope.clone().into()),
            group: record.group.to_string(),
        })
    }

    /// The client that joins again in place: the one that the connection's certificate and the roster say, and that it says it is.
    fn in_place(
        &self,
        peer: &Peer,
        claimed: &[u8],
        asked: &IdentityRequest,
    ) -> Result<ClientNumber, Status> {
        let claimed =
            ClientId::from_bytes(claimed).map_err(|bad| status::invalid("client_id", &bad))?;
        let recorded = peer.identity.filter(|identity| {
            identity.id == claimed
                && self.keeper.read().client_by_key(&asked.key()) == Some(identity.client)
        });
        recorded
            .map(|identity| identity.client)
            .ok_or_else(|| {
                tracing::warn!(client = %claimed, "a client that the roster does not have so tried to join again in place");
                status::refused(&Refusal::NotRecorded)
            })
    }

    async fn renew(
        &self,
        peer: &Peer,
        identity: Identity,
        request: RenewIdentityRequest,
    ) -> Result<RenewIdentityResponse, Status> {
        if peer.bridged {
            return Err(status::failed(
                "BRIDGED",
                "this connection is served an old certificate: take the new trust first, then renew",
            ));
        }
        let asked = IdentityRequest::read(&request.certificate_request)
            .map_err(|bad| status::invalid("certificate_request", &bad))?;
        let recorded = self
            .keeper
            .read()
            .client(identity.client)
            .map(|client| client.key);
        if recorded != Some(asked.key()) {
            return Err(status::invalid(
                "certificate_request",
                &"it is for another key than the one that the roster records",
            ));
        }
        let certificates = self.issue(identity.client, &asked)?;
        let now = clock::now();
        let command = Command::IssueIdentity {
            client: identity.client,
            expires_at: now.checked_add(self.identity_validity).unwrap_or(now),
        };
        self.keeper
            .command(command, Actor::Clients, None)
            .await
            .map_err(|error| status::from_keeper(&error))?;
        tracing::info!(client = %identity.id, "identity renewed");
        Ok(RenewIdentityResponse { certificates })
    }

    /// An identity certificate and its issuer.
    fn issue(
        &self,
        client: ClientNumber,
        asked: &IdentityRequest,
    ) -> Result<Vec<bytes::Bytes>, Status> {
        let fleet = self.keeper.read();
        let founded = not_superseded(&fleet)?;
        let record = fleet
            .client(client)
            .ok_or_else(|| status::refused(&Refusal::NoSuchClient))?;
        let ca = CertificateDer::from(founded.client_ca.as_slice());
        let certificate = asked
            .issue(
                &ca,
                &self.keys.client_ca,
                founded.fleet,
                record.id,
                clock::now(),
                self.identity_validity,
            )
            .map_err(|error| {
                tracing::error!(%error, "cannot issue an identity certificate");
                status::internal(
                    "the identity certificate cannot be issued; the controller's log says why",
                )
            })?;
        Ok(vec![certificate.to_vec().into(), ca.to_vec().into()])
    }
}

/// The fleet's beginning, unless another copy of this controller has gone on: then nothing is signed here any more.
fn not_superseded(fleet: &Fleet) -> Result<&Founded, Status> {
    match fleet.superseded_by() {
        Some(epoch) => Err(status::refused(&Refusal::Superseded {
            own: fleet.epoch(),
            epoch,
        })),
        None => fleet
            .founded()
            .ok_or_else(|| status::refused(&Refusal::NotFounded)),
    }
}

fn peer<T>(request: &Request<T>) -> Result<Arc<Peer>, Status> {
    request
        .extensions()
        .get::<Arc<Peer>>()
        .cloned()
        .ok_or_else(|| status::internal("no peer on this connection"))
}

fn record_and_trust(
    fleet: &Fleet,
    client: ClientNumber,
) -> Result<
    (
        &convoy_fleet::client::Client,
        &convoy_fleet::state::GroupTrust,
    ),
    Status,
> {
    let record = fleet
        .client(client)
        .ok_or_else(|| status::refused(&Refusal::NoSuchClient))?;
    let group = fleet
        .group(&record.group)
        .ok_or_else(|| status::refused(&Refusal::NoSuchGroup(record.group.clone())))?;
    Ok((record, &group.trust))
}

fn host_name(name: &str) -> Result<String, Status> {
    let length = name.chars().count();
    if (1..=253).contains(&length) && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(status::invalid(
            "name",
            &"a host's name has 1 to 253 characters and no control characters",
        ))
    }
}
