//! A controller with settings that stay, and the rule of the timer; its built-in SCEP server says what a story needs.

mod authority;
mod roster;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use convoy_proto::{
    scep::{read_patch, write_patch, write_settings},
    v1::{
        self,
        client_service_server::ClientServiceServer,
        group_service_server::GroupServiceServer,
        scep_audience::Kind,
        scep_authority_service_server::ScepAuthorityServiceServer,
        scep_service_server::{ScepService, ScepServiceServer},
    },
};
use convoy_shared::settings::{ScepPatch, ScepSettings};
use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::{Stream, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, transport::Server};

type Answer<T> = Result<Response<T>, Status>;

/// The one host, of the group default.
pub(super) const PC_1: &str = "8c5a3f52-0000-4000-8000-000000000001";

/// What there is, and what was asked.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) groups: BTreeMap<String, ScepPatch>,
    pub(super) clients: BTreeMap<String, ScepPatch>,
    pub(super) profiles: BTreeMap<String, v1::ScepProfile>,
    pub(super) manual: bool,
    /// The changes that were asked for.
    pub(super) changes: Vec<String>,
    pub(super) request_ids: Vec<String>,
    /// Changes after so many are refused.
    pub(super) patience: Option<usize>,
    /// What the next streams of states send.
    pub(super) streams: Vec<Vec<v1::ScepStatus>>,
    pub(super) history: Vec<v1::ScepStatus>,
    pub(super) load: Vec<v1::ScepLoad>,
}

impl State {
    pub(super) fn change(&mut self, change: String, request_id: &str) -> Result<(), Status> {
        if self.patience.is_some_and(|most| self.changes.len() >= most) {
            return Err(Status::failed_precondition("that is enough"));
        }
        self.changes.push(change);
        self.request_ids.push(request_id.to_owned());
        Ok(())
    }

    fn group(&self, name: &str) -> Result<&ScepPatch, Status> {
        let missing = || Status::not_found(format!("there is no group {name}"));
        self.groups.get(name).ok_or_else(missing)
    }

    /// What is set, and what holds.
    fn settings(&self, kind: &Kind) -> Result<(ScepPatch, ScepSettings), Status> {
        let default = ScepSettings::default();
        Ok(match kind {
            Kind::Group(name) => {
                let set = self.group(name)?.clone();
                (set.clone(), set.over(&default))
            }
            Kind::Client(id) => {
                let set = self.clients.get(id).cloned().unwrap_or_default();
                let group = self.group("default")?.over(&default);
                (set.clone(), set.over(&group))
            }
        })
    }

    /// As a controller decides: nothing but the timer changes while it is on.
    fn set(&mut self, request: &v1::SetScepSettingsRequest) -> Result<ScepSettings, Status> {
        let kind = request.audience.clone().unwrap().kind.unwrap();
        let patch = read_patch(request.patch.clone().unwrap()).unwrap();
        let (set, before) = self.settings(&kind)?;
        let then = if request.reset {
            patch.clone()
        } else {
            patch.after(&set)
        };
        let default = ScepSettings::default();
        let (name, pairs) = match &kind {
            Kind::Group(name) => {
                let after = then.over(&default);
                let mut pairs = vec![(before.clone(), after.clone())];
                if name == "default" {
                    let clients = self.clients.values();
                    pairs.extend(clients.map(|its| (its.over(&before), its.over(&after))));
                }
                (name.clone(), pairs)
            }
            Kind::Client(_) => {
                let after = then.over(&self.group("default")?.over(&default));
                ("pc-1".to_owned(), vec![(before, after)])
            }
        };
        for (from, to) in &pairs {
            let fields = ScepPatch::between(from, to).fields();
            if from.timer && to.timer && fields.iter().any(|field| *field != "timer") {
                let message = format!("the auto-request timer of {name} is on");
                return Err(Status::failed_precondition(message));
            }
            to.check()
                .map_err(|bad| Status::invalid_argument(bad.to_string()))?;
        }
        if !request.validate_only {
            let reset = if request.reset { "reset " } else { "" };
            let fields = patch.fields().join(" ");
            self.change(
                format!("{name}: {reset}{fields} timer {:?}", patch.timer),
                &request.request_id,
            )?;
            match kind {
                Kind::Group(name) => drop(self.groups.insert(name, then)),
                Kind::Client(id) => drop(self.clients.insert(id, then)),
            }
        }
        Ok(pairs[0].1.clone())
    }
}

/// A running controller.
pub(super) struct Fleet {
    pub(super) state: Arc<Mutex<State>>,
    folder: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Fleet {
    pub(super) fn start(mut state: State) -> Self {
        state.groups.entry("default".to_owned()).or_default();
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Mutex::new(state));
        let service = Played(Arc::clone(&state));
        let socket = folder.path().join("convoy.sock");
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = UnixListener::bind(socket).unwrap();
                ready.send(()).unwrap();
                let server = Server::builder()
                    .add_service(ScepServiceServer::new(service.clone()))
                    .add_service(ScepAuthorityServiceServer::new(service.clone()))
                    .add_service(GroupServiceServer::new(service.clone()))
                    .add_service(ClientServiceServer::new(service))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        is_ready.recv().unwrap();
        Self {
            state,
            folder,
            _stop: stop,
        }
    }

