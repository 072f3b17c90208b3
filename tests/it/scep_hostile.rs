//! What SCEP servers were found to believe, tried on the built-in one over its real port. Weak cryptography is in `scep_weak`; sizes, logs and secrets are in `scep_noise`.

use std::fs;

use convoy_controller::clock;
use convoy_proto::v1::{CreateScepChallengeRequest, ScepApproval, SetScepAuthorityRequest};
use convoy_scep::{
    algorithm::Cipher,
    certificate::Certificate,
    cms,
    issue::{Authority, Leaf},
    key::RsaKey,
    message::{FailInfo, PkiStatus},
    request::SubjectPart,
};
use jiff::SignedDuration;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SerialNumber, SubjectPublicKeyInfo};

use crate::{
    puppet::Puppet,
    scep_forged::{Forged, Victim, assert_bad_request, content, first, parts, tlv},
    scepper::{Device, Door, copy, key, many, words},
};

#[test]
fn a_message_of_no_listed_type_is_refused_whatever_it_holds() {
    // Given a good request with a good challenge,
    let victim = Victim::with(&[]);
    // when it comes in a message of a type that is not listed, then it has no answer;
    for message_type in [
        "0", "1", "2", "4", "16", "18", "23", "99", "017", "-19", "19 ", " 19", "+19", "1A", "",
        "PKCSReq",
    ] {
        let mut message = victim.forge("T");
        message.message_type = message_type;
        let reply = victim.door.post(&message.sealed(&victim.ca, &victim.csr));
        assert_eq!(reply.status, 400, "{message_type:?}: {}", reply.head);
    }
    // in an answer, or as one of the other types, it is refused.
    for (message_type, info) in [
        ("3", FailInfo::BadRequest),
        ("17", FailInfo::BadRequest),
        ("20", FailInfo::BadMessageCheck),
        ("21", FailInfo::BadMessageCheck),
        ("22", FailInfo::BadMessageCheck),
    ] {
        let mut message = victim.forge("T");
        message.message_type = message_type;
        let reply = victim.door.post(&message.sealed(&victim.ca, &victim.csr));
        assert_eq!(reply.refusal().0, Some(info), "{message_type}");
    }
    victim.assert_issued(0);
    let honest = victim.forge("T").sealed(&victim.ca, &victim.csr);
    victim.door.post(&honest).granted(&victim.own, &victim.key);
}

#[test]
fn a_first_request_is_signed_by_its_own_key_alone() {
    // Given a good request with a good challenge,
    let victim = Victim::with(&[]);
    let other = key();
    let (_, others) = first(&victim.request, &other);

    // when somebody else signs the message around it, then it is refused;
    let message = Forged::by(&others, &other, "T").sealed(&victim.ca, &victim.csr);
    assert_bad_request(&victim.door.post(&message), "");
    assert!(victim.says("signed with another key than its own"));
    // when the request's own signature is wrong, or the message's, then it is, too;
    let mut csr = victim.csr.clone();
    *csr.last_mut().expect("a byte") ^= 1;
    let message = victim.forge("T").sealed(&victim.ca, &csr);
    let bad_check = Some(FailInfo::BadMessageCheck);
    assert_eq!(victim.door.post(&message).refusal().0, bad_check);
    assert!(victim.says("not signed by its own key"));
    let honest = victim.forge("T").sealed(&victim.ca, &victim.csr);
    let mut message = honest.clone();
    *message.last_mut().expect("a byte") ^= 1;
    assert_eq!(victim.door.post(&message).refusal().0, bad_check);
    // when the content is another than the one that was signed, then it is, too;
    let envelope = cms::seal(&victim.csr, &victim.ca, Cipher::Aes128).expect("sealed");
    let message = with_parts(&honest, |signed| {
        let content = tlv(0xa0, &tlv(0x04, &envelope));
        let data = parts(&signed[2]).remove(0);
        signed[2] = tlv(0x30, &[data, content].concat());
    });
    assert_eq!(victim.door.post(&message).refusal().0, bad_check);
    // when nobody signed it, or several did, the right one among them, then it is no message.
    let second = Forged::by(&others, &other, "T").sealed(&victim.ca, &victim.csr);
    let info = |message: &[u8]| content(&parts(&parts(&parts(message)[1])[0])[4]).to_vec();
    let (own, foreign) = (info(&honest), info(&second));
    for signers in [
        vec![],
        [&own[..], &foreign].concat(),
        [&foreign[..], &own].concat(),
        [&own[..], &own].concat(),
    ] {
        let message = with_parts(&honest, |signed| signed[4] = tlv(0x31, &signers));
        assert_eq!(victim.door.post(&message).status, 400);
    }
    victim.assert_issued(0);
    victim.door.post(&honest).granted(&victim.own, &victim.key);
}

