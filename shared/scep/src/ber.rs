//! BER in, DER out: indefinite lengths and constructed strings are normalised within limits. No meaning is read here.

use std::borrow::Cow;

pub(crate) use self::{
    read::{Malformed, Reader, Value, tag},
    write::{integer, null, octet_string, oid, sequence, set_of, tlv},
};

mod read;
#[cfg(test)]
pub(crate) mod tests;
mod write;

/// The longest input that is looked at, in octets.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// The deepest nesting that is looked at, in levels; a primitive value at the top is level 1.
pub const MAX_DEPTH: usize = 32;

/// Why an input is not one BER value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("the message is longer than 1 MiB")]
    TooLong,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the message is nested deeper than 32 levels")]
    TooDeep,
    /// The input ends inside a value.
    #[error("the message is cut off")]
    Truncated,
    /// There is something after the one value.
    #[error("something follows the message")]
    Trailing,
    /// A tag that cannot stand where it stands, or is encoded wrongly.
    #[error("the message has an invalid tag")]
    Tag,
    /// A length that is encoded wrongly, or exceeds the value around it.
    #[error("the message has an invalid length")]
    Length,
    /// A constructed string of which a segment is of another type, or has unused bits before the last.
    #[error("the message has an invalid constructed string")]
    Segment,
}

/// The same value in DER, as far as that can be done without knowing its type.
///
/// The input is exactly one value of at most [`MAX_MESSAGE`] octets and [`MAX_DEPTH`] levels. Indefinite lengths become
/// definite, lengths become minimal, and constructed strings of the universal class become primitive. The order in SETs is
/// kept, because signatures may have been made over it, and the content of primitive values is not touched. Valid DER comes
/// out as it went in.
///
/// A constructed string under an IMPLICIT tag (RFC 5652's encryptedContent) looks like an EXPLICIT tag here. It keeps its
/// segments, and who knows the type joins them.
///
/// # Errors
/// [`BerError`] where the input is not such a value.
pub fn to_der(bytes: &[u8]) -> Result<Vec<u8>, BerError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(BerError::TooLong);
    }
    let mut at = 0;
    let mut open: Vec<Frame<'_>> = Vec::new();
    loop {
        let limit = open.last().map_or(bytes.len(), |frame| frame.limit);
        let here = bytes.get(at..limit).ok_or(BerError::Length)?;
        let closed = match open.last() {
            Some(frame) if frame.indefinite => here.starts_with(&[0, 0]),
            Some(_) => here.is_empty(),
            None => false,
        };
        let done = if closed {
            let Some(frame) = open.pop() else { continue };
            at += if frame.indefinite { 2 } else { 0 };
            frame.close()?
        } else {
            let header = Header::parse(here)?;
            at = at.checked_add(header.len).ok_or(BerError::Length)?;
            if open.len() >= MAX_DEPTH {
                return Err(BerError::TooDeep);
            }
            let end = header.content.map(|content| {
                let end = at.checked_add(content).filter(|end| *end <= limit);
                end.ok_or_else(|| beyond(limit, bytes))
            });
            if header.is_constructed() {
                let end = end.transpose()?;
                open.push(Frame {
                    tag: header.tag,
                    kind: header.kind()?,
                    indefinite: end.is_none(),
                    limit: end.unwrap_or(limit),
                    out: Vec::new(),
                });
                continue;
            }
            header.check_primitive()?;
            let end = end.ok_or(BerError::Length)??;
            let content = bytes.get(at..end).ok_or(BerError::Length)?;
            at = end;
            Done::primitive(header.tag, content)
        };
        match open.last_mut() {
            Some(parent) => parent.add(&done)?,
            None if at == bytes.len() => return Ok(done.encode()),
            None => return Err(BerError::Trailing),
        }
    }
}

/// A value that reaches beyond its parent is wrong; one that reaches beyond the input is cut off.
fn beyond(limit: usize, bytes: &[u8]) -> BerError {
    if limit == bytes.len() {
        BerError::Truncated
    } else {
        BerError::Length
    }
}

/// A constructed value whose end has not been reached.
struct Frame<'a> {
    tag: &'a [u8],
    kind: Kind,
    indefinite: bool,
    /// Where this value ends, or, with an indefinite length, where the value around it ends.
    limit: usize,
    out: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Values side by side.
    Container,
    /// A string of octets in segments.
    Octets,
    /// A BIT STRING in segments, and the unused bits of the last one so far.
    Bits { unused: u8 },
}

/// A value whose end has been reached.
struct Done<'a> {
    tag: &'a [u8],
    first: u8,
    /// Unused bits, which stand before the content of a BIT STRING that was in segments.
    unused: Option<u8>,
    content: Cow<'a, [u8]>,
}

