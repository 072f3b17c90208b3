//! Requests that wait, and requests that fail.

use convoy_scep::{
    message::{FailInfo, MessageType},
    request::Challenge,
};
use convoy_shared::{
    enrolment,
    settings::{ChallengeSource, RequestStart},
};

use super::*;

#[tokio::test]
async fn a_deferred_request_is_polled_for_across_a_restart() {
    let mut device = Device::new().await;
    device.server.desk.set(Mood::Defers);
    device.obey(device.settings()).await;
    assert_eq!(device.waiting(1, 1).await, ErrorDetail::Deferred);
    device.kill().await;
    device.start(None);
    device.advance(SignedDuration::from_mins(5));
    assert_eq!(device.waiting(1, 2).await, ErrorDetail::Deferred);
    device.server.desk.set(Mood::Grants);
    device.kill().await;
    device.start(None);
    device.advance(SignedDuration::from_mins(5));
    let record = device.succeeded(1).await;
    assert_eq!(record.requested_at, noon());
    assert_eq!(
        device.server.desk.seen(),
        [
            MessageType::PkcsReq,
            MessageType::CertPoll,
            MessageType::CertPoll
        ]
    );
    let transactions = device.server.desk.transactions();
    assert!(
        transactions.iter().all(|one| *one == transactions[0]),
        "{transactions:?}"
    );
}

#[tokio::test]
async fn errors_are_named_as_the_printers_name_them() {
    let cases = [
        (
            Mood::Refuses(FailInfo::BadAlg),
            0,
            ErrorDetail::Scep(enrolment::FailInfo::BadAlg),
        ),
        (
            Mood::Refuses(FailInfo::BadTime),
            0,
            ErrorDetail::Scep(enrolment::FailInfo::BadTime),
        ),
        (Mood::Answers(404), 2, ErrorDetail::TopErrorHttp(404)),
        (Mood::Answers(500), 2, ErrorDetail::TopErrorHttp(500)),
        (Mood::Defers, 2, ErrorDetail::Deferred),
        (Mood::SaysNothing, 2, ErrorDetail::TopError),
    ];
    let mut device = Device::new().await;
    let mut settings = device.settings();
    settings.timeout = Span(SignedDuration::from_secs(1));
    for (number, (mood, polls, expected)) in (1..).zip(cases) {
        device.server.desk.set(mood);
        // Another start is another time of the timer.
        device.advance(SignedDuration::from_secs(1));
        settings.request_start = RequestStart::At(*device.now.borrow());
        settings.polls = polls;
        device.obey(settings.clone()).await;
        for poll in 1..=polls {
            assert_eq!(device.waiting(number, poll).await, expected);
            device.advance(SignedDuration::from_mins(5));
        }
        assert_eq!(device.failed(number).await, expected);
        assert!(!device.has(&format!("key-{number}.pem")));
    }
    let last = device.ledger().records.remove(0);
    assert_eq!(last.warnings, ["the SCEP server says: go away"]);

    device.server.desk.set(Mood::TalksNonsense);
    device.advance(SignedDuration::from_secs(1));
    settings.request_start = RequestStart::At(*device.now.borrow());
    device.obey(settings.clone()).await;
    assert!(matches!(
        device.failed(7).await,
        ErrorDetail::FaultyResponse(_)
    ));
    // Another CA than the one that was pinned: nothing secret is sent.
    device.server.desk.set(Mood::Grants);
    device.server.desk.seen();
    settings.ca_fingerprint = CaPin::Sha256(Digest::of(b"another"));
    device.obey_anew(settings.clone()).await;
    assert!(matches!(
        device.failed(8).await,
        ErrorDetail::FaultyResponse(_)
    ));
    assert_eq!(device.server.desk.seen(), []);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_communication_error() {
    let mut device = Device::new().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    device.server.url = format!("http://{}/scep", closed.local_addr().expect("bound"));
    drop(closed);
    device
        .obey(ScepSettings {
            polls: 1,
            ..device.settings()
        })
        .await;
    assert_eq!(device.waiting(1, 1).await, ErrorDetail::TopError);
    device.advance(SignedDuration::from_mins(5));
    assert_eq!(device.failed(1).await, ErrorDetail::TopError);
}

#[tokio::test]
async fn a_wrong_challenge_is_refused_by_the_server_and_none_by_the_controller() {
    let mut device = Device::new().await;
    device.server.desk.wants("right");
    let given = Given {
        challenge: Some(Challenge::new("wrong").expect("a challenge")),
        expires_at: None,
        storable: false,
    };
    let mut asked = device.session(Ok(given));
    let settings = ScepSettings {
        challenge: ChallengeSource::Ndes,
        ndes_url: "http://ndes/x".to_owned(),
        ..device.settings()
    };
    device.obey(settings.clone()).await;
    assert_eq!(
        device.failed(1).await,
        ErrorDetail::Scep(enrolment::FailInfo::BadRequest)
    );
    asked.recv().await.expect("asked");
    assert!(!device.has("challenge"));
    let mut asked = device.session(Err(Denied::Refused("the cache is full".to_owned())));
    device.obey_anew(settings).await;
    let why = device.failed(2).await.cause();
    assert!(why.contains("the cache is full"), "{why}");
    asked.recv().await.expect("asked");
}

#[tokio::test]
async fn what_is_waited_for_is_given_up_when_the_timer_is_turned_off() {
    let mut device = Device::new().await;
    device.server.desk.set(Mood::Defers);
    device.obey(device.settings()).await;
    device.waiting(1, 1).await;
    device
        .obey(ScepSettings {
            timer: false,
            ..device.settings()
        })
        .await;
    assert_eq!(device.failed(1).await, ErrorDetail::Deferred);
    assert_eq!(device.ledger().underway, None);
}

#[tokio::test]
async fn what_is_waited_for_is_asked_for_again_by_new_settings() {
    let mut device = Device::new().await;
    device.server.desk.set(Mood::Defers);
    device.obey(device.settings()).await;
    device.waiting(1, 1).await;
    device.server.desk.set(Mood::Grants);
    device
        .obey(ScepSettings {
            organization: "Acme".to_owned(),
            ..device.settings()
        })
        .await;
    assert_eq!(device.failed(1).await, ErrorDetail::Deferred);
    let record = device.succeeded(2).await;
    let RequestState::Successful(certificate) = record.state else {
        unreachable!()
    };
    assert_eq!(certificate.subject, "CN=p1.example,O=Acme");
}
