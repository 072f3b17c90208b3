//! Settings: their limits, what goes together, and templates.

mod kinds;
mod patch;

use super::*;
use crate::id::Digest;

#[test]
fn the_defaults_can_be() {
    let settings = ScepSettings::default();
    assert_eq!(settings.check(), Ok(()));
    assert!(!settings.timer, "no device requests anything unasked");
    assert_eq!(settings.ndes_cache, 5);
}

/// Settings with one thing changed.
fn with(change: impl FnOnce(&mut ScepSettings)) -> ScepSettings {
    let mut settings = ScepSettings::default();
    change(&mut settings);
    settings
}

fn refused_for(field: &str, change: impl FnOnce(&mut ScepSettings)) {
    let settings = with(change);
    let refused = settings.check().expect_err(field);
    assert_eq!(refused.field, field, "{refused}");
    assert!(
        refused.to_string().starts_with(&format!("{field}: ")),
        "{refused}"
    );
}

fn accepted(change: impl FnOnce(&mut ScepSettings)) {
    assert_eq!(with(change).check(), Ok(()));
}

fn span(text: &str) -> Span {
    text.parse().expect(text)
}

#[test]
fn lengths_of_time_have_limits() {
    for good in ["1s", "10m"] {
        accepted(|s| s.timeout = span(good));
    }
    for bad in ["0s", "999ms", "10m 1s", "30s ago"] {
        refused_for("timeout", |s| s.timeout = span(bad));
    }
    for good in ["1s", "24h", "1d"] {
        accepted(|s| s.poll_interval = span(good));
    }
    for bad in ["0s", "24h 1s"] {
        refused_for("poll_interval", |s| s.poll_interval = span(bad));
    }
    for good in ["0s", "366d"] {
        accepted(|s| s.window = span(good));
    }
    for bad in ["1s ago", "367d"] {
        refused_for("window", |s| s.window = span(bad));
    }
    for good in ["off", "1m", "3660d"] {
        accepted(|s| s.periodic = good.parse().expect(good));
    }
    for bad in ["0s", "59s", "1h ago", "3661d"] {
        refused_for("periodic", |s| s.periodic = bad.parse().expect(bad));
    }
}

#[test]
fn numbers_have_limits() {
    for good in [0, 1000] {
        accepted(|s| s.polls = good);
    }
    refused_for("polls", |s| s.polls = 1001);
    for good in [1, 100] {
        accepted(|s| s.max_keys = good);
    }
    for bad in [0, 101] {
        refused_for("max_keys", |s| s.max_keys = bad);
    }
    for good in [1, 10_000] {
        accepted(|s| s.ndes_cache = good);
    }
    for bad in [0, 10_001] {
        refused_for("ndes_cache", |s| s.ndes_cache = bad);
    }
}

#[test]
fn texts_have_limits() {
    type Text = fn(&mut ScepSettings) -> &mut String;
    let texts: [(&str, usize, Text); 6] = [
        ("organization", 64, |s| &mut s.organization),
        ("ca_identifier", 255, |s| &mut s.ca_identifier),
        ("ipsec_destination", 64, |s| &mut s.ipsec_destination),
        ("ndes_user", 255, |s| &mut s.ndes_user),
        ("key_name", 64, |s| &mut s.key_name),
        ("common_name", 255, |s| &mut s.common_name),
    ];
    for (field, most, text) in texts {
        // Characters are counted, not bytes.
        accepted(|s| *text(s) = "ä".repeat(most));
        refused_for(field, |s| *text(s) = "x".repeat(most + 1));
        for bad in ["a\nb", "a\0", "\u{7f}"] {
            refused_for(field, |s| bad.clone_into(text(s)));
        }
        if ["key_name", "common_name"].contains(&field) {
            refused_for(field, |s| text(s).clear());
        } else {
            accepted(|s| text(s).clear());
        }
    }
}

#[test]
fn templates_have_known_placeholders_only() {
    let good = [
        "{hostname}",
        "{fqdn}",
        "{ip}",
        "{serial}",
        "p-{serial}.{fqdn}",
        "plain",
    ];
    for good in good {
        accepted(|s| s.key_name = good.to_owned());
        accepted(|s| s.common_name = good.to_owned());
        accepted(|s| s.subject_alt_names = vec![format!("dns:{good}")]);
    }
    let bad = [
        "{host}",
        "{",
        "}",
        "{ip",
        "{IP}",
        "{}",
        "{{ip}}",
        "{ser{ip}ial}",
    ];
    for bad in bad {
        refused_for("key_name", |s| s.key_name = bad.to_owned());
        refused_for("common_name", |s| s.common_name = bad.to_owned());
        refused_for("subject_alt_names", |s| {
            s.subject_alt_names = vec![format!("dns:{bad}")];
        });
    }
}