/// A message with other fields of its SignedData.
fn with_parts(message: &[u8], change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let [kind, explicit] = &parts(message)[..] else {
        panic!("no message: {message:?}");
    };
    let mut signed = parts(content(explicit));
    change(&mut signed);
    let signed = tlv(0xa0, &tlv(0x30, &signed.concat()));
    tlv(0x30, &[&kind[..], &signed].concat())
}

#[test]
fn a_renewal_is_signed_by_a_living_certificate_of_this_ca() {
    // Given a certificate, and a thief who has others with its subject and its serial number:
    let victim = Victim::with(&[]);
    let honest = victim.forge("T").sealed(&victim.ca, &victim.csr);
    let genuine = victim.door.post(&honest).granted(&victim.own, &victim.key);
    let thief = key();
    let now = clock::now();
    let day = SignedDuration::from_hours(24);
    let leaf = |authority: &Authority, serial: &[u8], from: i32, to: i32| {
        let leaf = Leaf {
            subject: genuine.subject(),
            spki: thief.spki(),
            sans: &[],
            key_usage: Leaf::usual_key_usage(),
            extended_key_usage: &[],
            serial,
            not_before: now + day * from,
            not_after: now + day * to,
            crl_url: None,
        };
        authority.issue(&leaf).expect("a certificate")
    };
    // of another CA of the same name; of this CA, but expired, not yet valid, or not in its record;
    let name = victim.ca.subject_text();
    let name = name
        .strip_prefix("CN=")
        .and_then(|name| name.strip_suffix(",O=Convoy"));
    let other = Authority::self_signed(
        name.expect("a name"),
        Some("Convoy"),
        key(),
        victim.ca.serial(),
        now - day,
        now + day,
    );
    let other = other.expect("a CA");
    assert_eq!(other.certificate.subject(), victim.ca.subject());
    let real = Authority::new(victim.ca.clone(), victim.stolen_ca_key()).expect("the CA");
    let known = genuine.serial();
    let not_ours = "the certificate to be renewed was not issued by this CA";
    let not_valid = "the certificate to be renewed was valid from";
    // of the fleet's client CA; and of nobody but himself.
    let thieves = [
        (leaf(&other, known, -1, 1), not_ours),
        (leaf(&real, known, -2, -1), not_valid),
        (leaf(&real, known, 1, 2), not_valid),
        (leaf(&real, &[0x42; 16], -1, 1), "revoked or unknown"),
        (victim.client_certificate(&genuine, &thief), not_ours),
        (first(&victim.request, &thief).1, not_ours),
    ];

    for (certificate, reason) in thieves {
        let before = victim.fleet.log("controller").matches(reason).count();
        for message_type in ["17", "19"] {
            // When he renews with one of these, then he is refused, and the log says why.
            let wanted = key();
            let mut request = victim.request.clone();
            request.challenge = None;
            let (csr, _) = first(&request, &wanted);
            let mut message = Forged::by(&certificate, &thief, "thief");
            message.message_type = message_type;
            let reply = victim.door.post(&message.sealed(&victim.ca, &csr));
            assert_bad_request(&reply, "");
        }
        let after = victim.fleet.log("controller").matches(reason).count();
        assert!(after > before, "{reason}");
    }
    victim.assert_issued(1);
    // The one who has the certificate renews it.
    let device = Device {
        key: copy(&victim.key),
        ..Device::new(victim.door, "p1.example")
    };
    device.renew(&genuine, &key()).expect("a certificate");
}

impl Victim {
    fn stolen_ca_key(&self) -> RsaKey {
        let mut keys = fs::read_dir(self.fleet.data_dir().join("keys/scep")).expect("a folder");
        let path = keys.next().expect("a key").expect("a file").path();
        RsaKey::from_pem(&fs::read_to_string(path).expect("PEM")).expect("a key")
    }

