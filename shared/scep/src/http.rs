//! SCEP over HTTP (RFC 8894 section 4): operations, queries, capabilities. Nothing is sent here.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use thiserror::Error;

mod capabilities;

pub use capabilities::Capabilities;

/// The longest query string that is read, in bytes: a message by GET grows by a third, and by three for each escaped byte.
pub const MAX_QUERY: usize = 64 * 1024;

/// The longest message that is read, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// The longest CA identifier that is read, in characters.
pub const MAX_IDENTIFIER: usize = 255;

/// Media types of SCEP's bodies (RFC 8894 section 4).
pub mod media {
    /// The answer to GetCACert when it is one certificate.
    pub const CA_CERT: &str = "application/x-x509-ca-cert";
    /// The answer to GetCACert when it is several, as a certificates-only message.
    pub const CA_RA_CERT: &str = "application/x-x509-ca-ra-cert";
    /// The answer to GetNextCACert.
    pub const NEXT_CA: &str = "application/x-x509-next-ca-cert";
    /// A pkiMessage, in a request as in an answer.
    pub const PKI_MESSAGE: &str = "application/x-pki-message";
    /// The answer to GetCACaps.
    pub const CAPS: &str = "text/plain";
}

/// The two methods that SCEP uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Everything but a binary message.
    Get,
    /// `PKIOperation` with its message in the body.
    Post,
}

/// What a request asks for (RFC 8894 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// What the CA supports (section 3.5).
    GetCaCaps {
        /// Which CA, where a server has several.
        identifier: Option<String>,
    },
    /// The CA's certificate and those of its RA (section 4.2).
    GetCaCert {
        /// Which CA, where a server has several.
        identifier: Option<String>,
    },
    /// The certificate that takes over from the CA's (section 4.7).
    GetNextCaCert {
        /// Which CA, where a server has several.
        identifier: Option<String>,
    },
    /// A pkiMessage (section 4.3 and on).
    PkiOperation(Vec<u8>),
}

/// Why a query is none of SCEP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadOperation {
    /// There is no `operation` parameter.
    #[error("the query names no operation")]
    NoOperation,
    /// The operation's name is none of RFC 8894's.
    #[error("the operation is none of GetCACaps, GetCACert, GetNextCACert and PKIOperation")]
    Unknown,
    /// Only `PKIOperation` may be posted.
    #[error("only PKIOperation may be posted")]
    Method,
    /// A parameter is there twice.
    #[error("the parameter {0} is there more than once")]
    Repeated(&'static str),
    /// `PKIOperation` without a message.
    #[error("PKIOperation came without a message")]
    NoMessage,
    /// The message of a GET is no base64.
    #[error("the message is not base64")]
    Base64,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("the query has a bad percent escape")]
    Escape,
    /// The CA identifier is no UTF-8, has control characters, or is too long.
    #[error("the CA identifier is not up to {MAX_IDENTIFIER} printable characters of UTF-8")]
    Identifier,
    /// The query or the body is longer than what is read.
    #[error("the request is too long")]
    TooLong,
}

