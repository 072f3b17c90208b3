//! A device that dies, or whose disk is full, after each change on disk in turn: what was in use stays in use, and the next start puts things right.

use convoy_scep::{certificate::Certificate, key::RsaKey};
use convoy_shared::settings::KeyUse;

use super::*;

/// The certificate of a location, if it is about the key beside it.
fn pair(files: &(PathBuf, PathBuf)) -> Certificate {
    let text = |path: &PathBuf| std::fs::read_to_string(path).expect("placed");
    let certificate = Certificate::from_pem_chain(&text(&files.0))
        .expect("one")
        .remove(0);
    let key = RsaKey::from_pem(&text(&files.1)).expect("a key");
    assert_eq!(
        certificate.spki(),
        key.spki(),
        "a key beside another's certificate"
    );
    certificate
}

#[tokio::test]
async fn whatever_is_cut_off_is_finished_or_forgotten() {
    let mut device = Device::new().await;
    let files = device.place_tls();
    let settings = ScepSettings {
        key_use: KeyUse::Tls,
        delete_old: true,
        ..device.periodic()
    };
    device.obey(settings).await;
    device.succeeded(1).await;
    let mut last = 1;
    for steps in 0.. {
        device.kill().await;
        let before = pair(&files);
        device.start(Some(steps));
        device.advance(HOUR);
        let ended = device.record_after(last).await;
        let blown = device.life.as_ref().expect("alive").fuse.is_blown();
        match ended.state {
            RequestState::Successful(_) => assert_ne!(pair(&files), before),
            RequestState::Error(why) => {
                assert!(
                    blown && matches!(why, ErrorDetail::Device(_)),
                    "step {steps}: {why:?}"
                );
                assert_eq!(pair(&files), before, "step {steps}");
            }
            other => panic!("{other:?}"),
        }
        device.kill().await;
        pair(&files);
        device.start(None);
        let record = device.settled().await;
        let ledger = device.ledger();
        let RequestState::Successful(certificate) = &record.state else {
            panic!("step {steps}: {record:?}")
        };
        assert_eq!(
            pair(&files).fingerprint(),
            *certificate.fingerprint.as_bytes(),
            "step {steps}"
        );
        let in_use: Vec<_> = ledger.certificates.iter().filter(|it| it.in_use).collect();
        assert_eq!(in_use.len(), 1);
        assert_eq!(in_use[0].certificate, *certificate);
        assert_eq!((ledger.underway, ledger.finishing), (None, None));
        let attempts: Vec<_> = ledger.records.iter().map(|record| record.attempt).collect();
        assert!(attempts.is_sorted_by(|a, b| a < b), "{attempts:?}");
        for attempt in 0..record.attempt {
            assert!(
                !device.has(&format!("key-{attempt}.pem")),
                "step {steps}: key {attempt} is left"
            );
        }
        last = record.attempt;
        if !blown {
            assert!(steps > 8, "there are not so few steps");
            return;
        }
    }
}

impl Device {
    /// The first request after one to end.
    async fn record_after(&self, last: u64) -> RequestRecord {
        let mut news = self.scep().news.clone();
        let find = |news: &crate::scep::News| {
            let mut records = news.records.iter();
            records
                .find(|record| record.attempt > last && record.state.is_final())
                .cloned()
        };
        let found = timeout(PATIENCE, news.wait_for(|news| find(news).is_some())).await;
        find(&found.expect("in time").expect("alive")).expect("found")
    }

    /// The last request, when all have ended and the next one is announced.
    async fn settled(&self) -> RequestRecord {
        let mut news = self.scep().news.clone();
        let done = |news: &crate::scep::News| match news.records.as_slice() {
            [.., record, next] => (record.state.is_final()
                && next.state == RequestState::ToBeProcessed
                && next.requested_at > *self.now.borrow())
            .then(|| record.clone()),
            _ => None,
        };
        let found = timeout(PATIENCE, news.wait_for(|news| done(news).is_some())).await;
        match found {
            Ok(found) => done(&found.expect("alive")).expect("found"),
            Err(_) => panic!("{:#?}", self.scep().news.borrow()),
        }
    }
}
