//! CAs below others, RAs, and what is asked of a CA beside a certificate.

use super::*;
use crate::cms::SignedData;
use crate::message::Message;

#[test]
fn the_issuers_are_found_among_all_that_came() {
    // A CA below another one, which answers with both.
    let root = named_authority("Root", 3);
    let intermediate = intermediate(&root);
    let mut server = Server::new(&intermediate);
    server.ca = cms::certs_only(&[&root.certificate, &intermediate.certificate], &[]);
    let pin = Settings {
        ca_fingerprint: Some(root.certificate.fingerprint()),
        ..settings(&root)
    };
    let (mut enrolment, step) = first(pin);
    let issued = issued(server.run(&mut enrolment, step, &mut granting(&intermediate)));
    assert_eq!(
        issued.chain,
        std::slice::from_ref(&intermediate.certificate)
    );
    assert_eq!(
        issued.ca,
        [root.certificate.clone(), intermediate.certificate.clone()]
    );
}

fn intermediate(root: &Authority) -> Authority {
    use crate::algorithm::Hash;
    use crate::certificate::KeyUsage;
    use crate::extension;
    use crate::issue::Template;
    let usage = KeyUsage {
        key_cert_sign: true,
        ..Leaf::usual_key_usage()
    };
    let certificate = Template {
        serial: &[5],
        issuer: root.certificate.subject(),
        not_before: now() - days(5),
        not_after: now() + days(500),
        subject: named_authority("Intermediate", 4).certificate.subject(),
        spki: key(4).spki(),
        extensions: vec![
            extension::extension(
                extension::BASIC_CONSTRAINTS,
                true,
                vec![0x30, 3, 1, 1, 0xff],
            )
            .unwrap(),
            extension::key_usage(usage).unwrap(),
        ],
    }
    .sign(root.issuing_key(), Hash::Sha256)
    .unwrap();
    Authority::unchecked(certificate, key(4))
}

#[test]
fn ndes_has_one_certificate_to_sign_and_one_to_encrypt_to() {
    let ca = authority();
    let (signing, encrypting) = registration_authority(&ca, &[]);
    let identity = identity(&ca);
    let mut server = Server::new(&ca);
    server.ca = cms::certs_only(
        &[
            &encrypting.certificate,
            &ca.certificate,
            &signing.certificate,
        ],
        &[],
    );
    let (mut enrolment, step) = first(settings(&ca));
    let mut step = step;
    // The two roles of the RA are played by hand: what is encrypted to the one is answered by the other.
    while let Step::Send(request) = step {
        let reply = match request.method {
            Method::Get => server.reply(&request, &mut granting(&ca)),
            Method::Post => {
                let ra = Identity::new(&encrypting, identity.policy);
                let crate::server::Received::Request(incoming) =
                    crate::server::receive(&request.body, &ra, now())
                else {
                    panic!("not encrypted to the certificate for it")
                };
                let answering = Identity::new(&signing, identity.policy);
                ok(incoming
                    .success(&answering, &[&grant(&ca, &incoming)])
                    .unwrap())
            }
        };
        step = enrolment.receive(reply, now());
    }
    issued(step);
}

#[test]
fn a_certificate_and_the_list_can_be_asked_for() {
    for ca in each_kind() {
        let settings = settings(&ca);
        let mut server = Server::new(&ca);
        let fetched = fetch(&settings, &mut server).unwrap();
        assert_eq!(fetched.fingerprint, ca.certificate.fingerprint());
        let (own, own_key) = (old_certificate(&ca), key(2));

        let (mut query, sent) =
            Query::certificate(&settings, &fetched, (&own, &own_key), &[7]).unwrap();
        let reply = server.reply(&sent, &mut |incoming, identity| {
            let Kind::GetCert { serial, .. } = &incoming.kind else {
                panic!("{incoming:?}")
            };
            assert_eq!(serial, &[7]);
            incoming.success(identity, &[&own]).unwrap()
        });
        assert_eq!(
            query.receive(&reply).unwrap().certificates,
            std::slice::from_ref(&own)
        );

        let list = ca.crl([], 3, now(), now() + days(7)).unwrap();
        let (mut query, sent) = Query::crl(&settings, &fetched, (&own, &own_key)).unwrap();
        let reply = server.reply(&sent, &mut |incoming, identity| {
            assert!(matches!(incoming.kind, Kind::GetCrl { .. }));
            incoming.crl(identity, &list).unwrap()
        });
        assert_eq!(query.receive(&reply).unwrap().crls, [list]);

        let (mut query, sent) =
            Query::certificate(&settings, &fetched, (&own, &own_key), &[8]).unwrap();
        let reply = server.reply(&sent, &mut |incoming, identity| {
            incoming
                .failure(identity, FailInfo::BadCertId, None)
                .unwrap()
        });
        assert!(matches!(
            query.receive(&reply),
            Err(Failure::FailInfo {
                info: Some(FailInfo::BadCertId),
                ..
            })
        ));
    }
}