impl Operation {
    /// Reads a request's method, query (without `?`) and body.
    ///
    /// A message by GET may have its `+` bare, as `%2B` or as a space, line breaks as `%0A`, bare `/`, no padding, or the URL-safe alphabet: peers
    /// disagree about RFC 8894 section 4.1. The request's content type is not looked at, since they disagree about it too.
    ///
    /// # Errors
    /// [`BadOperation`] says what is wrong; such a request gets HTTP status 400.
    pub fn parse(method: Method, query: Option<&str>, body: &[u8]) -> Result<Self, BadOperation> {
        let query = query.unwrap_or_default();
        if query.len() > MAX_QUERY || body.len() > MAX_BODY {
            return Err(BadOperation::TooLong);
        }
        let (mut operation, mut message) = (None, None);
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "operation" if operation.replace(value).is_some() => {
                    return Err(BadOperation::Repeated("operation"));
                }
                "message" if message.replace(value).is_some() => {
                    return Err(BadOperation::Repeated("message"));
                }
                _ => {}
            }
        }
        let operation = operation.ok_or(BadOperation::NoOperation)?;
        match (operation, method) {
            ("PKIOperation", Method::Post) if body.is_empty() => Err(BadOperation::NoMessage),
            ("PKIOperation", Method::Post) => Ok(Self::PkiOperation(body.to_vec())),
            ("PKIOperation", Method::Get) => {
                message_of(message.ok_or(BadOperation::NoMessage)?).map(Self::PkiOperation)
            }
            ("GetCACaps" | "GetCACert" | "GetNextCACert", Method::Post) => {
                Err(BadOperation::Method)
            }
            ("GetCACaps", Method::Get) => Ok(Self::GetCaCaps {
                identifier: identifier_of(message)?,
            }),
            ("GetCACert", Method::Get) => Ok(Self::GetCaCert {
                identifier: identifier_of(message)?,
            }),
            ("GetNextCACert", Method::Get) => Ok(Self::GetNextCaCert {
                identifier: identifier_of(message)?,
            }),
            _ => Err(BadOperation::Unknown),
        }
    }

    /// The operation as a request; a message is posted if `post`, else it goes into the query.
    #[must_use]
    pub fn into_request(self, post: bool) -> HttpRequest {
        let get = |operation: &str, message: Option<&str>| HttpRequest {
            method: Method::Get,
            query: match message {
                Some(message) => format!("operation={operation}&message={}", escape(message)),
                None => format!("operation={operation}"),
            },
            content_type: None,
            body: Vec::new(),
        };
        match self {
            Self::GetCaCaps { identifier } => get("GetCACaps", identifier.as_deref()),
            Self::GetCaCert { identifier } => get("GetCACert", identifier.as_deref()),
            Self::GetNextCaCert { identifier } => get("GetNextCACert", identifier.as_deref()),
            Self::PkiOperation(message) if post => HttpRequest {
                method: Method::Post,
                query: "operation=PKIOperation".to_owned(),
                content_type: Some(media::PKI_MESSAGE),
                body: message,
            },
            Self::PkiOperation(message) => get(
                "PKIOperation",
                Some(&base64::engine::general_purpose::STANDARD.encode(message)),
            ),
        }
    }
}

/// A request to send: the shell puts the server's URL before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// GET or POST.
    pub method: Method,
    /// The query, escaped, without `?`.
    pub query: String,
    /// The body's media type; `None` where there is no body.
    pub content_type: Option<&'static str>,
    /// The body; empty with GET.
    pub body: Vec<u8>,
}

/// What came back for an [`HttpRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// HTTP's status code.
    pub status: u16,
    /// The `Content-Type` header. It decides nothing: servers send odd ones, so the body is looked at.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

fn message_of(value: &str) -> Result<Vec<u8>, BadOperation> {
    let text: Vec<u8> = unescape(value)?
        .into_iter()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\t'))
        // A space was a '+' before something on the way read it as a form's; '-' and '_' are what micromdm's scepclient sends.
        .map(|byte| match byte {
            b' ' | b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    let lenient = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let message = lenient.decode(text).map_err(|_| BadOperation::Base64)?;
    if message.is_empty() {
        Err(BadOperation::NoMessage)
    } else {
        Ok(message)
    }
}

fn identifier_of(value: Option<&str>) -> Result<Option<String>, BadOperation> {
    let Some(value) = value else { return Ok(None) };
    let spaced = value.replace('+', " ");
    let identifier = String::from_utf8(unescape(&spaced)?).map_err(|_| BadOperation::Identifier)?;
    if identifier.chars().count() > MAX_IDENTIFIER || identifier.chars().any(char::is_control) {
        return Err(BadOperation::Identifier);
    }
    Ok(Some(identifier).filter(|text| !text.is_empty()))
}

fn unescape(value: &str) -> Result<Vec<u8>, BadOperation> {
    let mut bytes = value.bytes();
    let mut plain = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            plain.push(byte);
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next(), bytes.next()) else {
            return Err(BadOperation::Escape);
        };
        let mut decoded = [0; 1];
        hex::decode_to_slice([high, low], &mut decoded).map_err(|_| BadOperation::Escape)?;
        plain.extend_from_slice(&decoded);
    }
    Ok(plain)
}

