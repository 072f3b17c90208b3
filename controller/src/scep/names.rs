//! Subject alternative names and key usages between their text forms and those of certificates. Which may be asked for is decided in the fleet.

use convoy_scep::certificate::SubjectAltName;
use der::asn1::ObjectIdentifier;

/// "dns:…", "ip:…" or "uri:…".
#[must_use]
pub fn to_text(name: &SubjectAltName) -> String {
    match name {
        SubjectAltName::Dns(dns) => format!("dns:{dns}"),
        SubjectAltName::Ip(ip) => format!("ip:{ip}"),
        SubjectAltName::Uri(uri) => format!("uri:{uri}"),
    }
}

/// The reverse. `None`: it is none of these.
#[must_use]
pub fn from_text(text: &str) -> Option<SubjectAltName> {
    let (kind, value) = text.split_once(':')?;
    match kind {
        "dns" => Some(SubjectAltName::Dns(value.to_owned())),
        "ip" => value.parse().ok().map(SubjectAltName::Ip),
        "uri" => Some(SubjectAltName::Uri(value.to_owned())),
        _ => None,
    }
}

/// An extended key usage by its name in RFC 5280 section 4.2.1.12 and RFC 4945 section 5.1.3.12, or in dotted form.
#[must_use]
pub fn key_usage(text: &str) -> Option<ObjectIdentifier> {
    let dotted = match text {
        "serverAuth" => "1.3.6.1.5.5.7.3.1",
        "clientAuth" => "1.3.6.1.5.5.7.3.2",
        "codeSigning" => "1.3.6.1.5.5.7.3.3",
        "emailProtection" => "1.3.6.1.5.5.7.3.4",
        "timeStamping" => "1.3.6.1.5.5.7.3.8",
        "ipsecIKE" => "1.3.6.1.5.5.7.3.17",
        other => other,
    };
    ObjectIdentifier::new(dotted).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_text() {
        for text in [
            "dns:a.example",
            "ip:192.0.2.1",
            "ip:2001:db8::1",
            "uri:urn:a:b",
        ] {
            assert_eq!(from_text(text).as_ref().map(to_text).as_deref(), Some(text));
        }
        for bad in ["a.example", "ip:x", "email:a@b"] {
            assert_eq!(from_text(bad), None, "{bad}");
        }
        assert!(key_usage("serverAuth").is_some() && key_usage("1.2.3.4").is_some());
        assert!(key_usage("anything").is_none());
    }
}
