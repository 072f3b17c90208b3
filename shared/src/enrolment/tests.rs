//! The words of the printers, one by one.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn issued() -> IssuedCertificate {
    IssuedCertificate {
        issued_at: at(1_800_000_000),
        serial: "0A".to_owned(),
        subject: "CN=p1".to_owned(),
        fingerprint: Digest::of(b"certificate"),
        not_before: at(1_800_000_000),
        not_after: at(1_900_000_000),
    }
}

const FAIL_INFOS: [FailInfo; 5] = [
    FailInfo::BadAlg,
    FailInfo::BadMessageCheck,
    FailInfo::BadRequest,
    FailInfo::BadTime,
    FailInfo::BadCertId,
];

#[test]
fn the_column_status_has_four_words() {
    let states = [
        (RequestState::ToBeProcessed, "To Be Processed", false),
        (
            RequestState::Processing {
                polls: 0,
                waiting: None,
            },
            "Processing...",
            false,
        ),
        (
            RequestState::Processing {
                polls: 3,
                waiting: Some(ErrorDetail::Deferred),
            },
            "Processing...",
            false,
        ),
        (RequestState::Error(ErrorDetail::KeyLimit), "Error", true),
        (RequestState::Successful(issued()), "Successful", true),
    ];
    for (state, word, is_final) in states {
        assert_eq!(state.word(), word);
        assert_eq!(state.is_final(), is_final, "{word}");
    }
}

#[test]
fn the_column_details_has_the_words_of_the_printers() {
    let words = [
        (ErrorDetail::Deferred, "Deferred"),
        (
            ErrorDetail::KeyLimit,
            "Key and Certificate Registration Limit Error",
        ),
        (ErrorDetail::TopError, "Communication Error (TOP ERROR)"),
        (
            ErrorDetail::TopErrorHttp(404),
            "Communication Error (TOP ERROR 404)",
        ),
        (
            ErrorDetail::TopErrorHttp(503),
            "Communication Error (TOP ERROR 503)",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadAlg),
            "Communication Error (SCEP ERROR Fail Info 0)",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadMessageCheck),
            "Communication Error (SCEP ERROR Fail Info 1)",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadRequest),
            "Communication Error (SCEP ERROR Fail Info 2)",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadTime),
            "Communication Error (SCEP ERROR Fail Info 3)",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadCertId),
            "Communication Error (SCEP ERROR Fail Info 4)",
        ),
        (
            ErrorDetail::FaultyResponse("no nonce".to_owned()),
            "Response Data Error",
        ),
        (
            ErrorDetail::KeyUseLocation("nginx -t failed".to_owned()),
            "Key Use Location Error",
        ),
        (ErrorDetail::Device("disk full".to_owned()), "Device Error"),
    ];
    for (detail, words) in words {
        assert_eq!(detail.to_string(), words);
    }
}

#[test]
fn every_detail_has_its_cause_in_words() {
    let causes = [
        (ErrorDetail::Deferred, "the request is deferred"),
        (ErrorDetail::KeyLimit, "Delete Old Key and Certificate"),
        (ErrorDetail::TopError, "no connection"),
        (ErrorDetail::TopError, "no answer in time"),
        (ErrorDetail::TopErrorHttp(503), "HTTP status 503"),
        (
            ErrorDetail::Scep(FailInfo::BadAlg),
            "unrecognized or unsupported algorithm",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadMessageCheck),
            "integrity check (CMS signature) failed",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadRequest),
            "operation not permitted or supported",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadTime),
            "signingTime not close enough to the system time",
        ),
        (
            ErrorDetail::Scep(FailInfo::BadCertId),
            "no certificate matches the criteria",
        ),
    ];
    for (detail, part) in causes {
        let cause = detail.cause();
        assert!(cause.contains(part), "{detail}: {cause}");
    }
    // What only the device knows is told as it was found.
    for detail in [
        ErrorDetail::FaultyResponse("no nonce".to_owned()),
        ErrorDetail::KeyUseLocation("no nonce".to_owned()),
        ErrorDetail::Device("no nonce".to_owned()),
    ] {
        assert_eq!(detail.cause(), "no nonce");
    }
}

#[test]
fn fail_infos_are_numbered_as_on_the_wire() {
    for (number, info) in (0u8..).zip(FAIL_INFOS) {
        assert_eq!(info.number(), number);
        assert_eq!(FailInfo::from_number(number), Some(info));
    }
    for number in 5..=u8::MAX {
        assert_eq!(FailInfo::from_number(number), None);
    }
}

#[test]
fn the_history_holds_twenty() {
    assert_eq!(HISTORY, 20);
}
