//! Certificates of a CA, with what stands behind them in the file: the chain that is shown, the chain that is too large, and what is said of an odd one.

use convoy_controller::clock;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
    date_time_ymd,
};
use serde_json::{Value, json};

use crate::{
    curious::chain_seen,
    fleet::{Fleet, Said},
};

struct Ca {
    certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    /// A CA under another one, or a root.
    fn new(name: &str, above: Option<&Self>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = match above {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, &Issuer::from_params(&above.params, &above.key)),
        };
        Self {
            certificate: certificate.expect("a certificate"),
            params,
            key,
        }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A server certificate for the controller, and its key, as PEM.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn as_it_is(_: &mut CertificateParams) {}

fn import(fleet: &Fleet, chain: &str, key: &str, more: &[&str]) -> Said {
    let (certificate, key) = fleet.pem_files("brought", chain, key);
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path(&certificate), path(&key));
    let args = ["cert", "import", "--cert", &certificate, "--key", &key];
    fleet.convoy(&[&args[..], more].concat())
}

fn shown(fleet: &Fleet) -> [usize; 2] {
    [fleet.agents_addr(), fleet.api_addr()].map(|address| chain_seen(address).len())
}

fn codes(certificate: &Value) -> Vec<&str> {
    let warnings = certificate["warnings"].as_array().expect("a list");
    warnings
        .iter()
        .map(|one| one["code"].as_str().expect("a code"))
        .collect()
}

#[test]
fn a_known_certificate_takes_a_new_chain_and_shows_it_at_once() {
    // Given a fleet that serves a certificate without its intermediate,
    let names = ["one"];
    let mut fleet = Fleet::with_agents(&names);
    let root = Ca::new("Root", None, as_it_is);
    let issuing = Ca::new("Issuing", Some(&root), as_it_is);
    let (leaf, key) = issuing.issue(as_it_is);
    let said = import(&fleet, &leaf, &key, &[]);
    assert_eq!((said.code, said.stdout.as_str()), (0, "2\n"), "{said:?}");
    assert!(said.stderr.contains("[ISSUER_MISSING]"), "{said:?}");
    fleet.ok(&["rotation", "start", "--to", "2"]);
    fleet.await_phase("Completed");
    assert_eq!(shown(&fleet), [1, 1]);

    // when it comes again with its intermediate,
    let whole = format!("{leaf}{}", issuing.pem());
    let said = import(&fleet, &whole, &key, &["--request-id", "mend"]);
    // then it has its number, what was done is said, and everyone is shown the new chain;
    assert_eq!((said.code, said.stdout.as_str()), (0, "2\n"), "{said:?}");
    assert!(said.stderr.contains("its new chain is taken"), "{said:?}");
    assert!(!said.stderr.contains("Warning"), "{said:?}");
    fleet.eventually("the new chain is shown on both ports", |fleet| {
        (shown(fleet) == [2, 2]).then_some(())
    });
    let certificate = fleet.json(&["cert", "show", "2"]);
    assert_eq!(
        certificate["pem"].as_str().map(str::trim),
        Some(whole.trim())
    );
    assert_eq!(certificate["state"], "serving");
    assert_eq!(codes(&certificate), Vec::<&str>::new());
    assert_eq!(
        fleet.json(&["cert", "list"]).as_array().map(Vec::len),
        Some(2)
    );
    fleet.assert_no_orphans(&names);

    // what is asked again has its answer again, and what is no news is said to be none.
    let again = import(&fleet, &whole, &key, &["--request-id", "mend"]);
    assert!(again.stderr.contains("its new chain is taken"), "{again:?}");
    let again = import(&fleet, &whole, &key, &[]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "2\n"), "{again:?}");
    assert!(again.stderr.contains("nothing new to take"), "{again:?}");
    assert!(!again.stderr.contains("Imported"), "{again:?}");
    let again = import(&fleet, &whole, &key, &["-o", "json"]);
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!(
        (&again["outcome"], &again["generation"]),
        (&json!("nothing new"), &json!(2))
    );
    assert_eq!(shown(&fleet), [2, 2]);

    // It lasts, and one that is not served takes its new chain too.
    fleet.restart_controller();
    fleet.await_connected(&names);
    assert_eq!(shown(&fleet), [2, 2]);
    fleet.ok(&["rotation", "start", "--to", "1"]);
    fleet.await_phase("Completed");
    let with_root = format!("{whole}{}", root.pem());
    let said = import(&fleet, &with_root, &key, &["-o", "json"]);
    let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(said["outcome"], "chain taken");
    assert_eq!(said["state"], "bridge");
    assert_eq!(shown(&fleet), [1, 1]);
    fleet.ok(&["rotation", "start", "--to", "2"]);
    fleet.await_phase("Completed");
    assert_eq!(shown(&fleet), [3, 3]);
    fleet.assert_no_orphans(&names);
}

