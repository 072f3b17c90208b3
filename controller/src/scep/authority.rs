//! The built-in CA's keys: made, kept, loaded. What is signed with them is decided elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use convoy_fleet::{
    decide::Command,
    event::{Actor, Request},
    issuance::{AUTHORITY_VALIDITY, Ca, IssuanceCommand},
    refusal::Refusal,
};
use convoy_scep::{
    certificate::{BadCertificate, Certificate},
    issue::{Authority, IssueError},
    key::{EcdsaKey, KeyError, RsaKey},
};
use convoy_shared::id::{Digest, FleetId};
use jiff::{SignedDuration, Timestamp};

use super::Scep;
use crate::{clock, folder::FolderError, keeper::KeeperError};

/// Bits of an RSA key: 4096 bits sign 7 times slower, and every answer is signed.
const BITS: u32 = 2048;
/// Clocks of devices are behind.
pub(super) const EARLIER: SignedDuration = SignedDuration::from_hours(1);

/// What a CA signs with. Messages are encrypted to an RSA key in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CaKey {
    /// RSA with 2048 bits, for certificates and for messages: every device takes it.
    #[default]
    #[value(name = "rsa-2048")]
    Rsa2048,
    /// ECDSA on P-256 for certificates, and an RA with an RSA key for messages: faster, for devices that know elliptic curves and RAs.
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
}

impl CaKey {
    /// The key of a CA that was made.
    #[must_use]
    pub const fn of(ca: &Ca) -> Self {
        match ca.ra {
            None => Self::Rsa2048,
            Some(_) => Self::EcdsaP256,
        }
    }
}

/// CAs that were loaded, by number.
#[derive(Default)]
pub struct Authorities {
    loaded: Mutex<HashMap<u32, Arc<Authority>>>,
}

impl Scep {
    /// Makes the first CA if there is none.
    ///
    /// # Errors
    /// If it cannot be made or stored.
    pub async fn make_first(&self, key: CaKey) -> Result<(), AuthorityError> {
        if self.keeper.read().issuance().current().is_none() {
            self.make_authority(key, true, Actor::Controller, None)
                .await?;
        }
        Ok(())
    }

