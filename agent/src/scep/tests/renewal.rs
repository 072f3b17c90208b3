//! What renews a certificate, when, and what does not.

use convoy_scep::{
    message::{FailInfo, MessageType},
    request::Challenge,
};
use convoy_shared::{enrolment, settings::ChallengeSource};

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn given() -> Given {
    Given {
        challenge: Some(Challenge::new("s3cret").expect("a challenge")),
        expires_at: None,
        storable: false,
    }
}

impl Device {
    async fn upcoming(&self, attempt: u64) -> Timestamp {
        let upcoming = self
            .record(attempt, |record| {
                record.state == RequestState::ToBeProcessed
            })
            .await;
        upcoming.requested_at
    }

    async fn with_a_certificate(settings: impl Fn(&Self) -> ScepSettings) -> Self {
        let mut device = Self::new().await;
        device.obey(settings(&device)).await;
        device.succeeded(1).await;
        device.server.desk.seen();
        device
    }
}

#[tokio::test]
async fn other_names_are_no_renewal() {
    let mut device = Device::with_a_certificate(Device::periodic).await;
    let settings = ScepSettings {
        subject_alt_names: vec!["dns:p1.example".to_owned(), "ip:192.0.2.9".to_owned()],
        ..device.periodic()
    };
    device.obey_anew(settings).await;
    device.succeeded(2).await;
    assert_eq!(device.server.desk.seen(), [MessageType::PkcsReq]);
}

#[tokio::test]
async fn a_refused_renewal_becomes_a_first_request_of_the_same_attempt() {
    let mut device = Device::new().await;
    device.server.desk.wants("s3cret");
    let mut asked = device.session(Ok(given()));
    device
        .obey(ScepSettings {
            challenge: ChallengeSource::Stored,
            ..device.periodic()
        })
        .await;
    device.succeeded(1).await;
    device.upcoming(2).await;
    device.server.desk.seen();
    device.server.desk.set(Mood::RefusesRenewals);
    device.advance(HOUR);
    let record = device.succeeded(2).await;
    assert!(
        record
            .warnings
            .iter()
            .any(|said| said.contains("refused the renewal")),
        "{record:?}"
    );
    // As the client does with a server of old: RenewalReq, then PKCSReq by the old certificate; and then as if there were none.
    assert_eq!(
        device.server.desk.seen(),
        [
            MessageType::RenewalReq,
            MessageType::PkcsReq,
            MessageType::PkcsReq
        ]
    );
    for _ in 0..3 {
        asked.recv().await.expect("asked");
    }

    // Nobody has a challenge for it: that is what is told.
    device.upcoming(3).await;
    let _asked = device.session(Err(Denied::Refused("none is left".to_owned())));
    let settings = ScepSettings {
        challenge: ChallengeSource::Stored,
        ..device.periodic()
    };
    device.obey_anew(settings).await;
    let why = device.failed(3).await.cause();
    assert!(why.contains("none is left"), "{why}");
    // Nor does the server take the first request.
    device.server.desk.set(Mood::Refuses(FailInfo::BadTime));
    device.obey_anew(device.periodic()).await;
    assert_eq!(
        device.failed(4).await,
        ErrorDetail::Scep(enrolment::FailInfo::BadTime)
    );
}

#[tokio::test]
async fn a_renewal_that_failed_is_tried_again_before_the_certificate_ends() {
    let mut device = Device::new().await;
    device.server.desk.issues_for(9);
    device
        .obey(ScepSettings {
            periodic: Periodic::Every(HOUR * 24 * 30),
            ..device.periodic()
        })
        .await;
    device.succeeded(1).await;
    assert_eq!(device.upcoming(2).await, noon() + HOUR * 24 * 6);
    device.server.desk.set(Mood::Refuses(FailInfo::BadRequest));
    device.advance(HOUR * 24 * 6);
    device.failed(2).await;
    assert_eq!(device.upcoming(3).await, noon() + HOUR * 24 * 8);
    device.server.desk.set(Mood::Grants);
    device.advance(HOUR * 24 * 2);
    device.succeeded(3).await;
}

#[tokio::test]
async fn another_ca_fingerprint_alone_is_no_reason_to_ask() {
    let mut device = Device::with_a_certificate(Device::periodic).await;
    let due = device.upcoming(2).await;
    device
        .obey(ScepSettings {
            ca_fingerprint: CaPin::Sha256(Digest::of(b"the next one")),
            ..device.periodic()
        })
        .await;
    assert_eq!(device.upcoming(2).await, due);
    assert_eq!(device.server.desk.seen(), []);
    // Another interval is another timer.
    device
        .obey(ScepSettings {
            periodic: Periodic::Every(HOUR * 2),
            ..device.periodic()
        })
        .await;
    device.succeeded(2).await;
}