#[test]
fn a_chain_that_not_every_client_takes_is_refused_and_a_long_one_is_rotated_to() {
    // Given a certificate, and the bundle of CAs that operating systems ship, in its file,
    let names = ["one"];
    let mut fleet = Fleet::with_agents(&names);
    let root = Ca::new("Root", None, as_it_is);
    let (leaf, key) = root.issue(as_it_is);
    let others: Vec<String> = (0..140)
        .map(|number| Ca::new(&format!("Authority {number}"), None, as_it_is).pem())
        .collect();
    let listed = fleet.ok(&["cert", "list"]);
    // and another one with few certificates that are large,
    let large = Ca::new("Large", Some(&root), |params| {
        params.subject_alt_names = (0..2_000)
            .map(|number| {
                SanType::DnsName(format!("host-{number}.example").try_into().expect("ASCII"))
            })
            .collect();
    });
    let (under_large, key_under_large) = large.issue(as_it_is);

    // when they are imported, then they are refused, with what would be right, and nothing is left;
    for (chain, key, count) in [
        (
            format!("{leaf}{}", others.concat()),
            &key,
            "141 certificates",
        ),
        (
            format!("{leaf}{}", others[..10].concat()),
            &key,
            "11 certificates",
        ),
        (
            format!("{under_large}{}", large.pem()),
            &key_under_large,
            "2 certificates",
        ),
    ] {
        let refused = import(&fleet, &chain, key, &[]).failed(1);
        assert!(
            refused.contains("[CERTIFICATE_CHAIN_TOO_LARGE]"),
            "{refused}"
        );
        assert!(refused.contains(count), "{refused}");
        assert!(refused.contains("without a bundle"), "{refused}");
    }
    assert_eq!(fleet.ok(&["cert", "list"]), listed);

    // and one that is as long as may be is rotated to.
    let longest = format!("{leaf}{}", others[..9].concat());
    let said = import(&fleet, &longest, &key, &[]);
    assert_eq!(said.stdout, "2\n", "{said:?}");
    assert!(said.stderr.contains("[CHAIN_OF_ANOTHER_CA]"), "{said:?}");
    fleet.ok(&["rotation", "start", "--to", "2"]);
    fleet.await_phase("Completed");
    assert_eq!(shown(&fleet), [10, 10]);
    fleet.assert_no_orphans(&names);
    // A known certificate does not get a chain that is too large either.
    let refused = import(&fleet, &format!("{leaf}{}", others.concat()), &key, &[]).failed(1);
    assert!(
        refused.contains("[CERTIFICATE_CHAIN_TOO_LARGE]"),
        "{refused}"
    );
    assert_eq!(shown(&fleet), [10, 10]);
}

#[test]
fn what_is_odd_about_a_certificate_is_said_when_it_comes_and_when_it_is_looked_at() {
    let fleet = Fleet::start();
    let root = Ca::new("Root", None, as_it_is);
    let issuing = Ca::new("Issuing", Some(&root), as_it_is);
    let other = Ca::new("Other", Some(&root), as_it_is);
    let expired = Ca::new("Expired", Some(&root), |params| {
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2024, 2, 1);
    });
    let constrained = Ca::new("Constrained", Some(&root), |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere.example".to_owned())],
            excluded_subtrees: vec![],
        });
    });
    let of_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let for_hours = |params: &mut CertificateParams| {
        let now = clock::now();
        let at = |hours: i64| {
            let then = now + jiff::SignedDuration::from_hours(hours);
            let days = then.as_second().div_euclid(86_400);
            // Midnight, so that nothing depends on the hour of the test.
            date_time_ymd(1970, 1, 1)
                + std::time::Duration::from_secs(u64::try_from(days * 86_400).expect("after 1970"))
        };
        params.not_before = at(-24);
        params.not_after = at(48);
    };
    let mut generation = 1;
    for (issued, behind, code, word) in [
        (
            issuing.issue(as_it_is),
            String::new(),
            "ISSUER_MISSING",
            "CN=Issuing",
        ),
        (
            issuing.issue(as_it_is),
            other.pem(),
            "CHAIN_OF_ANOTHER_CA",
            "CN=Other",
        ),
        (
            expired.issue(as_it_is),
            expired.pem(),
            "CHAIN_EXPIRED",
            "2024-02-01",
        ),
        (
            issuing.issue(of_clients),
            issuing.pem(),
            "NOT_FOR_SERVERS",
            "clientAuth",
        ),
        (
            constrained.issue(as_it_is),
            constrained.pem(),
            "NAME_CONSTRAINTS",
            "name constraints",
        ),
        (
            issuing.issue(for_hours),
            issuing.pem(),
            "EXPIRES_SOON",
            "hours",
        ),
    ] {
        // When an operator brings one that is odd,
        let (leaf, key) = issued;
        let said = import(&fleet, &format!("{leaf}{behind}"), &key, &[]);
        generation += 1;
        let number = generation.to_string();
        // then it is taken, its number is alone on stdout, and what is odd is said in words and as a code,
        assert_eq!(
            (said.code, said.stdout.trim_end()),
            (0, number.as_str()),
            "{code}: {said:?}"
        );
        let warnings: Vec<_> = said
            .stderr
            .lines()
            .filter(|line| line.starts_with("Warning: "))
            .collect();
        assert_eq!(warnings.len(), 1, "{code}: {said:?}");
        assert!(warnings[0].ends_with(&format!("[{code}]")), "{warnings:?}");
        assert!(warnings[0].contains(word), "{warnings:?}");
        // by every way to look at it.
        assert_eq!(codes(&fleet.json(&["cert", "show", &number])), [code]);
        let spoken = fleet.ok(&["cert", "show", &number]);
        let line = spoken.lines().find(|line| line.starts_with("Warning"));
        assert!(
            line.is_some_and(|line| line.ends_with(&format!("[{code}]"))),
            "{spoken}"
        );
        let listed = fleet.json(&["cert", "list"]);
        assert_eq!(codes(&listed[generation - 1]), [code]);
        let said = import(&fleet, &format!("{leaf}{behind}"), &key, &["-o", "json"]);
        let said: Value = serde_json::from_str(&said.stdout).expect("JSON");
        assert_eq!(codes(&said), [code]);
    }
    // A good one is taken without a word.
    let (leaf, key) = issuing.issue(as_it_is);
    let said = import(&fleet, &format!("{leaf}{}", issuing.pem()), &key, &[]);
    assert!(!said.stderr.contains("Warning"), "{said:?}");
}

