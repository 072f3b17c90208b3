//! Where certificates go on a device: files and commands of its own configuration, taken back where they fail, and the restart afterwards.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use convoy_scep::{certificate::Certificate, key::RsaKey};

use crate::{
    fleet::{Fleet, PROGRAM},
    scep_peer::Peer,
};

/// A key use location of plain files.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
}

impl Place {
    /// In a folder of this name beside the state folders.
    pub(crate) fn new(fleet: &Fleet, name: &str) -> Self {
        let folder = fleet.path(name);
        fs::create_dir_all(&folder).expect("a folder");
        Self { folder }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        let file = self.folder.join(name);
        file.to_str().expect("UTF-8").to_owned()
    }

    /// `[places.tls]`, with more lines.
    pub(crate) fn table(&self, more: &str) -> String {
        let (certificate, key) = (self.file("tls.crt"), self.file("tls.key"));
        format!(
            "[places.tls]\npreset = \"files\"\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{more}\n"
        )
    }

    /// The same, looked at by one command and taken by another, which writes a line into `taken`.
    fn checked(&self, check: &str, more: &str) -> String {
        let taken = self.file("taken");
        self.table(&format!(
            "check = {check}\nactivate = [\"sh\", \"-c\", \"echo taken >> {taken}\"]\n{more}"
        ))
    }

    fn taken(&self) -> usize {
        let taken = fs::read_to_string(self.file("taken")).unwrap_or_default();
        taken.lines().count()
    }

    /// The certificate in place, which must be about the key beside it.
    #[track_caller]
    pub(crate) fn pair(&self) -> Certificate {
        let text = |name| fs::read_to_string(self.file(name)).expect("placed");
        let chain = Certificate::from_pem_chain(&text("tls.crt"));
        let certificate = chain.expect("a certificate").remove(0);
        let key = RsaKey::from_pem(&text("tls.key")).expect("a key");
        assert_eq!(
            certificate.spki(),
            key.spki(),
            "a key beside another's certificate"
        );
        certificate
    }

    /// What stands in the folder itself.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(&self.folder)
            .expect("a folder")
            .flatten()
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                let name = entry.file_name().to_str().expect("UTF-8").to_owned();
                (name, fs::read(entry.path()).expect("read"))
            })
            .collect();
        files.sort();
        files
    }
}

#[test]
fn a_certificate_goes_to_its_place_or_what_was_there_stays() {
    // Given a device whose place has files, a command that looks at them, and one that takes them,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    let place = Place::new(&fleet, "tls");
    fleet.scep_at(&peer.url("desk"), &["--key-use", "TLS", "--max-keys", "9"]);
    let request = ["scep", "request", "one", "--wait"];

    // when nothing is configured, then the request is refused, and says what is missing;
    let said = fleet.convoy(&request).failed(1);
    assert!(said.contains("[places.tls]"), "{said}");
    assert_eq!(peer.posts("desk"), 0);

    // when a certificate comes, then it is there with its key, for its owner alone, and was taken once;
    let certificate = place.file("tls.crt");
    let check = format!("[\"grep\", \"-q\", \"BEGIN CERTIFICATE\", \"{certificate}\"]");
    fleet.configure("one", &place.checked(&check, ""));
    fleet.ok(&request);
    let first = place.pair();
    assert_eq!(first.fingerprint(), peer.issued("desk")[0].fingerprint());
    let mode = fs::metadata(place.file("tls.key"))
        .expect("a key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(place.taken(), 1);

    // when the look at it fails, then that is an error, and the very files that were there are there;
    let pair = |place: &Place| {
        let mut files = place.files();
        files.retain(|(name, _)| name != "taken");
        files
    };
    let before = pair(&place);
    fleet.configure(
        "one",
        &place.checked("[\"sh\", \"-c\", \"echo looks wrong >&2; exit 3\"]", ""),
    );
    let said = fleet.convoy(&request).failed(1);
    assert!(said.contains("Key Use Location Error"), "{said}");
    assert!(said.contains("looks wrong"), "{said}");
    assert_eq!(pair(&place), before);
    let shown = fleet.await_scep("one", "Error");
    assert_eq!(shown["details"], "Key Use Location Error");
    let held = fleet.device_certificates("one");
    assert_eq!((held.len(), &held[0]["in_use"]), (1, &true.into()));

    // and when the function is off, then the certificate is assigned with a warning, and nothing takes it.
    let taken = place.taken();
    fleet.configure("one", &place.checked(&check, "enabled = false"));
    let said = fleet.convoy(&request);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("switched off"), "{said:?}");
    let newest = peer.issued("desk").pop().expect("a certificate");
    assert_eq!(place.pair().fingerprint(), newest.fingerprint());
    assert_eq!(place.taken(), taken);
    let warnings = &fleet.await_scep("one", "Successful")["record"]["warnings"];
    assert!(warnings.to_string().contains("switched off"), "{warnings}");

    // The device restarts where that is asked for.
    let restarted = PathBuf::from(place.file("restarted"));
    let restart = format!(
        "[restart]\ncommand = [\"touch\", \"{}\"]\n",
        restarted.display()
    );
    fleet.configure("one", &place.checked(&check, &restart));
    fleet.ok(&request);
    assert!(!restarted.exists());
    fleet.ok(&[&request[..], &["--restart"]].concat());
    fleet.eventually("the restart", |_| restarted.exists().then_some(()));
}

