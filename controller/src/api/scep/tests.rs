//! The service over a keeper with a journal in a folder of its own: settings, secrets, orders to a session that the test plays, states.

use std::{sync::Arc, time::Duration};

use convoy_fleet::{
    client::ClientNumber, decide::Command, enrolment::EnrolmentStatement, event::Actor,
    statement::Statement,
};
use convoy_proto::v1::{
    GetScepSettingsRequest, ListScepHistoryRequest, ListScepStatusRequest,
    ObtainScepChallengeRequest, PlanScepRequest, RequestScepCertificateRequest, ScepAudience,
    ScepOrderAnswer, ScepSettings, SetScepSettingsRequest, StoreScepChallengeRequest,
    WatchScepStatusRequest, scep_audience::Kind, scep_service_server::ScepService as _,
};
use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState, Trigger},
    envelope::SigningKey,
    id::{ClientId, Digest, Generation, GroupName, TokenId},
    settings::KeyUse,
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use super::*;
use crate::{
    clock,
    folder::Folder,
    health::Health,
    journal::redb::RedbJournal,
    keeper::Keeper,
    keys::FleetKeys,
    peer::{Identity, LocalPeer, Peer},
    readiness::Readiness,
    scep::{Counts, Scep, authority::Authorities, crl, device::Devices},
    serve,
    sessions::{Order, Sessions},
    tls::TlsConfigs,
};

struct Bench {
    api: Api,
    client: ClientNumber,
    id: ClientId,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A fleet with one client, "printer", in the default group.
    async fn new() -> Self {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Arc::new(Folder::lock(&parent.path().join("data")).expect("locked"));
        let keys = Arc::new(FleetKeys::open(&folder, true).expect("keys"));
        let journal = RedbJournal::open(folder.join("journal.redb")).expect("a journal");
        let (keeper, unstarted) = Keeper::open(
            Arc::new(journal),
            Arc::clone(&keys),
            Arc::default(),
            Health::default(),
        )
        .await
        .expect("opened");
        unstarted.start();
        serve::found(&keeper, &folder, &keys, &["localhost".to_owned()], 7443)
            .await
            .expect("founded");
        let token = TokenId::new(Uuid::from_u128(1));
        let later = clock::now() + SignedDuration::from_hours(1);
        let id = ClientId::new(Uuid::from_u128(2));
        for command in [
            Command::CreateToken {
                token,
                group: GroupName::default_group(),
                uses: 1,
                expires_at: later,
                public_key: SigningKey::from_seed(&[1; 32]).expect("a key").public(),
            },
            Command::Join {
                token,
                id,
                key: Digest::of(b"key"),
                name: "printer".to_owned(),
                agent_version: "0.1.0".to_owned(),
                identity_expires_at: later,
            },
        ] {
            keeper
                .command(command, Actor::Stranger, None)
                .await
                .expect("done");
        }
        let client = keeper.read().client_by_id(id).expect("joined");
        let scep = Arc::new(Scep {
            keeper: keeper.clone(),
            keys: Arc::clone(&keys),
            folder: Arc::clone(&folder),
            url: Some("http://localhost:80/scep".to_owned()),
            policy: convoy_scep::algorithm::Policy::default(),
            authorities: Authorities::default(),
            lists: crl::Kept::default(),
            counts: Counts::default(),
            devices: Devices::default(),
            paces: Arc::new(crate::pace::Paces::new(Duration::from_secs(3600))),
        });
        let ca = keeper.read().founded().expect("a fleet").client_ca.clone();
        let configs = TlsConfigs::new(Arc::clone(&folder), &ca).expect("a CA");
        let api = Api {
            readiness: Readiness {
                keeper: keeper.clone(),
                configs: Arc::new(configs),
            },
            sights: Arc::default(),
            hints: Arc::default(),
            refusals: Arc::default(),
            keeper,
            keys,
            folder,
            sessions: Arc::new(Sessions::default()),
            scep,
        };
        Self {
            api,
            client,
            id,
            _folder: parent,
        }
    }

    async fn set(
        &self,
        audience: Option<ScepAudience>,
        patch: ScepSettings,
        validate_only: bool,
    ) -> Result<SetScepSettingsResponse, Status> {
        let request = SetScepSettingsRequest {
            audience,
            patch: Some(patch),
            validate_only,
            ..SetScepSettingsRequest::default()
        };
        let answer = self.api.set_scep_settings(local(request)).await;
        answer.map(Response::into_inner)
    }

    async fn get(&self, audience: Option<ScepAudience>) -> GetScepSettingsResponse {
        let request = local(GetScepSettingsRequest { audience });
        let answer = self.api.get_scep_settings(request).await;
        answer.expect("settings").into_inner()
    }

