//! A secret that is to lie on a disk: sealed under a key that lies elsewhere. Nothing is stored here.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use zeroize::Zeroizing;

use crate::token::derive;

/// What sealed bytes begin with.
const MAGIC: &[u8] = b"convoy secret 1\n";

/// Seals a secret (AES-256-GCM, a random nonce): only who has `key`, any secret bytes, opens it, and under this name alone.
#[must_use]
pub fn seal(key: &[u8], name: &str, secret: &[u8]) -> Option<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
    text.extend_from_slice(secret);
    let nonce = sealing(key)?
        .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut *text)
        .ok()?;
    Some([MAGIC, nonce.as_ref(), &text].concat())
}

/// Opens what was sealed under this name.
///
/// # Errors
/// If it was not, or it was changed.
pub fn open(key: &[u8], name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, BadSecret> {
    let rest = sealed.strip_prefix(MAGIC).ok_or(BadSecret)?;
    let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(BadSecret)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| BadSecret)?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = sealing(key)
        .ok_or(BadSecret)?
        .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
        .map_err(|_| BadSecret)?
        .len();
    text.truncate(length);
    Ok(text)
}

fn sealing(key: &[u8]) -> Option<RandomizedNonceKey> {
    let key = derive(key, &[b"convoy secret at rest v1"])?;
    RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).ok()
}

/// Bytes that were not sealed with this key under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not sealed with the key that is here, or it was changed since")]
pub struct BadSecret;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_opened_by_its_key_under_its_name_alone() {
        let sealed = seal(b"key", "name", b"hidden").expect("sealed");
        assert!(!sealed.windows(6).any(|window| window == b"hidden"));
        assert_ne!(seal(b"key", "name", b"hidden"), Some(sealed.clone()));
        let open = |key: &[u8], name| open(key, name, &sealed).map(|text| text.to_vec());
        assert_eq!(open(b"key", "name"), Ok(b"hidden".to_vec()));
        assert_eq!(open(b"other", "name"), Err(BadSecret));
        assert_eq!(open(b"key", "other"), Err(BadSecret));
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let sealed = seal(b"key", "name", b"hidden").expect("sealed");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(b"key", "name", &changed).err(), Some(BadSecret));
            assert_eq!(open(b"key", "name", &sealed[..at]).err(), Some(BadSecret));
        }
        assert_eq!(open(b"key", "name", b"in clear").err(), Some(BadSecret));
    }
}
