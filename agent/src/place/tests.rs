//! Installations in temporary folders, with small real commands and a real TLS server. Never part of the agent.

mod crashes;
pub(super) mod fifo;
mod folders;
mod presets;
mod rollback;

use std::{
    fs::Permissions,
    net::Ipv4Addr,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use fifo::Fifo;

/// A folder with a device in it: the agent's state, and what uses the key.
pub(super) struct Device {
    folder: tempfile::TempDir,
    pub(super) state: StateDir,
}

impl Device {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::create(&folder.path().join("state")).expect("made");
        Self { folder, state }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("made");
        // Whatever the umask is.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("set");
        path
    }

    pub(super) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        path
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    pub(super) fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name)).expect("there").mode() & 0o7777
    }

    /// A command that notes how it was called, and then does this in the device's folder.
    pub(super) fn command(&self, name: &str, script: &str) -> Command {
        let folder = self.folder.path().display();
        let text = format!("cd {folder}\necho {name} \"$@\" >> calls\n{script}\n");
        // Read by a shell that is there already: a program that was just written may still be open in a process that is being started.
        let path = self.write(&format!("{name}.sh"), &text, 0o600);
        Command::of(&["sh", &path.display().to_string()])
    }

    pub(super) fn calls(&self) -> Vec<String> {
        let calls = self.read("calls").unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// That nothing is left of an installation but its outcome.
    pub(super) fn is_tidy(&self) {
        let left = |folder: &Path| -> Vec<PathBuf> {
            let mut all = Vec::new();
            let mut folders = vec![folder.to_owned()];
            while let Some(folder) = folders.pop() {
                for entry in std::fs::read_dir(&folder).expect("a folder") {
                    let path = entry.expect("an entry").path();
                    if path.is_dir() {
                        folders.push(path.clone());
                    }
                    if path.display().to_string().contains("installing") {
                        all.push(path);
                    }
                }
            }
            all
        };
        assert_eq!(left(self.folder.path()), Vec::<PathBuf>::new());
    }

    /// Files, with the pair that was there before.
    pub(super) fn with_old_pair(&self, old: &Material) -> Files {
        self.write("p.crt", &old.certificate_pem, 0o640);
        self.write("p.key", &old.key_pem, 0o600);
        self.files()
    }

    pub(super) fn files(&self) -> Files {
        Files {
            certificate: self.path("p.crt"),
            key: self.path("p.key"),
            chain: None,
            ca: None,
            full_chain: false,
            check: None,
            activate: None,
        }
    }

    pub(super) fn has(&self, material: &Material) -> bool {
        self.read("p.crt").as_ref() == Some(&material.certificate_pem)
            && self.read("p.key").as_deref() == Some(material.key_pem.as_str())
    }

    /// A TLS server that reads its pair from files with each connection.
    pub(super) async fn serve(
        &self,
        certificate: &str,
        key: &str,
        version: &'static SupportedProtocolVersion,
    ) -> Address {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let (certificate, key) = (self.path(certificate), self.path(key));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let chain = CertificateDer::pem_file_iter(&certificate)
                    .expect("there")
                    .collect::<Result<Vec<_>, _>>()
                    .expect("PEM");
                let key = PrivateKeyDer::from_pem_file(&key).expect("a key");
                let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                    .with_protocol_versions(&[version])
                    .expect("versions")
                    .with_no_client_auth()
                    .with_single_cert(chain, key);
                if let Ok(config) = config {
                    tokio::spawn(TlsAcceptor::from(Arc::new(config)).accept(stream));
                }
            }
        });
        address.parse().expect("an address")
    }
}

/// A key with a certificate of a new CA.
pub(super) fn material() -> Material {
    let mut ca = CertificateParams::new(vec![]).expect("params");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("a key")).expect("a CA");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["p1.example".to_owned()])
        .expect("params")
        .signed_by(&key, &ca)
        .expect("signed");
    Material {
        key_pem: Zeroizing::new(key.serialize_pem()),
        certificate_pem: leaf.pem(),
        chain_pem: ca.pem(),
        ca_pem: ca.pem(),
    }
}

