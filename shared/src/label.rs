//! The ALPN labels with which an agent says what a connection is for. Which certificate that calls for is decided elsewhere.

use std::fmt;

use crate::id::{AnchorNumber, Generation};

/// A one-time token of a check. 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckToken(pub [u8; 16]);

/// What a connection is for. Offered beside `h2`, never selected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// A session by a client that accepts what these anchors vouch for: `convoy/t/1.2`.
    Trusts(Vec<AnchorNumber>),
    /// A session by a client whose verification is off: `convoy/t/*`.
    TrustsAny,
    /// A probe of a candidate: `convoy/p/3`.
    Probe(Generation),
    /// A probe of a candidate over another address than the session's, by its place in the trust document, from 0: `convoy/p/3/1`.
    ProbeOver(Generation, u8),
    /// A decoy: `convoy/d/` and the token in lower-case hex.
    Decoy(CheckToken),
}

const PREFIX: &str = "convoy/";
/// The longest ALPN protocol name (RFC 7301, section 3.1).
const LONGEST: usize = 255;

impl Label {
    /// The label's bytes. Anchors that do not fit into a protocol name's 255 bytes are left out, the lowest numbers first.
    #[must_use]
    pub fn to_protocol(&self) -> Vec<u8> {
        if let Self::Trusts(anchors) = self {
            let mut kept = anchors.as_slice();
            loop {
                let text = Self::Trusts(kept.to_vec()).to_string();
                match kept.split_first() {
                    Some((_, rest)) if text.len() > LONGEST => kept = rest,
                    Some(_) | None => return text.into_bytes(),
                }
            }
        }
        self.to_string().into_bytes()
    }

    /// The label among the protocols of a ClientHello.
    ///
    /// # Errors
    /// If there is one that begins like a label and is none, or more than one.
    pub fn find<'a>(protocols: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, BadLabel> {
        let mut found = None;
        for protocol in protocols {
            let Ok(text) = std::str::from_utf8(protocol) else {
                continue;
            };
            let Some(rest) = text.strip_prefix(PREFIX) else {
                continue;
            };
            if found.is_some() {
                return Err(BadLabel);
            }
            found = Some(Self::parse(rest)?);
        }
        Ok(found)
    }

    fn parse(rest: &str) -> Result<Self, BadLabel> {
        let (kind, value) = rest.split_once('/').ok_or(BadLabel)?;
        match kind {
            "t" if value == "*" => Ok(Self::TrustsAny),
            "t" => value
                .split('.')
                .map(|number| number.parse().map(AnchorNumber).map_err(|_| BadLabel))
                .collect::<Result<_, _>>()
                .map(Self::Trusts),
            "p" => {
                let number = |text: &str| text.parse().map(Generation).map_err(|_| BadLabel);
                match value.split_once('/') {
                    None => number(value).map(Self::Probe),
                    Some((generation, place)) => Ok(Self::ProbeOver(
                        number(generation)?,
                        place.parse().map_err(|_| BadLabel)?,
                    )),
                }
            }
            "d" => {
                let bytes = hex::decode(value).map_err(|_| BadLabel)?;
                let token = bytes.try_into().map_err(|_| BadLabel)?;
                Ok(Self::Decoy(CheckToken(token)))
            }
            _ => Err(BadLabel),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        match self {
            Self::Trusts(anchors) => {
                f.write_str("t/")?;
                for (index, anchor) in anchors.iter().enumerate() {
                    if index > 0 {
                        f.write_str(".")?;
                    }
                    write!(f, "{anchor}")?;
                }
                Ok(())
            }
            Self::TrustsAny => f.write_str("t/*"),
            Self::Probe(generation) => write!(f, "p/{generation}"),
            Self::ProbeOver(generation, place) => write!(f, "p/{generation}/{place}"),
            Self::Decoy(CheckToken(token)) => write!(f, "d/{}", hex::encode(token)),
        }
    }
}

/// A protocol name that begins like a label and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed convoy/ label in the ClientHello")]
pub struct BadLabel;

#[cfg(test)]
mod tests {
    use super::*;

    fn found(protocols: &[&[u8]]) -> Result<Option<Label>, BadLabel> {
        Label::find(protocols.iter().copied())
    }

    #[test]
    fn every_label_is_read_as_it_was_written() {
        for label in [
            Label::Trusts(vec![AnchorNumber(1), AnchorNumber(12)]),
            Label::TrustsAny,
            Label::Probe(Generation(3)),
            Label::ProbeOver(Generation(3), 7),
            Label::Decoy(CheckToken([0xab; 16])),
        ] {
            let protocol = label.to_protocol();
            assert_eq!(found(&[b"h2", &protocol]), Ok(Some(label)));
        }
    }

    #[test]
    fn browsers_have_no_label_and_garbage_is_refused() {
        assert_eq!(found(&[b"h2", b"http/1.1", b"\xff"]), Ok(None));
        for bad in [
            "convoy/",
            "convoy/t/",
            "convoy/t/1..2",
            "convoy/p/x",
            "convoy/p/3/",
            "convoy/p/3/256",
            "convoy/p/3/1/1",
            "convoy/d/00",
            "convoy/x/1",
            "convoy/t/99999999999999999999",
        ] {
            assert_eq!(found(&[b"h2", bad.as_bytes()]), Err(BadLabel), "{bad}");
        }
        assert_eq!(found(&[b"convoy/t/1", b"convoy/t/2"]), Err(BadLabel));
    }

    #[test]
    fn a_long_list_keeps_the_newest_anchors() {
        let anchors: Vec<_> = (1000..1200).map(AnchorNumber).collect();
        let protocol = Label::Trusts(anchors).to_protocol();
        assert!(protocol.len() <= LONGEST);
        let Ok(Some(Label::Trusts(kept))) = found(&[&protocol]) else {
            panic!("not read back");
        };
        assert_eq!(kept.last(), Some(&AnchorNumber(1199)));
    }
}
