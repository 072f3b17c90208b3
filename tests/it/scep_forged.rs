//! SCEP messages as no honest device makes them, the DER that they are made of, and a server to try them on. What comes of them is judged in the tests.

use convoy_controller::clock;
use convoy_scep::{
    algorithm::{Cipher, Hash},
    certificate::Certificate,
    cms::{self, Attribute, Signer},
    key::RsaKey,
    message::FailInfo,
    request::{self, Challenge, RequestBuilder},
};

use crate::{
    fleet::Fleet,
    scepper::{Desk, Door, Reply, key},
};

/// A server, a challenge that anybody may use as often as he likes, and a request with it.
pub(crate) struct Victim {
    pub(crate) fleet: Fleet,
    pub(crate) desk: Desk,
    pub(crate) door: Door,
    pub(crate) ca: Certificate,
    pub(crate) request: RequestBuilder,
    pub(crate) key: RsaKey,
    pub(crate) csr: Vec<u8>,
    pub(crate) own: Certificate,
}

impl Victim {
    pub(crate) fn with(options: &[&str]) -> Self {
        let fleet = Fleet::serving_scep(options);
        let desk = Desk::of(&fleet);
        let door = Door::of(&fleet);
        let mut request = RequestBuilder::new("p1.example");
        request.challenge = Challenge::new(desk.challenge_for(0)).ok();
        let key = key();
        let (csr, own) = first(&request, &key);
        Self {
            ca: door.ca(),
            fleet,
            desk,
            door,
            request,
            key,
            csr,
            own,
        }
    }

    /// An honest message but for what is changed in it.
    pub(crate) fn forge<'a>(&'a self, transaction: &'a str) -> Forged<'a> {
        Forged::by(&self.own, &self.key, transaction)
    }

    pub(crate) fn says(&self, word: &str) -> bool {
        self.fleet.log("controller").contains(word)
    }

    #[track_caller]
    pub(crate) fn assert_issued(&self, count: usize) {
        assert_eq!(self.desk.issued().len(), count);
    }
}

/// A message as only its forger wants it.
pub(crate) struct Forged<'a> {
    pub(crate) message_type: &'a str,
    pub(crate) transaction: &'a str,
    pub(crate) nonce: Vec<u8>,
    pub(crate) certificate: &'a Certificate,
    pub(crate) key: &'a RsaKey,
    pub(crate) cipher: Cipher,
}

impl<'a> Forged<'a> {
    /// An honest PKCSReq but for what is changed in it, signed with this.
    pub(crate) fn by(certificate: &'a Certificate, key: &'a RsaKey, transaction: &'a str) -> Self {
        Self {
            message_type: "19",
            transaction,
            nonce: fresh(),
            certificate,
            key,
            cipher: Cipher::Aes128,
        }
    }

    /// The message with this content, encrypted to the CA.
    pub(crate) fn sealed(&self, ca: &Certificate, content: &[u8]) -> Vec<u8> {
        self.around(&cms::seal(content, ca, self.cipher).expect("sealed"))
    }

    /// The message around an envelope.
    pub(crate) fn around(&self, envelope: &[u8]) -> Vec<u8> {
        let signer = Signer {
            certificate: self.certificate,
            key: self.key,
            hash: Hash::Sha256,
        };
        let text = |oid: &str, text: &str| attribute(oid, 0x13, text.as_bytes());
        let attributes = vec![
            text("2.16.840.1.113733.1.9.2", self.message_type),
            text("2.16.840.1.113733.1.9.7", self.transaction),
            attribute("2.16.840.1.113733.1.9.5", 0x04, &self.nonce),
        ];
        cms::sign(envelope, &signer, attributes, &[]).expect("signed")
    }
}

fn attribute(oid: &str, tag: u8, content: &[u8]) -> Attribute {
    Attribute {
        oid: oid.parse().expect("an identifier"),
        value_der: tlv(tag, content),
    }
}

/// 16 random bytes.
pub(crate) fn fresh() -> Vec<u8> {
    uuid::Uuid::new_v4().as_bytes().to_vec()
}

/// A request in DER, and the throw-away certificate that signs the message around it.
pub(crate) fn first(request: &RequestBuilder, key: &RsaKey) -> (Vec<u8>, Certificate) {
    let request = request.sign(key).expect("a request");
    let own = request::self_signed(&request, key, Hash::Sha256, clock::now());
    (request.to_der().to_vec(), own.expect("a certificate"))
}

/// One value of DER.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len())
        .expect("a length")
        .to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count().min(3);
    let length = &length[zeros..];
    let head = match length {
        [short @ ..0x80] => vec![tag, *short],
        _ => [
            &[tag, 0x80 | u8::try_from(length.len()).expect("4")],
            length,
        ]
        .concat(),
    };
    [&head, content].concat()
}

/// A request in which one text stands in place of another of the same length, signed anew.
pub(crate) fn rewritten(csr: &[u8], from: &[u8], to: &[u8], key: &RsaKey) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the lengths around it stay");
    let [info, algorithm, _] = &parts(csr)[..] else {
        panic!("no request: {csr:?}");
    };
    let mut info = info.clone();
    let places = info.windows(from.len()).position(|part| part == from);
    let at = places.expect("the text");
    info[at..at + to.len()].copy_from_slice(to);
    let signature = key.sign(Hash::Sha256, &info).expect("signed");
    let signature = tlv(0x03, &[&[0], &signature[..]].concat());
    tlv(0x30, &[&info[..], algorithm, &signature].concat())
}

/// What is inside of a value.
pub(crate) fn content(der: &[u8]) -> &[u8] {
    &der[head(der).0..]
}

/// The values inside of a constructed one.
pub(crate) fn parts(der: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut rest = content(der);
    while !rest.is_empty() {
        let (start, length) = head(rest);
        parts.push(rest[..start + length].to_vec());
        rest = &rest[start + length..];
    }
    parts
}

/// Where the content begins, and how long it is.
fn head(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ ..0x80 => (2, usize::from(short)),
        long => {
            let end = 2 + usize::from(long & 0x7f);
            let length = der[2..end]
                .iter()
                .fold(0, |sum, byte| sum * 256 + usize::from(*byte));
            (end, length)
        }
    }
}

/// Asserts failInfo badRequest, and that these are among its words.
#[track_caller]
pub(crate) fn assert_bad_request(reply: &Reply, words: &str) {
    let (info, text) = reply.refusal();
    assert_eq!(info, Some(FailInfo::BadRequest), "{text}");
    assert!(text.contains(words), "{text:?} and not {words:?}");
}
