//! The built-in SCEP server at its port: its CA, its paths, and certificates that last. What challenges allow is proven in `scep_rules`.

use std::{fs, net::TcpStream};

use convoy_controller::clock;
use convoy_proto::v1::{GetScepAuthorityRequest, ListScepChallengesRequest};
use convoy_scep::{
    certificate::Certificate,
    http::{Capabilities, Operation},
    message::FailInfo,
};

use crate::{
    fleet::Fleet,
    scep_forged::{Forged, first},
    scepper::{Desk, Device, Door, NOT_ACCEPTED, refused, san, words},
};

#[test]
fn printers_find_the_ca_where_they_expect_it() {
    // Given a controller that serves SCEP for the first time, and a challenge for many,
    let mut fleet = Fleet::serving_scep(&[]);
    let door = Door::of(&fleet);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let ca = door.ca();

    for path in [
        "/scep",
        "/scep/",
        "/certsrv/mscep/mscep.dll",
        "/CertSrv/mscep/mscep.dll",
        "/certsrv/mscep/mscep.dll/pkiclient.exe",
        "/cgi-bin/pkiclient.exe",
    ] {
        // when a device asks at a path that printers know, then it learns what the server can do,
        let door = door.at(path);
        let caps = door.get("operation=GetCACaps");
        assert_eq!(caps.status, 200, "{path}");
        assert!(caps.head.contains("content-type: text/plain"), "{path}");
        assert!(caps.head.contains("content-length: "), "{}", caps.head);
        let caps = Capabilities::from_text(&String::from_utf8_lossy(&caps.body));
        assert!(caps.renewal && caps.can_post(), "{caps:?}");
        // who its CA is, with an identifier or without,
        for query in ["operation=GetCACert", "operation=GetCACert&message=any"] {
            let reply = door.get(query);
            let kind = "content-type: application/x-x509-ca-cert\r\n";
            assert!(reply.head.contains(kind), "{}", reply.head);
            assert_eq!(reply.body, ca.to_der(), "{path}");
        }
        // that there is no next one,
        assert_eq!(door.get("operation=GetNextCACert").status, 404, "{path}");
        // and has a certificate, by POST and by GET.
        for get_only in [false, true] {
            let mut device = Device::new(door, "p1.example");
            device.settings.get_only = get_only;
            let issued = device.enrol(&challenge).expect("a certificate");
            assert!(issued.certificate.is_issued_by(&ca), "{path}");
        }
    }
    for (path, status) in [("/", 404), ("/scepx", 404), ("/certsrv", 404)] {
        assert_eq!(door.at(path).get("operation=GetCACaps").status, status);
    }
    for query in ["", "operation=Enrol", "operation=PKIOperation"] {
        assert_eq!(door.get(query).status, 400, "{query:?}");
    }

    // The CA may sign certificates and lists, and no CA below it; it lives for ten years.
    assert!(ca.is_ca() && ca.is_self_signed());
    let left = ca.not_after().as_second() - clock::now().as_second();
    let years = 10 * 365 * 24 * 3600;
    assert!((years - 600..=years).contains(&left), "{left}");
    // When the controller starts again, then it is the same one.
    fleet.restart_controller();
    assert_eq!(Door::of(&fleet).ca(), ca);
    let known = authority(&fleet);
    assert_eq!(known.authorities.len(), 1);
    assert_eq!(known.authorities[0].certificate, ca.to_der());
    assert_eq!(known.authorities[0].fingerprint, ca.fingerprint().to_vec());
    assert_eq!(known.authorities[0].state, "current");
    let port = fleet.scep_addr().port();
    assert_eq!(known.url, format!("http://127.0.0.1:{port}/scep"));
}

#[test]
fn nothing_listens_unless_it_is_asked_for() {
    // Given a controller without --scep-addr: there is no CA, no key of one, and no port;
    let mut fleet = Fleet::start();
    let known = authority(&fleet);
    assert_eq!((known.url.as_str(), known.authorities.len()), ("", 0));
    let made = fs::read_dir(fleet.data_dir().join("keys/scep"));
    assert_eq!(made.map_or(0, Iterator::count), 0);
    let addresses = fs::read_to_string(fleet.data_dir().join("addresses")).expect("a file");
    assert!(!addresses.contains("scep"), "{addresses}");

    // when it is started with it, then there is one;
    fleet.kill_controller();
    fleet.set_options(&["--scep-addr", "127.0.0.1:0"]);
    fleet.start_controller();
    let (address, ca) = (fleet.scep_addr(), Door::of(&fleet).ca());
    // and when it is started without again, then nobody listens there, and the CA is remembered.
    fleet.kill_controller();
    fleet.set_options(&[]);
    fleet.start_controller();
    assert!(TcpStream::connect(address).is_err());
    let known = authority(&fleet);
    assert_eq!(known.url, "");
    assert_eq!(known.authorities[0].certificate, ca.to_der());
}

