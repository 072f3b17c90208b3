//! What is too much, too deep or cut off for the built-in SCEP server, what its logs must not be made to say, and what must lie nowhere.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use convoy_proto::v1::{
    CreateScepChallengeRequest, RollOverScepAuthorityRequest, ScepApproval, SetScepAuthorityRequest,
};
use convoy_scep::{
    key::RsaKey,
    message::{FailInfo, TransactionId},
    request::Challenge,
};

use crate::{
    fleet::Fleet,
    scep_forged::{Forged, first, rewritten, tlv},
    scepper::{Desk, Device, Door, Reply, key, many, refused, words},
};

#[test]
fn noise_harms_nobody() {
    // Given a server, a good message, and so many addresses that no limit is reached,
    let mut fleet = Fleet::serving_scep(&[]);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let door = Door::of(&fleet);
    let device = Device::new(door, "p1.example");
    let mut request = device.request.clone();
    request.challenge = Challenge::new(challenge.as_str()).ok();
    let (csr, own) = first(&request, &device.key);
    let good = Forged::by(&own, &device.key, "T").sealed(&door.ca(), &csr);
    let mut number = 0_usize;
    let mut elsewhere = || {
        number += 1;
        door.from(&format!("127.0.1.{}", 1 + number % 200))
    };

    // when a body is too long, declared or not, then no more of it is read;
    let long = vec![0x30; 1024 * 1024 + 1];
    assert!(matches!(elsewhere().post(&long).status, 0 | 413));
    let mut endless = elsewhere().connect();
    let head = "POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    endless.write_all(head.as_bytes()).expect("sent");
    let chunk = [&b"10000\r\n"[..], &[0x30; 0x10000], b"\r\n"].concat();
    let sent = (0..1024)
        .take_while(|_| endless.write_all(&chunk).is_ok())
        .count();
    assert!(sent < 1024, "64 MiB were taken");
    assert!(matches!(Reply::read(endless).status, 0 | 413));
    // a query or a head that is too long is refused;
    for length in [41 * 1024, 127 * 1024, 1024 * 1024] {
        let query = format!("operation=PKIOperation&message={}", "A".repeat(length));
        let status = elsewhere().get(&query).status;
        assert!(matches!(status, 0 | 400 | 414 | 431), "{status}");
    }
    let head = format!(
        "GET /scep?operation=GetCACaps HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(256 * 1024)
    );
    assert!(matches!(elsewhere().say(head.as_bytes()).status, 0 | 431));
    // what is nested without an end, or with one, is no message,
    let nested = |depth: usize| (0..depth).fold(vec![], |inner, _| tlv(0x30, &inner));
    for deep in [
        [0x30, 0x80].repeat(8_000),
        [0x24, 0x80].repeat(8_000),
        nested(3000),
    ] {
        assert_eq!(elsewhere().post(&deep).status, 400);
    }
    // nor is one that claims more than it has, or that was cut off;
    for claim in [
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
        &[0x30, 0x88, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x30],
        &[0xff; 64],
    ] {
        assert_eq!(elsewhere().post(claim).status, 400, "{claim:?}");
    }
    for length in (1..good.len()).step_by(good.len() / 40) {
        assert_eq!(
            elsewhere().post(&good[..length]).status,
            400,
            "{length} bytes"
        );
    }
    // one with a damaged byte is answered, or is no message;
    for at in (0..good.len()).step_by(good.len() / 100) {
        let mut damaged = good.clone();
        damaged[at] ^= 0x80;
        let status = elsewhere().post(&damaged).status;
        assert!(matches!(status, 200 | 400), "byte {at}: {status}");
    }
    for bytes in [
        &b"\r\n\r\n\r\n"[..],
        &[0xff; 4096],
        b"GET\r\n\r\n",
        b"PUT /scep HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let status = elsewhere().say(bytes).status;
        assert!(matches!(status, 0 | 400 | 405), "{bytes:?}: {status}");
    }
    // and the server serves as before.
    assert!(fleet.controller_lives());
    let log = fleet.log("controller");
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    device.enrol(&challenge).expect("a certificate");
}

/// A controller that says everything, with SCEP.
fn talkative() -> Fleet {
    let mut fleet = Fleet::unstarted();
    fleet.set_filter("trace");
    fleet.set_options(&["--scep-addr", "127.0.0.1:0"]);
    fleet.start_controller();
    fleet
}

