//! Manual requests.

use super::*;
use crate::scep::engine::{Order, Wish};

impl Device {
    fn order(&self, change: impl FnOnce(&mut ScepSettings)) -> v1::ScepOrder {
        let mut settings = ScepSettings {
            timer: false,
            ..self.settings()
        };
        change(&mut settings);
        v1::ScepOrder {
            id: vec![7; 16].into(),
            settings: Some(convoy_proto::scep::write_settings(&settings)),
            url: self.server.url.clone(),
            challenge: "s3cret".to_owned(),
            restart: false,
        }
    }
}

#[tokio::test]
async fn an_order_becomes_a_request_and_nothing_of_it_is_kept() {
    let device = Device::new().await;
    device.server.desk.wants("s3cret");
    let answer = device.scep().answer(device.order(|_| ())).await;
    assert_eq!((answer.attempt, answer.reason.as_str()), (1, ""));
    assert_eq!(answer.id, vec![7; 16]);
    device.succeeded(1).await;
    assert_eq!(device.server.desk.challenges(), [Some("s3cret".to_owned())]);
    for file in std::fs::read_dir(device.fleet.dir.file("scep")).expect("a folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("read");
        assert!(!bytes.windows(6).any(|window| window == b"s3cret"));
    }
}

#[tokio::test]
async fn an_order_is_refused_where_it_cannot_be() {
    let mut device = Device::new().await;
    let reason = |answer: v1::ScepOrderAnswer| {
        assert_eq!(answer.attempt, 0);
        answer.reason
    };
    let mut lacking = device.order(|_| ());
    lacking.settings = None;
    assert!(reason(device.scep().answer(lacking).await).contains("settings"));
    let unpinned = device.order(|settings| settings.ca_fingerprint = CaPin::None);
    let why = reason(device.scep().answer(unpinned).await);
    assert!(why.contains("ca_fingerprint"), "{why}");
    assert_eq!(device.server.desk.challenges(), []);
    let nowhere = device.order(|settings| settings.key_use = convoy_shared::settings::KeyUse::Tls);
    assert!(reason(device.scep().answer(nowhere).await).contains("[places.tls]"));
    device.server.desk.set(Mood::Defers);
    assert_eq!(device.scep().answer(device.order(|_| ())).await.attempt, 1);
    assert!(reason(device.scep().answer(device.order(|_| ())).await).contains("being processed"));
    device.waiting(1, 1).await;
    device.kill().await;
    device.start(None);
    // A manual request does not outlive its process.
    let why = device.failed(1).await;
    assert_eq!(
        why,
        ErrorDetail::Device("interrupted by a restart".to_owned())
    );
    device.server.desk.set(Mood::Grants);
    device.obey(device.periodic()).await;
    device.succeeded(2).await;
    assert!(reason(device.scep().answer(device.order(|_| ())).await).contains("timer is on"));
}

#[tokio::test]
async fn the_administrators_own_request_follows_the_settings() {
    let mut device = Device::new().await;
    let wish = || Wish {
        patch: convoy_shared::settings::ScepPatch {
            common_name: Some("127.0.0.1".to_owned()),
            ..convoy_shared::settings::ScepPatch::default()
        },
        challenge: None,
        restart: false,
    };
    let refused = device.scep().wish(wish()).await.expect_err("refused");
    assert!(refused.contains("no SCEP server"), "{refused}");
    device
        .obey(ScepSettings {
            timer: false,
            ..device.settings()
        })
        .await;
    let mut follow = crate::scep::socket::follow(device.scep(), wish()).await;
    let mut told = Vec::new();
    while let Some(line) = timeout(PATIENCE, follow.next()).await.expect("in time") {
        told.push(line);
    }
    assert_eq!(
        told.last(),
        Some(&crate::scep::socket::Told::Done { ok: true }),
        "{told:?}"
    );
    let RequestState::Successful(certificate) = device.succeeded(1).await.state else {
        unreachable!()
    };
    assert_eq!(certificate.subject, "CN=127.0.0.1");
}

#[tokio::test]
async fn any_ca_will_do_for_whoever_says_so() {
    let device = Device::new().await;
    device.server.desk.wants("s3cret");
    let order = device.order(|settings| settings.ca_fingerprint = CaPin::Any);
    assert_eq!(device.scep().answer(order).await.attempt, 1);
    device.succeeded(1).await;
}

#[test]
fn an_order_without_a_challenge_obtains_one() {
    let mut wire = v1::ScepOrder {
        settings: Some(convoy_proto::scep::write_settings(&ScepSettings::default())),
        ..v1::ScepOrder::default()
    };
    assert!(Order::read(wire.clone()).expect("read").challenge.is_none());
    wire.challenge = "a\u{0}b".to_owned();
    assert!(Order::read(wire).is_err());
}
