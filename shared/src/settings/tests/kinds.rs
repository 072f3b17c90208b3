//! The text of every kind, there and back; and what no kind takes.

use std::{fmt, str::FromStr};

use serde::de::DeserializeOwned;

use super::*;

/// Text and JSON give the same value again, and the same text.
fn round_trips<T>(value: &T)
where
    T: fmt::Display + fmt::Debug + FromStr<Err = BadSetting> + PartialEq,
    T: Serialize + DeserializeOwned,
{
    let text = value.to_string();
    let parsed: T = text.parse().expect(&text);
    assert_eq!(parsed, *value, "{text}");
    assert_eq!(parsed.to_string(), text);
    let json = serde_json::to_string(value).expect("JSON");
    assert_eq!(json, format!("{text:?}"), "JSON has the text");
    assert_eq!(serde_json::from_str::<T>(&json).expect(&json), *value);
}

/// Each text is refused by its kind, in JSON too, with the field's name.
fn refuses<T>(field: &str, texts: &[&str])
where
    T: fmt::Debug + FromStr<Err = BadSetting> + DeserializeOwned,
{
    for text in texts {
        let refused = text.parse::<T>().expect_err(text);
        assert_eq!(refused.field, field, "{text:?}");
        assert_eq!(refused.value, *text);
        let words = refused.to_string();
        assert!(words.starts_with(&format!("{field}: ")), "{words}");
        let json = serde_json::to_string(text).expect("JSON");
        let error = serde_json::from_str::<T>(&json).expect_err(text);
        assert!(error.to_string().starts_with(&words), "{error}");
    }
}

fn is<T: FromStr<Err = BadSetting> + PartialEq + fmt::Debug>(text: &str, value: &T) {
    assert_eq!(text.parse::<T>().as_ref(), Ok(value), "{text:?}");
}

#[test]
fn every_kind_has_one_text_in_files_flags_and_messages() {
    for value in KeyUse::ALL {
        round_trips(value);
    }
    for value in ChallengeSource::ALL {
        round_trips(value);
    }
    for value in SignatureHash::ALL {
        round_trips(value);
    }
    for value in KeyLength::ALL {
        round_trips(value);
        assert_eq!(value.to_string(), value.bits().to_string());
    }
    for url in [
        "http://scep.example/certsrv/mscep/mscep.dll",
        "http://10.0.0.1:8080/scep",
        "http://[2001:db8::1]:80",
        "http://h",
    ] {
        round_trips(&ScepServer::Url(url.to_owned()));
    }
    round_trips(&ScepServer::None);
    round_trips(&ScepServer::BuiltIn);
    round_trips(&CaPin::None);
    round_trips(&CaPin::Sha256(Digest::of(b"CA")));
    round_trips(&RequestStart::AtOnce);
    for instant in ["2027-01-31T02:00:00Z", "2027-01-31T02:00:00.125Z"] {
        round_trips(&RequestStart::At(instant.parse().expect(instant)));
    }
    round_trips(&Periodic::Off);
    for seconds in [60, 61, 5400, 86_400, 86_401, 3660 * 86_400] {
        round_trips(&Periodic::Every(SignedDuration::from_secs(seconds)));
        round_trips(&Span(SignedDuration::from_secs(seconds)));
    }
    round_trips(&Span(SignedDuration::ZERO));
    round_trips(&Span(SignedDuration::from_millis(1500)));
    round_trips(&Capacity::Off);
    for rate in [1, 10, 100, 500, 999, 1000, 1001, 2500, 10_000, u32::MAX] {
        round_trips(&Capacity::PerThousandSeconds(rate));
    }
}

#[test]
fn the_words_are_those_of_the_printers() {
    let words: Vec<String> = KeyUse::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["None", "TLS", "IPSec", "IEEE 802.1X"]);
    let words: Vec<String> = SignatureHash::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["SHA-256", "SHA-384", "SHA-512"]);
}

#[test]
fn people_write_the_same_in_several_ways() {
    is("ipsec", &KeyUse::IpSec);
    is("sha-256", &SignatureHash::Sha256);
    is("NDES", &ChallengeSource::Ndes);
    is("", &ScepServer::None);
    is("AT-ONCE", &RequestStart::AtOnce);
    is("Off", &Periodic::Off);
    let days = Periodic::Every(SignedDuration::from_hours(30 * 24));
    for text in ["30d", "30 d", "720h", "PT720H"] {
        is(text, &days);
    }
    is("2w", &Span(SignedDuration::from_hours(14 * 24)));
    is("1h 30m", &Span(SignedDuration::from_mins(90)));
    is("off", &Capacity::Off);
    for text in ["2.5", "2.50", "2.500"] {
        is(text, &Capacity::PerThousandSeconds(2500));
    }
    is("0.001", &Capacity::PerThousandSeconds(1));
    // As `openssl x509 -fingerprint -sha256` prints it.
    let digest = Digest::of(b"CA");
    let colons: Vec<String> = digest
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    is(&colons.join(":"), &CaPin::Sha256(digest));
    is("", &CaPin::None);
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_field_named() {
    refuses::<KeyUse>("key_use", &["", "ssl", "TLS ", "IEEE802.1X"]);
    refuses::<ChallengeSource>("challenge", &["", "s3cret", "built in"]);
    refuses::<SignatureHash>("signature_algorithm", &["", "MD5", "SHA256", "SHA-224"]);
    refuses::<KeyLength>("key_length", &["", "1024", "8192", "2048.0", "+2048"]);
    refuses::<ScepServer>(
        "server",
        &[
            "https://scep.example/",
            "scep.example",
            "http://",
            "http:///path",
            "http://:80/",
            "http://h:/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:+80/",
            "http://h:80:80/",
            "http://[::1/",
            "http://[nonsense]/",
            "http://user@h/",
            "http://h/?operation=GetCACert",
            "http://h/#here",
            "http://h/a b",
            "http://h\\x/",
            "http://h/\n",
            "http://drucker.exämple/",
            &format!("http://h/{}", "x".repeat(1024)),
        ],
    );
    refuses::<CaPin>(
        "ca_fingerprint",
        &[
            "ab",
            "no",
            &"a".repeat(63),
            &"a".repeat(66),
            &"g".repeat(64),
        ],
    );
    refuses::<RequestStart>(
        "request_start",
        &[
            "",
            "now",
            "2027-01-31",
            "2027-01-31T02:00:00",
            "2027-02-30T02:00:00Z",
        ],
    );
    refuses::<Periodic>(
        "periodic",
        &["", "d", "30", "x", "d30", "1.5d", "9223372036854775807d"],
    );
    refuses::<Span>("duration", &["", "30", "x", "ä", "9223372036854775807w"]);
    refuses::<Capacity>(
        "capacity",
        &[
            "", "0", "0.000", "-1", "2,5", "1.2345", "x", "1.2.3", "1.+5", "4294968",
        ],
    );
}