pub(super) fn location(preset: Preset) -> Location {
    Location {
        preset,
        enabled: Enabled::Fixed(true),
        confirm: None,
        timeout: Duration::from_secs(5),
        key_file: KeyFile::default(),
    }
}

pub(super) fn tls(location: Location) -> Places {
    Places {
        tls: Some(location),
        file: "/etc/convoy/agent.toml".into(),
        ..Places::default()
    }
}

pub(super) async fn install(
    device: &Device,
    places: &Places,
    material: &Material,
) -> Result<Installed, PlaceError> {
    let place = places.place(KeyUse::Tls, "").expect("configured");
    place.install(&device.state, material).await
}

#[tokio::test]
async fn cups_serves_the_new_certificate_with_its_next_connection() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.folder("ssl");
    device.write("ssl/p1.crt", &old.certificate_pem, 0o644);
    device.write("ssl/p1.key", &old.key_pem, 0o600);
    let confirm = device.serve("ssl/p1.crt", "ssl/p1.key", &TLS13).await;
    let places = tls(Location {
        confirm: Some(confirm),
        ..location(Preset::Cups(Cups {
            folder: device.path("ssl"),
            server_name: "p1".to_owned(),
        }))
    });
    let installed = install(&device, &places, &new).await.expect("installed");
    assert!(installed.was_enabled && installed.warnings.is_empty());
    let full = format!("{}{}", new.certificate_pem, new.chain_pem);
    assert_eq!(device.read("ssl/p1.crt"), Some(full));
    assert_eq!(device.mode("ssl/p1.key"), 0o600);
    device.is_tidy();
}

#[tokio::test]
async fn a_reload_that_takes_its_time_is_waited_for() {
    for version in [&TLS12, &TLS13] {
        let device = Device::new();
        let (old, new) = (material(), material());
        let mut files = device.with_old_pair(&old);
        device.write("served.crt", &old.certificate_pem, 0o600);
        device.write("served.key", &old.key_pem, 0o600);
        let reload = "(sleep 0.7; cp p.key served.key; cp p.crt served.crt) &";
        files.activate = Some(device.command("reload", reload));
        let confirm = device.serve("served.crt", "served.key", version).await;
        let places = tls(Location {
            confirm: Some(confirm),
            ..location(Preset::Files(files))
        });
        install(&device, &places, &new).await.expect("installed");
        assert!(device.has(&new));
        assert_eq!(device.calls(), ["reload"]);
    }
}

#[tokio::test]
async fn a_place_whose_function_is_off_is_assigned_and_stays_off() {
    let device = Device::new();
    let (old, new) = (material(), material());
    let mut files = device.with_old_pair(&old);
    files.activate = Some(device.command("reload", ""));
    files.check = Some(device.command("check", ""));
    for enabled in [
        Enabled::Fixed(false),
        Enabled::Ask(Command::of(&["test", "-e", "/no/such/file"])),
    ] {
        let places = tls(Location {
            enabled,
            // Nobody answers there.
            confirm: Some("127.0.0.1:1".parse().expect("an address")),
            ..location(Preset::Files(files.clone()))
        });
        let place = places.place(KeyUse::Tls, "").expect("configured");
        assert!(!place.is_enabled().await);
        let installed = install(&device, &places, &new).await.expect("assigned");
        assert!(!installed.was_enabled);
        let [warning] = &installed.warnings[..] else {
            panic!("one warning: {:?}", installed.warnings);
        };
        assert!(
            warning.contains("TLS") && warning.contains("switched off"),
            "{warning}"
        );
        assert!(device.has(&new));
    }
    assert_eq!(device.calls(), ["check", "check"]);
    device.is_tidy();
}