#[test]
fn alternative_names_have_a_kind() {
    accepted(|s| s.subject_alt_names = Vec::new());
    let good = ["dns:p1.example", "ip:10.0.0.1", "uri:urn:printer:{serial}"];
    accepted(|s| s.subject_alt_names = good.map(str::to_owned).to_vec());
    for bad in [
        "",
        "p1",
        "dns",
        "dns:",
        ":p1",
        "DNS:p1",
        "email:a@b",
        "dns:a\nb",
    ] {
        refused_for("subject_alt_names", |s| {
            s.subject_alt_names = vec!["dns:p1".to_owned(), bad.to_owned()];
        });
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let url = "http://ndes.example/certsrv/mscep_admin/";
    refused_for("challenge", |s| s.challenge = ChallengeSource::BuiltIn);
    refused_for("challenge", |s| {
        s.server = ScepServer::Url("http://h/".to_owned());
        s.challenge = ChallengeSource::BuiltIn;
    });
    accepted(|s| {
        s.server = ScepServer::BuiltIn;
        s.challenge = ChallengeSource::BuiltIn;
    });
    refused_for("ndes_url", |s| s.challenge = ChallengeSource::Ndes);
    accepted(|s| {
        s.challenge = ChallengeSource::Ndes;
        s.ndes_url = url.to_owned();
    });
    for bad in [
        "https://h/",
        "http://",
        "http://:80/",
        "http://u:p@h/",
        "ndes",
    ] {
        refused_for("ndes_url", |s| s.ndes_url = bad.to_owned());
    }
    refused_for("server", |s| s.timer = true);
    accepted(|s| {
        s.timer = true;
        s.server = ScepServer::BuiltIn;
    });
}

fn facts() -> Facts {
    Facts {
        hostname: Some("p1".to_owned()),
        fqdn: Some("p1.example".to_owned()),
        ip: Some("10.0.0.7".parse().expect("an address")),
        serial: Some("XY42".to_owned()),
    }
}

#[test]
fn a_device_fills_in_what_it_knows() {
    for (template, filled) in [
        ("{hostname}", "p1"),
        ("{fqdn}", "p1.example"),
        ("ip:{ip}", "ip:10.0.0.7"),
        ("uri:urn:printer:{serial}", "uri:urn:printer:XY42"),
        ("{hostname}-{serial}-{hostname}", "p1-XY42-p1"),
        ("plain", "plain"),
        ("", ""),
    ] {
        assert_eq!(facts().fill(template).as_deref(), Ok(filled), "{template}");
    }
}

#[test]
fn a_device_without_a_domain_has_its_host_name() {
    let alone = Facts {
        fqdn: None,
        ..facts()
    };
    assert_eq!(alone.fill("{fqdn}").as_deref(), Ok("p1"));
}

#[test]
fn a_template_that_wants_more_than_a_device_knows_says_what() {
    for placeholder in ["{hostname}", "{fqdn}", "{ip}", "{serial}"] {
        let template = format!("a-{placeholder}");
        let unfilled = Facts::default().fill(&template).expect_err(placeholder);
        assert_eq!(unfilled.placeholder, placeholder);
        assert_eq!(
            unfilled.to_string(),
            format!(
                "the template {template:?} wants {placeholder}, which this device does not know"
            )
        );
    }
    let unfilled = Facts::default()
        .fill("{ip}{hostname}")
        .expect_err("nothing");
    assert_eq!(unfilled.placeholder, "{ip}", "the first one");
}

#[test]
fn what_a_device_calls_itself_is_no_template() {
    let odd = Facts {
        hostname: Some("{serial}".to_owned()),
        ..facts()
    };
    assert_eq!(
        odd.fill("{hostname}/{serial}").as_deref(),
        Ok("{serial}/XY42")
    );
}

#[test]
fn a_port_of_its_own_replaces_the_urls() {
    assert_eq!(with_port("http://a/x", 0), "http://a/x");
    assert_eq!(with_port("http://a", 81), "http://a:81");
    assert_eq!(with_port("http://a:80/x/y", 81), "http://a:81/x/y");
    assert_eq!(with_port("http://[::1]/x", 81), "http://[::1]:81/x");
    assert_eq!(with_port("http://[::1]:80/x", 81), "http://[::1]:81/x");
}
