//! Distinguished names (RFC 5280 section 4.1.2.4): as text, and compared. None is made here.

use std::{fmt::Write as _, sync::OnceLock};

use der::asn1::ObjectIdentifier;

use crate::ber::{Malformed, Reader, Value, tag};

/// One attribute of a name.
pub(crate) struct Part<'a> {
    pub(crate) oid: ObjectIdentifier,
    value: Value<'a>,
}

impl Part<'_> {
    /// The value as text; `None` where it is not a string.
    pub(crate) fn text(&self) -> Option<String> {
        string(self.value.tag, self.value.content)
    }
}

/// The characters of a value of one of the string types a name or a challengePassword may have.
pub(crate) fn string(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        // UTF8String, NumericString, PrintableString, IA5String, VisibleString.
        0x0c | 0x12 | 0x13 | 0x16 | 0x1a => str::from_utf8(content).ok().map(str::to_owned),
        // TeletexString: what is written under this tag is Latin-1.
        0x14 => Some(content.iter().map(|octet| char::from(*octet)).collect()),
        // UniversalString.
        0x1c => content
            .chunks(4)
            .map(|unit| {
                unit.try_into()
                    .ok()
                    .and_then(|unit| char::from_u32(u32::from_be_bytes(unit)))
            })
            .collect(),
        // BMPString.
        0x1e => {
            let units = content
                .chunks(2)
                .map(|unit| unit.try_into().ok().map(u16::from_be_bytes));
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        _ => None,
    }
}

/// Reads a Name: the relative names in order, each with its attributes.
pub(crate) fn parts(name: &[u8]) -> Result<Vec<Vec<Part<'_>>>, Malformed> {
    let mut outer = Reader::new(name);
    let mut relative = outer.expect(tag::SEQUENCE)?.reader();
    outer.finish()?;
    let mut found = Vec::new();
    while !relative.is_empty() {
        let mut set = relative.expect(tag::SET)?.reader();
        let mut attributes = Vec::new();
        while !set.is_empty() {
            let mut attribute = set.expect(tag::SEQUENCE)?.reader();
            let oid = attribute.oid()?;
            let value = attribute.value()?;
            attribute.finish()?;
            attributes.push(Part { oid, value });
        }
        found.push(attributes);
    }
    Ok(found)
}

/// Whether this is a Name at all.
pub(crate) fn check(name: &[u8]) -> Result<(), Malformed> {
    parts(name).map(|_| ())
}

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// The first common name (2.5.4.3).
pub(crate) fn common_name(name: &[u8]) -> Option<String> {
    parts(name)
        .ok()?
        .iter()
        .flatten()
        .find(|part| part.oid == COMMON_NAME)?
        .text()
}

/// All common names, in order; one that is no text is empty.
pub(crate) fn common_names(name: &[u8]) -> Vec<String> {
    parts(name)
        .unwrap_or_default()
        .iter()
        .flatten()
        .filter(|part| part.oid == COMMON_NAME)
        .map(|part| part.text().unwrap_or_default())
        .collect()
}

/// The name in the form of RFC 4514, `CN=host,O=Example`, most specific part first; control characters are escaped as well.
/// What is no Name is `#` and hexadecimal digits.
pub(crate) fn text(name: &[u8]) -> String {
    let Ok(parts) = parts(name) else {
        return format!("#{}", hex::encode_upper(name));
    };
    let mut out = String::new();
    for (index, attributes) in parts.iter().rev().enumerate() {
        if index > 0 {
            out.push(',');
        }
        for (index, part) in attributes.iter().enumerate() {
            if index > 0 {
                out.push('+');
            }
            match (short(part.oid), part.text()) {
                (Some(short), Some(text)) => {
                    out.push_str(short);
                    out.push('=');
                    escape(&text, &mut out);
                }
                (short, _) => {
                    let label = short.map_or_else(|| part.oid.to_string(), str::to_owned);
                    // Writing to a String does not fail.
                    write!(out, "{label}=#{}", hex::encode_upper(part.value.der))
                        .unwrap_or_default();
                }
            }
        }
    }
    out
}

fn short(oid: ObjectIdentifier) -> Option<&'static str> {
    const NAMES: [(ObjectIdentifier, &str); 11] = [
        (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
        (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
        (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
        (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
        (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
        (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
        (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
        (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
        (
            ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"),
            "DC",
        ),
        (
            ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"),
            "UID",
        ),
        (
            ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"),
            "emailAddress",
        ),
    ];
    NAMES
        .iter()
        .find(|(known, _)| *known == oid)
        .map(|(_, name)| *name)
}

/// RFC 4514 section 2.4.
fn escape(text: &str, out: &mut String) {
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => out.extend(['\\', character]),
            '#' if index == 0 => out.push_str("\\#"),
            ' ' if index == 0 || index == last => out.push_str("\\ "),
            control if control.is_control() => {
                for octet in control.encode_utf8(&mut [0; 4]).bytes() {
                    write!(out, "\\{octet:02X}").unwrap_or_default();
                }
            }
            plain => out.push(plain),
        }
    }
}

/// Whether two Names are the same (RFC 5280 section 7.1): the same attributes in the same order, whatever their string types,
/// their case and their runs of spaces.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one == other || Wanted::new(one).is(other)
}

/// An attribute as it is compared: its text in canonical form, or the DER of what is no text.
type Comparable = (ObjectIdentifier, Result<String, Vec<u8>>);

type Canonical = Vec<Vec<Comparable>>;

/// A Name to compare many others with. Its canonical form is made once: made again for each of them, a long one among many short ones in a
/// hostile message would take the product of both.
#[derive(Clone)]
pub(crate) struct Wanted {
    der: Vec<u8>,
    canonical: OnceLock<Option<Canonical>>,
}

impl Wanted {
    pub(crate) fn new(der: &[u8]) -> Self {
        Self {
            der: der.to_vec(),
            canonical: OnceLock::new(),
        }
    }

    /// As [`same`].
    pub(crate) fn is(&self, other: &[u8]) -> bool {
        self.der == other
            || self
                .canonical()
                .is_some_and(|own| canonical(other).as_ref() == Some(own))
    }

    pub(super) fn canonical(&self) -> Option<&Canonical> {
        self.canonical.get_or_init(|| canonical(&self.der)).as_ref()
    }
}

fn canonical(name: &[u8]) -> Option<Canonical> {
    let relative = parts(name).ok()?;
    let canonical = relative.iter().map(|attributes| {
        let mut attributes: Vec<_> = attributes
            .iter()
            .map(|part| {
                let folded = |text: String| {
                    text.split_whitespace()
                        .collect::<Vec<_>>()
                        .join(" ")
                        .to_lowercase()
                };
                (
                    part.oid,
                    part.text()
                        .map(folded)
                        .ok_or_else(|| part.value.der.to_vec()),
                )
            })
            .collect();
        attributes.sort_unstable();
        attributes
    });
    Some(canonical.collect())
}