    /// Makes the next CA, with a key like that of the CA in force unless another is asked for.
    ///
    /// # Errors
    /// If there is one already, or it cannot be made or stored.
    pub async fn make_next(
        &self,
        key: Option<CaKey>,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<(), AuthorityError> {
        let key = {
            let fleet = self.keeper.read();
            let issuance = fleet.issuance();
            // Before a key is made that would be nobody's.
            issuance.next_number()?;
            key.unwrap_or_else(|| issuance.current().map(CaKey::of).unwrap_or_default())
        };
        self.make_authority(key, false, actor, request).await
    }

    async fn make_authority(
        &self,
        key: CaKey,
        first: bool,
        actor: Actor,
        request: Option<Request>,
    ) -> Result<(), AuthorityError> {
        let (fleet, number) = {
            let fleet = self.keeper.read();
            let founded = fleet.founded().ok_or(AuthorityError::NoFleet)?;
            (founded.fleet, fleet.issuance().authorities().len() + 1)
        };
        let made =
            tokio::task::spawn_blocking(move || self_signed(fleet, number, key, clock::now()))
                .await
                .map_err(|_| AuthorityError::Stopped)??;
        let spki = Digest::of(made.certificate.spki());
        // The keys are there before anybody hears of their certificates.
        self.folder.make("keys/scep")?;
        let own = made.issuing_key().to_pem();
        self.folder.write(&key_name(&spki), own.as_bytes())?;
        if let Some(ra) = made.ra() {
            let messages = made.message_key().to_pem();
            self.folder.write(&ra_key_name(ra), messages.as_bytes())?;
        }
        let command = IssuanceCommand::MakeAuthority {
            certificate: made.certificate.to_der().to_vec(),
            spki,
            not_after: made.certificate.not_after(),
            ra: made.ra().map(|ra| ra.to_der().to_vec()),
            first,
        };
        self.keeper
            .command(Command::Issuance(command), actor, request)
            .await?;
        Ok(())
    }

    /// The CA that issues.
    ///
    /// # Errors
    /// If there is none, or its key is missing or damaged.
    pub fn current(&self) -> Result<(u32, Arc<Authority>), AuthorityError> {
        let ca = self.keeper.read().issuance().current().cloned();
        let ca = ca.ok_or(AuthorityError::NoAuthority)?;
        Ok((ca.number, self.load(&ca)?))
    }

    /// One CA, with its key.
    ///
    /// # Errors
    /// If its key is missing or damaged.
    pub fn load(&self, ca: &Ca) -> Result<Arc<Authority>, AuthorityError> {
        let loaded = |map: &HashMap<u32, Arc<Authority>>| map.get(&ca.number).cloned();
        let lock = || {
            self.authorities
                .loaded
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(authority) = loaded(&lock()) {
            return Ok(authority);
        }
        let name = key_name(&ca.spki);
        let certificate = Certificate::from_der(&ca.certificate)?;
        let authority = match &ca.ra {
            None => Authority::new(certificate, self.key(name, RsaKey::from_pem)?)?,
            Some(ra) => {
                let ra = Certificate::from_der(ra)?;
                let issuing = self.key(name, EcdsaKey::from_pem)?;
                let messages = self.key(ra_key_name(&ra), RsaKey::from_pem)?;
                Authority::with_ra(certificate, issuing, ra, messages)?
            }
        };
        let authority = Arc::new(authority);
        lock().insert(ca.number, Arc::clone(&authority));
        Ok(authority)
    }

    fn key<K>(
        &self,
        name: String,
        read: impl FnOnce(&str) -> Result<K, KeyError>,
    ) -> Result<K, AuthorityError> {
        let Some(pem) = self.folder.read_secret(&name)? else {
            return Err(AuthorityError::Lost(name));
        };
        let key = std::str::from_utf8(&pem).ok().map(read);
        match key {
            Some(Ok(key)) => Ok(key),
            Some(Err(_)) | None => Err(AuthorityError::Damaged(name)),
        }
    }
}

fn self_signed(
    fleet: FleetId,
    number: usize,
    key: CaKey,
    now: Timestamp,
) -> Result<Authority, AuthorityError> {
    let fleet = fleet.to_string();
    let short = fleet.split('-').next().unwrap_or_default();
    let name = format!("Convoy SCEP CA {number} of fleet {short}");
    let not_before = now.checked_sub(EARLIER).unwrap_or(now);
    let not_after = now.checked_add(AUTHORITY_VALIDITY).unwrap_or(now);
    let (organization, own) = (Some("Convoy"), serial()?);
    let rsa = RsaKey::generate(BITS)?;
    Ok(match key {
        CaKey::Rsa2048 => {
            Authority::self_signed(&name, organization, rsa, &own, not_before, not_after)?
        }
        CaKey::EcdsaP256 => Authority::self_signed_ecdsa(
            &name,
            organization,
            (EcdsaKey::generate()?, rsa),
            [&own, &serial()?],
            not_before,
            not_after,
        )?,
    })
}

/// 127 random bits, positive and not beginning with zero: nobody can foresee it (RFC 5280 section 4.1.2.2 allows 20 bytes).
pub(super) fn serial() -> Result<[u8; 16], AuthorityError> {
    let mut serial = [0; 16];
    SystemRandom::new()
        .fill(&mut serial)
        .map_err(|_| AuthorityError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(serial)
}

fn key_name(spki: &Digest) -> String {
    format!("keys/scep/ca-{spki}.pem")
}

fn ra_key_name(certificate: &Certificate) -> String {
    let spki = Digest::of(certificate.spki());
    format!("keys/scep/ra-{spki}.pem")
}

/// Why a CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The journal is empty.
    #[error("this controller has no fleet yet")]
    NoFleet,
    /// None was made.
    #[error("the SCEP CA has not been made yet: start the controller with --scep-addr")]
    NoAuthority,
    /// There can be no next one.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file is gone.
    #[error("the SCEP CA's key {0} is missing; put it back from a backup")]
    Lost(String),
    /// The file is not what it should be.
    #[error("the SCEP CA's key {0} is damaged; put it back from a backup")]
    Damaged(String),
    /// The certificate in the journal.
    #[error("the SCEP CA's certificate cannot be read")]
    Certificate(#[from] BadCertificate),
    /// It cannot be made, or does not fit its key.
    #[error("the SCEP CA cannot be used")]
    Issue(#[from] IssueError),
    /// No key.
    #[error("the SCEP CA's key cannot be made")]
    Key(#[from] KeyError),
    /// No random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
    /// The controller stops.
    #[error("the controller is stopping")]
    Stopped,
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}
