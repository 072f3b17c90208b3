//! The agent's private key: made before it is first needed, kept 0600, and never printed or sent.

use convoy_shared::{certificate::spki_digest, id::Digest, token::derive};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::disk::{DiskError, StateDir};

/// The file: PKCS#8, PEM.
pub const FILE: &str = "identity.key";

/// An ECDSA P-256 key pair. Has no `Debug`.
pub struct IdentityKey {
    /// PKCS#8, DER.
    der: Zeroizing<Vec<u8>>,
    pair: KeyPair,
}

impl IdentityKey {
    /// The key in this folder.
    ///
    /// # Errors
    /// If there is none, others may read it, or it is damaged.
    pub fn load(dir: &StateDir) -> Result<Self, KeyError> {
        Self::find(dir)?.ok_or(KeyError::Absent)
    }

    /// The key in this folder; a new one, stored durably first, if there is none. Joining again after a crash uses the same key, and so
    /// becomes the same client.
    ///
    /// # Errors
    /// If it cannot be read or stored.
    pub fn load_or_create(dir: &StateDir) -> Result<Self, KeyError> {
        if let Some(key) = Self::find(dir)? {
            return Ok(key);
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(KeyError::Crypto)?;
        let pem = Zeroizing::new(pair.serialize_pem());
        dir.write(FILE, pem.as_bytes())?;
        let der = Zeroizing::new(pair.serialize_der());
        Ok(Self { der, pair })
    }

    fn find(dir: &StateDir) -> Result<Option<Self>, KeyError> {
        let Some(pem) = dir.read_secret(FILE)? else {
            return Ok(None);
        };
        let damaged = || KeyError::Damaged(dir.file(FILE).display().to_string());
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| damaged())?;
        let der = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        let pair = KeyPair::try_from(&key).map_err(|_| damaged())?;
        Ok(Some(Self { der, pair }))
    }

    /// A PKCS#10 request (DER) with this key, for a subject whose common name is `name`.
    ///
    /// # Errors
    /// If the name cannot be written, or signing fails.
    pub fn certificate_request(&self, name: &str) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        // X.520 allows 64 characters; the whole name goes into the request's own field.
        let common: String = name.chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, common);
        let request = params
            .serialize_request(&self.pair)
            .map_err(KeyError::Crypto)?;
        Ok(request.der().to_vec())
    }

    /// Whether a certificate is about this key.
    #[must_use]
    pub fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        let own = Digest::of(&self.pair.subject_public_key_info());
        spki_digest(certificate) == Ok(own)
    }

    /// What secrets of this agent are sealed under: derived from the key, so that they open beside it alone.
    #[must_use]
    pub fn sealing(&self) -> Option<Zeroizing<[u8; 32]>> {
        derive(&self.der, &[b"convoy agent secrets v1"])
    }

    pub(crate) fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.der.to_vec()))
    }

    #[cfg(test)]
    pub(crate) const fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

/// Why there is no key, or no request.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No file.
    #[error("the state folder has no {FILE}: restore it, or join again with another --state-dir")]
    Absent,
    /// Not PKCS#8.
    #[error(
        "{0} is damaged: it is no PKCS#8 key; restore it, or join again with another --state-dir"
    )]
    Damaged(String),
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Making a key or signing a request.
    #[error("cannot make a key or sign with it")]
    Crypto(#[source] rcgen::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_made_first_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::create(&folder.path().join("s")).expect("made");
        assert!(matches!(IdentityKey::load(&dir), Err(KeyError::Absent)));
        let made = IdentityKey::load_or_create(&dir).expect("made");
        let again = IdentityKey::load_or_create(&dir).expect("there");
        assert_eq!(*made.der, *again.der);
        let params = CertificateParams::new(vec!["x".to_owned()]).expect("params");
        let certificate = params.self_signed(again.pair()).expect("signed");
        assert!(made.is_of(certificate.der()));
        assert!(made.certificate_request(&"x".repeat(200)).is_ok());
    }

    #[test]
    fn a_damaged_key_is_reported_and_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::create(&folder.path().join("s")).expect("made");
        dir.write(FILE, b"garbage").expect("written");
        assert!(matches!(
            IdentityKey::load_or_create(&dir),
            Err(KeyError::Damaged(_))
        ));
        assert_eq!(
            dir.read(FILE).expect("read").as_deref(),
            Some(&b"garbage"[..])
        );
    }
}
