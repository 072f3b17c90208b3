//! The SCEP engine's part in sessions: documents, challenges and orders come, and reports go.

use convoy_proto::{
    scep::{encode_scep, read_record, write_settings},
    v1::{self, session_request::Message, session_response},
};
use convoy_scep::message::MessageType;
use convoy_shared::{
    enrolment::{RequestRecord, RequestState},
    envelope::{Envelope, PayloadType},
    id::{Digest, Revision, RootVersion},
    settings::{CaPin, ChallengeSource, ScepDocument, ScepServer, ScepSettings},
};

use super::{Agent, client_id, controller::Controller, joined, visit::Visit};
use crate::{
    clock,
    disk::StateDir,
    scep::{batch, request, show, tests::server::Server},
};

fn settings(server: &Server) -> ScepSettings {
    ScepSettings {
        server: ScepServer::Url(server.url.clone()),
        ca_fingerprint: CaPin::Sha256(Digest::new(server.desk.fingerprint())),
        timer: true,
        challenge: ChallengeSource::Ndes,
        ndes_url: "http://ndes.example/certsrv/mscep_admin/".to_owned(),
        common_name: "p1.example".to_owned(),
        subject_alt_names: vec![],
        max_keys: 10,
        ..ScepSettings::default()
    }
}

fn document(
    controller: &Controller,
    server: &Server,
    revision: u64,
    settings: ScepSettings,
) -> session_response::Message {
    let document = ScepDocument {
        fleet_id: controller.fleet.root().root.fleet_id,
        client: client_id(),
        root_version: RootVersion(1),
        revision: Revision(revision),
        issued_at: clock::wall(),
        settings,
        url: Some(server.url.clone()),
        slot: None,
    };
    let key = controller.fleet.policy_key();
    let envelope = Envelope::sign(PayloadType::Scep, encode_scep(&document), &[&key]);
    session_response::Message::Scep(envelope.into())
}

async fn server() -> Server {
    // Its clock stands still: nothing in these stories takes an hour.
    let (_, now) = tokio::sync::watch::channel(clock::wall());
    Server::start(now).await
}

/// The newest record, once it is as wanted, from reports alone.
async fn reported(visit: &mut Visit, wanted: impl Fn(&RequestRecord) -> bool) -> RequestRecord {
    loop {
        let Some(Message::ScepReport(report)) = visit.next().await else {
            panic!("no report");
        };
        assert!(report.records.len() <= 21);
        let records = report
            .records
            .into_iter()
            .map(|wire| read_record(wire).expect("a record"));
        if let Some(record) = records.into_iter().find(|record| wanted(record)) {
            return record;
        }
    }
}

fn has_ended(record: &RequestRecord) -> bool {
    record.state.is_final()
}

