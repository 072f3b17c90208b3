//! A controller that says what a story needs, behind a real socket. It decides nothing and keeps what it was asked.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use convoy_proto::v1::{
    self,
    client_service_server::{ClientService, ClientServiceServer},
    rotation_service_server::{RotationService, RotationServiceServer},
    token_service_server::{TokenService, TokenServiceServer},
};
use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

type Answer<T> = Result<Response<T>, Status>;

/// What the controller says, and what it was asked.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// What each WatchRotation in turn sends before it ends.
    pub(super) streams: VecDeque<Vec<Result<v1::Rotation, Status>>>,
    /// No stream of WatchRotation ends by itself.
    pub(super) endless: bool,
    /// The ids that were watched.
    pub(super) watched: Vec<String>,
    /// Names of all clients, two to a page.
    pub(super) clients: Vec<String>,
    /// What every change answers instead of being done.
    pub(super) refusal: Option<Status>,
    /// The changes that were asked for.
    pub(super) changes: Vec<String>,
}

/// A running controller.
pub(super) struct Controller {
    pub(super) script: Arc<Mutex<Script>>,
    folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Controller {
    pub(super) fn start(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Arc::new(Mutex::new(script));
        let service = Scripted(Arc::clone(&script));
        let socket = folder.path().join("convoy.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let server = Server::builder()
                    .add_service(RotationServiceServer::new(service.clone()))
                    .add_service(ClientServiceServer::new(service.clone()))
                    .add_service(TokenServiceServer::new(service))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self {
            script,
            folder,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.folder.path().join("convoy.sock")
    }

    /// Ends it; its socket stays behind, as after a crash.
    pub(super) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[derive(Clone)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn change(&self, change: String) -> Result<(), Status> {
        let mut script = self.0.lock().unwrap();
        script.changes.push(change);
        script.refusal.clone().map_or(Ok(()), Err)
    }

    fn rotation(&self) -> Option<v1::Rotation> {
        Some(super::examples::preparing())
    }
}

fn client(name: &str) -> v1::Client {
    v1::Client {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        state: 1,
        identity_expiry: v1::Expiry::Fresh.into(),
        ..v1::Client::default()
    }
}

#[tonic::async_trait]
impl TokenService for Scripted {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Answer<v1::CreateTokenResponse> {
        let request = request.into_inner();
        let seconds = request.lifetime.map_or(0, |lifetime| lifetime.seconds);
        self.change(format!(
            "token {} {} {seconds} s {}",
            request.group, request.uses, request.request_id
        ))?;
        let token = v1::Token {
            id: "t-1".to_owned(),
            group: request.group,
            uses: request.uses,
            ..v1::Token::default()
        };
        Ok(Response::new(v1::CreateTokenResponse {
            token: Some(token),
            secret_token: "convoy-token-x".to_owned(),
        }))
    }

    async fn list_tokens(
        &self,
        _: Request<v1::ListTokensRequest>,
    ) -> Answer<v1::ListTokensResponse> {
        Ok(Response::new(v1::ListTokensResponse::default()))
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Answer<v1::RevokeTokenResponse> {
        // An answer that no controller gives.
        Ok(Response::new(v1::RevokeTokenResponse { token: None }))
    }
}

#[tonic::async_trait]
impl ClientService for Scripted {
    async fn list_clients(
        &self,
        request: Request<v1::ListClientsRequest>,
    ) -> Answer<v1::ListClientsResponse> {
        let first: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let script = self.0.lock().unwrap();
        let clients = script
            .clients
            .iter()
            .skip(first)
            .take(2)
            .map(|name| client(name))
            .collect();
        let next = if first + 2 < script.clients.len() {
            (first + 2).to_string()
        } else {
            String::new()
        };
        Ok(Response::new(v1::ListClientsResponse {
            clients,
            next_page_token: next,
        }))
    }

    async fn get_client(
        &self,
        request: Request<v1::GetClientRequest>,
    ) -> Answer<v1::GetClientResponse> {
        let client = client(&request.into_inner().client);
        Ok(Response::new(v1::GetClientResponse {
            client: Some(client),
        }))
    }

    async fn resolve_client(
        &self,
        request: Request<v1::ResolveClientRequest>,
    ) -> Answer<v1::ResolveClientResponse> {
        let name = request.into_inner().client;
        self.change(format!("resolve {name}"))?;
        Ok(Response::new(v1::ResolveClientResponse {
            client: Some(client(&name)),
        }))
    }

    async fn decommission_client(
        &self,
        request: Request<v1::DecommissionClientRequest>,
    ) -> Answer<v1::DecommissionClientResponse> {
        let name = request.into_inner().client;
        self.change(format!("decommission {name}"))?;
        Ok(Response::new(v1::DecommissionClientResponse {
            client: Some(client(&name)),
        }))
    }
}

#[tonic::async_trait]
impl RotationService for Scripted {
    type WatchRotationStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<v1::WatchRotationResponse, Status>> + Send>>;

    async fn start_rotation(
        &self,
        request: Request<v1::StartRotationRequest>,
    ) -> Answer<v1::StartRotationResponse> {
        let request = request.into_inner();
        self.change(format!(
            "start {} {:?} window {:?} missing {:?} lease {:?}",
            request.to_generation,
            request.strategy(),
            request.return_window.map(|window| window.seconds),
            request.max_missing,
            request.off_lease.map(|lease| lease.seconds),
        ))?;
        Ok(Response::new(v1::StartRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn get_rotation(
        &self,
        _: Request<v1::GetRotationRequest>,
    ) -> Answer<v1::GetRotationResponse> {
        Ok(Response::new(v1::GetRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn list_rotations(
        &self,
        _: Request<v1::ListRotationsRequest>,
    ) -> Answer<v1::ListRotationsResponse> {
        let rotations = self.rotation().into_iter().collect();
        Ok(Response::new(v1::ListRotationsResponse {
            rotations,
            next_page_token: String::new(),
        }))
    }

    async fn watch_rotation(
        &self,
        request: Request<v1::WatchRotationRequest>,
    ) -> Answer<Self::WatchRotationStream> {
        let mut script = self.0.lock().unwrap();
        script.watched.push(request.into_inner().id);
        let messages = script
            .streams
            .pop_front()
            .ok_or_else(|| Status::unavailable("starting"))?;
        let messages = messages.into_iter().map(|message| {
            message.map(|rotation| v1::WatchRotationResponse {
                rotation: Some(rotation),
            })
        });
        let messages = tokio_stream::iter(messages.collect::<Vec<_>>());
        Ok(Response::new(if script.endless {
            Box::pin(messages.chain(tokio_stream::pending()))
        } else {
            Box::pin(messages)
        }))
    }

    async fn pause_rotation(
        &self,
        request: Request<v1::PauseRotationRequest>,
    ) -> Answer<v1::PauseRotationResponse> {
        self.change(format!("pause {:?}", request.into_inner().id))?;
        Ok(Response::new(v1::PauseRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn resume_rotation(
        &self,
        request: Request<v1::ResumeRotationRequest>,
    ) -> Answer<v1::ResumeRotationResponse> {
        self.change(format!("resume {:?}", request.into_inner().id))?;
        Ok(Response::new(v1::ResumeRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn abort_rotation(
        &self,
        request: Request<v1::AbortRotationRequest>,
    ) -> Answer<v1::AbortRotationResponse> {
        self.change(format!("abort {:?}", request.into_inner().id))?;
        Ok(Response::new(v1::AbortRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn roll_back_rotation(
        &self,
        request: Request<v1::RollBackRotationRequest>,
    ) -> Answer<v1::RollBackRotationResponse> {
        self.change(format!("rollback {:?}", request.into_inner().id))?;
        Ok(Response::new(v1::RollBackRotationResponse {
            rotation: self.rotation(),
        }))
    }

    async fn waive_client(
        &self,
        request: Request<v1::WaiveClientRequest>,
    ) -> Answer<v1::WaiveClientResponse> {
        let request = request.into_inner();
        let until = request.until.map(|until| until.seconds);
        self.change(format!(
            "waive {} {:?} until {until:?}",
            request.client, request.reason
        ))?;
        Ok(Response::new(v1::WaiveClientResponse {
            rotation: self.rotation(),
        }))
    }
}