#[test]
fn a_destination_is_one_of_the_devices_list() {
    // Given a device with two destinations, and a SCEP server whose port is a setting,
    let peer = Peer::start();
    let url = peer.url("desk");
    let port = url
        .trim_start_matches("http://127.0.0.1:")
        .split('/')
        .next()
        .expect("a port");
    let mut fleet = Fleet::with_agents(&["one"]);
    let (lab, head) = (Place::new(&fleet, "lab"), Place::new(&fleet, "head"));
    let table = |name: &str, place: &Place| {
        place
            .table("")
            .replace("[places.tls]", &format!("[places.ipsec.{name}]"))
    };
    fleet.configure("one", &[table("lab", &lab), table("head", &head)].concat());
    fleet.scep_at(
        "http://127.0.0.1/desk",
        &["--port", port, "--key-use", "IPSec"],
    );

    // when a destination is not on the list, then the request is refused, and the list is shown;
    let request = ["scep", "request", "one", "--wait", "--ipsec-destination"];
    let said = fleet
        .convoy(&[&request[..], &["cellar"]].concat())
        .failed(1);
    assert!(said.contains("lab") && said.contains("head"), "{said}");
    assert_eq!(peer.posts("desk"), 0);

    // and when it is, then the certificate goes there, and to no other.
    fleet.ok(&[&request[..], &["lab"]].concat());
    assert_eq!(
        lab.pair().fingerprint(),
        peer.issued("desk")[0].fingerprint()
    );
    assert_eq!(head.files(), []);
    assert_eq!(
        fleet.await_scep("one", "Successful")["record"]["key_use"],
        "IPSec"
    );
    assert_eq!(fleet.device_certificates("one")[0]["destination"], "lab");
}

#[test]
fn a_batch_import_survives_the_restart_after_a_certificate() {
    // Given a device whose restart kills the agent while a batch import begins,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    let (state, script) = (fleet.state_dir("one"), fleet.path("restart.sh"));
    let (log, code, batch) = (
        fleet.path("import.log"),
        fleet.path("import.code"),
        fleet.path("batch.toml"),
    );
    let restarts = fleet.path("restarts");
    let import = format!(
        "{PROGRAM} convoy-agent settings import {} --state-dir {}",
        batch.display(),
        state.display()
    );
    let text = format!(
        "echo restarted >> {}\n{import} > {} 2>&1 &\nIMPORT=$!\nkill -9 {}\nwait $IMPORT\necho $? > {}.tmp\nmv {}.tmp {}\n",
        restarts.display(),
        log.display(),
        fleet.pid("one"),
        code.display(),
        code.display(),
        code.display()
    );
    fs::write(&script, text).expect("written");
    let restart = format!("[restart]\ncommand = [\"sh\", \"{}\"]\n", script.display());
    fleet.configure("one", &restart);
    let imported = format!("[device]\nserial = \"of the batch\"\n\n{restart}");
    fs::write(&batch, &imported).expect("written");
    fleet.scep_at(&peer.url("desk"), &["--restart", "true"]);

    // when the timer brings a certificate and the device restarts, while settings of the fleet are applied too,
    fleet.scep_set(&["--client", "one", "--key-name", "lobby"]);
    let exported = fleet.path("fleet.toml");
    let exported = exported.to_str().expect("UTF-8");
    fleet.ok(&["export", exported]);
    fleet.ok(&["scep", "timer", "on"]);
    fleet.eventually("the restart and the import", |_| {
        code.exists().then_some(())
    });
    let said = fleet.convoy(&["apply", "-f", exported]);
    assert_eq!(said.code, 0, "{said:?}");
    fleet.kill("one");
    fleet.run("one");
    fleet.await_connected(&["one"]);

    // then the certificate is there, the restart is not repeated, and the import is whole: done as it said.
    assert_eq!(fleet.device_certificates("one").len(), 1);
    assert_eq!(
        fleet.await_scep("one", "Successful")["record"]["attempt"],
        1
    );
    let said = fs::read_to_string(&log).expect("a log");
    let decided = fs::read_to_string(&code).expect("a code").trim() == "0"
        || said.contains("is finished when it starts again");
    let own = fs::read_to_string(state.join("agent.toml")).expect("a configuration");
    assert!(decided, "{said}");
    assert_eq!(own, imported, "{said}");
    let restarts = fs::read_to_string(&restarts).expect("a restart");
    assert_eq!(restarts.lines().count(), 1);
}
