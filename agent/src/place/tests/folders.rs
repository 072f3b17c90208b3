//! Who may get at a key by way of its folder, its old file or a link; and what is kept of the time before the agent.

use std::os::unix::fs::{chown, symlink};

use super::*;

impl Device {
    /// What is kept of the time before the agent, by name.
    pub(super) fn kept(&self) -> Vec<(String, String)> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(self.path("state/scep/default-tls"))
            .into_iter()
            .flatten()
        {
            let path = entry.expect("an entry").path();
            assert_eq!(
                std::fs::metadata(&path).expect("there").mode() & 0o777,
                0o600
            );
            let name = path.file_name().expect("a name").display().to_string();
            if name != "files.json" {
                kept.push((name, std::fs::read_to_string(&path).expect("text")));
            }
        }
        kept.sort();
        kept
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
}

#[tokio::test]
async fn what_was_there_before_the_first_success_is_kept_for_good() {
    let device = Device::new();
    let (old, repaired) = (material(), material());
    let mut failing = device.with_old_pair(&old);
    failing.check = Some(Command::of(&["false"]));
    let failing = tls(location(Preset::Files(failing)));
    install(&device, &failing, &material())
        .await
        .expect_err("fails");
    assert_eq!(device.kept(), []);
    // What counts is what was there before the first success.
    device.with_old_pair(&repaired);
    let places = tls(location(Preset::Files(device.files())));
    let kept = [
        ("1-p.crt".to_owned(), repaired.certificate_pem.clone()),
        ("2-p.key".to_owned(), repaired.key_pem.to_string()),
    ];
    for _ in 0..2 {
        install(&device, &places, &material())
            .await
            .expect("installed");
        assert_eq!(device.kept(), kept);
    }
    assert_eq!(device.mode("state/scep/default-tls"), 0o700);
    let index = device
        .read("state/scep/default-tls/files.json")
        .expect("there");
    let key = device.path("p.key").canonicalize().expect("there");
    assert!(index.contains(&key.display().to_string()), "{index}");
    // Elsewhere, for the same location: that was not the agent's either.
    device.folder("other");
    device.write("other/p.crt", "another", 0o644);
    let mut files = device.files();
    files.certificate = device.path("other/p.crt");
    let elsewhere = tls(location(Preset::Files(files)));
    // Also where somebody took the list away, nothing is written over.
    for _ in 0..2 {
        install(&device, &elsewhere, &material())
            .await
            .expect("installed");
        let now = device.kept();
        let another = ("3-p.crt".to_owned(), "another".to_owned());
        assert!(kept.iter().chain([&another]).all(|one| now.contains(one)));
        std::fs::remove_file(device.path("state/scep/default-tls/files.json")).expect("removed");
    }
}

#[tokio::test]
async fn where_there_was_nothing_the_agents_own_are_not_kept() {
    let device = Device::new();
    let places = tls(location(Preset::Files(device.files())));
    for _ in 0..2 {
        install(&device, &places, &material())
            .await
            .expect("installed");
        assert_eq!(device.kept(), []);
    }
    assert!(device.path("state/scep/default-tls/files.json").exists());
}

#[tokio::test]
async fn a_folder_that_others_may_write_gets_no_key() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.with_old_pair(&old);
    let mut files = device.files();
    let open = device.folder("open");
    device.folder("open/below");
    let refused = |files: &Files, says: &'static [&'static str]| {
        let places = tls(location(Preset::Files(files.clone())));
        let (device, old, new) = (&device, &old, &new);
        async move {
            let error = install(device, &places, new).await.expect_err("refused");
            assert!(matches!(error, PlaceError::Prepare { .. }), "{error}");
            let error = error.to_string();
            assert!(
                error.contains("/open") && error.contains("nothing was changed"),
                "{error}"
            );
            for part in says {
                assert!(error.contains(part), "{error}");
            }
            assert!(device.has(old));
            device.is_tidy();
        }
    };
    for bad in [0o775, 0o757, 0o1777] {
        mode(&open, bad);
        files.key = open.join("p.key");
        refused(&files, &["chmod go-w", "it has mode"]).await;
        files.key = open.join("below/p.key");
        if bad != 0o1777 {
            refused(&files, &["chmod go-w"]).await;
        }
    }
    // By way of a link that others may turn.
    mode(&open, 0o777);
    symlink(device.folder("good"), open.join("link")).expect("linked");
    files.key = open.join("link/p.key");
    refused(&files, &["chmod go-w"]).await;
    if rustix::process::geteuid().is_root() {
        mode(&open, 0o755);
        chown(&open, Some(4343), Some(4343)).expect("given");
        files.key = open.join("p.key");
        refused(&files, &["belongs to the user 4343", "chown"]).await;
        // CUPS's: of root, and for a group to look into.
        for good in [0o755, 0o710] {
            mode(&open, good);
            chown(&open, Some(0), Some(7)).expect("given");
            let places = tls(location(Preset::Files(files.clone())));
            install(&device, &places, &new).await.expect("installed");
            assert_eq!(device.mode("open/p.key"), 0o600);
        }
    }
    mode(&open, 0o1777);
    files.key = device.path("open/below/p.key");
    let places = tls(location(Preset::Files(files)));
    install(&device, &places, &new).await.expect("installed");
}

