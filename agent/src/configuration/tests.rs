//! Configuration files: what they mean, and what they are refused with.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::place::{Enabled, Preset};

fn parse(text: &str) -> Result<Configuration, ConfigurationError> {
    Configuration::parse(Path::new("/etc/convoy/agent.toml"), text)
}

#[test]
fn every_example_of_the_documentation_is_understood() {
    let text = include_str!("../../../docs/places.md");
    let examples: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert_eq!(examples.len(), 7);
    for example in examples {
        let example = parse(example).unwrap_or_else(|error| panic!("{error}\n{example}"));
        assert_ne!(example.places, Places::default());
    }
}

#[test]
fn a_whole_file_means_what_it_says() {
    let whole = parse(
        r#"
        [device]
        hostname = "p1"
        ip = "2001:db8::17"
        [restart]
        command = ["systemctl", "restart", "cups"]
        [places.tls]
        preset = "files"
        certificate = "/c"
        key = "/k"
        enabled = false
        confirm = "[::1]:631"
        timeout = "1m 30s"
        key_mode = "0640"
        key_group = "4242"
        key_owner = "root"
        [places.ipsec.hq]
        preset = "strongswan"
        enabled = ["test", "-e", "/run/x"]
        "#,
    )
    .expect("understood");
    assert_eq!(whole.device.hostname.as_deref(), Some("p1"));
    assert_eq!(whole.device.ip, "2001:db8::17".parse().ok());
    let restart = whole.restart.expect("one");
    assert_eq!(restart.command.to_string(), "systemctl restart cups");
    assert_eq!(restart.timeout, Duration::from_secs(60));
    let tls = whole.places.tls.expect("one");
    assert_eq!(tls.enabled, Enabled::Fixed(false));
    assert_eq!(tls.timeout, Duration::from_secs(90));
    assert_eq!(tls.key_file.mode, Some(0o640));
    assert_eq!(tls.key_file.owner.group, Some(4242));
    assert_eq!(tls.key_file.owner.user, Some(0));
    let hq = &whole.places.ipsec["hq"];
    assert!(
        matches!(&hq.enabled, Enabled::Ask(command) if command.to_string() == "test -e /run/x")
    );
    assert_eq!(hq.timeout, Duration::from_secs(30));
    let Preset::StrongSwan(swan) = &hq.preset else {
        panic!("{hq:?}");
    };
    assert_eq!(
        (swan.name.as_str(), swan.folder.as_path()),
        ("hq", Path::new("/etc/swanctl"))
    );
    // Whom the VPN trusts is not said by whoever answers as a SCEP server.
    assert!(!swan.ca);
    let asked = parse("[places.ipsec.hq]\npreset = \"strongswan\"\nca = true\n");
    let asked = asked.expect("understood").places.ipsec;
    assert!(matches!(&asked["hq"].preset, Preset::StrongSwan(swan) if swan.ca));
}

