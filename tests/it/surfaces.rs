//! What an operator finds on the controller's own machine: the first start, the data folder, the socket and the ports.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use x509_parser::{
    extensions::GeneralName,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    pem::parse_x509_pem,
    x509::X509Version,
};

use crate::{
    curious::certificate_seen,
    fleet::{Fleet, PROGRAM, Said},
};

/// A controller that is started with these arguments alone, and killed in the end.
struct Alone(Option<Child>);

impl Alone {
    fn start(data_dir: &Path) -> Self {
        let child = Command::new(PROGRAM)
            .args(["convoy-controller", "--data-dir"])
            .arg(data_dir)
            .args(["--agents-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(Some(child.expect("a controller")))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Runs a controller that must end by itself, on ports of nobody unless said otherwise.
fn controller(fleet: &mut Fleet, more: &[&str]) -> Said {
    let mut command = Command::new(PROGRAM);
    command
        .args(["convoy-controller", "--data-dir"])
        .arg(fleet.data_dir())
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for option in ["--agents-addr", "--api-addr"] {
        if !more.contains(&option) {
            command.args([option, "127.0.0.1:0"]);
        }
    }
    let mut alone = Alone(Some(command.spawn().expect("a controller")));
    fleet.eventually("the controller ends", |_| {
        let child = alone.0.as_mut().expect("a controller");
        child.try_wait().expect("a child")
    });
    Said::of(alone.0.take().expect("a controller"))
}

/// The names in the certificate that is served, as its subject alternative name spells them. Asserts what is the same for every first certificate.
fn names_in_first_certificate(pem: &str) -> Vec<String> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    assert_eq!(certificate.version(), X509Version::V3);
    assert_eq!(certificate.subject(), certificate.issuer());
    let key = &certificate.public_key().algorithm;
    assert_eq!(key.algorithm, OID_KEY_TYPE_EC_PUBLIC_KEY);
    let curve = key.parameters.as_ref().and_then(|any| any.as_oid().ok());
    assert_eq!(curve, Some(OID_EC_P256));
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().expect("readable");
    let usage = usage.expect("an extended key usage").value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    let names = certificate.subject_alternative_name().expect("readable");
    let names = names.expect("names").value;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        other => panic!("{other:?}"),
    };
    names.general_names.iter().map(name).collect()
}

fn mode(path: &Path) -> u32 {
    let metadata = fs::symlink_metadata(path).expect("there");
    metadata.permissions().mode() & 0o777
}

/// Every file in a folder and below, and every folder.
fn everything_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(everything_in(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_first_start_needs_nothing_and_makes_a_certificate_for_its_names() {
    // Given a controller that is started for the first time, with two names,
    let fleet = Fleet::start();
    let shown = fleet.json(&["cert", "show"]);
    // then it serves a certificate of its own for these names,
    let pem = shown["pem"].as_str().expect("PEM");
    assert_eq!(names_in_first_certificate(pem), ["127.0.0.1", "localhost"]);
    assert_eq!(shown["generation"], 1);
    assert_eq!(shown["state"], "serving");
    for address in [fleet.agents_addr(), fleet.api_addr()] {
        assert_eq!(shown["fingerprint"], certificate_seen(address));
    }
    // on the same terms after a restart.
    let mut fleet = fleet;
    fleet.restart_controller();
    assert_eq!(fleet.json(&["cert", "show"]), shown);

    // Given one without names, in a folder that is not there, then `localhost` is among them.
    let data_dir = fleet.path("deep/er");
    let _alone = Alone::start(&data_dir);
    let dir = data_dir.to_str().expect("UTF-8").to_owned();
    let pem = fleet.eventually("it serves", |fleet| {
        let said = fleet.run_program("convoy", &["--data-dir", &dir, "cert", "show"]);
        (said.code == 0).then_some(said.stdout)
    });
    let pem = &pem[pem.find("-----BEGIN").expect("PEM")..];
    let names = names_in_first_certificate(pem);
    assert!(names.contains(&"localhost".to_owned()), "{names:?}");
}

#[test]
fn keys_and_the_socket_are_for_the_owner_alone() {
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    let data_dir = fleet.data_dir();
    let socket = data_dir.join("convoy.sock");
    assert!(
        fs::metadata(&socket)
            .expect("a socket")
            .file_type()
            .is_socket()
    );
    assert_eq!(mode(&socket), 0o600);
    let found = everything_in(&data_dir);
    let keys = found
        .iter()
        .filter(|path| path.starts_with(data_dir.join("keys")) && path.is_file());
    assert!(keys.count() >= 6, "{found:?}");
    for path in &found {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        let holds_keys = path.is_dir() || path.starts_with(data_dir.join("keys"));
        if holds_keys {
            assert_eq!(mode(path), expected, "{}", path.display());
        }
    }
    // The folder of it all is 0700, so that nothing in it is for others; and a key that lies open is refused.
    assert_eq!(mode(&data_dir), 0o700);
    let served = fleet.json(&["cert", "show"])["spki_sha256"].clone();
    let served = served.as_str().expect("hex").to_owned();
    fleet.kill_controller();
    let open = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod")
    };
    for key in [
        "keys/root.seed",
        "keys/policy.seed",
        "keys/token.seed",
        "keys/client-ca.pem",
    ] {
        let path = data_dir.join(key);
        open(&path, 0o640);
        let refused = controller(&mut fleet, &[]).failed(1);
        assert!(
            refused.contains(key) && refused.contains("chmod go="),
            "{refused}"
        );
        open(&path, 0o600);
    }
    let path = data_dir.join(format!("keys/server/{served}.der"));
    open(&path, 0o604);
    let refused = controller(&mut fleet, &[]).failed(1);
    assert!(
        refused.contains(&served) && refused.contains("chmod go="),
        "{refused}"
    );
    open(&path, 0o600);
    // So is a data folder that others may enter.
    for shut in [0o755, 0o750, 0o701] {
        open(&data_dir, shut);
        let refused = controller(&mut fleet, &[]).failed(1);
        assert!(refused.contains(&format!("mode {shut:03o}")), "{refused}");
        open(&data_dir, 0o700);
    }
    fleet.start_controller();
    fleet.await_connected(&["one"]);
}

#[test]
fn one_folder_has_one_controller_and_a_stale_socket_is_replaced() {
    // Given a controller that runs, when a second is started on its folder,
    let mut fleet = Fleet::start();
    let socket = fleet.data_dir().join("convoy.sock");
    let refused = controller(&mut fleet, &[]).failed(1);
    // then that says what to do and ends, and the first goes on.
    assert!(
        refused.contains("another controller is running on"),
        "{refused}"
    );
    assert!(refused.contains("--data-dir"), "{refused}");
    fleet.ok(&["groups", "list"]);

    // When it is killed, then its socket is left, and the command line says that nobody listens there;
    fleet.kill_controller();
    assert!(socket.exists());
    let refused = fleet.convoy(&["groups", "list"]).failed(1);
    assert!(
        refused.contains("no controller is running here"),
        "{refused}"
    );
    // the next controller replaces it.
    fleet.start_controller();
    fleet.ok(&["groups", "list"]);
    assert_eq!(mode(&socket), 0o600);
}

#[test]
fn a_port_in_use_is_named_with_its_option() {
    let mut fleet = Fleet::unstarted();
    for (option, other) in [
        ("--agents-addr", "--api-addr"),
        ("--api-addr", "--agents-addr"),
    ] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let refused = controller(&mut fleet, &[option, &address]).failed(1);
        assert!(
            refused.contains(&address) && refused.contains(option),
            "{refused}"
        );
        assert!(!refused.contains(other), "{refused}");
    }
    // What was begun is gone on with.
    fleet.start_controller();
    assert_eq!(
        fleet.json(&["cert", "list"]).as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn the_command_line_finds_the_socket_by_option_and_by_environment() {
    let fleet = Fleet::start();
    let socket = fleet.data_dir().join("convoy.sock");
    let convoy = |variable: &Path, args: &[&str]| {
        let output = Command::new(PROGRAM)
            .arg("convoy")
            .args(args)
            .env("CONVOY_SOCKET", variable)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    };
    let elsewhere = fleet.path("nowhere.sock");
    let socket_text = socket.to_str().expect("UTF-8");
    let data_dir = fleet.data_dir();
    let data_dir = data_dir.to_str().expect("UTF-8");
    assert_eq!(convoy(&socket, &["groups", "list"]).0, Some(0));
    let (code, refused) = convoy(&elsewhere, &["groups", "list"]);
    assert_eq!(code, Some(1));
    assert!(
        refused.contains("nowhere.sock") && refused.contains("CONVOY_SOCKET"),
        "{refused}"
    );
    // What is said on the command line goes before.
    assert_eq!(
        convoy(&elsewhere, &["groups", "list", "--socket", socket_text]).0,
        Some(0)
    );
    assert_eq!(
        convoy(&elsewhere, &["--data-dir", data_dir, "groups", "list"]).0,
        Some(0)
    );
    // Both at once are one too many.
    assert_eq!(
        convoy(
            &socket,
            &[
                "groups",
                "list",
                "--socket",
                socket_text,
                "--data-dir",
                data_dir
            ]
        )
        .0,
        Some(2)
    );
}

#[test]
fn exit_codes_say_done_error_or_usage() {
    let fleet = Fleet::start();
    for program in ["convoy", "convoy-agent", "convoy-controller"] {
        for (args, code) in [
            (&["--help"][..], 0),
            (&["--version"], 0),
            (&["--nonsense"], 2),
        ] {
            let said = fleet.run_program(program, args);
            assert_eq!(said.code, code, "{program} {args:?}: {said:?}");
            assert_eq!(
                said.stdout.is_empty(),
                code != 0,
                "{program} {args:?}: {said:?}"
            );
            assert_eq!(
                said.stderr.is_empty(),
                code == 0,
                "{program} {args:?}: {said:?}"
            );
        }
    }
    for (args, code) in [
        (&["groups", "list"][..], 0),
        (&["clients", "show", "nobody"], 1),
        (&["rotation", "start", "--to", "7"], 1),
        (&["rotation", "start"], 2),
        (&["token", "create", "--uses", "0"], 2),
        (&["token", "create", "--expires", "soon"], 2),
        (&["clients", "decommission", "nobody"], 2),
        (&["groups", "create", "a", "--request-id", ""], 2),
        (&["cert", "import", "--cert", "x"], 2),
    ] {
        let said = fleet.convoy(args);
        assert_eq!(said.code, code, "{args:?}: {said:?}");
        assert_eq!(said.stderr.is_empty(), code == 0, "{args:?}: {said:?}");
    }
    for (program, args) in [
        ("convoy-controller", &["--name", "a b"][..]),
        ("convoy-controller", &["--identity-validity", "1s"]),
        ("convoy-controller", &["--agents-addr", "here"]),
        ("convoy-agent", &["join"]),
        (
            "convoy-agent",
            &["status", "--state-dir", "x", "-o", "yaml"],
        ),
    ] {
        fleet.run_program(program, args).failed(2);
    }
}

#[test]
fn a_folder_that_has_lost_its_journal_or_a_key_is_refused_and_nothing_is_made_anew() {
    // Given a fleet with a client, and its controller stopped,
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.kill_controller();

    for (lost, why) in [
        ("journal.redb", "no journal.redb"),
        ("keys/policy.seed", "keys/policy.seed is missing"),
        ("keys/client-ca.pem", "keys/client-ca.pem is missing"),
        ("keys/token.seed", "keys/token.seed is missing"),
    ] {
        // when a file is missing, then it does not start, says which, and makes none;
        let (file, aside) = (fleet.data_dir().join(lost), fleet.path("aside"));
        fs::rename(&file, &aside).expect("moved");
        let data_dir = fleet.data_dir();
        let said = fleet.run_program(
            "convoy-controller",
            &[
                "--data-dir",
                data_dir.to_str().expect("UTF-8"),
                "--agents-addr",
                "127.0.0.1:0",
                "--api-addr",
                "127.0.0.1:0",
            ],
        );
        let error = said.failed(1);
        assert!(error.contains(why), "{lost}: {error}");
        assert!(!file.exists(), "{lost} was made anew");
        fs::rename(&aside, &file).expect("put back");
    }

    // and when all are back, so is the client.
    fleet.start_controller();
    fleet.await_connected(&["one"]);
}