#[tokio::test]
async fn a_key_is_not_written_through_a_link() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.with_old_pair(&old);
    device.folder("real");
    device.write("real/p.key", &old.key_pem, 0o600);
    symlink(device.path("real/p.key"), device.path("link.key")).expect("linked");
    let mut files = device.files();
    files.key = device.path("link.key");
    let places = tls(location(Preset::Files(files)));
    let error = install(&device, &places, &new).await.expect_err("refused");
    assert!(matches!(error, PlaceError::Prepare { .. }), "{error}");
    assert!(error.to_string().contains("it is a link"), "{error}");
    assert!(device.has(&old));
    assert_eq!(
        device.read("real/p.key").as_deref(),
        Some(old.key_pem.as_str())
    );
}

#[tokio::test]
async fn a_new_key_is_not_for_whoever_owned_the_old_one() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else can make such a file.
        return;
    }
    let owner = |device: &Device| {
        let metadata = std::fs::metadata(device.path("p.key")).expect("there");
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    for (key_file, expected, warned) in [
        (KeyFile::default(), (0, 0, 0o600), true),
        // The group that was there, where one is to read it.
        (
            KeyFile {
                mode: Some(0o640),
                ..KeyFile::default()
            },
            (0, 4242, 0o640),
            true,
        ),
        (
            KeyFile {
                owner: Owner {
                    user: Some(4343),
                    group: None,
                },
                ..KeyFile::default()
            },
            (4343, 0, 0o600),
            false,
        ),
    ] {
        let device = Device::new();
        device.with_old_pair(&material());
        chown(device.path("p.key"), Some(4343), Some(4242)).expect("given");
        let places = tls(Location {
            key_file,
            ..location(Preset::Files(device.files()))
        });
        let installed = install(&device, &places, &material()).await;
        let warnings = installed.expect("installed").warnings;
        assert_eq!(owner(&device), expected);
        assert_eq!(!warnings.is_empty(), warned, "{warnings:?}");
        if warned {
            assert!(warnings[0].contains("key_owner = \"4343\""), "{warnings:?}");
        }
    }
}

#[tokio::test]
async fn owner_mode_and_links_stay_but_a_key_is_for_its_owner_alone() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.folder("real");
    device.write("real/p.crt", &old.certificate_pem, 0o640);
    symlink(device.path("real/p.crt"), device.path("p.crt")).expect("linked");
    device.write("p.key", &old.key_pem, 0o644);
    let places = tls(location(Preset::Files(device.files())));
    install(&device, &places, &new).await.expect("installed");
    assert!(device.has(&new));
    assert!(device.path("p.crt").is_symlink());
    assert_eq!(device.mode("real/p.crt"), 0o640);
    assert_eq!(device.mode("p.key"), 0o600);
    // The owner may give the group of its server a look.
    let mut places = tls(location(Preset::Files(device.files())));
    if let Some(location) = &mut places.tls {
        location.key_file.mode = Some(0o640);
        if rustix::process::geteuid().is_root() {
            location.key_file.owner.group = Some(4242);
        }
    }
    install(&device, &places, &new).await.expect("installed");
    assert_eq!(device.mode("p.key"), 0o640);
    if rustix::process::geteuid().is_root() {
        let group = std::fs::metadata(device.path("p.key"))
            .expect("there")
            .gid();
        assert_eq!(group, 4242);
        // Another owner's file stays its.
        chown(device.path("real/p.crt"), Some(4343), Some(4343)).expect("given");
        install(&device, &places, &old).await.expect("installed");
        let metadata = std::fs::metadata(device.path("real/p.crt")).expect("there");
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (4343, 0o640));
    }
    device.is_tidy();
}
