//! The controller's own keys on disk: made once, read at every start. What they sign is decided elsewhere.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use convoy_fleet::state::Founded;
use convoy_shared::{
    certificate::spki_digest,
    envelope::SigningKey,
    id::{Digest, TokenId},
    token::{TokenSecret, derive},
};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::folder::{Folder, FolderError};

/// The keys of a fleet. Has no `Debug`.
pub struct FleetKeys {
    /// Signs roots.
    pub root: SigningKey,
    /// Signs trust documents and channel proofs.
    pub policy: SigningKey,
    /// Signs client identities. ECDSA P-256.
    pub client_ca: KeyPair,
    token_seed: Zeroizing<Vec<u8>>,
}

impl FleetKeys {
    /// Reads the keys. Before there is a fleet, `make` those that are missing.
    ///
    /// # Errors
    /// If a key is missing or unreadable, or lies open to others.
    pub fn open(folder: &Folder, make: bool) -> Result<Self, KeyError> {
        folder.make("keys")?;
        folder.make("keys/server")?;
        let root = seed(folder, "keys/root.seed", make)?;
        let policy = seed(folder, "keys/policy.seed", make)?;
        let token_seed = seed(folder, "keys/token.seed", make)?;
        let client_ca = match folder.read_secret("keys/client-ca.pem")? {
            Some(pem) => parse_pair(&pem, "keys/client-ca.pem")?,
            None if !make => return Err(KeyError::Lost("keys/client-ca.pem")),
            None => {
                let pair = KeyPair::generate().map_err(|_| KeyError::Random)?;
                folder.write(
                    "keys/client-ca.pem",
                    Zeroizing::new(pair.serialize_pem()).as_bytes(),
                )?;
                pair
            }
        };
        let signing =
            |seed: &[u8], name| SigningKey::from_seed(seed).map_err(|_| KeyError::Damaged(name));
        Ok(Self {
            root: signing(&root, "keys/root.seed")?,
            policy: signing(&policy, "keys/policy.seed")?,
            client_ca,
            token_seed,
        })
    }

    /// Whether these are the keys of this fleet.
    ///
    /// # Errors
    /// If one is another's: nobody would obey, or identities would be issued that nobody accepts.
    pub fn check(&self, founded: &Founded) -> Result<(), KeyError> {
        let root = founded
            .roots
            .last()
            .ok_or(KeyError::Foreign("keys/root.seed"))?;
        if !root.root.root.keys().contains(&self.root.public()) {
            return Err(KeyError::Foreign("keys/root.seed"));
        }
        if !root.root.policy.keys().contains(&self.policy.public()) {
            return Err(KeyError::Foreign("keys/policy.seed"));
        }
        let own = Digest::of(&self.client_ca.subject_public_key_info());
        if spki_digest(&founded.client_ca) != Ok(own) {
            return Err(KeyError::Foreign("keys/client-ca.pem"));
        }
        Ok(())
    }

    /// What secrets are derived from: it lies outside of the journal.
    #[must_use]
    pub fn seed(&self) -> &[u8] {
        &self.token_seed
    }

    /// The secret of a join token: derived from the token's id and a seed that lies outside of the journal, so that the same request gives the
    /// same token again although the secret is stored nowhere.
    #[must_use]
    pub fn token_secret(&self, token: TokenId) -> Option<TokenSecret> {
        derive(
            &self.token_seed,
            &[b"convoy token secret v1", token.as_bytes()],
        )
        .map(TokenSecret::new)
    }
}

/// Stores a server certificate's key (PKCS#8, PKCS#1 or SEC1, DER) under its public key's digest.
///
/// # Errors
/// As the operating system says.
pub fn store_server_key(folder: &Folder, spki: &Digest, key: &[u8]) -> Result<(), KeyError> {
    Ok(folder.write(&server_key_name(spki), key)?)
}

/// Reads a server certificate's key.
///
/// # Errors
/// If it is missing, or lies open to others.
pub fn server_key(folder: &Folder, spki: &Digest) -> Result<PrivateKeyDer<'static>, KeyError> {
    let der = folder
        .read_secret(&server_key_name(spki))?
        .ok_or(KeyError::Missing(*spki))?;
    PrivateKeyDer::try_from(der.to_vec()).map_err(|_| KeyError::Damaged("keys/server"))
}

fn server_key_name(spki: &Digest) -> String {
    format!("keys/server/{spki}.der")
}

fn seed(folder: &Folder, name: &'static str, make: bool) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if let Some(seed) = folder.read_secret(name)? {
        return if seed.len() == 32 {
            Ok(seed)
        } else {
            Err(KeyError::Damaged(name))
        };
    }
    if !make {
        return Err(KeyError::Lost(name));
    }
    let mut seed = Zeroizing::new(vec![0; 32]);
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| KeyError::Random)?;
    folder.write(name, &seed)?;
    Ok(seed)
}

fn parse_pair(pem: &[u8], name: &'static str) -> Result<KeyPair, KeyError> {
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::Damaged(name))?;
    KeyPair::try_from(&der).map_err(|_| KeyError::Damaged(name))
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The folder does not let us.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file is not what it should be.
    #[error("the key file {0} is damaged; put it back from a backup")]
    Damaged(&'static str),
    /// The fleet's key is gone.
    #[error(
        "the key file {0} is missing, and the journal holds a fleet that needs it; put it back from a backup"
    )]
    Lost(&'static str),
    /// Of another fleet.
    #[error(
        "the key file {0} does not belong to the fleet in the journal; put the right one back from a backup"
    )]
    Foreign(&'static str),
    /// The file is gone.
    #[error(
        "the key of the server certificate with the public key {0} is missing; put it back from a backup, or import the certificate again"
    )]
    Missing(Digest),
    /// No random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

#[cfg(test)]
mod tests {
    use convoy_shared::id::FleetId;

    use super::*;
    use crate::{authority, clock, documents};

    #[test]
    fn keys_are_made_once_and_never_for_a_fleet_that_has_lost_them() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::lock(&parent.path().join("data")).expect("a folder");
        assert!(matches!(
            FleetKeys::open(&folder, false),
            Err(KeyError::Lost(_))
        ));
        let keys = FleetKeys::open(&folder, true)
            .map_err(|error| error.to_string())
            .expect("made");
        let fleet = FleetId::new(uuid::Uuid::nil());
        let now = clock::now();
        let mut founded = Founded {
            fleet,
            roots: vec![documents::first_root(&keys, fleet, now).expect("a root")],
            client_ca: authority::client_ca(&keys.client_ca, fleet, now)
                .expect("a CA")
                .to_vec(),
        };
        for name in ["root.seed", "policy.seed", "token.seed", "client-ca.pem"] {
            let path = folder.join(&format!("keys/{name}"));
            let content = std::fs::read(&path).expect("a key");
            std::fs::remove_file(&path).expect("removed");
            assert!(
                matches!(FleetKeys::open(&folder, false), Err(KeyError::Lost(_))),
                "{name}"
            );
            folder
                .write(&format!("keys/{name}"), &content)
                .expect("put back");
        }
        let again = FleetKeys::open(&folder, false)
            .map_err(|error| error.to_string())
            .expect("read");
        assert!(again.check(&founded).is_ok());
        let other = KeyPair::generate().expect("a key");
        founded.client_ca = authority::client_ca(&other, fleet, now)
            .expect("a CA")
            .to_vec();
        assert!(matches!(
            again.check(&founded),
            Err(KeyError::Foreign("keys/client-ca.pem"))
        ));
    }
}
