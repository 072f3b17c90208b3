//! The built-in CA's revocation list: made when it is asked for, and kept while it holds. What is revoked is the fleet's to say.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use convoy_fleet::issuance::CrlReason;
use convoy_scep::issue::{CrlReason as Reason, Revoked};
use jiff::{SignedDuration, Timestamp};

use super::{Scep, authority::AuthorityError};
use crate::clock;

/// A list holds for so long; it is made anew at half of it.
const VALIDITY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The newest list of each CA, by its number.
#[derive(Default)]
pub struct Kept {
    lists: Mutex<HashMap<u32, List>>,
}

struct List {
    number: u64,
    made_at: Timestamp,
    der: Vec<u8>,
}

impl Scep {
    /// Where devices and their peers find a CA's list.
    #[must_use]
    pub fn crl_url(&self, authority: u32) -> Option<String> {
        self.url
            .as_ref()
            .map(|url| format!("{url}/crl/{authority}"))
    }

    /// The present list of the CA in force, DER.
    ///
    /// # Errors
    /// If there is no CA, or it cannot sign.
    pub async fn crl(&self) -> Result<Vec<u8>, AuthorityError> {
        let (authority, _) = self.current()?;
        self.crl_of(authority).await
    }

    /// The present list of a CA, DER. What a former one revoked stays revoked.
    ///
    /// # Errors
    /// If there is no such CA, or it cannot sign.
    pub async fn crl_of(&self, authority: u32) -> Result<Vec<u8>, AuthorityError> {
        let now = clock::now();
        let (ca, number, revoked) = {
            let fleet = self.keeper.read();
            let issuance = fleet.issuance();
            let number = issuance.crl_number();
            if let Some(kept) = self.kept(authority, number, now) {
                return Ok(kept);
            }
            let mut all = issuance.authorities().iter();
            let ca = all.find(|ca| ca.number == authority).cloned();
            let revoked: Vec<_> = issuance
                .revocations_of(authority, now)
                .map(|(serial, at, reason)| (serial.to_vec(), at, reason))
                .collect();
            (ca.ok_or(AuthorityError::NoAuthority)?, number, revoked)
        };
        let ca = self.load(&ca)?;
        let der = tokio::task::spawn_blocking(move || {
            let entries = revoked.iter().map(|(serial, at, reason)| Revoked {
                serial,
                at: *at,
                reason: written(*reason),
            });
            // Each list has a number of its own: it counts revocations, and how often the list was made since.
            let next = now.checked_add(VALIDITY).unwrap_or(now);
            ca.crl(entries, list_number(number, now), now, next)
        })
        .await
        .map_err(|_| AuthorityError::Stopped)??;
        let list = List {
            number,
            made_at: now,
            der: der.clone(),
        };
        self.lists().insert(authority, list);
        Ok(der)
    }

    fn lists(&self) -> MutexGuard<'_, HashMap<u32, List>> {
        let lists = self.lists.lists.lock();
        lists.unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, authority: u32, number: u64, now: Timestamp) -> Option<Vec<u8>> {
        self.lists()
            .get(&authority)
            .filter(|list| list.number == number && now.duration_since(list.made_at) < VALIDITY / 2)
            .map(|list| list.der.clone())
    }
}

/// Grows with every revocation, and with time (RFC 5280 section 5.2.3): the second of its making stands in the lower half.
fn list_number(revocations: u64, now: Timestamp) -> u64 {
    let second = u64::try_from(now.as_second()).unwrap_or(0) & 0xffff_ffff;
    (revocations.min(0x7fff_ffff) << 32) | second
}

fn written(reason: CrlReason) -> Reason {
    match reason {
        CrlReason::Unspecified => Reason::Unspecified,
        CrlReason::KeyCompromise => Reason::KeyCompromise,
        CrlReason::CaCompromise => Reason::CaCompromise,
        CrlReason::AffiliationChanged => Reason::AffiliationChanged,
        CrlReason::Superseded => Reason::Superseded,
        CrlReason::CessationOfOperation => Reason::CessationOfOperation,
    }
}
