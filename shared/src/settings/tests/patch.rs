//! The laws of what differs, and how settings travel as JSON.

use super::*;

/// Settings of which none has its default.
fn others() -> ScepSettings {
    ScepSettings {
        server: ScepServer::Url("http://h/".to_owned()),
        port: 8080,
        timeout: span("1m"),
        ca_identifier: "ca".to_owned(),
        ca_fingerprint: CaPin::Sha256(Digest::of(b"CA")),
        allow_legacy: true,
        get_only: true,
        challenge: ChallengeSource::Ndes,
        ndes_url: "http://h/certsrv/mscep_admin/".to_owned(),
        ndes_user: "DOMAIN\\convoy".to_owned(),
        ndes_cache: 50,
        timer: true,
        request_start: RequestStart::At("2027-01-31T02:00:00Z".parse().expect("a time")),
        auto_adjust: true,
        polls: 3,
        poll_interval: span("1m"),
        periodic: "30d".parse().expect("an interval"),
        restart: true,
        delete_old: true,
        capacity: "2.5".parse().expect("a capacity"),
        window: span("8h"),
        key_name: "k".to_owned(),
        signature_algorithm: SignatureHash::Sha512,
        key_length: KeyLength::Rsa4096,
        organization: "Convoy".to_owned(),
        common_name: "{ip}".to_owned(),
        subject_alt_names: vec!["ip:{ip}".to_owned()],
        key_use: KeyUse::IpSec,
        ipsec_destination: "d".to_owned(),
        max_keys: 7,
    }
}

fn some_settings() -> Vec<ScepSettings> {
    vec![
        ScepSettings::default(),
        others(),
        with(|s| s.polls = 3),
        with(|s| s.subject_alt_names.clear()),
        with(|s| {
            s.polls = 4;
            s.server = ScepServer::BuiltIn;
        }),
        ScepSettings {
            timer: false,
            key_use: KeyUse::Tls,
            ..others()
        },
    ]
}

#[test]
fn what_differs_makes_the_one_of_the_other() {
    for a in some_settings() {
        for b in some_settings() {
            let patch = ScepPatch::between(&a, &b);
            assert_eq!(patch.over(&a), b);
            assert_eq!(patch.is_empty(), a == b);
            assert_eq!(patch.is_empty(), patch.fields().is_empty());
            assert_eq!(ScepPatch::default().over(&a), a);
            assert_eq!(patch.over(&patch.over(&a)), b, "twice is once");
        }
    }
}

#[test]
fn one_change_after_another_is_both() {
    let all = some_settings();
    let patches: Vec<ScepPatch> = all
        .iter()
        .flat_map(|a| all.iter().map(|b| ScepPatch::between(a, b)))
        .collect();
    for earlier in &patches {
        assert_eq!(&earlier.after(&ScepPatch::default()), earlier);
        assert_eq!(&ScepPatch::default().after(earlier), earlier);
        for later in &patches {
            let both = later.after(earlier);
            for settings in &all {
                assert_eq!(both.over(settings), later.over(&earlier.over(settings)));
            }
        }
    }
}

#[test]
fn no_field_is_forgotten() {
    let json = serde_json::to_value(ScepSettings::default()).expect("JSON");
    let names: Vec<&str> = json
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    let patch = ScepPatch::between(&ScepSettings::default(), &others());
    let mut fields = patch.fields();
    fields.sort_unstable();
    assert_eq!(fields, names);
    assert_eq!(others().check(), Ok(()));
}

#[test]
fn settings_and_what_differs_travel_as_json() {
    for settings in some_settings() {
        let json = serde_json::to_string(&settings).expect("JSON");
        let again: ScepSettings = serde_json::from_str(&json).expect(&json);
        assert_eq!(again, settings);
        let patch = ScepPatch::between(&ScepSettings::default(), &settings);
        let json = serde_json::to_string(&patch).expect("JSON");
        let again: ScepPatch = serde_json::from_str(&json).expect(&json);
        assert_eq!(again, patch);
    }
    let patch = ScepPatch::between(&ScepSettings::default(), &with(|s| s.polls = 3));
    let json = serde_json::to_string(&patch).expect("JSON");
    assert_eq!(json, r#"{"polls":3}"#, "what does not differ is not there");
    assert_eq!(patch.fields(), ["polls"]);
}

#[test]
fn a_file_may_leave_out_but_not_invent() {
    let settings: ScepSettings = serde_json::from_str(r#"{"polls":3}"#).expect("JSON");
    assert_eq!(settings, with(|s| s.polls = 3));
    for unknown in [r#"{"pols":3}"#, r#"{"password":"s3cret"}"#] {
        assert!(serde_json::from_str::<ScepSettings>(unknown).is_err());
        assert!(serde_json::from_str::<ScepPatch>(unknown).is_err());
    }
    for (bad, field) in [
        (r#"{"server":"https://h/"}"#, "server: "),
        (r#"{"key_use":"ssl"}"#, "key_use: "),
        (r#"{"capacity":"0"}"#, "capacity: "),
    ] {
        let error = serde_json::from_str::<ScepPatch>(bad).expect_err(bad);
        assert!(error.to_string().starts_with(field), "{error}");
    }
}
