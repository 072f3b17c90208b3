//! Cryptography of SCEP messages that is weak, or would be if the built-in server said too much about it. Over its real port.

use convoy_controller::clock;
use convoy_scep::{
    algorithm::Cipher, certificate::Certificate, cms, issue::Authority, message::FailInfo,
    request::RequestBuilder,
};
use jiff::SignedDuration;

use crate::{
    scep_forged::{Forged, Victim, assert_bad_request, first, fresh, tlv},
    scepper::{Device, key, refused},
};

#[test]
fn a_refusal_does_not_tell_what_was_decrypted() {
    // Given envelopes of which all is wrong that can be: for the CA's name but another key, with a damaged content key, damaged at the end or at the
    // beginning, with content that is no request, none at all, or a request with a wrong signature,
    let victim = Victim::with(&[]);
    let sealed =
        |content: &[u8], to: &Certificate| cms::seal(content, to, Cipher::Aes128).expect("sealed");
    let good = sealed(&victim.csr, &victim.ca);
    let damaged = |from_end: usize| {
        let mut envelope = good.clone();
        let at = envelope.len() - from_end;
        envelope[at] ^= 0x55;
        envelope
    };
    let transported = good
        .windows(4)
        .position(|part| part == [0x04, 0x82, 0x01, 0x00]);
    let transported = good.len() - transported.expect("a content key");
    let now = clock::now();
    let end = now + SignedDuration::from_hours(1);
    let name = victim.ca.subject_text();
    let name = name
        .strip_prefix("CN=")
        .and_then(|name| name.strip_suffix(",O=Convoy"));
    let double = Authority::self_signed(
        name.expect("a name"),
        Some("Convoy"),
        key(),
        victim.ca.serial(),
        now,
        end,
    );
    let mut unsigned = victim.csr.clone();
    *unsigned.last_mut().expect("a byte") ^= 1;
    let envelopes = [
        sealed(&victim.csr, &double.expect("a CA").certificate),
        damaged(transported - 4),
        damaged(transported - 200),
        damaged(1),
        damaged(17),
        damaged(victim.csr.len()),
        sealed(b"garbage", &victim.ca),
        sealed(b"", &victim.ca),
        sealed(&fresh(), &victim.ca),
        sealed(&tlv(0x30, b"\x02\x01\x00"), &victim.ca),
        sealed(&unsigned, &victim.ca),
    ];
    // when they are sent, then all answers are the same but for what changes from answer to answer.
    let answers: Vec<_> = envelopes
        .iter()
        .map(|envelope| {
            let reply = victim.door.post(&victim.forge("T").around(envelope));
            let head: Vec<_> = reply
                .head
                .lines()
                .filter(|line| !line.starts_with("date:"))
                .map(str::to_owned)
                .collect();
            let message = reply.message();
            assert!(message.signed.content().is_empty());
            (head, reply.refusal(), reply.body.len())
        })
        .collect();
    assert_eq!(
        answers[0].1,
        (Some(FailInfo::BadMessageCheck), String::new())
    );
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(answer, &answers[0], "envelope {index}");
    }
    victim.assert_issued(0);
}

#[test]
fn an_overheard_content_key_opens_nothing_twice() {
    // Given a request whose envelope is opened, and brings a certificate,
    let victim = Victim::with(&[]);
    let envelope = cms::seal(&victim.csr, &victim.ca, Cipher::Aes128).expect("sealed");
    let message = victim.forge("T").around(&envelope);
    victim.door.post(&message).granted(&victim.own, &victim.key);

    // when somebody else puts it into messages of his own, as it is or changed, then all are refused as if it could not be opened:
    let key = key();
    let request = RequestBuilder::new("curious");
    let (_, own) = first(&request, &key);
    let mut changed = envelope.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    for envelope in [&envelope, &changed] {
        let mut forged = Forged::by(&own, &key, "U");
        for kind in ["19", "20", "21", "22"] {
            forged.message_type = kind;
            let reply = victim.door.post(&forged.around(envelope));
            assert_eq!(
                reply.refusal(),
                (Some(FailInfo::BadMessageCheck), String::new())
            );
        }
    }

    // and the first message again is the answer again.
    victim.door.post(&message).granted(&victim.own, &victim.key);
    victim.assert_issued(1);
}

#[test]
fn weak_ciphers_and_keys_are_refused() {
    // Given a device that knows DES only: it is refused by name, unless the operator has allowed it; triple DES is not.
    for (options, allowed) in [(&[][..], false), (&["--scep-allow-legacy"], true)] {
        let victim = Victim::with(options);
        let challenge = victim.desk.challenge_for(0);
        let mut device = Device::new(victim.door, "p1.example");
        device.settings.cipher = Some(Cipher::TripleDes);
        device.enrol(&challenge).expect("a certificate");
        device = Device::new(victim.door, "p1.example");
        device.settings.cipher = Some(Cipher::Des);
        device.settings.allow_legacy = true;
        match device.enrol(&challenge) {
            Ok(_) => assert!(allowed, "DES was accepted"),
            refusal => {
                assert_eq!(refused(refusal).0, Some(FailInfo::BadAlg));
                assert!(!allowed);
            }
        }
        victim.assert_issued(1 + usize::from(allowed));
    }

    // Given a request for a key of 1024 bits, then it is refused for that.
    let victim = Victim::with(&[]);
    let csr = hex::decode(SHORT).expect("a request");
    let reply = victim
        .door
        .post(&victim.forge("T").sealed(&victim.ca, &csr));
    assert_bad_request(&reply, "");
    assert!(victim.says("has 1024 bits, which is too few"));
    victim.assert_issued(0);
}

/// A request for a key of 1024 bits, signed by it.
const SHORT: &str = "308201573081c102010030183116301406035504030c0d73686f72742e6578616d706c6530819f300d06092a864886f70d010101050003818d0030818902818100bb222069117652fa982c9250572f792bea4ef85c6d2dbefd652618e83eab937dbd346af69c117fc038a6046141cf222a5aae613262f7cf7049afff04dc8813b0f7bee23b94f916a4e322ae71ad51dd444489470d3500bb2252387b0324e88e177dfc26bf72e63e50a82715d18bb4d6feb3cfee13a31cbdba1af74d210836e7110203010001a000300d06092a864886f70d01010b050003818100983a3ac725cec176e80bc3f2409038a5accc8e4aaef433b488f4d4e93294bcf2d1fb4f1aa3f6c8dbe08943151ba9526d701013cad2a060e7d2289c58f3285920e8ee52584c369ed865e38934a44c072df4af4c44c143cef2709d8225232db131e6a1b2d3f9eec3a5839c5065769d7c2c3b2d5b3cd0a212b3c6599bae7399c760";
