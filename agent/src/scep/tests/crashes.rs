//! A device that dies, or whose disk is full, after each change on disk in turn: what was in use stays in use, and the next start puts things right.

use convoy_scep::{certificate::Certificate, key::RsaKey};
use convoy_shared::settings::KeyUse;

use super::*;
use crate::scep::batch;

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

#[tokio::test]
async fn an_import_that_was_cut_off_is_finished_whole() {
    let mut device = Device::new().await;
    let own = "[device]\nserial = \"S1\"\n";
    let text = format!(
        "{own}[scep]\nserver = {:?}\ntimer = true\ncommon_name = \"{{serial}}\"\n",
        device.server.url
    );
    let dir = device.fleet.dir.clone();
    let import = batch::read(&dir, &device.configuration(), &text).expect("right");
    let store = Store::open(&dir).expect("a store");
    store.fuse.set(Some(0));
    import.stage(&store).expect_err("a full disk");
    device.kill().await;
    device.start(None);
    assert!(!device.configuration().exists());
    store.fuse.set(None);
    import.stage(&store).expect("decided");
    // Cut off between the first file and the second.
    super::super::store::replace(&device.configuration(), own.as_bytes()).expect("written");
    device.kill().await;
    device.start(None);
    let RequestState::Successful(certificate) = device.succeeded(1).await.state else {
        unreachable!()
    };
    assert_eq!(certificate.subject, "CN=S1");
    assert_eq!(
        std::fs::read_to_string(device.configuration()).expect("there"),
        own
    );
    assert!(!device.has("import") && device.has("settings.toml"));
}

#[tokio::test]
async fn a_damaged_list_is_begun_anew_without_using_a_number_again() {
    let mut device = Device::new().await;
    device.obey(device.settings()).await;
    device.succeeded(1).await;
    device.kill().await;
    std::fs::write(device.fleet.dir.file("scep/ledger"), b"torn").expect("written");
    device.start(None);
    drop(device.scep().connect(1));
    device
        .obey(ScepSettings {
            polls: 7,
            ..device.settings()
        })
        .await;
    let record = device.record_after(0).await;
    assert_eq!(record.attempt, 2);
    assert!(device.has("ledger.damaged") && device.has("key-1.pem"));
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