    async fn obtain(
        &self,
        revision: u64,
        common_name: &str,
        bridged: bool,
    ) -> Result<convoy_proto::v1::ObtainScepChallengeResponse, Status> {
        let identity = Identity {
            client: self.client,
            id: self.id,
            key: Digest::of(b"key"),
            expired: false,
        };
        let peer = Peer {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            identity: Some(identity),
            unknown: None,
            exporter: [0; 32],
            served: Generation(1),
            bridged,
            full: true,
            anchors: None,
        };
        let request = ObtainScepChallengeRequest {
            revision,
            common_name: common_name.to_owned(),
            subject_alt_names: vec![],
        };
        self.api
            .scep
            .obtain_challenge(&peer, identity, request)
            .await
    }

    async fn report(&self, attempt: u64, state: RequestState) {
        let record = RequestRecord {
            attempt,
            trigger: Trigger::Timer,
            requested_at: Timestamp::UNIX_EPOCH,
            key_name: "scep".to_owned(),
            key_use: KeyUse::Tls,
            state,
            updated_at: clock::now(),
            warnings: vec![],
        };
        let statement = Statement::Enrolment(EnrolmentStatement::Reported(vec![record]));
        self.api
            .keeper
            .state(self.client, statement)
            .await
            .expect("saved");
    }
}

fn local<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(LocalPeer { uid: 0 });
    request
}

fn group() -> Option<ScepAudience> {
    Some(ScepAudience {
        kind: Some(Kind::Group("default".to_owned())),
    })
}

fn printer() -> Option<ScepAudience> {
    Some(ScepAudience {
        kind: Some(Kind::Client("printer".to_owned())),
    })
}

