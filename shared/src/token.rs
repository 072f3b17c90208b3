//! The join token as people carry it: one string. Who may use it how often is decided elsewhere.

use std::str::FromStr;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{
    envelope::SigningKey,
    id::{Digest, TokenId},
};

/// A join token. Has no `Debug`: it holds a secret.
pub struct JoinToken {
    /// `host:port` of the agents' port, best first.
    pub addresses: Vec<String>,
    /// SHA-256 of the payload of a root of the fleet.
    pub root_digest: Digest,
    /// The token's id.
    pub id: TokenId,
    /// 256 random bits that are never sent.
    pub secret: TokenSecret,
}

/// What a join token's key is made of.
pub struct TokenSecret(Zeroizing<[u8; 32]>);

impl TokenSecret {
    /// Wraps 32 secret bytes.
    #[must_use]
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The key pair whose public half the controller keeps (HKDF-SHA256, RFC 5869).
    #[must_use]
    pub fn signing_key(&self) -> Option<SigningKey> {
        let seed = derive(self.0.as_ref(), &[b"convoy join token v1"])?;
        SigningKey::from_seed(seed.as_ref()).ok()
    }
}

/// 32 bytes derived from secret bytes and a purpose (HKDF-SHA256, RFC 5869, without salt).
#[must_use]
pub fn derive(secret: &[u8], purpose: &[&[u8]]) -> Option<Zeroizing<[u8; 32]>> {
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let mut out = Zeroizing::new([0; 32]);
    key.expand(purpose, HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut()))
        .ok()?;
    Some(out)
}

const PREFIX: &str = "convoy1-";
const FIXED: usize = 4 + 32 + 16 + 32;
const MOST_ADDRESSES: usize = 16;

impl JoinToken {
    /// The string: `convoy1-` and, in base64url, a checksum (4 bytes), root digest (32), id (16), secret (32), and the addresses joined by commas.
    #[must_use]
    pub fn to_secret_string(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new(Vec::with_capacity(256));
        body.extend_from_slice(self.root_digest.as_bytes());
        body.extend_from_slice(self.id.as_bytes());
        body.extend_from_slice(self.secret.0.as_ref());
        body.extend_from_slice(self.addresses.join(",").as_bytes());
        let mut all = Zeroizing::new(checksum(&body).to_vec());
        all.extend_from_slice(&body);
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&*all)))
    }
}

impl FromStr for JoinToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadToken::NoToken)?;
        let all = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(encoded)
                .map_err(|_| BadToken::Damaged)?,
        );
        if all.len() <= FIXED {
            return Err(BadToken::Damaged);
        }
        let (sum, body) = all.split_at(4);
        if sum != checksum(body) {
            return Err(BadToken::Damaged);
        }
        let (digest, rest) = body.split_at(32);
        let (id, rest) = rest.split_at(16);
        let (secret, addresses) = rest.split_at(32);
        let addresses: Vec<String> = std::str::from_utf8(addresses)
            .map_err(|_| BadToken::Damaged)?
            .split(',')
            .map(str::to_owned)
            .collect();
        if addresses.len() > MOST_ADDRESSES || addresses.iter().any(String::is_empty) {
            return Err(BadToken::Damaged);
        }
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(secret);
        Ok(Self {
            addresses,
            root_digest: Digest::from_bytes(digest).map_err(|_| BadToken::Damaged)?,
            id: TokenId::from_bytes(id).map_err(|_| BadToken::Damaged)?,
            secret: TokenSecret::new(bytes),
        })
    }
}

fn checksum(body: &[u8]) -> [u8; 4] {
    let digest = Digest::of(body);
    let [a, b, c, d, ..] = *digest.as_bytes();
    [a, b, c, d]
}

/// A string that is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// Something else altogether.
    #[error("not a join token: one begins with \"{PREFIX}\", and `convoy token create` prints it")]
    NoToken,
    /// A part is missing or was mistyped.
    #[error(
        "the join token is incomplete or was mistyped: copy it whole from `convoy token create`"
    )]
    Damaged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            addresses: vec!["a.example:7443".to_owned(), "[::1]:7443".to_owned()],
            root_digest: Digest::of(b"root"),
            id: TokenId::from_bytes(&[7; 16]).expect("16 bytes"),
            secret: TokenSecret::new(Zeroizing::new([9; 32])),
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let text = token().to_secret_string();
        let read: JoinToken = text.parse().expect("own token");
        assert_eq!(read.addresses, token().addresses);
        assert_eq!(read.root_digest, token().root_digest);
        assert_eq!(read.id, token().id);
        let keys = [read.secret, token().secret].map(|s| s.signing_key().expect("a key").public());
        assert_eq!(keys[0], keys[1]);
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let text = token().to_secret_string().to_string();
        assert!(matches!(
            "hello".parse::<JoinToken>(),
            Err(BadToken::NoToken)
        ));
        for end in PREFIX.len()..text.len() {
            assert!(text[..end].parse::<JoinToken>().is_err(), "cut at {end}");
        }
        for at in PREFIX.len()..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(changed.parse::<JoinToken>().is_err(), "changed at {at}");
        }
    }
}
