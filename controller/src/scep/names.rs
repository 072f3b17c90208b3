//! Extended key usages by their names. Which a certificate gets is decided in the fleet.

use der::asn1::ObjectIdentifier;

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
    fn usages_have_names_or_numbers() {
        assert!(key_usage("serverAuth").is_some() && key_usage("1.2.3.4").is_some());
        assert!(key_usage("anything").is_none());
    }
}
