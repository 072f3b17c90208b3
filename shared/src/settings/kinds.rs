//! The kinds of values that SCEP settings have, each with the one text form that files, flags and messages use. What a setting means is not here.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::check::is_http_url;
use crate::id::Digest;

/// A value that a setting cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not {expected}")]
pub struct BadSetting {
    /// The setting.
    pub field: &'static str,
    /// As given.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

impl BadSetting {
    pub(crate) fn new(field: &'static str, value: &str, expected: &'static str) -> Self {
        Self {
            field,
            value: value.to_owned(),
            expected,
        }
    }
}

/// Serializes by `Display` and `FromStr`.
macro_rules! textual {
    ($($kind:ty),+) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+};
}

textual!(
    ScepServer,
    CaPin,
    ChallengeSource,
    RequestStart,
    Periodic,
    Capacity,
    SignatureHash,
    KeyLength,
    KeyUse,
    Span
);

/// An enumeration with one text per value.
macro_rules! words {
    ($kind:ident, $field:literal, $expected:literal, $($value:ident = $text:literal),+) => {
        impl $kind {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $text),+
                })
            }
        }

        impl FromStr for $kind {
            type Err = BadSetting;

            fn from_str(text: &str) -> Result<Self, BadSetting> {
                $(if text.eq_ignore_ascii_case($text) {
                    return Ok(Self::$value);
                })+
                Err(BadSetting::new($field, text, $expected))
            }
        }
    };
}

/// Key use locations, in the words of the printers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyUse {
    /// The device's store only.
    None,
    /// The device's own TLS servers.
    Tls,
    /// IPsec.
    IpSec,
    /// IEEE 802.1X.
    Ieee8021X,
}

words!(
    KeyUse,
    "key_use",
    "one of None, TLS, IPSec, IEEE 802.1X",
    None = "None",
    Tls = "TLS",
    IpSec = "IPSec",
    Ieee8021X = "IEEE 802.1X"
);

/// Where challenge passwords come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChallengeSource {
    /// The SCEP server wants none.
    None,
    /// The controller's built-in server: one per device, bound to its names.
    BuiltIn,
    /// Given to the controller, which hands it to the devices.
    Stored,
    /// NDES's page, just before each request.
    Ndes,
}

words!(
    ChallengeSource,
    "challenge",
    "one of none, built-in, stored, ndes",
    None = "none",
    BuiltIn = "built-in",
    Stored = "stored",
    Ndes = "ndes"
);

/// The hash of a request's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureHash {
    /// The default.
    Sha256,
    /// 384 bits.
    Sha384,
    /// 512 bits.
    Sha512,
}

words!(
    SignatureHash,
    "signature_algorithm",
    "one of SHA-256, SHA-384, SHA-512",
    Sha256 = "SHA-256",
    Sha384 = "SHA-384",
    Sha512 = "SHA-512"
);

/// The length of an RSA key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyLength {
    /// 2048 bits.
    Rsa2048,
    /// 3072 bits.
    Rsa3072,
    /// 4096 bits.
    Rsa4096,
}

words!(
    KeyLength,
    "key_length",
    "one of 2048, 3072, 4096 (bits)",
    Rsa2048 = "2048",
    Rsa3072 = "3072",
    Rsa4096 = "4096"
);

impl KeyLength {
    /// In bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
        }
    }
}

/// Which SCEP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ScepServer {
    /// Not set.
    None,
    /// The controller's own.
    BuiltIn,
    /// An `http://` URL. Its messages are signed and encrypted by themselves (RFC 8894 section 1).
    Url(String),
}

impl fmt::Display for ScepServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::BuiltIn => "built-in",
            Self::Url(url) => url,
        })
    }
}

impl FromStr for ScepServer {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        match text {
            "none" | "" => return Ok(Self::None),
            "built-in" => return Ok(Self::BuiltIn),
            _ => {}
        }
        if is_http_url(text) {
            Ok(Self::Url(text.to_owned()))
        } else {
            Err(BadSetting::new(
                "server",
                text,
                "none, built-in, or a URL like http://host:port/path: plain HTTP, without a query (SCEP signs and encrypts its messages itself)",
            ))
        }
    }
}

