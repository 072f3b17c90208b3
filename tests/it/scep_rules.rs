//! Whom the built-in SCEP server gives which certificate: challenges, profiles, approval, revocation, renewal and the next CA, over its real port.

use convoy_controller::clock;
use convoy_proto::{
    time::{duration, timestamp},
    v1::{
        ApproveScepRequestRequest, CreateScepChallengeRequest, DenyScepRequestRequest,
        ListScepRequestsRequest, ScepApproval, ScepProfile, ScepRequest, SetScepAuthorityRequest,
        SetScepProfileRequest,
    },
};
use convoy_scep::{
    certificate::Certificate,
    client::{Settings, Step, Waiting},
};
use jiff::SignedDuration;
use tonic::Code;

use crate::{
    fleet::Fleet,
    scepper::{Desk, Device, Door, NOT_ACCEPTED, key, many, san, words},
};

#[test]
fn a_challenge_admits_whom_it_is_for_and_when() {
    let mut fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let door = Door::of(&fleet);
    let device = |name: &str| Device::new(door, name);

    // Given a challenge for two, then a third is refused.
    let twice = desk.challenge_for(2);
    for name in ["a.example", "b.example"] {
        device(name).enrol(&twice).expect("a certificate");
    }
    assert_eq!(words(device("c.example").enrol(&twice)), NOT_ACCEPTED);

    // Given one that is bound to names, then who asks for these or for fewer is admitted, and who asks for others is not.
    let bound = desk.challenge(CreateScepChallengeRequest {
        common_name: "P1.example".to_owned(),
        subject_alt_names: vec!["dns:p1.example".to_owned(), "ip:192.0.2.7".to_owned()],
        ..many()
    });
    for good in [
        &[][..],
        &["dns:P1.Example"],
        &["ip:192.0.2.7", "dns:p1.example"],
    ] {
        let issued = device("p1.example").with(good).enrol(&bound);
        let names = issued.expect("a certificate").certificate.sans();
        assert_eq!(names.len(), good.len(), "{good:?}");
    }
    for (name, sans) in [
        ("p2.example", &[][..]),
        ("p1.example.evil", &[]),
        ("p1.example", &["dns:p2.example"]),
        ("p1.example", &["dns:p1.example", "dns:*.example"]),
        ("p1.example", &["ip:192.0.2.8"]),
        ("p1.example", &["uri:ipps://p1.example/"]),
    ] {
        let why = words(device(name).with(sans).enrol(&bound));
        assert!(why.contains("for other names"), "{name} {sans:?}: {why}");
    }
    let mut nameless = device("p1.example");
    nameless.request.subject.clear();
    let nameless = nameless.with(&["dns:p1.example"]);
    assert!(words(nameless.enrol(&bound)).contains("for other names"));

    // Given one that is not good yet, then nobody is admitted;
    let early = desk.challenge(CreateScepChallengeRequest {
        not_before: Some(timestamp(clock::now() + SignedDuration::from_hours(1))),
        ..many()
    });
    assert_eq!(words(device("d.example").enrol(&early)), NOT_ACCEPTED);
    // given one that ends soon, then nobody is once it has ended;
    let end = clock::now() + SignedDuration::from_secs(2);
    let short = desk.challenge(CreateScepChallengeRequest {
        lifetime: Some(duration(end.duration_since(clock::now()))),
        ..many()
    });
    let why = fleet.eventually("the challenge ends", |_| {
        device("e.example").enrol(&short).err()
    });
    assert_eq!(words(Err(why)), NOT_ACCEPTED);
    assert!(clock::now() >= end);

    // given one of a group, or one that the operator chose, then it may live for ever; another may not.
    fleet.ok(&["groups", "create", "lab"]);
    let forever = |group: &str, secret: &str| CreateScepChallengeRequest {
        lifetime: Some(duration(SignedDuration::ZERO)),
        group: group.to_owned(),
        secret: secret.to_owned(),
        ..many()
    };
    for challenge in [forever("lab", ""), forever("", "correct horse battery")] {
        let secret = desk.challenge(challenge);
        for name in ["f.example", "g.example"] {
            device(name).enrol(&secret).expect("a certificate");
        }
    }
    for (bad, code) in [
        (forever("", ""), Code::InvalidArgument),
        (forever("hall", ""), Code::NotFound),
        (forever("", "short"), Code::InvalidArgument),
        (forever("", "correct horse battery"), Code::AlreadyExists),
    ] {
        let status = desk.ask(async |mut api| api.create_scep_challenge(bad).await);
        assert_eq!(
            status.map(|_| ()).map_err(|status| status.code()),
            Err(code)
        );
    }

    // Given one of a client, then the certificate is the client's; once that is decommissioned, neither challenge nor certificate is good.
    let client = fleet.join("one", &fleet.ok(&["token", "create"]));
    let own = desk.challenge(CreateScepChallengeRequest {
        client: client.clone(),
        ..many()
    });
    let printer = device("h.example");
    let issued = printer.enrol(&own).expect("a certificate");
    assert_eq!(desk.issued()[0].client, client);
    fleet.ok(&["clients", "decommission", "one", "--yes"]);
    let gone = "the device was decommissioned";
    assert_eq!(words(device("i.example").enrol(&own)), gone);
    assert_eq!(words(printer.renew(&issued.certificate, &key())), gone);
}

