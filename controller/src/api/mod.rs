//! The operators' API: one file per service, conversions to what people see in `view`, refusals to gRPC in `status`. Nothing is decided here.

mod addresses;
mod certificates;
mod clients;
mod cut_off;
mod groups;
mod page;
mod reason;
mod recovery;
mod roots;
mod rotations;
mod scep;
mod scep_authority;
pub mod status;
pub mod system;
mod tokens;
mod view;

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::Request as HttpRequest,
    middleware::{Next, from_fn, map_response},
    response::Response as HttpResponse,
};
use convoy_fleet::{
    client::{ClientNumber, ClientState},
    decide::Command,
    event::{Actor, Request as NamedRequest},
    refusal::Refusal,
    state::{Fleet, Outcome},
};
use convoy_proto::v1::{
    self, address_service_server::AddressServiceServer,
    certificate_service_server::CertificateServiceServer,
    client_service_server::ClientServiceServer, group_service_server::GroupServiceServer,
    recovery_service_server::RecoveryServiceServer, root_service_server::RootServiceServer,
    rotation_service_server::RotationServiceServer,
    scep_authority_service_server::ScepAuthorityServiceServer,
    scep_service_server::ScepServiceServer, system_service_server::SystemServiceServer,
    token_service_server::TokenServiceServer,
};
use convoy_shared::id::{ClientId, Digest, RotationId};
use prost::Message;
use tonic::{Request, Status, service::Routes};

use crate::{
    folder::Folder, keeper::Keeper, keys::FleetKeys, peer::LocalPeer, readiness::Readiness,
    recovery::Hints, refusals::Refusals, scep::Scep, sessions::Sessions, sights::Sights,
};

/// What the services share.
#[derive(Clone)]
pub struct Api {
    /// The state.
    pub keeper: Keeper,
    /// For the secrets of tokens.
    pub keys: Arc<FleetKeys>,
    /// For the keys of imported certificates.
    pub folder: Arc<Folder>,
    /// Who is connected just now.
    pub sessions: Arc<Sessions>,
    /// What tells why clients are missing.
    pub sights: Arc<Sights>,
    /// What hints that the journal is an old copy.
    pub hints: Arc<Hints>,
    /// Handshakes in which the certificate was refused.
    pub refusals: Arc<Refusals>,
    /// Whether agents can be served.
    pub readiness: Readiness,
    /// SCEP.
    pub scep: Arc<Scep>,
}

/// The largest message about a recovery: it names every client, and everything that must never be forgotten.
const AUDIT: usize = 256 << 20;

/// The names of the services, as health and reflection list them.
pub const SERVICES: [&str; 12] = [
    "convoy.v1.AddressService",
    "convoy.v1.AgentService",
    "convoy.v1.CertificateService",
    "convoy.v1.ClientService",
    "convoy.v1.GroupService",
    "convoy.v1.RecoveryService",
    "convoy.v1.RootService",
    "convoy.v1.RotationService",
    "convoy.v1.ScepAuthorityService",
    "convoy.v1.ScepService",
    "convoy.v1.SystemService",
    "convoy.v1.TokenService",
];

impl Api {
    /// Everything, for the local socket.
    ///
    /// # Errors
    /// If the API's own descriptors are damaged.
    pub async fn local_routes(&self) -> Result<axum::Router, tonic_reflection::server::Error> {
        let routes = introspection()
            .await?
            .add_service(AddressServiceServer::new(self.clone()))
            .add_service(CertificateServiceServer::new(self.clone()))
            .add_service(ClientServiceServer::new(self.clone()))
            .add_service(GroupServiceServer::new(self.clone()))
            .add_service(
                RecoveryServiceServer::new(self.clone())
                    .max_decoding_message_size(AUDIT)
                    .max_encoding_message_size(AUDIT),
            )
            .add_service(RootServiceServer::new(self.clone()))
            .add_service(RotationServiceServer::new(self.clone()))
            .add_service(ScepAuthorityServiceServer::new(self.clone()))
            .add_service(ScepServiceServer::new(self.clone()))
            .add_service(SystemServiceServer::new(self.clone()))
            .add_service(TokenServiceServer::new(self.clone()));
        Ok(explained(routes))
    }
}