/// What a CA is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaPin {
    /// Not known: no challenge is sent to a server elsewhere.
    None,
    /// Whatever the server shows is taken, as somebody has decided: whoever stands in between can read the challenge.
    Any,
    /// SHA-256 of the CA's certificate, DER.
    Sha256(Digest),
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Any => f.write_str("any"),
            Self::Sha256(digest) => f.write_str(&hex::encode(digest.as_bytes())),
        }
    }
}

impl FromStr for CaPin {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        if text.is_empty() || text == "none" {
            return Ok(Self::None);
        }
        if text == "any" {
            return Ok(Self::Any);
        }
        // As `openssl x509 -fingerprint` prints it, too.
        let digits = text.replace([':', ' '], "");
        hex::decode(digits)
            .ok()
            .and_then(|bytes| Digest::from_bytes(&bytes).ok())
            .map(Self::Sha256)
            .ok_or_else(|| {
                BadSetting::new(
                    "ca_fingerprint",
                    text,
                    "none, any, or the SHA-256 of the CA certificate as 64 hex digits",
                )
            })
    }
}

/// `Request Start Date/Time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestStart {
    /// As soon as the timer is on.
    AtOnce,
    /// At this instant.
    At(Timestamp),
}

impl fmt::Display for RequestStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at-once"),
            Self::At(time) => time.fmt(f),
        }
    }
}

impl FromStr for RequestStart {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        if text.eq_ignore_ascii_case("at-once") {
            return Ok(Self::AtOnce);
        }
        text.parse().map(Self::At).map_err(|_| {
            BadSetting::new(
                "request_start",
                text,
                "at-once, or a date and time like 2027-01-31T02:00:00Z",
            )
        })
    }
}

/// `Send Periodic Issuance Requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Periodic {
    /// One request.
    Off,
    /// One after each interval.
    Every(SignedDuration),
}

impl fmt::Display for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(interval) => write!(f, "{interval:#}"),
        }
    }
}

impl FromStr for Periodic {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        duration(text).map(Self::Every).ok_or_else(|| {
            BadSetting::new("periodic", text, "off, or an interval like 30d, 12h or 90m")
        })
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span(pub SignedDuration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl FromStr for Span {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        duration(text).map(Self).ok_or_else(|| {
            BadSetting::new("duration", text, "a length of time like 30s, 5m, 2h or 1d")
        })
    }
}

/// A span of time as people write it: "90s", "1h 30m", and "30d" (a day has 24 hours).
#[must_use]
fn duration(text: &str) -> Option<SignedDuration> {
    if let Ok(duration) = text.parse() {
        return Some(duration);
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let hours = match unit {
        "d" => 24,
        "w" => 7 * 24,
        _ => return None,
    };
    let hours = number.trim().parse::<i64>().ok()?.checked_mul(hours)?;
    SignedDuration::try_from_hours(hours)
}

/// What a SCEP server can take, in requests per second. Kept in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capacity {
    /// Not known: no slots.
    Off,
    /// So many requests per 1000 seconds, at least 1.
    PerThousandSeconds(u32),
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::PerThousandSeconds(rate) if rate % 1000 == 0 => (rate / 1000).fmt(f),
            Self::PerThousandSeconds(rate) => {
                let digits = format!("{}.{:03}", rate / 1000, rate % 1000);
                f.write_str(digits.trim_end_matches('0'))
            }
        }
    }
}

impl FromStr for Capacity {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        if text.eq_ignore_ascii_case("off") {
            return Ok(Self::Off);
        }
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let rate = (part.len() <= 3 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| format!("{whole}{part:0<3}"))
            .and_then(|digits| digits.parse().ok())
            .filter(|rate| *rate > 0);
        rate.map(Self::PerThousandSeconds).ok_or_else(|| {
            BadSetting::new(
                "capacity",
                text,
                "off, or requests per second above 0 with at most three decimals, like 2.5",
            )
        })
    }
}
