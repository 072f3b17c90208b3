//! Each step that fails leaves what was there before.

use super::*;

/// Fails with the new certificate, and not with the old one.
const FAILS_NEW: &str = "cmp -s p.crt old.crt || { echo 'I do not like it' >&2; exit 3; }";

struct Story {
    device: Device,
    old: Material,
    new: Material,
    files: Files,
}

fn story() -> Story {
    let device = Device::new();
    let old = material();
    let files = device.with_old_pair(&old);
    device.write("old.crt", &old.certificate_pem, 0o600);
    Story {
        device,
        old,
        new: material(),
        files,
    }
}

impl Story {
    async fn fails(&self, location: Location) -> PlaceError {
        let inode = |name: &str| {
            let metadata = std::fs::metadata(self.device.path(name)).expect("there");
            (metadata.ino(), metadata.mode(), metadata.mtime_nsec())
        };
        let before = (inode("p.crt"), inode("p.key"));
        let error = install(&self.device, &tls(location), &self.new)
            .await
            .expect_err("fails");
        assert!(self.device.has(&self.old), "{error}");
        // Not the like of them: the very files.
        assert_eq!((inode("p.crt"), inode("p.key")), before);
        self.device.is_tidy();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("PRIVATE KEY"), "{text}");
        }
        error
    }
}

#[tokio::test]
async fn the_check_does_not_like_it() {
    let mut story = story();
    story.files.check = Some(story.device.command("check", FAILS_NEW));
    story.files.activate = Some(story.device.command("activate", ""));
    let error = story
        .fails(location(Preset::Files(story.files.clone())))
        .await;
    let PlaceError::Failed { step, put_back, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, Step::Check);
    assert!(matches!(**put_back, PutBack::Files));
    assert!(error.to_string().contains("I do not like it"), "{error}");
    // What was never taken need not be taken again.
    assert_eq!(story.device.calls(), ["check"]);
}

#[tokio::test]
async fn the_activation_fails() {
    let mut story = story();
    story.files.activate = Some(story.device.command("activate", FAILS_NEW));
    let error = story
        .fails(location(Preset::Files(story.files.clone())))
        .await;
    let PlaceError::Failed { step, put_back, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, Step::Activate);
    assert!(matches!(**put_back, PutBack::Active));
    let text = error.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("back and active again"),
        "{text}"
    );
    assert_eq!(story.device.calls(), ["activate", "activate"]);
}

#[tokio::test]
async fn neither_the_new_nor_the_old_can_be_activated() {
    let mut story = story();
    story.files.activate = Some(story.device.command("activate", "exit 1"));
    let error = story
        .fails(location(Preset::Files(story.files.clone())))
        .await;
    let text = error.to_string();
    assert!(
        text.contains("back, but could not be activated again"),
        "{text}"
    );
}

#[tokio::test]
async fn the_activation_hangs() {
    let mut story = story();
    let script = "cmp -s p.crt old.crt || { echo wait >&2; sleep 600; }";
    story.files.activate = Some(story.device.command("activate", script));
    let error = story
        .fails(Location {
            timeout: Duration::from_millis(300),
            ..location(Preset::Files(story.files.clone()))
        })
        .await;
    let text = error.to_string();
    assert!(
        text.contains("was killed") && text.contains("it said: wait"),
        "{text}"
    );
}

#[tokio::test]
async fn the_old_certificate_is_still_served() {
    let mut story = story();
    story
        .device
        .write("served.crt", &story.old.certificate_pem, 0o600);
    story.device.write("served.key", &story.old.key_pem, 0o600);
    story.files.activate = Some(story.device.command("activate", ""));
    let confirm = story.device.serve("served.crt", "served.key", &TLS13).await;
    let error = story
        .fails(Location {
            timeout: Duration::from_secs(1),
            confirm: Some(confirm.clone()),
            ..location(Preset::Files(story.files.clone()))
        })
        .await;
    let text = error.to_string();
    assert!(
        text.contains("shows another certificate") && text.contains(&confirm.to_string()),
        "{text}"
    );
    assert_eq!(story.device.calls(), ["activate", "activate"]);
}

#[tokio::test]
async fn nobody_answers_any_more() {
    let story = story();
    let error = story
        .fails(Location {
            timeout: Duration::from_millis(500),
            confirm: Some("127.0.0.1:1".parse().expect("an address")),
            ..location(Preset::Files(story.files.clone()))
        })
        .await;
    assert!(matches!(
        error,
        PlaceError::Failed {
            step: Step::Confirm,
            ..
        }
    ));
}