#[tokio::test]
async fn where_nobody_can_tell_whether_it_is_on_nothing_is_changed() {
    let device = Device::new();
    let (old, new) = (material(), material());
    let places = tls(Location {
        enabled: Enabled::Ask(Command::of(&["/no/such/program"])),
        ..location(Preset::Files(device.with_old_pair(&old)))
    });
    let place = places.place(KeyUse::Tls, "").expect("configured");
    assert!(!place.is_enabled().await);
    let error = install(&device, &places, &new).await.expect_err("refused");
    assert!(matches!(error, PlaceError::Enabled { .. }));
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    assert!(device.has(&old));
}

#[test]
fn a_place_is_found_or_it_is_said_what_to_write() {
    let here = location(Preset::Files(Device::new().files()));
    let mut places = Places {
        file: "/var/lib/convoy/agent.toml".into(),
        ..Places::default()
    };
    places.place(KeyUse::None, "").expect("always there");
    for (key_use, table) in [
        (KeyUse::Tls, "[places.tls]"),
        (KeyUse::IpSec, "[places.ipsec.<destination>]"),
        (KeyUse::Ieee8021X, "[places.ieee8021x]"),
    ] {
        let error = places.place(key_use, "").expect_err("missing").to_string();
        assert!(
            error.contains(table) && error.contains("/var/lib/convoy/agent.toml"),
            "{error}"
        );
    }
    places.ipsec.insert("hq".to_owned(), here.clone());
    let place = places.place(KeyUse::IpSec, "").expect("the only one");
    assert_eq!(place.to_string(), "IPSec (hq)");
    places.place(KeyUse::IpSec, "hq").expect("there");
    places.ipsec.insert("lab".to_owned(), here);
    for unclear in ["", "moon"] {
        let error = places.place(KeyUse::IpSec, unclear).expect_err("unclear");
        assert!(error.to_string().contains("hq, lab"), "{error}");
    }
}

#[tokio::test]
async fn without_a_location_the_agents_own_store_is_enough() {
    let device = Device::new();
    let places = Places::default();
    let place = places.place(KeyUse::None, "ignored").expect("always there");
    let installed = place.install(&device.state, &material()).await;
    assert!(installed.expect("nothing to do").was_enabled);
    assert!(place.is_enabled().await);
}

#[test]
fn no_key_is_ever_shown() {
    let material = material();
    let shown = format!("{material:?}");
    assert!(shown.contains("BEGIN CERTIFICATE"));
    for line in material.key_pem.lines() {
        assert!(!shown.contains(line), "{shown}");
    }
}

#[tokio::test]
async fn a_restart_outlives_whoever_asked_for_it() {
    let device = Device::new();
    let without = restart(&Configuration::default()).await.expect_err("none");
    assert!(without.to_string().contains("[restart]"), "{without}");
    let configured = |script, timeout| Configuration {
        restart: Some(crate::configuration::Restart {
            command: device.command("restart", script),
            timeout,
        }),
        ..Configuration::default()
    };
    let second = Duration::from_secs(5);
    // Fields 5 and 6 of proc_pid_stat(5): its process group and its session. Both are its own.
    let own = configured(
        "read -r line < /proc/$$/stat; set -- $line; test $5 = $$ && test $6 = $$",
        second,
    );
    restart(&own).await.expect("in a session of its own");
    let failing = configured("echo no such unit >&2; exit 5", second);
    let error = restart(&failing).await.expect_err("failed").to_string();
    assert!(
        error.contains("no such unit") && error.contains('5'),
        "{error}"
    );
    let go = Fifo::new(device.folder.path(), "go");
    let mut said = Fifo::new(device.folder.path(), "said");
    let slow = configured(
        "read -r _ <go && echo still said && echo restarted >said",
        Duration::from_millis(100),
    );
    let error = restart(&slow).await.expect_err("late").to_string();
    assert!(error.contains("left to go on"), "{error}");
    go.release();
    assert_eq!(said.line().await, "restarted");
}
