//! Challenge passwords: those that are derived, those that operators brought, and how either is recognised. None is in the journal.

use std::sync::Arc;

use aws_lc_rs::hmac;
use convoy_fleet::{enrolment::Audience, issuance::ChallengeId};
use convoy_shared::{
    id::{ClientId, Digest},
    secret,
    token::derive,
};
use zeroize::Zeroizing;

use crate::{
    folder::{Folder, FolderError},
    keys::FleetKeys,
};

/// Characters of a generated challenge: RFC 4648 section 6, all of them PrintableString.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The secret of a generated challenge: 32 characters, 160 bits. The same id gives the same again.
#[must_use]
pub fn generated(keys: &FleetKeys, id: ChallengeId) -> Option<Zeroizing<String>> {
    let bytes = derive(keys.seed(), &[b"convoy scep challenge v1", id.0.as_slice()])?;
    // One byte in 32 of 256 values, 5 bits of each: no character is likelier than another.
    let text: Zeroizing<String> = Zeroizing::new(
        bytes
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 31)))
            .map(|letter| char::from(*letter))
            .collect(),
    );
    Some(text)
}

/// How a challenge is recognised: HMAC-SHA-256 under a key that lies outside of the journal, so that a short one cannot be found by trying.
#[must_use]
pub fn digest(keys: &FleetKeys, secret: &str) -> Option<Digest> {
    let key = derive(keys.seed(), &[b"convoy scep challenge digest v1"])?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
    Digest::from_bytes(hmac::sign(&key, secret.as_bytes()).as_ref()).ok()
}

/// Secrets that operators brought, one file each, sealed under a key that is derived from the controller's seed.
#[derive(Clone)]
pub struct Stored {
    folder: Arc<Folder>,
    keys: Arc<FleetKeys>,
}

impl Stored {
    /// In this data folder.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn open(folder: Arc<Folder>, keys: Arc<FleetKeys>) -> Result<Self, SecretError> {
        folder.make("keys/scep")?;
        Ok(Self { folder, keys })
    }

    /// Keeps a secret, or forgets it if it is empty.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn keep(&self, name: &Name, secret: &str) -> Result<(), SecretError> {
        let sealed = if secret.is_empty() {
            Vec::new()
        } else {
            secret::seal(self.keys.seed(), &name.0, secret.as_bytes()).ok_or(SecretError::Seal)?
        };
        Ok(self.folder.write(&name.0, &sealed)?)
    }

    /// A secret that is kept.
    ///
    /// # Errors
    /// If it cannot be read, lies open to others, or is damaged.
    pub fn read(&self, name: &Name) -> Result<Option<Zeroizing<String>>, SecretError> {
        let sealed = self.folder.read_secret(&name.0)?;
        let Some(sealed) = sealed.filter(|sealed| !sealed.is_empty()) else {
            return Ok(None);
        };
        let damaged = || SecretError::Damaged(name.0.clone());
        let secret = secret::open(self.keys.seed(), &name.0, &sealed).map_err(|_| damaged())?;
        let text = std::str::from_utf8(&secret).map_err(|_| damaged())?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }
}

/// Why a secret cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The folder does not let us.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Not as it was written.
    #[error(
        "{0} is damaged, or was sealed by another controller's keys/token.seed: give the secret again, or put both back from one backup"
    )]
    Damaged(String),
    /// No random numbers.
    #[error("the secret cannot be sealed")]
    Seal,
}

/// The name of a secret's file.
pub struct Name(String);

impl Name {
    /// Of a group's or a client's secret. `client` is the id of the audience's client.
    #[must_use]
    pub fn new(audience: &Audience, client: Option<ClientId>, ndes: bool) -> Self {
        let kind = if ndes { "ndes" } else { "challenge" };
        Self(match (audience, client) {
            (Audience::Group(group), _) => format!("keys/scep/group-{group}.{kind}"),
            (Audience::Client(_), Some(id)) => format!("keys/scep/client-{id}.{kind}"),
            (Audience::Client(number), None) => format!("keys/scep/number-{number}.{kind}"),
        })
    }
}