#[tokio::test]
async fn one_of_the_files_cannot_be_replaced() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.write("p.crt", &old.certificate_pem, 0o644);
    // The last thing that happens before the files are made ready.
    let places = Places {
        ieee8021x: Some(location(Preset::NetworkManager(NetworkManager {
            connection: "lan".to_owned(),
            certificate: device.path("p.crt"),
            key: device.path("p.key"),
            ca: None,
            nmcli: device.command("nmcli", "mkdir -p p.key"),
        }))),
        ..Places::default()
    };
    let place = places.place(KeyUse::Ieee8021X, "").expect("configured");
    let error = place.install(&device.state, &new).await.expect_err("fails");
    let PlaceError::Failed { step, put_back, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*step, Step::Replace);
    assert!(matches!(**put_back, PutBack::Files), "{error}");
    assert_eq!(device.read("p.crt").as_ref(), Some(&old.certificate_pem));
    assert!(device.path("p.key").is_dir());
    assert!(!device.calls().iter().any(|call| call.contains("mod")));
    device.is_tidy();
}

#[tokio::test]
async fn where_there_was_nothing_there_is_nothing_again() {
    let device = Device::new();
    let mut files = device.files();
    files.check = Some(device.command("check", "exit 1"));
    let places = tls(location(Preset::Files(files)));
    install(&device, &places, &material())
        .await
        .expect_err("fails");
    assert_eq!((device.read("p.crt"), device.read("p.key")), (None, None));
    device.is_tidy();
}

#[tokio::test]
async fn what_cannot_be_made_ready_changes_nothing() {
    let story = story();
    // A stranger's file where the agent's folder would be: it is left alone.
    let mut files = story.files.clone();
    story.device.folder("other");
    story
        .device
        .write("other/.convoy-installing", "mine", 0o600);
    files.key = story.device.path("other/p.key");
    let places = tls(location(Preset::Files(files.clone())));
    let error = install(&story.device, &places, &story.new)
        .await
        .expect_err("fails");
    assert!(matches!(error, PlaceError::Prepare { .. }), "{error}");
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(
        story.device.read("other/.convoy-installing").as_deref(),
        Some("mine")
    );
    assert!(story.device.has(&story.old));
    assert!(!story.device.path(".convoy-installing").exists());
    // A folder that is not there, a folder in the file's place, a link to nowhere, and the certificate's own file.
    std::os::unix::fs::symlink("/no/where", story.device.path("link")).expect("linked");
    for bad in ["none/p.key", "other", "link", "p.crt"] {
        files.key = story.device.path(bad);
        let places = tls(location(Preset::Files(files.clone())));
        let error = install(&story.device, &places, &story.new)
            .await
            .expect_err("fails");
        assert!(matches!(error, PlaceError::Prepare { .. }), "{error}");
        assert!(story.device.has(&story.old));
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_not_installed() {
    let story = story();
    let places = tls(location(Preset::Files(story.files.clone())));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_owned();
    let without_certificate = Material {
        certificate_pem: String::new(),
        ..material()
    };
    let with_broken_issuers = Material {
        chain_pem: broken,
        ..material()
    };
    for new in [without_certificate, with_broken_issuers] {
        let error = install(&story.device, &places, &new)
            .await
            .expect_err("refused");
        assert!(matches!(error, PlaceError::Material(_)), "{error}");
        assert!(story.device.has(&story.old));
    }
}

/// A small file system that is gone with the test.
struct Small(PathBuf);

impl Small {
    /// Needs the right to mount.
    fn mount(at: PathBuf) -> Option<Self> {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8k", "tmpfs"])
            .arg(&at)
            .status()
            .ok()?;
        status.success().then_some(Self(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _gone = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_fails_before_anything_is_replaced() {
    let story = story();
    let folder = story.device.folder("small");
    let mut files = story.files.clone();
    files.key = folder.join("p.key");
    let small = Small::mount(folder.clone());
    if small.is_some() {
        // Two pages: one for the old key, and one for the filling.
        story.device.write("small/p.key", &story.old.key_pem, 0o600);
        story
            .device
            .write("small/filling", &"x".repeat(4096), 0o600);
    } else if rustix::process::geteuid().is_root() {
        // Root without the right to mount cannot be refused anything here.
        return;
    } else {
        std::fs::set_permissions(&folder, Permissions::from_mode(0o500)).expect("set");
    }
    let places = tls(location(Preset::Files(files)));
    let error = install(&story.device, &places, &story.new)
        .await
        .expect_err("fails");
    assert!(matches!(error, PlaceError::Prepare { .. }), "{error}");
    assert_eq!(
        story.device.read("p.crt").as_ref(),
        Some(&story.old.certificate_pem)
    );
    if small.is_some() {
        assert_eq!(
            story.device.read("small/p.key").as_deref(),
            Some(story.old.key_pem.as_str())
        );
    }
    story.device.is_tidy();
}
