//! A crash between any two changes on disk leaves the old pair or the new one, never half of each.

use tokio::sync::Notify;

use super::*;
use crate::place::install::{Moment, Watch};

/// Runs an installation until this moment, and has it end there.
async fn crash(device: &Device, places: &Places, new: &Material, at: Moment) {
    let reached = Arc::new(Notify::new());
    let watch = Watch {
        stop: Some((at, Arc::clone(&reached))),
        ..Watch::default()
    };
    let place = places.place(KeyUse::Tls, "").expect("configured");
    tokio::select! {
        ended = install::install(&place, &device.state, new, &watch) => {
            panic!("{at:?} was not reached: {ended:?}")
        }
        () = reached.notified() => {}
    }
}

/// Every moment of an installation.
async fn moments(device: &Device, places: &Places, new: &Material) -> Vec<Moment> {
    let watch = Watch::default();
    let place = places.place(KeyUse::Tls, "").expect("configured");
    install::install(&place, &device.state, new, &watch)
        .await
        .expect("installed");
    watch.seen.into_inner().expect("not poisoned")
}

fn places(device: &Device) -> Places {
    let mut files = device.files();
    // In two folders.
    files.chain = Some(device.folder("chains").join("p.pem"));
    files.activate = Some(device.command("activate", "cat p.crt > served"));
    tls(location(Preset::Files(files)))
}

#[tokio::test]
async fn whenever_it_dies_the_next_start_puts_it_right() {
    let (old, new) = (material(), material());
    let all = {
        let device = Device::new();
        moments(&device, &places(&device), &new).await
    };
    assert_eq!(all.len(), 1 + 3 + 1 + 3 + 4 + 1 + 1 + 3, "{all:?}");
    for there_before in [true, false] {
        for moment in &all {
            let device = Device::new();
            if there_before {
                device.with_old_pair(&old);
                device.folder("chains");
                device.write("chains/p.pem", &old.chain_pem, 0o644);
            }
            let places = places(&device);
            crash(&device, &places, &new, *moment).await;
            let recovered = recover(&device.state, &places).await.expect("recovered");
            device.is_tidy();
            let installed = matches!(moment, Moment::Done | Moment::Kept | Moment::Forgotten(_));
            if installed {
                assert!(device.has(&new), "{moment:?}");
                assert!(matches!(
                    recovered,
                    Recovered::Forgotten {
                        installed: true,
                        ..
                    }
                ));
            } else if there_before {
                assert!(device.has(&old), "{moment:?}");
                assert_eq!(device.read("chains/p.pem").as_ref(), Some(&old.chain_pem));
                assert_eq!(device.mode("p.crt"), 0o640);
            } else {
                for file in ["p.crt", "p.key", "chains/p.pem"] {
                    assert_eq!(device.read(file), None, "{moment:?}");
                }
            }
            if matches!(recovered, Recovered::PutBack { .. }) {
                // The function takes again what is back.
                assert_eq!(device.calls().last().map(String::as_str), Some("activate"));
                if there_before {
                    assert_eq!(device.read("served"), Some(old.certificate_pem.clone()));
                }
            }
            // What was there before is kept once it is gone, and not before.
            let kept: Vec<_> = device.kept().into_iter().map(|(_, text)| text).collect();
            if installed && there_before {
                let before = [&old.chain_pem, &old.certificate_pem, old.key_pem.as_str()];
                assert_eq!(kept, before, "{moment:?}");
            } else {
                assert_eq!(kept, Vec::<String>::new(), "{moment:?}");
            }
            // Once is enough.
            let again = recover(&device.state, &places).await.expect("recovered");
            assert_eq!(again, Recovered::Nothing);
        }
    }
}

#[tokio::test]
async fn an_installation_that_was_given_up_is_taken_back_by_the_next_one() {
    let (old, given_up, new) = (material(), material(), material());
    let device = Device::new();
    device.with_old_pair(&old);
    let places = places(&device);
    crash(&device, &places, &given_up, Moment::Replaced(1)).await;
    install(&device, &places, &new).await.expect("installed");
    assert!(device.has(&new));
    device.is_tidy();
}

#[tokio::test]
async fn a_crash_while_it_is_being_put_right_is_put_right() {
    let (old, new) = (material(), material());
    let device = Device::new();
    device.with_old_pair(&old);
    let places = places(&device);
    crash(&device, &places, &new, Moment::Activated).await;
    // As far as the key's file, which was replaced last.
    std::fs::rename(
        device.path(".convoy-installing/p.key.old"),
        device.path("p.key"),
    )
    .expect("put back");
    recover(&device.state, &places).await.expect("recovered");
    assert!(device.has(&old));
    device.is_tidy();
}

#[tokio::test]
async fn what_is_not_configured_any_more_is_put_back_all_the_same() {
    let (old, new) = (material(), material());
    let device = Device::new();
    device.with_old_pair(&old);
    crash(&device, &places(&device), &new, Moment::Activated).await;
    let recovered = recover(&device.state, &Places::default()).await;
    let Recovered::PutBack { warnings, .. } = recovered.expect("recovered") else {
        panic!("not put back");
    };
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("not configured")),
        "{warnings:?}"
    );
    assert!(device.has(&old));
    device.is_tidy();
}

#[tokio::test]
async fn a_damaged_journal_is_not_guessed_at() {
    let device = Device::new();
    let folder = StateDir::create(&device.state.file("scep")).expect("made");
    folder.write("installing.replacing", b"{").expect("written");
    let error = recover(&device.state, &Places::default())
        .await
        .expect_err("damaged");
    assert!(
        error.to_string().contains("installing.replacing"),
        "{error}"
    );
}

#[tokio::test]
async fn an_agent_that_never_installed_anything_has_nothing_to_put_right() {
    let device = Device::new();
    let recovered = recover(&device.state, &Places::default()).await;
    assert_eq!(recovered.expect("nothing"), Recovered::Nothing);
    assert!(!device.state.file("scep").exists());
}
