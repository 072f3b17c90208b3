//! Requests of the timer.

use convoy_scep::{key::RsaKey, message::MessageType, request::Challenge};
use convoy_shared::{
    enrolment::Trigger,
    settings::{ChallengeSource, KeyUse, RequestStart},
};

use super::*;

#[tokio::test]
async fn a_document_leads_to_a_certificate_and_a_record() {
    let mut device = Device::new().await;
    let start = noon() + HOUR;
    let settings = ScepSettings {
        request_start: RequestStart::At(start),
        organization: "Acme".to_owned(),
        ..device.settings()
    };
    device.obey(settings).await;
    let upcoming = device
        .record(1, |record| record.state == RequestState::ToBeProcessed)
        .await;
    assert_eq!(upcoming.requested_at, start);
    assert_eq!(upcoming.trigger, Trigger::Timer);
    assert_eq!(device.ledger().upcoming, Some(upcoming));

    device.advance(HOUR);
    let record = device.succeeded(1).await;
    let RequestState::Successful(certificate) = &record.state else {
        unreachable!()
    };
    assert_eq!(certificate.subject, "CN=p1.example,O=Acme");
    assert_eq!(certificate.issued_at, start);
    assert_eq!(device.server.desk.seen(), [MessageType::PkcsReq]);
    assert_eq!(device.server.desk.challenges(), [None]);
    let ledger = device.ledger();
    assert_eq!(ledger.records, [record]);
    assert_eq!(ledger.upcoming, None);
    let key = std::fs::read_to_string(device.fleet.dir.file("scep/key-1.pem")).expect("a key");
    let pem =
        std::fs::read_to_string(device.fleet.dir.file("scep/certificate-1.pem")).expect("one");
    let key = RsaKey::from_pem(&key).expect("a key");
    let leaf = convoy_scep::certificate::Certificate::from_pem_chain(&pem)
        .expect("one")
        .remove(0);
    assert_eq!(leaf.spki(), key.spki());
    assert_eq!(leaf.sans().len(), 2, "{:?}", leaf.sans());
}

#[tokio::test]
async fn only_newer_documents_of_the_policy_key_are_obeyed() {
    let mut device = Device::new().await;
    let settings = ScepSettings {
        timer: false,
        ..device.settings()
    };
    device.obey(settings.clone()).await;
    device.obey(settings.clone()).await;
    let older = ScepSettings {
        timer: true,
        ..settings.clone()
    };
    device
        .scep()
        .offer(device.document(1, older.clone()), &device.state);
    let mut forged = device.document(9, older);
    forged.payload = [forged.payload.to_vec(), vec![0x3a, 0]].concat().into();
    device.scep().offer(forged, &device.state);
    device.obey(settings).await;
    assert_eq!(device.revision, 3);
    device.kill().await;
    device.start(None);
    assert_eq!(device.scep().news.borrow().revision, Revision(3));
    assert_eq!(device.scep().news.borrow().records, []);
}

#[tokio::test]
async fn the_next_one_is_renewed_with_the_old_key_and_an_expired_one_begins_again() {
    let mut device = Device::new().await;
    device.server.desk.wants("s3cret");
    device
        .obey(ScepSettings {
            challenge: ChallengeSource::Stored,
            delete_old: true,
            ..device.periodic()
        })
        .await;
    assert_eq!(device.waiting(1, 1).await, ErrorDetail::TopError);
    let given = Given {
        challenge: Some(Challenge::new("s3cret").expect("a challenge")),
        expires_at: None,
        storable: true,
    };
    let mut asked = device.session(Ok(given));
    device.advance(SignedDuration::from_mins(5));
    device.succeeded(1).await;
    let ask = asked.recv().await.expect("asked");
    assert_eq!(ask.common_name, "p1.example");
    assert_eq!(ask.revision, 1);
    assert_eq!(ask.subject_alt_names, ["dns:p1.example", "ip:127.0.0.1"]);
    assert!(device.has("key-1.pem") && device.has("challenge"));

    // The controller is away, and the challenge was kept.
    device.scep().session.send_replace(None);
    device
        .record(2, |record| record.state == RequestState::ToBeProcessed)
        .await;
    device.advance(HOUR);
    device.succeeded(2).await;
    assert_eq!(
        device.server.desk.seen(),
        [MessageType::PkcsReq, MessageType::RenewalReq]
    );
    assert_eq!(
        device.server.desk.challenges().last(),
        Some(&Some("s3cret".to_owned()))
    );
    assert!(
        !device.has("key-1.pem") && !device.has("certificate-1.pem") && device.has("key-2.pem")
    );
    let ledger = device.ledger();
    let states: Vec<_> = ledger
        .certificates
        .iter()
        .map(|it| (it.in_use, it.held))
        .collect();
    assert_eq!(states, [(false, false), (true, true)]);

    device.advance(SignedDuration::from_hours(24 * 91));
    device.succeeded(3).await;
    assert_eq!(device.server.desk.seen(), [MessageType::PkcsReq]);
    assert!(!format!("{:?}", device.ledger()).contains("s3cret"));
}