fn built_in() -> ScepSettings {
    ScepSettings {
        server: Some("built-in".to_owned()),
        challenge: Some("built-in".to_owned()),
        ..ScepSettings::default()
    }
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

#[tokio::test]
async fn settings_are_tried_set_and_shown() {
    let bench = Bench::new().await;
    let tried = bench
        .set(group(), built_in(), true)
        .await
        .expect("possible");
    assert_eq!(tried.revision, 1);
    assert_eq!(bench.get(group()).await.revision, 0);
    let set = bench.set(group(), built_in(), false).await.expect("set");
    assert_eq!(set, tried);
    let of_client = bench.get(printer()).await;
    assert_eq!(of_client.revision, 1);
    assert_eq!(of_client.url, "http://localhost:80/scep");
    assert_eq!(of_client.effective, set.effective);
    assert_eq!(of_client.set, Some(ScepSettings::default()));
    // A year is the default profile's.
    let patch = |periodic: &str| ScepSettings {
        periodic: Some(periodic.to_owned()),
        ..ScepSettings::default()
    };
    let refused = bench.set(group(), patch("365d"), false).await;
    assert!(refused.is_err_and(|status| status.message().contains("not shorter than")));
    bench.set(group(), patch("364d"), false).await.expect("set");
    let on = ScepSettings {
        timer: Some(true),
        ..ScepSettings::default()
    };
    bench.set(printer(), on, false).await.expect("set");
    let refused = bench.set(group(), patch("30d"), false).await;
    assert_eq!(
        refused.map_err(|status| reason(&status)),
        Err("TIMER_ON".to_owned())
    );
    let plan = bench.api.plan_scep(local(PlanScepRequest::default())).await;
    let plan = plan.expect("planned").into_inner();
    assert_eq!(plan.servers.len(), 1);
    assert!(plan.servers.iter().all(|server| server.devices == 1));
}

#[tokio::test]
async fn a_stored_challenge_is_handed_to_the_device_alone() {
    let bench = Bench::new().await;
    let patch = ScepSettings {
        server: Some("http://ca.example/scep".to_owned()),
        challenge: Some("stored".to_owned()),
        ca_fingerprint: Some("any".to_owned()),
        ..ScepSettings::default()
    };
    let set = bench.set(group(), patch, false).await.expect("set");
    assert_eq!(set.warnings.len(), 2, "{:?}", set.warnings);
    let store = |secret: &str| {
        let request = StoreScepChallengeRequest {
            audience: group(),
            secret: secret.to_owned(),
            ndes: false,
        };
        bench.api.store_scep_challenge(local(request))
    };
    let missing = bench.obtain(1, "a", false).await;
    assert_eq!(
        missing.map_err(|status| reason(&status)),
        Err("CHALLENGE_MISSING".to_owned())
    );
    store("s3cret").await.expect("stored");
    assert!(bench.get(printer()).await.challenge_stored);
    let challenge = bench.obtain(1, "a", false).await.expect("a challenge");
    assert_eq!(
        (challenge.challenge.as_str(), challenge.storable),
        ("s3cret", true)
    );
    let refused = bench.obtain(1, "a", true).await;
    assert_eq!(
        refused.map_err(|status| reason(&status)),
        Err("BRIDGED".to_owned())
    );
    let refused = bench.obtain(0, "a", false).await;
    assert_eq!(
        refused.map_err(|status| reason(&status)),
        Err("SCEP_SETTINGS_CHANGED".to_owned())
    );
    store("").await.expect("forgotten");
    assert!(bench.obtain(1, "a", false).await.is_err());
}

#[tokio::test]
async fn a_manual_request_is_an_order_to_the_session() {
    let bench = Bench::new().await;
    bench.set(group(), built_in(), false).await.expect("set");
    let ask = || {
        let request = RequestScepCertificateRequest {
            client: bench.id.to_string(),
            patch: Some(ScepSettings {
                common_name: Some("other.example".to_owned()),
                ..ScepSettings::default()
            }),
            ..RequestScepCertificateRequest::default()
        };
        bench.api.request_scep_certificate(local(request))
    };
    let refused = ask().await.map_err(|status| reason(&status));
    assert!(matches!(refused, Err(reason) if reason == "NOT_CONNECTED"));
    let (_session, mut orders) = bench.api.sessions.open(bench.client, [127, 0, 0, 1].into());
    let play = async {
        let order = orders.recv().await.expect("an order");
        let Order::Scep {
            order,
            answer: asked,
        } = order
        else {
            panic!("another order");
        };
        // The device asks for the names of the order, whatever its settings say.
        let challenge = bench.obtain(0, "other.example", false).await;
        assert!(challenge.is_ok_and(|challenge| challenge.challenge.len() == 32));
        let answer = ScepOrderAnswer {
            id: order.id,
            attempt: 5,
            ..ScepOrderAnswer::default()
        };
        asked.send(answer).expect("heard");
    };
    let (answer, ()) = tokio::join!(ask(), play);
    let answer = answer.expect("under way").into_inner();
    assert_eq!(answer.attempt, 5);
    assert!(answer.warnings.concat().contains("IPPS"));
    drop(orders);
    let refused = ask().await.map_err(|status| status.code());
    assert!(matches!(refused, Err(Code::FailedPrecondition)));
}

#[tokio::test]
async fn states_are_listed_and_watched() {
    let bench = Bench::new().await;
    let watch = local(WatchScepStatusRequest::default());
    let watch = bench.api.watch_scep_status(watch).await;
    let mut watch = watch.expect("a stream").into_inner();
    let mut next = async || {
        let next = timeout(Duration::from_secs(20), watch.next()).await;
        let mut response = next.expect("in time").expect("open").expect("a response");
        assert_eq!(response.statuses.len(), 1);
        response.statuses.pop().expect("one")
    };
    let first = next().await;
    assert_eq!(
        (first.name.as_str(), first.status.as_str()),
        ("printer", "")
    );
    bench
        .report(1, RequestState::Error(ErrorDetail::TopErrorHttp(500)))
        .await;
    let changed = next().await;
    assert_eq!(changed.details, "Communication Error (TOP ERROR 500)");
    // What was announced counts while the timer is on.
    bench.report(2, RequestState::ToBeProcessed).await;
    let timer = |on| ScepSettings {
        timer: Some(on),
        ..built_in()
    };
    bench.set(group(), timer(true), false).await.expect("set");
    let announced = next().await;
    assert_eq!(announced.status, "To Be Processed");
    assert!(announced.next_request.is_some());
    let history = |page_token: String| {
        let request = ListScepHistoryRequest {
            client: "printer".to_owned(),
            page_size: 1,
            page_token,
        };
        bench.api.list_scep_history(local(request))
    };
    let page = history(String::new()).await.expect("a page").into_inner();
    assert_eq!(page.requests[0].status, "To Be Processed");
    let page = history(page.next_page_token)
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(page.requests[0].status, "Error");
    assert_eq!(
        (page.requests.len(), page.next_page_token.as_str()),
        (1, "")
    );
    bench.set(group(), timer(false), false).await.expect("set");
    let changed = next().await;
    assert_eq!(
        (changed.status.as_str(), changed.next_request),
        ("Error", None)
    );
    let list = local(ListScepStatusRequest::default());
    let list = bench.api.list_scep_status(list).await.expect("a page");
    assert_eq!(list.into_inner().statuses, [changed]);
    let page = history(String::new()).await.expect("a page").into_inner();
    assert_eq!(
        (page.requests.len(), page.next_page_token.as_str()),
        (1, "")
    );
}