#[test]
fn a_challenge_brings_one_certificate() {
    // Given a one-time challenge, and a device that asks for names,
    let fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let challenge = desk.challenge_for(1);
    let names = ["dns:p1.example", "ip:192.0.2.7", "uri:ipps://p1.example/"];
    let device = Device::new(Door::of(&fleet), "p1.example").with(&names);

    // when it asks without a challenge, or with another, then it is refused;
    let nobody = refused(device.begin(None).end());
    assert_eq!(nobody.0, Some(FailInfo::BadRequest));
    assert_eq!(nobody.1, "a challenge password is required");
    let guess = refused(device.enrol("guessed"));
    assert_eq!(guess.0, Some(FailInfo::BadRequest));
    assert_eq!(guess.1, "the challenge password is not accepted");

    // when it shows the challenge, then it has a certificate of its key, with its names, by the CA,
    let issued = device.enrol(&challenge).expect("a certificate");
    let certificate = issued.certificate;
    assert_eq!(certificate.spki(), device.key.spki());
    assert_eq!(certificate.subject_text(), "CN=p1.example");
    assert_eq!(certificate.sans(), names.map(san));
    assert!(certificate.is_issued_by(&device.door.ca()) && !certificate.is_ca());
    assert!(certificate.is_valid_at(clock::now()));
    // that is in the record;
    let record = desk.issued();
    assert_eq!(record.len(), 1);
    assert_eq!(record[0].serial, certificate.serial_hex());
    assert_eq!(record[0].subject, "CN=p1.example");
    assert_eq!(record[0].certificate, certificate.to_der());
    assert_eq!((record[0].authority, record[0].revoked_at), (1, None));
    let seconds = |time: Option<prost_types::Timestamp>| time.map(|time| time.seconds);
    let not_after = certificate.not_after().as_second();
    assert_eq!(seconds(record[0].not_after), Some(not_after));

    // and when another device shows the challenge again, then it is refused, in the words of a wrong one.
    let other = Device::new(device.door, "p2.example");
    assert_eq!(refused(other.enrol(&challenge)), guess);
    assert_eq!(desk.issued().len(), 1);
}

#[test]
fn what_a_device_was_told_survives_a_kill() {
    // Given a challenge for eight requests,
    let mut fleet = Fleet::serving_scep(&[]);
    let challenge = Desk::of(&fleet).challenge_for(8);
    let door = Door::of(&fleet);
    let mut serials = Vec::new();
    for round in 0..4_u32 {
        // when the controller is killed right after it has answered,
        let device = Device::new(door, "p.example");
        let issued = device.enrol(&challenge).expect("a certificate");
        fleet.kill_controller();
        fleet.start_controller();

        // then the certificate is in the record,
        let desk = Desk::of(&fleet);
        let serial = issued.certificate.serial_hex();
        assert_eq!(desk.issued()[0].serial, serial);
        // and when the device, whose answer was lost, asks again, it gets the same, and has used nothing up.
        let again = device.enrol(&challenge).expect("the certificate");
        assert_eq!(again.certificate, issued.certificate);
        // With another challenge it is another request, which that has to admit.
        assert_eq!(words(device.enrol("no challenge at all")), NOT_ACCEPTED);
        assert_eq!(
            (used(&desk), desk.issued().len()),
            (round + 1, serials.len() + 1)
        );
        assert!(!serials.contains(&serial), "{serial} twice");
        serials.push(serial);
    }

    // When the very message comes again, then the answer says the same.
    let device = Device::new(door, "p.example");
    let mut request = device.request.clone();
    request.challenge = convoy_scep::request::Challenge::new(challenge.as_str()).ok();
    let (csr, own) = first(&request, &device.key);
    let message = Forged::by(&own, &device.key, "T-1").sealed(&door.ca(), &csr);
    let granted: Vec<Certificate> = [(); 3]
        .iter()
        .map(|()| door.post(&message).granted(&own, &device.key))
        .collect();
    assert!(granted[1..].iter().all(|again| *again == granted[0]));
    let by_get = Operation::PkiOperation(message).into_request(false);
    assert_eq!(door.send(&by_get).granted(&own, &device.key), granted[0]);
    let desk = Desk::of(&fleet);
    assert_eq!((used(&desk), desk.issued().len()), (5, 5));
}

fn authority(fleet: &Fleet) -> convoy_proto::v1::GetScepAuthorityResponse {
    let asked = GetScepAuthorityRequest {};
    Desk::of(fleet)
        .ask(async |mut api| api.get_scep_authority(asked).await)
        .expect("the server")
}

/// How often the only challenge was used.
fn used(desk: &Desk) -> u32 {
    let asked = ListScepChallengesRequest::default();
    let listed = desk.ask(async |mut api| api.list_scep_challenges(asked).await);
    let challenges = listed.expect("a list").challenges;
    assert_eq!(challenges.len(), 1);
    challenges[0].used
}