#[test]
fn a_mistake_is_named_with_its_file_its_key_and_what_would_be_right() {
    let tls = |rest: &str| {
        format!("[places.tls]\npreset = \"files\"\ncertificate = \"/c\"\nkey = \"/k\"\n{rest}")
    };
    for (text, says) in [
        (
            "[devices]".to_owned(),
            &["devices: no such key", "is device meant?"][..],
        ),
        (
            "[device]\nhostnam = \"p1\"".to_owned(),
            &["device.hostnam: no such key", "is hostname meant?"],
        ),
        (
            "[device]\nip = \"p1\"".to_owned(),
            &["device.ip: \"p1\" is not an IP address"],
        ),
        (
            "[device]\nfqdn = 7".to_owned(),
            &["device.fqdn: 7 is not a text in quotes"],
        ),
        (
            "[device]\nfqdn = \"\"".to_owned(),
            &["device.fqdn: \"\" is not a text"],
        ),
        (
            "[restart]".to_owned(),
            &["restart.command: is missing", "unit ="],
        ),
        (
            "[restart]\ncommand = \"reboot\"".to_owned(),
            &[
                "restart.command: \"reboot\" is not a list of words",
                "no shell",
            ],
        ),
        (
            "[restart]\ncommand = []".to_owned(),
            &["restart.command: an empty list is not"],
        ),
        (
            "[restart]\ncommand = [\"\"]".to_owned(),
            &["restart.command: this list is not"],
        ),
        (
            "[restart]\nunit = \"a\"\ncommand = [\"b\"]".to_owned(),
            &["restart.unit", "only one of the two"],
        ),
        (
            "[restart]\nunit = \"a\"\ntimeout = 60".to_owned(),
            &["restart.timeout: 60 is not a length of time"],
        ),
        (
            "[restart]\nunit = \"a\"\ntimeout = \"1h\"".to_owned(),
            &["restart.timeout: \"1h\" is not", "\"10m\""],
        ),
        (
            "[places.tls]".to_owned(),
            &["places.tls.preset: is missing: one of cups, nginx, files"],
        ),
        (
            "[places.tls]\npreset = \"strongswan\"".to_owned(),
            &["places.tls.preset: \"strongswan\" is not one of \"cups\""],
        ),
        (
            "[places.tls]\npreset = \"nginx\"\ncertficate = \"/c\"".to_owned(),
            &["certficate: no such key", "is certificate meant?"],
        ),
        (
            "[places.tls]\npreset = \"nginx\"\ncertificate = \"/c\"".to_owned(),
            &["places.tls.key: is missing", "ssl_certificate_key"],
        ),
        (
            "[places.tls]\npreset = \"cups\"\nserver_name = \"../p1\"".to_owned(),
            &["server_name: \"../p1\" is not"],
        ),
        (
            "[places.tsl]".to_owned(),
            &["places.tsl: no such key", "is tls meant?"],
        ),
        (
            "[places.ipsec]\npreset = \"strongswan\"".to_owned(),
            &[
                "places.ipsec.preset: is no table",
                "[places.ipsec.headquarters]",
            ],
        ),
        (
            "[places.ipsec.\"a/b\"]\npreset = \"strongswan\"".to_owned(),
            &["a/b", "without a slash"],
        ),
        (
            "[places.ieee8021x]\npreset = \"wpa-supplicant\"".to_owned(),
            &["places.ieee8021x.interface: is missing"],
        ),
        (
            "[places.ieee8021x]\npreset = \"network-manager\"".to_owned(),
            &["places.ieee8021x.connection: is missing"],
        ),
        ("places = 1".to_owned(), &["places: 1 is not a table"]),
        (
            tls("key_mode = \"0644\""),
            &["places.tls.key_mode: \"0644\" is not one of"],
        ),
        (
            tls("key_group = \"no such group\""),
            &["neither a number nor a name in /etc/group"],
        ),
        (
            tls("chain = \"c\""),
            &["places.tls.chain: \"c\" is not an absolute path"],
        ),
        (
            tls("confirm = \"p1\""),
            &["places.tls.confirm: \"p1\" is not host:port"],
        ),
        (
            tls("enabled = \"yes\""),
            &["places.tls.enabled: \"yes\" is not"],
        ),
        (
            tls("full_chain = \"yes\""),
            &["places.tls.full_chain: \"yes\" is not true or false"],
        ),
        (
            tls("server_name = \"p1\""),
            &["places.tls.server_name: no such key"],
        ),
        ("a = 1\nb =".to_owned(), &["is no TOML: line 2"]),
    ] {
        let error = parse(&text).expect_err(&text).to_string();
        assert!(error.contains("/etc/convoy/agent.toml"), "{error}");
        for part in says {
            assert!(error.contains(part), "{text}\n{error}\n{part}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_says_nothing_and_one_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(FILE);
    let missing = Configuration::load(&path).expect("the default");
    assert_eq!((missing.restart, missing.places.file), (None, path.clone()));
    std::fs::write(&path, "[device]\nserial = \"S1\"\n").expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
    let loaded = Configuration::load(&path).expect("loaded");
    assert_eq!(loaded.device.serial.as_deref(), Some("S1"));
    std::fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("set");
    let refused = Configuration::load(&path).expect_err("refused").to_string();
    assert!(
        refused.contains("0664") && refused.contains("chmod go-w"),
        "{refused}"
    );
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
        std::os::unix::fs::chown(&path, Some(4343), Some(4343)).expect("given");
        let refused = Configuration::load(&path).expect_err("refused").to_string();
        assert!(
            refused.contains("belongs to the user 4343") && refused.contains("chown 0"),
            "{refused}"
        );
    }
}