fn fetch(settings: &Settings, server: &mut Server<'_>) -> Result<Ca, Failure> {
    let (mut fetching, mut sent) = FetchCa::begin(settings.clone());
    loop {
        let reply = server.reply(&sent, &mut |_, _| panic!());
        match fetching.receive(&reply, now())? {
            Fetched::Send(next) => sent = next,
            Fetched::Ca(ca) => return Ok(ca),
        }
    }
}

#[test]
fn the_next_ca_is_believed_when_the_present_one_signed_it() {
    let (ca, next, other) = (
        authority(),
        named_authority("Test CA", 3),
        named_authority("Other", 4),
    );
    let settings = settings(&ca);
    let fetched = fetch(&settings, &mut Server::new(&ca)).unwrap();
    assert_eq!(next_ca_request(&settings).query, "operation=GetNextCACert");
    let (_, body) = crate::server::next_ca_cert(&identity(&ca), &[&next.certificate]).unwrap();
    assert_eq!(
        read_next_ca(&settings, &fetched, &ok(body)).unwrap(),
        std::slice::from_ref(&next.certificate)
    );
    let (_, body) = crate::server::next_ca_cert(&identity(&other), &[&next.certificate]).unwrap();
    assert!(matches!(
        read_next_ca(&settings, &fetched, &ok(body)),
        Err(Failure::Faulty(FaultyResponse::Signer))
    ));
    assert!(matches!(
        read_next_ca(&settings, &fetched, &status(404)),
        Err(Failure::Http(404))
    ));
}

#[test]
fn the_next_ca_comes_with_its_ra() {
    let (ca, next) = (authority(), two_keys("Next CA"));
    let settings = settings(&ca);
    let fetched = fetch(&settings, &mut Server::new(&ca)).unwrap();
    let (_, body) = crate::server::next_ca_cert(&identity(&ca), &next.certificates()).unwrap();
    let read = read_next_ca(&settings, &fetched, &ok(body)).unwrap();
    assert_eq!(read, [next.certificate.clone(), next.recipient().clone()]);
}

#[test]
fn a_ca_that_signs_with_ecdsa_shows_its_ra() {
    let ca = two_keys("Test CA");
    let pin = Settings {
        ca_fingerprint: Some(ca.certificate.fingerprint()),
        ..settings(&ca)
    };
    for settings in [settings(&ca), pin] {
        let fetched = fetch(&settings, &mut Server::new(&ca)).unwrap();
        assert_eq!(fetched.authority(), &ca.certificate);
        assert_eq!(fetched.recipient().unwrap(), ca.recipient());
        assert_eq!(fetched.issuer().unwrap(), ca.certificate.subject());
    }
}

#[test]
fn an_ra_answers_unless_the_client_says_that_it_verifies_ecdsa() {
    let ca = two_keys("Test CA");
    let identity = identity(&ca);
    let mut server = Server::new(&ca);
    // This client says so where it has seen a CA of that kind.
    let (mut enrolment, step) = first(settings(&ca));
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        let answer = granting(&ca)(incoming, identity);
        let read = Message::parse(&answer).unwrap();
        assert!(read.signed.is_signed_as(&ca.certificate));
        answer
    });
    issued(step);
    // Of the RA's certificate alone it sees no such CA, and the RA answers.
    server.ca = ca.recipient().to_der().to_vec();
    let unpinned = Settings {
        ca_fingerprint: None,
        ..settings(&ca)
    };
    let (mut enrolment, step) = first(unpinned);
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        let answers = [
            granting(&ca)(incoming, identity),
            incoming.pending(identity).unwrap(),
            incoming
                .failure(identity, FailInfo::BadRequest, None)
                .unwrap(),
        ];
        for answer in &answers {
            let read = Message::parse(answer).unwrap();
            assert!(read.signed.is_signed_as(ca.recipient()) && !read.knows_ecdsa);
        }
        answers[0].clone()
    });
    issued(step);
    // The next CA is shown by the CA itself.
    let (_, body) = crate::server::next_ca_cert(&identity, &[&ca.certificate]).unwrap();
    let signed = SignedData::parse(&body).unwrap();
    assert!(signed.is_signed_as(&ca.certificate));
}
