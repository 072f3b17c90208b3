//! Distinguished names (RFC 5280 section 4.1.2.4), written from parts. Which name somebody may have is decided elsewhere.

use der::asn1::{Any, ObjectIdentifier, PrintableStringRef};
use der::{Encode, Sequence, Tag};

pub(crate) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(crate) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// An empty name: a SEQUENCE of nothing.
pub(crate) const EMPTY: &[u8] = &[0x30, 0x00];

#[derive(Sequence)]
struct Attribute {
    oid: ObjectIdentifier,
    value: Any,
}

/// A Name of one attribute per part, in the order given.
pub(crate) fn encode(parts: &[(ObjectIdentifier, Tag, &str)]) -> Result<Vec<u8>, der::Error> {
    let mut content = Vec::new();
    for (oid, tag, text) in parts {
        let attribute = Attribute {
            oid: *oid,
            value: Any::new(*tag, text.as_bytes())?,
        };
        content.extend(Any::new(Tag::Set, attribute.to_der()?)?.to_der()?);
    }
    Any::new(Tag::Sequence, content)?.to_der()
}

/// PrintableString where the text fits, which is what the oldest peers read, else UTF8String.
pub(crate) fn directory_tag(text: &str) -> Tag {
    if PrintableStringRef::new(text).is_ok() {
        Tag::PrintableString
    } else {
        Tag::Utf8String
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::name::{common_name, text};

    #[test]
    fn what_is_written_is_read_back() {
        let parts = [(ORGANIZATION, "A, B"), (COMMON_NAME, "Zürich")]
            .map(|(oid, text)| (oid, directory_tag(text), text));
        let name = encode(&parts).unwrap();
        assert_eq!(text(&name), "CN=Zürich,O=A\\, B");
        assert_eq!(common_name(&name).as_deref(), Some("Zürich"));
        assert_eq!(directory_tag("a b"), Tag::PrintableString);
        assert_eq!(directory_tag("a_b"), Tag::Utf8String);
        assert_eq!(encode(&[]).unwrap(), EMPTY);
    }
}