#[tokio::test]
async fn revisions_do_not_jump() {
    let mut device = Device::new().await;
    device.obey(device.periodic()).await;
    device.succeeded(1).await;
    let settings = ScepSettings {
        timer: false,
        ..device.periodic()
    };
    let far = device.document(2 + (1 << 20), settings.clone());
    device.scep().offer(far, &device.state);
    device.revision = 1 << 20;
    device.obey(settings).await;
    let revision = device.scep().news.borrow().revision;
    assert_eq!(revision, Revision(1 + (1 << 20)));
    // Under a new root they begin anew, and those of the former one are over.
    let mut news = device.scep().news.clone();
    let anew = device.document_under(2, 1, device.periodic());
    device.scep().offer(anew, &device.state);
    timeout(PATIENCE, news.wait_for(|news| news.revision == Revision(1)))
        .await
        .expect("in time")
        .expect("alive");
    let former = device.document(2 + (1 << 20), device.periodic());
    device.scep().offer(former, &device.state);
    device.succeeded(2).await;
    assert_eq!(device.scep().news.borrow().revision, Revision(1));
}

#[tokio::test]
async fn a_restart_that_fails_is_told() {
    let mut device = Device::new().await;
    device.configure("[restart]\ncommand = [\"false\"]\n");
    device
        .obey(ScepSettings {
            restart: true,
            ..device.settings()
        })
        .await;
    let record = device.record(1, |record| !record.warnings.is_empty()).await;
    assert!(record.warnings[0].contains("restart"), "{record:?}");
    assert!(matches!(record.state, RequestState::Successful(_)));
    assert_eq!(device.ledger().records, [record]);
}

/// A device that was cut off while it put its second certificate in place, and whose service is not up at the next start.
async fn cut_off() -> (Device, PathBuf, String) {
    let mut device = Device::new().await;
    let (certificate, _) = device.place_tls();
    let text = std::fs::read_to_string(device.configuration()).expect("there");
    let up = device.fleet.dir.file("up");
    let slow = format!(
        "{text}check = [\"sh\", \"-c\", \"echo > {}; sleep 60\"]\n",
        up.display()
    );
    device.configure(&slow);
    device
        .obey(ScepSettings {
            key_use: convoy_shared::settings::KeyUse::Tls,
            ..device.periodic()
        })
        .await;
    while !up.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    device.kill().await;
    (device, certificate, text)
}

#[tokio::test]
async fn what_was_being_put_in_place_is_tried_again_while_polls_are_left() {
    let (mut device, certificate, text) = cut_off().await;
    device.configure(&format!("{text}check = [\"false\"]\n"));
    device.start(None);
    assert!(matches!(
        device.waiting(1, 1).await,
        ErrorDetail::KeyUseLocation(_)
    ));
    assert!(device.has("key-1.pem") && device.has("certificate-1.pem"));
    device.configure(&text);
    device.advance(MINUTE * 5);
    device.succeeded(1).await;
    assert!(certificate.exists());
    assert_eq!(device.server.desk.seen(), [MessageType::PkcsReq], "once");

    // Not for ever.
    let (mut device, certificate, text) = cut_off().await;
    device.configure(&format!("{text}check = [\"false\"]\n"));
    device.start(None);
    for poll in 1..=2 {
        device.waiting(1, poll).await;
        device.advance(MINUTE * 5);
    }
    assert!(matches!(
        device.failed(1).await,
        ErrorDetail::KeyUseLocation(_)
    ));
    assert!(!certificate.exists() && !device.has("key-1.pem"));
}

#[tokio::test]
async fn files_are_put_back_also_where_the_configuration_is_not_right() {
    let (mut device, certificate, _) = cut_off().await;
    assert!(certificate.exists(), "half replaced");
    device.configure("[places.tls\n");
    device.start(None);
    device.waiting(1, 1).await;
    assert!(!certificate.exists(), "as before");
}

#[tokio::test]
async fn the_end_is_heard_while_what_was_cut_off_is_put_right() {
    let (mut device, _, text) = cut_off().await;
    device.configure(&format!("{text}activate = [\"sleep\", \"60\"]\n"));
    device.start(None);
    tokio::time::sleep(Duration::from_millis(300)).await;
    timeout(Duration::from_secs(10), device.kill())
        .await
        .expect("soon");
}