#[tokio::test]
async fn a_full_device_says_so_at_once_and_makes_room_where_it_may() {
    let mut device = Device::new().await;
    let settings = ScepSettings {
        max_keys: 1,
        ..device.periodic()
    };
    device.obey(settings.clone()).await;
    device.succeeded(1).await;
    device.server.desk.seen();
    device
        .record(2, |record| record.state == RequestState::ToBeProcessed)
        .await;
    device.advance(HOUR);
    assert_eq!(device.failed(2).await, ErrorDetail::KeyLimit);
    assert_eq!(device.server.desk.seen(), []);
    assert!(device.has("key-1.pem"));
    // In another location it would be one more.
    device.place_tls();
    let elsewhere = ScepSettings {
        delete_old: true,
        key_use: KeyUse::Tls,
        ..settings.clone()
    };
    device.obey_anew(elsewhere).await;
    assert_eq!(device.failed(3).await, ErrorDetail::KeyLimit);
    device
        .obey_anew(ScepSettings {
            delete_old: true,
            ..settings
        })
        .await;
    device.succeeded(4).await;
    assert!(!device.has("key-1.pem") && device.has("key-4.pem"));
}

#[tokio::test]
async fn a_location_gets_the_pair_or_keeps_what_it_has() {
    let mut device = Device::new().await;
    let settings = ScepSettings {
        key_use: KeyUse::Tls,
        delete_old: true,
        ..device.periodic()
    };
    device.obey(settings.clone()).await;
    let why = device.failed(1).await;
    assert!(
        matches!(&why, ErrorDetail::KeyUseLocation(text) if text.contains("[places.tls]")),
        "{why:?}"
    );
    assert_eq!(device.server.desk.seen(), []);

    let (certificate, key) = device.place_tls();
    device
        .record(2, |record| record.state == RequestState::ToBeProcessed)
        .await;
    device.advance(HOUR);
    let record = device.succeeded(2).await;
    assert!(
        record
            .warnings
            .iter()
            .any(|warning| warning.contains("no IP address")),
        "{record:?}"
    );
    let placed = std::fs::read_to_string(&certificate).expect("placed");
    assert_eq!(
        placed,
        std::fs::read_to_string(device.fleet.dir.file("scep/certificate-2.pem")).expect("stored")
    );

    // What cannot be checked is not put in place, and the old stays, in the store too.
    let text = std::fs::read_to_string(device.configuration()).expect("there");
    device.configure(&format!("{text}check = [\"false\"]\n"));
    device
        .record(3, |record| record.state == RequestState::ToBeProcessed)
        .await;
    device.advance(HOUR);
    assert!(matches!(
        device.failed(3).await,
        ErrorDetail::KeyUseLocation(_)
    ));
    assert_eq!(
        placed,
        std::fs::read_to_string(&certificate).expect("placed")
    );
    assert!(device.has("key-2.pem") && !device.has("key-3.pem") && key.exists());

    // Off: assigned, with a warning.
    device.configure(&format!("{text}enabled = false\n"));
    device
        .record(4, |record| record.state == RequestState::ToBeProcessed)
        .await;
    device.advance(HOUR);
    let record = device.succeeded(4).await;
    assert!(
        record
            .warnings
            .iter()
            .any(|warning| warning.contains("switched off")),
        "{record:?}"
    );
    assert_ne!(
        placed,
        std::fs::read_to_string(&certificate).expect("placed")
    );
}

#[tokio::test]
async fn the_history_keeps_the_last_twenty() {
    let mut device = Device::new().await;
    device.server.desk.issues_for(3650);
    device.obey(device.periodic()).await;
    for attempt in 1..=23 {
        device.succeeded(attempt).await;
        device
            .record(attempt + 1, |record| {
                record.state == RequestState::ToBeProcessed
            })
            .await;
        device.advance(HOUR);
    }
    device.succeeded(24).await;
    let ledger = device.ledger();
    assert_eq!(ledger.certificates.first().map(|it| it.attempt), Some(5));
    assert_eq!(ledger.certificates.len(), 20);
    assert_eq!(ledger.records.len(), 20);
    assert!(!device.has("key-4.pem") && device.has("key-5.pem"));
}

#[tokio::test]
async fn the_device_is_restarted_once_when_it_has_its_certificate() {
    let mut device = Device::new().await;
    let mark = device.fleet.dir.file("restarts");
    device.configure(&format!(
        "[restart]\ncommand = [\"sh\", \"-c\", \"echo again >> {}\"]\n",
        mark.display()
    ));
    device
        .obey(ScepSettings {
            restart: true,
            ..device.settings()
        })
        .await;
    device.succeeded(1).await;
    for _ in 0..200 {
        if mark.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    device.kill().await;
    device.start(None);
    device
        .obey(ScepSettings {
            timer: false,
            ..device.settings()
        })
        .await;
    assert_eq!(
        std::fs::read_to_string(&mark).expect("restarted"),
        "again\n"
    );
}