    /// By the CA of the fleet's clients, with the subject and the serial number of another certificate.
    fn client_certificate(&self, like: &Certificate, key: &RsaKey) -> Certificate {
        self.fleet.join("one", &self.fleet.ok(&["token", "create"]));
        let ca = Puppet::of(&self.fleet, "one").state.identity[1].clone();
        let pem = fs::read_to_string(self.fleet.data_dir().join("keys/client-ca.pem"));
        let pair = KeyPair::from_pem(&pem.expect("PEM")).expect("a key");
        let issuer = Issuer::from_ca_cert_der(&ca, pair).expect("the client CA");
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "p1.example");
        params.serial_number = Some(SerialNumber::from_slice(like.serial()));
        let public = SubjectPublicKeyInfo::from_der(key.spki()).expect("a key");
        let made = params.signed_by(&public, &issuer).expect("signed");
        Certificate::from_der(made.der()).expect("a certificate")
    }
}

#[test]
fn a_bound_challenge_brings_no_second_name_in_the_subject() {
    // Given a challenge for one name,
    let victim = Victim::with(&[]);
    let bound = victim.desk.challenge(CreateScepChallengeRequest {
        common_name: "p1.example".to_owned(),
        ..many()
    });
    // when a device hides another name behind or before that one, then it is refused.
    for names in [
        ["p1.example", "evil.example"],
        ["evil.example", "p1.example"],
    ] {
        let mut device = Device::new(victim.door, "");
        device.request.subject = names
            .map(|name| (SubjectPart::CommonName, name.to_owned()))
            .to_vec();
        assert!(
            words(device.enrol(&bound)).contains("for other names"),
            "{names:?}"
        );
    }
    victim.assert_issued(0);
    let device = Device::new(victim.door, "p1.example");
    device.enrol(&bound).expect("a certificate");
}

#[test]
fn nonces_and_transactions_belong_to_one_request() {
    // Given a request that was answered,
    let victim = Victim::with(&[]);
    let mut message = victim.forge("T-1");
    let honest = message.sealed(&victim.ca, &victim.csr);
    let granted = victim.door.post(&honest).granted(&victim.own, &victim.key);

    // when another message has its nonce, then that is refused;
    message.transaction = "T-2";
    let reply = victim.door.post(&message.sealed(&victim.ca, &victim.csr));
    assert_bad_request(&reply, "the senderNonce was used in another message");
    // when another key asks under its transaction, then that is refused, and learns nothing of the certificate;
    let other = key();
    let (csr, own) = first(&victim.request, &other);
    let reply = victim
        .door
        .post(&Forged::by(&own, &other, "T-1").sealed(&victim.ca, &csr));
    assert_bad_request(&reply, "the transaction id was used for another request");
    let issuer_and_subject = tlv(0x30, &[victim.ca.subject(), granted.subject()].concat());
    let poll = |door: Door, certificate: &Certificate, key: &RsaKey, transaction: &str| {
        let mut poll = Forged::by(certificate, key, transaction);
        poll.message_type = "20";
        door.post(&poll.sealed(&victim.ca, &issuer_and_subject))
    };
    let unknown = poll(victim.door, &own, &other, "T-9").refusal();
    assert_eq!(unknown.0, Some(FailInfo::BadCertId));
    assert_eq!(poll(victim.door, &own, &other, "T-1").refusal(), unknown);
    // its own key may ask for it, and the very message may come again.
    let again = poll(victim.door, &victim.own, &victim.key, "T-1");
    assert_eq!(again.granted(&victim.own, &victim.key), granted);
    assert_eq!(
        victim.door.post(&honest).granted(&victim.own, &victim.key),
        granted
    );
    victim.assert_issued(1);

    // Given a request that waits, then another key can neither poll nor take its place.
    let asked = SetScepAuthorityRequest {
        approval: ScepApproval::Manual.into(),
        ..SetScepAuthorityRequest::default()
    };
    let set = victim
        .desk
        .ask(async |mut api| api.set_scep_authority(asked).await);
    set.expect("set");
    let waits = victim
        .door
        .post(&victim.forge("T-3").sealed(&victim.ca, &victim.csr));
    assert_eq!(waits.message().status, Some(PkiStatus::Pending));
    assert_eq!(poll(victim.door, &own, &other, "T-3").refusal(), unknown);
    let reply = victim
        .door
        .post(&Forged::by(&own, &other, "T-3").sealed(&victim.ca, &csr));
    assert_bad_request(&reply, "the transaction id was used for another request");
    let waits = poll(victim.door, &victim.own, &victim.key, "T-3");
    assert_eq!(waits.message().status, Some(PkiStatus::Pending));
}