/// Reflection and health, and `UNAUTHENTICATED` for everything else: for the operators' port, where nobody can say yet who he is.
///
/// # Errors
/// If the API's own descriptors are damaged.
pub async fn operator_routes() -> Result<axum::Router, tonic_reflection::server::Error> {
    Ok(explained(introspection().await?).layer(from_fn(only_introspection)))
}

/// Routes whose every error says its reason.
pub fn explained(routes: Routes) -> axum::Router {
    routes
        .prepare()
        .into_axum_router()
        .layer(map_response(status::explained))
}

async fn only_introspection(request: HttpRequest, next: Next) -> HttpResponse {
    let path = request.uri().path();
    if path.starts_with("/grpc.reflection.") || path.starts_with("/grpc.health.") {
        next.run(request).await
    } else {
        status::unauthenticated(
            "OPERATOR_REQUIRED",
            "this port serves reflection and health only; use the `convoy` command on the controller's own machine",
        )
        .into_http()
    }
}

async fn introspection() -> Result<Routes, tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in SERVICES {
        reporter
            .set_service_status(service, tonic_health::ServingStatus::Serving)
            .await;
    }
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(health)
        .add_service(builder().build_v1()?)
        .add_service(builder().build_v1alpha()?))
}

/// Who asks.
fn actor<T>(request: &Request<T>) -> Result<Actor, Status> {
    request
        .extensions()
        .get::<LocalPeer>()
        .map(|peer| Actor::from(*peer))
        .ok_or_else(|| {
            status::unauthenticated("OPERATOR_REQUIRED", "only the local socket knows operators")
        })
}

/// The caller's idempotency key over what it asks for.
fn named<M: Message>(method: &str, id: &str, message: &M) -> Result<Option<NamedRequest>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    if id.len() > 64 || id.chars().any(char::is_control) {
        return Err(status::invalid(
            "request_id",
            &"a request_id has at most 64 bytes and no control characters",
        ));
    }
    let mut body = method.as_bytes().to_vec();
    body.push(0);
    body.extend(message.encode_to_vec());
    Ok(Some(NamedRequest {
        id: id.to_owned(),
        body: Digest::of(&body),
    }))
}

impl Api {
    async fn decide(
        &self,
        command: Command,
        actor: Actor,
        request: Option<NamedRequest>,
    ) -> Result<Option<Outcome>, Status> {
        self.keeper
            .command(command, actor, request)
            .await
            .map_err(|error| status::from_keeper(&error))
    }
}

/// The client that a person means: by its id, an unambiguous beginning of it, or an unambiguous name.
fn find_client(fleet: &Fleet, text: &str) -> Result<ClientNumber, Status> {
    if text.is_empty() {
        return Err(status::invalid(
            "client",
            &"a client's id or name is required",
        ));
    }
    if let Ok(id) = text.parse::<ClientId>() {
        return fleet
            .client_by_id(id)
            .ok_or_else(|| status::refused(&Refusal::NoSuchClient));
    }
    let matching = |removed: bool| {
        let mut matching = fleet.clients().filter(move |(_, client)| {
            (client.state == ClientState::Decommissioned) == removed
                && (client.name == text
                    || (text.len() >= 8 && client.id.to_string().starts_with(text)))
        });
        (matching.next(), matching.next())
    };
    // Who was removed gives way to who is there: a host that has joined anew has its old name.
    let found = match matching(false) {
        (None, _) => matching(true),
        found => found,
    };
    match found {
        (None, _) => Err(status::refused(&Refusal::NoSuchClient)),
        (Some((number, _)), None) => Ok(number),
        (Some((_, one)), Some((_, other))) => Err(status::with_metadata(
            tonic::Code::FailedPrecondition,
            "CLIENT_AMBIGUOUS",
            &format!("{text:?} could be {} or {}; say the id", one.id, other.id),
            HashMap::from([("client".to_owned(), text.to_owned())]),
        )),
    }
}

fn rotation_id(text: &str) -> Result<Option<RotationId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|bad| status::invalid("id", &bad))
}