#[test]
fn an_address_that_is_written_as_a_dns_name_covers_nothing() {
    // Given a certificate that names the controller's address as a DNS name, as scripts make them,
    let fleet = Fleet::start();
    let root = Ca::new("Root", None, as_it_is);
    let mistaken = |names: &[&str]| {
        root.issue(|params| {
            let names = names.iter().map(|name| (*name).try_into().expect("ASCII"));
            params.subject_alt_names = names.map(SanType::DnsName).collect();
        })
    };
    let (leaf, key) = mistaken(&["127.0.0.1", "localhost"]);
    // when it is imported, then it is refused with what is wrong;
    let refused = import(&fleet, &format!("{leaf}{}", root.pem()), &key, &[]).failed(1);
    for words in [
        "[CERTIFICATE_NAMES]",
        "does not cover 127.0.0.1",
        "as a DNS name",
        "kind IP",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    // and with an entry of the right kind beside it, it is taken with a warning.
    let (leaf, key) = root.issue(|params| {
        let name = "127.0.0.1".try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    let said = import(&fleet, &format!("{leaf}{}", root.pem()), &key, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("[ADDRESS_AS_DNS_NAME]"), "{said:?}");
    let shown = fleet.json(&["cert", "show", "2"]);
    assert_eq!(shown["names"], json!(["127.0.0.1", "localhost"]));
}

#[test]
fn a_name_that_no_host_can_use_goes_nowhere() {
    // A controller with such a name does not start, and says why;
    let mut refusing = Fleet::unstarted();
    for (name, why) in [
        ("0.0.0.0", "all addresses"),
        ("::", "all addresses"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("fe80::1", "link-local"),
        ("b\u{fc}cher.example", "xn--"),
    ] {
        refusing.set_options(&["--name", name]);
        refusing.start_controller_held_at("nowhere");
        assert_eq!(refusing.await_controller_end(), 2, "{name}");
        let refused = refusing.log("controller");
        let refused = refused.rsplit("error: ").next().unwrap_or_default();
        assert!(
            refused.contains("--name") && refused.contains(why),
            "{refused}"
        );
    }
    assert!(!refusing.data_dir().exists(), "nothing was made");
    // one with a dot at the end is the same without.
    let fleet = Fleet::start_with(&["--name", "LocalHost.", "--name", "convoy.corp.example."]);
    let shown = fleet.json(&["cert", "show"]);
    assert_eq!(
        shown["names"],
        json!(["127.0.0.1", "localhost", "convoy.corp.example"])
    );
    let root = Ca::new("Root", None, as_it_is);
    let (leaf, key) = root.issue(|params| {
        let name = "convoy.corp.example".try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::DnsName(name));
    });
    let said = import(&fleet, &format!("{leaf}{}", root.pem()), &key, &[]);
    assert_eq!(said.code, 0, "{said:?}");
    fleet.join("one", &fleet.ok(&["token", "create"]));
}