    pub(super) fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[derive(Clone)]
pub(super) struct Played(Arc<Mutex<State>>);

#[tonic::async_trait]
impl ScepService for Played {
    type WatchScepStatusStream =
        std::pin::Pin<Box<dyn Stream<Item = Result<v1::WatchScepStatusResponse, Status>> + Send>>;

    async fn get_scep_settings(
        &self,
        request: Request<v1::GetScepSettingsRequest>,
    ) -> Answer<v1::GetScepSettingsResponse> {
        let kind = request.into_inner().audience.unwrap().kind.unwrap();
        let (set, effective) = self.0.lock().unwrap().settings(&kind)?;
        Ok(Response::new(v1::GetScepSettingsResponse {
            effective: Some(write_settings(&effective)),
            set: Some(write_patch(&set)),
            revision: 7,
            ..v1::GetScepSettingsResponse::default()
        }))
    }

    async fn set_scep_settings(
        &self,
        request: Request<v1::SetScepSettingsRequest>,
    ) -> Answer<v1::SetScepSettingsResponse> {
        let holds = self.0.lock().unwrap().set(&request.into_inner())?;
        Ok(Response::new(v1::SetScepSettingsResponse {
            effective: Some(write_settings(&holds)),
            revision: 8,
            warnings: vec!["no fingerprint is set".to_owned()],
        }))
    }

    async fn store_scep_challenge(
        &self,
        request: Request<v1::StoreScepChallengeRequest>,
    ) -> Answer<v1::StoreScepChallengeResponse> {
        let request = request.into_inner();
        let change = format!("secret {:?} ndes {}", request.secret, request.ndes);
        self.0.lock().unwrap().change(change, "")?;
        Ok(Response::new(v1::StoreScepChallengeResponse {}))
    }

    async fn request_scep_certificate(
        &self,
        request: Request<v1::RequestScepCertificateRequest>,
    ) -> Answer<v1::RequestScepCertificateResponse> {
        let request = request.into_inner();
        let patch = request
            .patch
            .map(|patch| read_patch(patch).unwrap().fields().join(" "));
        let change = format!(
            "request {} {patch:?} {:?} restart {}",
            request.client, request.challenge, request.restart
        );
        self.0.lock().unwrap().change(change, "")?;
        Ok(Response::new(v1::RequestScepCertificateResponse {
            attempt: 4,
            warnings: vec!["the common name is no IP address".to_owned()],
        }))
    }

    async fn list_scep_status(
        &self,
        _: Request<v1::ListScepStatusRequest>,
    ) -> Answer<v1::ListScepStatusResponse> {
        let statuses = self.0.lock().unwrap().history.clone();
        Ok(Response::new(v1::ListScepStatusResponse {
            statuses,
            next_page_token: String::new(),
        }))
    }

    async fn watch_scep_status(
        &self,
        _: Request<v1::WatchScepStatusRequest>,
    ) -> Answer<Self::WatchScepStatusStream> {
        let mut state = self.0.lock().unwrap();
        if state.streams.is_empty() {
            return Err(Status::not_found("there is nothing to watch any more"));
        }
        let messages: Vec<_> = state
            .streams
            .remove(0)
            .into_iter()
            .map(|status| {
                Ok(v1::WatchScepStatusResponse {
                    statuses: vec![status],
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn list_scep_history(
        &self,
        _: Request<v1::ListScepHistoryRequest>,
    ) -> Answer<v1::ListScepHistoryResponse> {
        let requests = self.0.lock().unwrap().history.clone();
        Ok(Response::new(v1::ListScepHistoryResponse {
            requests,
            next_page_token: String::new(),
        }))
    }

    async fn plan_scep(
        &self,
        request: Request<v1::PlanScepRequest>,
    ) -> Answer<v1::PlanScepResponse> {
        let request = request.into_inner();
        let patch = request
            .patch
            .map(|patch| read_patch(patch).unwrap().fields().join(" "));
        let mut state = self.0.lock().unwrap();
        state
            .changes
            .push(format!("plan {:?} {patch:?}", request.group));
        Ok(Response::new(v1::PlanScepResponse {
            servers: state.load.clone(),
            warnings: vec!["3 devices have their timer off and are not in the plan".to_owned()],
        }))
    }
}

/// What a command said.
pub(super) struct Said {
    pub(super) out: String,
    pub(super) err: String,
    pub(super) code: u8,
}

/// Runs a command line as a script does; "_" stands for a space within a word.
pub(super) fn convoy(fleet: &Fleet, line: &str) -> Said {
    use clap::Parser as _;
    let data_dir = fleet.data_dir().to_str().unwrap().to_owned();
    let words = line.split(' ').map(|word| word.replace('_', " "));
    let arguments = ["convoy".to_owned(), "--data-dir".to_owned(), data_dir]
        .into_iter()
        .chain(words);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = match crate::args::Arguments::try_parse_from(arguments) {
        Ok(arguments) => crate::run(
            arguments,
            None,
            &mut crate::output::Screen::of_scripts(&mut out, &mut err),
        ),
        Err(refusal) => panic!("{line}: {refusal}"),
    };
    Said {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
    }
}

pub(super) fn changes(fleet: &Fleet) -> Vec<String> {
    std::mem::take(&mut fleet.state.lock().unwrap().changes)
}
