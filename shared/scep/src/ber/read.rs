//! A cursor over DER that borrows. It knows tags and lengths, and copies nothing.

use der::asn1::ObjectIdentifier;

/// Identifier octets (X.690 section 8.1.2).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;

    /// `[number]`, constructed; numbers up to 30.
    pub(crate) const fn context(number: u8) -> u8 {
        0xa0 | number
    }

    /// `[number]`, primitive; numbers up to 30.
    pub(crate) const fn context_primitive(number: u8) -> u8 {
        0x80 | number
    }
}

/// The input is not DER of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not DER of the expected shape")]
pub(crate) struct Malformed;

/// One value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    /// The first identifier octet.
    pub(crate) tag: u8,
    /// The octets after the length.
    pub(crate) content: &'a [u8],
    /// The whole encoding.
    pub(crate) der: &'a [u8],
}

impl<'a> Value<'a> {
    /// A cursor over the content.
    pub(crate) const fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// The octets of a BIT STRING without unused bits.
    pub(crate) fn bits(&self) -> Result<&'a [u8], Malformed> {
        match self.content.split_first() {
            Some((0, octets)) => Ok(octets),
            _ => Err(Malformed),
        }
    }
}

/// A cursor over values side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything that has not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The first identifier octet of the next value.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value, whatever it is. Lengths are definite and minimal (X.690 section 10.1).
    pub(crate) fn value(&mut self) -> Result<Value<'a>, Malformed> {
        let bytes = self.0;
        let first = *bytes.first().ok_or(Malformed)?;
        let tag_len = if first & 0x1f == 0x1f {
            let tail = bytes.iter().skip(1).take(4);
            tail.clone()
                .position(|octet| octet & 0x80 == 0)
                .ok_or(Malformed)?
                + 2
        } else {
            1
        };
        let (length, rest) = bytes
            .get(tag_len..)
            .and_then(<[u8]>::split_first)
            .ok_or(Malformed)?;
        let (length, more) = match *length {
            short @ 0..=0x7f => (usize::from(short), 0),
            0x80 => return Err(Malformed),
            long => {
                let count = usize::from(long & 0x7f);
                let octets = rest.get(..count).filter(|_| count <= 4).ok_or(Malformed)?;
                let value = octets
                    .iter()
                    .fold(0u64, |value, octet| value << 8 | u64::from(*octet));
                if value < 0x80 || octets.first() == Some(&0) {
                    return Err(Malformed);
                }
                (usize::try_from(value).map_err(|_| Malformed)?, count)
            }
        };
        let start = tag_len + 1 + more;
        let end = start.checked_add(length).ok_or(Malformed)?;
        let der = bytes.get(..end).ok_or(Malformed)?;
        let content = bytes.get(start..end).ok_or(Malformed)?;
        self.0 = bytes.get(end..).ok_or(Malformed)?;
        Ok(Value {
            tag: first,
            content,
            der,
        })
    }

    /// The next value, which has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        if self.peek() == Some(tag) {
            self.value()
        } else {
            Err(Malformed)
        }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        if self.peek() == Some(tag) {
            self.value().map(Some)
        } else {
            Ok(None)
        }
    }

    /// The next value, an OBJECT IDENTIFIER.
    pub(crate) fn oid(&mut self) -> Result<ObjectIdentifier, Malformed> {
        ObjectIdentifier::from_bytes(self.expect(tag::OID)?.content).map_err(|_| Malformed)
    }

    /// The next value, an INTEGER from 0 to 2³¹−1.
    pub(crate) fn small_integer(&mut self) -> Result<u32, Malformed> {
        let octets = self.expect(tag::INTEGER)?.content;
        if octets.len() > 4 || octets.first().is_none_or(|first| *first >= 0x80) {
            return Err(Malformed);
        }
        Ok(octets
            .iter()
            .fold(0, |value, octet| value << 8 | u32::from(*octet)))
    }

    /// Nothing is left.
    pub(crate) fn finish(&self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}