impl<'a> Frame<'a> {
    fn add(&mut self, value: &Done<'_>) -> Result<(), BerError> {
        match &mut self.kind {
            Kind::Container => value.encode_to(&mut self.out),
            Kind::Octets => {
                // X.690 section 8.21 wants OCTET STRING segments; some encoders repeat the outer tag.
                let own = self
                    .tag
                    .first()
                    .is_some_and(|first| first & !CONSTRUCTED == value.first);
                if value.tag.len() != 1 || !(own || value.first == tag::OCTET_STRING) {
                    return Err(BerError::Segment);
                }
                self.out.extend_from_slice(&value.content);
            }
            Kind::Bits { unused } => {
                if value.first != tag::BIT_STRING || *unused != 0 {
                    return Err(BerError::Segment);
                }
                let (last, bits) = match value.unused {
                    Some(last) => (last, &*value.content),
                    None => value
                        .content
                        .split_first()
                        .map(|(last, bits)| (*last, bits))
                        .ok_or(BerError::Segment)?,
                };
                if last > 7 || (last > 0 && bits.is_empty()) {
                    return Err(BerError::Segment);
                }
                *unused = last;
                self.out.extend_from_slice(bits);
            }
        }
        Ok(())
    }

    fn close(self) -> Result<Done<'a>, BerError> {
        let first = *self.tag.first().ok_or(BerError::Tag)?;
        Ok(match self.kind {
            Kind::Container => Done {
                tag: self.tag,
                first,
                unused: None,
                content: self.out.into(),
            },
            Kind::Octets => Done {
                tag: self.tag,
                first: first & !CONSTRUCTED,
                unused: None,
                content: self.out.into(),
            },
            Kind::Bits { unused } => Done {
                tag: self.tag,
                first: first & !CONSTRUCTED,
                unused: Some(unused),
                content: self.out.into(),
            },
        })
    }
}

impl<'a> Done<'a> {
    fn primitive(tag: &'a [u8], content: &'a [u8]) -> Self {
        Self {
            tag,
            first: tag.first().copied().unwrap_or_default(),
            unused: None,
            content: Cow::Borrowed(content),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    fn encode_to(&self, out: &mut Vec<u8>) {
        out.push(self.first);
        out.extend_from_slice(self.tag.get(1..).unwrap_or_default());
        write::length(self.content.len() + usize::from(self.unused.is_some()), out);
        out.extend(self.unused);
        out.extend_from_slice(&self.content);
    }
}

const CONSTRUCTED: u8 = 0x20;

/// The tag and length in front of a value.
struct Header<'a> {
    tag: &'a [u8],
    /// Octets of tag and length together.
    len: usize,
    /// Octets of content; `None` where the length is indefinite.
    content: Option<usize>,
}

impl<'a> Header<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, BerError> {
        let (first, rest) = bytes.split_first().ok_or(BerError::Truncated)?;
        let tag_len = if first & 0x1f == 0x1f {
            let more = rest.iter().take(4).position(|octet| octet & 0x80 == 0);
            let last = more.ok_or(if rest.len() < 4 {
                BerError::Truncated
            } else {
                BerError::Tag
            })?;
            if rest.first() == Some(&0x80) {
                return Err(BerError::Tag);
            }
            last + 2
        } else {
            1
        };
        let tag = bytes.get(..tag_len).ok_or(BerError::Truncated)?;
        let (first, rest) = bytes
            .get(tag_len..)
            .and_then(<[u8]>::split_first)
            .ok_or(BerError::Truncated)?;
        let (content, more) = match *first {
            short @ 0..=0x7f => (Some(usize::from(short)), 0),
            0x80 => (None, 0),
            long => {
                let count = usize::from(long & 0x7f);
                if count > 8 {
                    return Err(BerError::Length);
                }
                let octets = rest.get(..count).ok_or(BerError::Truncated)?;
                let value = octets
                    .iter()
                    .fold(0u64, |value, octet| value << 8 | u64::from(*octet));
                (
                    Some(usize::try_from(value).map_err(|_| BerError::Length)?),
                    count,
                )
            }
        };
        Ok(Self {
            tag,
            len: tag_len + 1 + more,
            content,
        })
    }

    fn first(&self) -> u8 {
        self.tag.first().copied().unwrap_or_default()
    }

    fn is_constructed(&self) -> bool {
        self.first() & CONSTRUCTED != 0
    }

    /// What a constructed value of this tag holds.
    fn kind(&self) -> Result<Kind, BerError> {
        let first = self.first();
        if first & 0xc0 != 0 {
            return Ok(Kind::Container);
        }
        match first & 0x1f {
            // EXTERNAL, EMBEDDED PDV, SEQUENCE, SET.
            8 | 11 | 16 | 17 => Ok(Kind::Container),
            3 => Ok(Kind::Bits { unused: 0 }),
            // OCTET STRING, ObjectDescriptor, UTF8String, and the character strings and times from 18 to 30.
            4 | 7 | 12 | 18..=30 => Ok(Kind::Octets),
            _ => Err(BerError::Tag),
        }
    }

    /// End-of-contents where nothing is open, and what is always constructed.
    fn check_primitive(&self) -> Result<(), BerError> {
        match self.first() {
            0 | 8 | 11 | 16 | 17 => Err(BerError::Tag),
            _ => Ok(()),
        }
    }
}