#[test]
fn a_certificate_is_what_its_profile_says() {
    // Given a profile, and a challenge with it and one without,
    let fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let asked = SetScepProfileRequest {
        profile: Some(ScepProfile {
            name: "vpn".to_owned(),
            lifetime: Some(duration(SignedDuration::from_hours(2))),
            extended_key_usages: vec!["ipsecIKE".to_owned(), "1.3.6.1.4.1.311.20.2.2".to_owned()],
            subject_alt_name_kinds: vec!["dns".to_owned()],
            subject_alt_names: vec!["uri:urn:fleet:lab".to_owned()],
        }),
        ..SetScepProfileRequest::default()
    };
    desk.ask(async |mut api| api.set_scep_profile(asked).await)
        .expect("a profile");
    let challenge = |profile: &str| CreateScepChallengeRequest {
        profile: profile.to_owned(),
        ..many()
    };
    let names = ["dns:p1.example", "ip:192.0.2.7", "uri:ipps://p1.example/"];
    let device = Device::new(Door::of(&fleet), "p1.example").with(&names);

    // when a device asks for names of every kind, then it has those that the profile takes and those that it adds,
    let vpn = device.enrol(&desk.challenge(challenge("vpn")));
    let vpn = vpn.expect("a certificate").certificate;
    assert_eq!(vpn.sans(), ["dns:p1.example", "uri:urn:fleet:lab"].map(san));
    let usages = |of: &Certificate| {
        of.extended_key_usage()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        usages(&vpn),
        ["1.3.6.1.5.5.7.3.17", "1.3.6.1.4.1.311.20.2.2"]
    );
    // for as long as it says;
    let ends_in = |of: &Certificate| of.not_after().as_second() - clock::now().as_second();
    assert!((7100..=7200).contains(&ends_in(&vpn)), "{}", ends_in(&vpn));
    // a renewal asks for the same again, and has the same;
    let next = key();
    let renewed = device
        .renew(&vpn, &next)
        .expect("a certificate")
        .certificate;
    assert_eq!(
        (renewed.sans(), usages(&renewed)),
        (vpn.sans(), usages(&vpn))
    );

    // and with the default profile all names, for a year, and where revocations are told.
    let device = Device::new(device.door, "p1.example").with(&names);
    let usual = device.enrol(&desk.challenge(challenge("")));
    let usual = usual.expect("a certificate").certificate;
    assert_eq!(usual.sans(), names.map(san));
    assert_eq!(usages(&usual), ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
    let year = 365 * 24 * 3600;
    assert!((year - 600..=year).contains(&ends_in(&usual)));
    let usage = usual.key_usage().expect("key usage");
    assert!(usage.digital_signature && usage.key_encipherment && !usage.key_cert_sign);
    let url = format!("http://127.0.0.1:{}/scep/crl", fleet.scep_addr().port());
    let der = usual.to_der();
    assert!(der.windows(url.len()).any(|part| part == url.as_bytes()));

    // A challenge of a profile that does not exist cannot be made.
    let unknown = challenge("other");
    let status = desk.ask(async |mut api| api.create_scep_challenge(unknown).await);
    assert_eq!(status.expect_err("a refusal").code(), Code::NotFound);
}

#[test]
fn an_operator_decides_where_that_is_asked_for() {
    // Given a controller whose operator approves, and a challenge for two,
    let mut fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let asked = SetScepAuthorityRequest {
        approval: ScepApproval::Manual.into(),
        ..SetScepAuthorityRequest::default()
    };
    desk.ask(async |mut api| api.set_scep_authority(asked).await)
        .expect("set");
    let challenge = desk.challenge_for(2);
    let patient = |name: &str| {
        let mut device = Device::new(Door::of(&fleet), name);
        device.settings = Settings {
            polls: 1000,
            ..Settings::default()
        };
        device
    };
    let (welcome, unwelcome) = (patient("p1.example"), patient("p2.example"));
    // when two devices ask, then both wait, and a third is refused: the challenge was for two;
    let mut one = welcome.begin(Some(&challenge));
    let mut two = unwelcome.begin(Some(&challenge));
    let is_deferred = |step: &Step| {
        matches!(
            step,
            Step::Wait {
                why: Waiting::Deferred,
                ..
            }
        )
    };
    assert!(is_deferred(&one.step) && is_deferred(&two.step));
    assert_eq!(words(patient("p3.example").enrol(&challenge)), NOT_ACCEPTED);
    let waiting: Vec<_> = requests(&fleet, false)
        .iter()
        .map(|request| request.subject.clone())
        .collect();
    assert_eq!(waiting, ["CN=p1.example", "CN=p2.example"]);
    // however often they ask, also of a controller that has started anew;
    fleet.restart_controller();
    for applicant in [&mut one, &mut two] {
        applicant.poll();
        assert!(is_deferred(&applicant.step), "{:?}", applicant.step);
    }
    let desk = Desk::of(&fleet);
    assert!(desk.issued().is_empty());

    // when the operator approves one and denies the other,
    let approved = ApproveScepRequestRequest {
        transaction_id: one.enrolment.transaction_id().to_string(),
        ..ApproveScepRequestRequest::default()
    };
    let denied = DenyScepRequestRequest {
        transaction_id: two.enrolment.transaction_id().to_string(),
        reason: "not one of ours".to_owned(),
        ..DenyScepRequestRequest::default()
    };
    let approved = desk.ask(async |mut api| api.approve_scep_request(approved).await);
    let approved = approved
        .expect("approved")
        .certificate
        .expect("a certificate");
    desk.ask(async |mut api| api.deny_scep_request(denied).await)
        .expect("denied");
    // then the one has its certificate at its next poll, and the other is told why not, then and ever after.
    one.poll();
    two.poll();
    let issued = one.end().expect("a certificate").certificate;
    assert_eq!(issued.to_der(), approved.certificate);
    let why = "the request was denied: not one of ours";
    assert_eq!(words(two.end()), why);
    assert_eq!(words(unwelcome.enrol(&challenge)), why);
    let states: Vec<_> = requests(&fleet, true)
        .iter()
        .map(|request| request.state.clone())
        .collect();
    assert_eq!(
        (states, requests(&fleet, false).len()),
        (vec!["issued".to_owned(), "denied".to_owned()], 0)
    );
    // A renewal does not wait.
    welcome.renew(&issued, &key()).expect("a certificate");
}

fn requests(fleet: &Fleet, all: bool) -> Vec<ScepRequest> {
    let asked = ListScepRequestsRequest {
        all,
        ..ListScepRequestsRequest::default()
    };
    let listed = Desk::of(fleet).ask(async |mut api| api.list_scep_requests(asked).await);
    listed.expect("a list").requests
}