#[test]
fn nobody_writes_lines_of_his_own_into_the_log() {
    // Given a controller whose log says everything, and texts that would be lines of it, and colours,
    let fleet = talkative();
    let desk = Desk::of(&fleet);
    let door = Door::of(&fleet);
    let (line, colour) = ("\r\nINJECTED\r\n\r\n", "\u{1b}[7mINJECTED.");
    let bound = desk.challenge(CreateScepChallengeRequest {
        common_name: "p1.example".to_owned(),
        ..many()
    });
    let secrets = [desk.challenge_for(0), bound, "no challenge".to_owned()];
    let device = Device::new(door, "0123456789abcd").with(&["dns:0123456789abcd"]);

    let fail_info_text = "1.3.6.1.5.5.7.24.1".parse().expect("an identifier");

    for text in [line, colour] {
        let harmless = &"0123456789abcd"[..text.len()];
        for secret in &secrets {
            // when one stands in a subject or an alternative name, whether or not the request is granted,
            let mut request = device.request.clone();
            request.challenge = Challenge::new(secret.as_str()).ok();
            let key = key();
            let (csr, own) = first(&request, &key);
            let subject = rewritten(&csr, harmless.as_bytes(), text.as_bytes(), &key);
            let reply = |csr: &[u8], transaction: &str| {
                door.post(&Forged::by(&own, &key, transaction).sealed(&door.ca(), csr))
            };
            let own_id = TransactionId::of_key(key.spki());
            let message = reply(&subject, own_id.as_str()).message();
            let words = message.signed.attribute(fail_info_text);
            let words = words.expect("one value").map(|text| text.value().to_vec());
            let words = words.unwrap_or_default();
            assert!(!words.iter().any(u8::is_ascii_control), "{words:?}");
            let both = rewritten(&subject, harmless.as_bytes(), text.as_bytes(), &key);
            assert!(matches!(
                reply(&both, &own_id.as_str()[1..]).status,
                200 | 400
            ));
            // in a transaction id, a message type,
            assert_eq!(reply(&csr, text).status, 400);
            let mut odd = Forged::by(&own, &key, "T-3");
            odd.message_type = text;
            assert_eq!(door.post(&odd.sealed(&door.ca(), &csr)).status, 400);
        }
        // or in a query,
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for query in [
            format!("operation={escaped}"),
            format!("operation=GetCACert&message={escaped}"),
        ] {
            door.get(&query);
        }
        door.say(format!("GET /{text} HTTP/1.1\r\n\r\n").as_bytes());
    }

    // then no line of the log begins with it, no colour of it is in there, and the record shows it escaped.
    let log = fleet.log("controller");
    assert!(log.contains("INJECTED"), "nothing was logged at all");
    assert!(
        log.lines()
            .all(|line| !line.trim_start().starts_with("INJECTED"))
    );
    assert!(!log.contains('\u{1b}') && !log.replace("\r\n", "").contains('\r'));
    for issued in desk.issued() {
        assert!(!issued.subject.contains(char::is_control), "{issued:?}");
    }
}

#[test]
fn no_secret_lies_where_it_does_not_belong() {
    // Given a controller whose log says everything, and challenges of every kind: used, unused, chosen by the operator, guessed, of a request that waits,
    let mut fleet = talkative();
    let desk = Desk::of(&fleet);
    let door = Door::of(&fleet);
    let chosen = "chosen-by-the-operator".to_owned();
    let secret = |secret: &str| CreateScepChallengeRequest {
        secret: secret.to_owned(),
        ..many()
    };
    let secrets = [
        desk.challenge_for(1),
        desk.challenge_for(1),
        desk.challenge(secret(&chosen)),
        desk.challenge_for(1),
    ];
    let [used, _, _, waiting] = &secrets;
    let device = Device::new(door, "p1.example");
    let issued = device.enrol(used).expect("a certificate");
    Device::new(door, "p2.example")
        .enrol(&chosen)
        .expect("a certificate");
    let guess = "GUESSEDGUESSEDGUESSED";
    words(Device::new(door, "p3.example").enrol(guess));
    let mut by_get = Device::new(door, "p4.example");
    by_get.settings.get_only = true;
    assert_eq!(refused(by_get.enrol(used)).0, Some(FailInfo::BadRequest));
    device
        .renew(&issued.certificate, &key())
        .expect("a certificate");
    let manual = SetScepAuthorityRequest {
        approval: ScepApproval::Manual.into(),
        ..SetScepAuthorityRequest::default()
    };
    desk.ask(async |mut api| api.set_scep_authority(manual).await)
        .expect("set");
    assert!(Device::new(door, "p5.example").enrol(waiting).is_err());
    let next = RollOverScepAuthorityRequest::default();
    desk.ask(async |mut api| api.roll_over_scep_authority(next).await)
        .expect("a CA");
    fleet.restart_controller();

    // when all files of the data folder and the log are read,
    let mut files = files_below(&fleet.data_dir());
    files.push(fleet.path("controller.log"));
    let keys = fleet.data_dir().join("keys");
    let pems: Vec<PathBuf> = files
        .iter()
        .filter(|path| path.starts_with(keys.join("scep")))
        .cloned()
        .collect();
    assert_eq!(
        pems.len(),
        2,
        "the keys of the CA and of the next one: {pems:?}"
    );
    let private: Vec<RsaKey> = pems
        .iter()
        .map(|path| {
            assert_eq!(fs::metadata(path).expect("a file").mode() & 0o777, 0o600);
            RsaKey::from_pem(&fs::read_to_string(path).expect("PEM")).expect("a key")
        })
        .collect();
    let mut found = 0;
    for path in files {
        let bytes = fs::read(&path).unwrap_or_default();
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        // then the challenges are nowhere,
        for challenge in secrets.iter().map(String::as_str).chain([guess]) {
            assert!(
                !holds(challenge.as_bytes()),
                "{challenge} in {}",
                path.display()
            );
        }
        // and the CA's keys in their files only.
        if !path.starts_with(&keys) {
            assert!(!holds(b"PRIVATE KEY"), "{}", path.display());
            for key in &private {
                let der = key.to_pkcs8();
                for part in der[300..].chunks_exact(32) {
                    assert!(!holds(part), "a private key in {}", path.display());
                }
            }
        }
        // What may be there is found.
        found += usize::from(holds(b"p5.example"));
    }
    assert!(found >= 2, "in the journal and in the log");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}