fn escape(value: &str) -> String {
    value
        .bytes()
        .fold(String::with_capacity(value.len()), |mut escaped, byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                escaped.push(char::from(byte));
            } else {
                escaped.push('%');
                escaped.push_str(&hex::encode_upper([byte]));
            }
            escaped
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = &[0x30, 0x03, 0xfb, 0xef, 0xff, 0xfb];

    fn get(query: &str) -> Result<Operation, BadOperation> {
        Operation::parse(Method::Get, Some(query), &[])
    }

    #[test]
    fn a_message_by_get_is_read_however_the_peer_escaped_it() {
        let plain = base64::engine::general_purpose::STANDARD.encode(MESSAGE);
        assert_eq!(plain, "MAP77//7");
        let long = base64::engine::general_purpose::STANDARD.encode([0xfb, 0xef, 0xbe, 0xff]);
        assert_eq!(long, "++++/w==");
        for form in [
            "++++/w==",
            "%2B%2B%2b%2B%2Fw%3D%3D",
            "    /w==",
            "++++%0A/w==%0A",
            "++++%0D%0A/w==",
            "++++/w",
            "%20+%2B /w=",
            "----_w%3D%3D",
        ] {
            let read = get(&format!("operation=PKIOperation&message={form}"));
            assert_eq!(
                read,
                Ok(Operation::PkiOperation(vec![0xfb, 0xef, 0xbe, 0xff])),
                "{form}"
            );
        }
    }

    #[test]
    fn what_is_sent_is_read_back() {
        for post in [true, false] {
            for operation in [
                Operation::GetCaCaps { identifier: None },
                Operation::GetCaCert {
                    identifier: Some("Zürich & Co + 1/2 = ½".to_owned()),
                },
                Operation::GetNextCaCert {
                    identifier: Some("a".to_owned()),
                },
                Operation::PkiOperation(MESSAGE.to_vec()),
            ] {
                let sent = operation.clone().into_request(post);
                assert!(
                    sent.query.is_ascii() && !sent.query.contains([' ', '+', '/', '?']),
                    "{}",
                    sent.query
                );
                assert_eq!(sent.content_type.is_some(), sent.method == Method::Post);
                assert_eq!(
                    Operation::parse(sent.method, Some(&sent.query), &sent.body),
                    Ok(operation)
                );
            }
        }
    }

    #[test]
    fn the_identifier_is_left_out_unless_it_is_set() {
        assert_eq!(
            Operation::GetCaCaps { identifier: None }
                .into_request(true)
                .query,
            "operation=GetCACaps"
        );
        assert_eq!(
            get("operation=GetCACert&message="),
            Ok(Operation::GetCaCert { identifier: None })
        );
        assert_eq!(
            get("operation=GetCACert&message=a+b"),
            Ok(Operation::GetCaCert {
                identifier: Some("a b".to_owned())
            })
        );
        assert_eq!(
            get("message=a&operation=GetCACert"),
            Ok(Operation::GetCaCert {
                identifier: Some("a".to_owned())
            })
        );
    }

    #[test]
    fn what_is_no_operation_is_refused_with_its_reason() {
        assert_eq!(
            Operation::parse(Method::Get, None, &[]),
            Err(BadOperation::NoOperation)
        );
        assert_eq!(get("message=MAA"), Err(BadOperation::NoOperation));
        assert_eq!(get("operation=Enrol"), Err(BadOperation::Unknown));
        assert_eq!(
            get("operation=GetCACert&operation=PKIOperation"),
            Err(BadOperation::Repeated("operation"))
        );
        assert_eq!(
            get("operation=PKIOperation&message=MAA&message=MAA"),
            Err(BadOperation::Repeated("message"))
        );
        assert_eq!(get("operation=PKIOperation"), Err(BadOperation::NoMessage));
        assert_eq!(
            get("operation=PKIOperation&message="),
            Err(BadOperation::NoMessage)
        );
        assert_eq!(
            get("operation=PKIOperation&message=M"),
            Err(BadOperation::Base64)
        );
        assert_eq!(
            get("operation=PKIOperation&message=%-%-"),
            Err(BadOperation::Escape)
        );
        assert_eq!(
            get("operation=PKIOperation&message=%4"),
            Err(BadOperation::Escape)
        );
        assert_eq!(
            get("operation=PKIOperation&message=%zz"),
            Err(BadOperation::Escape)
        );
        assert_eq!(
            get("operation=GetCACert&message=%ff"),
            Err(BadOperation::Identifier)
        );
        assert_eq!(
            get("operation=GetCACert&message=%0a"),
            Err(BadOperation::Identifier)
        );
        assert_eq!(
            get(&format!("operation=GetCACert&message={}", "a".repeat(256))),
            Err(BadOperation::Identifier)
        );
        assert_eq!(
            get(&format!(
                "operation=PKIOperation&message={}",
                "A".repeat(MAX_QUERY)
            )),
            Err(BadOperation::TooLong)
        );
        assert_eq!(
            Operation::parse(Method::Post, Some("operation=PKIOperation"), &[]),
            Err(BadOperation::NoMessage)
        );
        assert_eq!(
            Operation::parse(Method::Post, Some("operation=GetCACert"), &[]),
            Err(BadOperation::Method)
        );
        let long = vec![0; MAX_BODY + 1];
        assert_eq!(
            Operation::parse(Method::Post, Some("operation=PKIOperation"), &long),
            Err(BadOperation::TooLong)
        );
    }
}
