//! Records of requests: every state, every detail, and what a hostile device might send.

use super::*;

fn record(state: RequestState) -> RequestRecord {
    RequestRecord {
        attempt: u64::MAX,
        trigger: Trigger::Manual,
        requested_at: at(10),
        key_name: "scep".to_owned(),
        key_use: KeyUse::Tls,
        state,
        updated_at: at(-20),
        warnings: vec!["w".repeat(300); 8],
    }
}

fn certificate() -> IssuedCertificate {
    IssuedCertificate {
        issued_at: at(30),
        serial: "0A1B2C3D4E5F".to_owned(),
        subject: "CN=p1.example,O=Übung".to_owned(),
        fingerprint: Digest::of(b"certificate"),
        not_before: at(-30),
        not_after: at(90),
    }
}

fn details() -> Vec<ErrorDetail> {
    let infos = (0..=4).map(|number| FailInfo::from_number(number).expect("a failInfo"));
    let mut details = vec![
        ErrorDetail::Deferred,
        ErrorDetail::KeyLimit,
        ErrorDetail::TopError,
        ErrorDetail::TopErrorHttp(503),
        ErrorDetail::TopErrorHttp(u16::MAX),
        ErrorDetail::FaultyResponse("no CertRep".to_owned()),
        ErrorDetail::KeyUseLocation("x".repeat(1000)),
        ErrorDetail::Device(String::new()),
    ];
    details.extend(infos.map(ErrorDetail::Scep));
    details
}

fn states() -> Vec<RequestState> {
    let mut states = vec![
        RequestState::ToBeProcessed,
        RequestState::Successful(certificate()),
    ];
    for waiting in std::iter::once(None).chain(details().into_iter().map(Some)) {
        states.push(RequestState::Processing { polls: 3, waiting });
    }
    states.extend(details().into_iter().map(RequestState::Error));
    states
}

#[test]
fn every_state_and_every_detail_is_read_as_it_was_written() {
    for state in states() {
        for trigger in [Trigger::Timer, Trigger::Manual] {
            for key_use in KeyUse::ALL {
                let record = RequestRecord {
                    trigger,
                    key_use: *key_use,
                    ..record(state.clone())
                };
                let bytes = write_record(&record).encode_to_vec();
                let wire = v1::ScepRecord::decode(&*bytes).expect("own bytes");
                assert_eq!(read_record(wire), Ok(record));
            }
        }
    }
}

#[test]
fn whatever_is_written_can_be_read() {
    let long = "ä\u{1b}[2J\n".repeat(1000);
    let mut certificate = certificate();
    certificate.subject.clone_from(&long);
    for state in [
        RequestState::Error(ErrorDetail::Device(long.clone())),
        RequestState::Successful(certificate),
    ] {
        let record = RequestRecord {
            key_name: long.clone(),
            warnings: vec![long.clone(); 100],
            ..record(state)
        };
        let read = read_record(write_record(&record)).expect("own message");
        assert!(!format!("{read:?}").contains("\\u{1b}"), "{read:?}");
        assert_eq!(read.warnings.len(), 8);
        assert_eq!(read_record(write_record(&read)), Ok(read));
    }
}

fn refused(field: &str, state: RequestState, change: impl FnOnce(&mut v1::ScepRecord)) {
    let mut wire = write_record(&record(state));
    change(&mut wire);
    let bad = read_record(wire).expect_err(field).to_string();
    assert!(bad.contains(field), "{field}: {bad}");
}

#[test]
fn what_no_honest_device_writes_is_refused_by_name() {
    let plain = || RequestState::ToBeProcessed;
    refused("attempt", plain(), |w| w.attempt = 0);
    refused("trigger", plain(), |w| w.trigger = 0);
    refused("trigger", plain(), |w| w.trigger = 99);
    refused("state", plain(), |w| w.state = 0);
    refused("state", plain(), |w| w.state = 99);
    refused("requested_at", plain(), |w| w.requested_at = None);
    refused("updated_at", plain(), |w| w.updated_at = None);
    refused("key_use", plain(), |w| w.key_use = "SSL".to_owned());
    for bad in ["x".repeat(256), "\u{1b}[2J".to_owned()] {
        refused("key_name", plain(), |w| w.key_name = bad);
    }
    refused("warnings", plain(), |w| w.warnings.push(String::new()));
    refused("warnings", plain(), |w| w.warnings[0].push('w'));
    refused("warnings", plain(), |w| w.warnings[0] = "a\nb".to_owned());

    // What belongs to another state.
    refused("polls", plain(), |w| w.polls = 1);
    refused("detail", plain(), |w| {
        w.set_detail(v1::ScepDetail::Deferred);
    });
    refused("detail_text", plain(), |w| w.detail_text = "x".to_owned());
    let with_certificate = write_record(&record(RequestState::Successful(certificate())));
    refused("certificate", plain(), |w| {
        w.certificate = with_certificate.certificate.clone();
    });

    // A detail that is none.
    let failed = || RequestState::Error(ErrorDetail::TopErrorHttp(503));
    refused("detail", failed(), |w| w.detail = 0);
    refused("detail", failed(), |w| w.detail = 99);
    refused("detail_number", failed(), |w| w.detail_number = 65_536);
    refused("detail_number", failed(), |w| {
        w.set_detail(v1::ScepDetail::ScepError);
        w.detail_number = 5;
    });
    refused("detail_number", failed(), |w| {
        w.set_detail(v1::ScepDetail::TopError);
    });
    let waiting = RequestState::Processing {
        polls: 1,
        waiting: Some(ErrorDetail::TopErrorHttp(503)),
    };
    refused("detail_number", waiting.clone(), |w| {
        w.detail_number = 65_536;
    });
    refused("detail", waiting, |w| w.detail = 99);
    let told = RequestState::Error(ErrorDetail::Device("x".repeat(1000)));
    refused("detail_text", told, |w| w.detail_text.push('x'));
}

#[test]
fn a_certificate_that_cannot_be_is_refused() {
    type Change = fn(&mut v1::ScepCertificate);
    let changes: [(&str, Change); 9] = [
        ("serial", |c| c.serial.clear()),
        ("serial", |c| c.serial = "0a".to_owned()),
        ("serial", |c| c.serial = "0A:1B".to_owned()),
        ("certificate", |c| c.serial = "A".repeat(129)),
        ("certificate", |c| c.subject = "x".repeat(2001)),
        ("certificate", |c| c.subject = "CN=a\r".to_owned()),
        ("issued_at", |c| c.issued_at = None),
        ("not_before", |c| c.not_before = None),
        ("not_after", |c| c.not_after = None),
    ];
    for (field, change) in changes {
        refused(field, RequestState::Successful(certificate()), |w| {
            change(w.certificate.as_mut().expect("a certificate"));
        });
    }
    refused("", RequestState::Successful(certificate()), |w| {
        let certificate = w.certificate.as_mut().expect("a certificate");
        certificate.fingerprint.truncate(31);
    });
    refused(
        "certificate",
        RequestState::Successful(certificate()),
        |w| {
            w.certificate = None;
        },
    );
}