#[tokio::test]
async fn a_document_is_obeyed_and_what_becomes_of_it_is_reported() {
    let mut controller = Controller::start().await;
    let server = server().await;
    server.desk.wants("for p1.example");
    let dir = joined(&controller).await;
    let agent = Agent::start(&dir);
    let mut visit = controller.visit().await;
    assert_eq!(visit.hello.scep_revision, 0);
    assert!(
        visit
            .hello
            .scep_supports
            .iter()
            .any(|word| word == "RSA-4096")
    );
    visit.say(document(&controller, &server, 7, settings(&server)));
    let record = reported(&mut visit, has_ended).await;
    assert!(
        matches!(record.state, RequestState::Successful(_)),
        "{record:?}"
    );
    assert_eq!(record.attempt, 1);
    assert_eq!(server.desk.seen(), [MessageType::PkcsReq]);
    assert_eq!(
        server.desk.challenges(),
        [Some("for p1.example".to_owned())]
    );
    let status = crate::status::status(&dir).expect("a status");
    assert_eq!(status.scep_revision, 7);
    assert!(status.scep_request.expect("one").contains("Successful"));

    // The timer governs: nobody else requests, and nobody imports.
    let refused = request::request(
        &dir,
        &dir.file("agent.toml"),
        request::Flags::default(),
        |_| (),
    )
    .await;
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("timer is on")
    );
    let text = batch::export(&dir, &dir.file("agent.toml")).expect("exported");
    batch::read(&dir, &dir.file("agent.toml"), &text).expect("nothing changes");
    let other = text.replace("key_name = \"scep\"", "key_name = \"other\"");
    let refused = batch::read(&dir, &dir.file("agent.toml"), &other)
        .err()
        .expect("refused");
    assert!(
        format!("{refused:#}").contains("convoy apply"),
        "{refused:#}"
    );

    // What was reported and lost is reported again.
    controller.knows_of(1);
    visit.reconnect(false);
    drop(visit);
    let mut visit = controller.visit().await;
    assert_eq!(visit.hello.scep_revision, 7);
    assert_eq!(reported(&mut visit, has_ended).await, record);
    controller.knows_of(2);
    visit.say(document(
        &controller,
        &server,
        8,
        ScepSettings {
            timer: false,
            ..settings(&server)
        },
    ));
    let order = v1::ScepOrder {
        id: vec![9; 16].into(),
        settings: Some(write_settings(&ScepSettings {
            timer: false,
            ..settings(&server)
        })),
        url: server.url.clone(),
        challenge: String::new(),
        restart: false,
    };
    visit.say(session_response::Message::ScepOrder(order));
    let mut answered = None;
    let mut ended = None;
    while answered.is_none() || ended.is_none() {
        match visit.next().await {
            Some(Message::ScepOrderAnswer(answer)) => answered = Some(answer),
            Some(Message::ScepReport(report)) => {
                let records = report
                    .records
                    .into_iter()
                    .map(|wire| read_record(wire).expect("a record"));
                ended = ended.or(records
                    .into_iter()
                    .find(|record| record.attempt == 2 && has_ended(record)));
            }
            other => panic!("{other:?}"),
        }
    }
    let answer = answered.expect("answered");
    assert_eq!((answer.attempt, answer.reason.as_str()), (2, ""));
    assert!(matches!(
        ended.expect("ended").state,
        RequestState::Successful(_)
    ));

    // The device's own administrator, at the running agent.
    let said = own_request(&dir).await;
    assert!(
        said.contains("request 3 begins") && said.contains("Successful"),
        "{said}"
    );
    agent.stop().await;

    // And where none runs. The controller is away, so that nobody has a challenge.
    let flags = request::Flags::default();
    let file = dir.file("agent.toml");
    let ok = request::request(&dir, &file, flags, |_| ());
    let waits = tokio::time::timeout(std::time::Duration::from_secs(3), ok).await;
    assert!(waits.is_err(), "{waits:?}");
    // One that was interrupted is in nobody's way.
    let waits = request::request(&dir, &file, request::Flags::default(), |_| ());
    let waits = tokio::time::timeout(std::time::Duration::from_secs(3), waits).await;
    assert!(waits.is_err(), "{waits:?}");
    let history = show::history(&dir).expect("a history");
    assert_eq!(history.certificates.len(), 3);
    let requests = show::requests(&dir).expect("requests").to_string();
    assert!(
        requests.contains("Processing...") && requests.contains("Successful"),
        "{requests}"
    );
    assert!(requests.contains("interrupted by a restart"), "{requests}");
}

async fn own_request(dir: &StateDir) -> String {
    let mut said = String::new();
    let say = |line: &str| {
        said.push_str(line);
        said.push('\n');
    };
    let file = dir.file("agent.toml");
    let asked = request::request(dir, &file, request::Flags::default(), say).await;
    assert!(asked.expect("an answer"), "{said}");
    said
}

#[tokio::test]
async fn what_is_imported_is_obeyed_until_the_controller_says_otherwise() {
    let mut controller = Controller::start().await;
    let server = server().await;
    let dir = joined(&controller).await;
    let file = dir.file("agent.toml");
    let own = "# ours\n[device]\nserial = \"S1\"\n";
    let scep = format!(
        "[scep]\nserver = {:?}\ntimer = true\ncommon_name = \"{{serial}}\"\nsubject_alt_names = []\n",
        server.url
    );
    let bad = batch::read(&dir, &file, &format!("{own}{scep}pollls = 1\n"));
    assert!(format!("{:#}", bad.err().expect("refused")).contains("pollls"));
    let bad = batch::read(&dir, &file, &format!("{own}x = 1\n{scep}"));
    assert!(bad.is_err());
    assert!(!file.exists());

    let agent = Agent::start(&dir);
    let mut visit = controller.visit().await;
    let import = batch::read(&dir, &file, &format!("{own}{scep}")).expect("read");
    batch::apply(&dir, &import).await.expect("imported");
    assert_eq!(std::fs::read_to_string(&file).expect("written"), own);
    let record = reported(&mut visit, has_ended).await;
    let RequestState::Successful(certificate) = record.state else {
        panic!("{record:?}")
    };
    assert_eq!(certificate.subject, "CN=S1");
    let text = batch::export(&dir, &file).expect("exported");
    assert!(
        text.starts_with(own)
            && text.contains("\n[scep]\n")
            && text.contains("common_name = \"{serial}\""),
        "{text}"
    );
    let same = batch::read(&dir, &file, &text).expect("read");
    assert!(
        same.summary
            .iter()
            .all(|line| line.ends_with("nothing changes")),
        "{:?}",
        same.summary
    );

    visit.say(document(
        &controller,
        &server,
        1,
        ScepSettings {
            timer: false,
            ..settings(&server)
        },
    ));
    let Some(Message::ScepReport(report)) = visit.next().await else {
        panic!("no report")
    };
    assert_eq!(report.revision, 1);
    assert!(!show::requests(&dir).expect("requests").timer);
    agent.stop().await;
}
