//! The built-in CA's revocation list: made when it is asked for, and kept while it holds. What is revoked is the fleet's to say.

use std::sync::{Mutex, PoisonError};

use convoy_fleet::issuance::CrlReason;
use convoy_scep::issue::{CrlReason as Reason, Revoked};
use jiff::{SignedDuration, Timestamp};

use super::{Scep, authority::AuthorityError};
use crate::clock;

/// A list holds for so long; it is made anew at half of it.
const VALIDITY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The newest list.
#[derive(Default)]
pub struct Kept {
    list: Mutex<Option<List>>,
}

struct List {
    authority: u32,
    number: u64,
    made_at: Timestamp,
    der: Vec<u8>,
}

impl Scep {
    /// Where devices and their peers find the list.
    #[must_use]
    pub fn crl_url(&self) -> Option<String> {
        self.url.as_ref().map(|url| format!("{url}/crl"))
    }

    /// The present list, DER.
    ///
    /// # Errors
    /// If there is no CA, or it cannot sign.
    pub async fn crl(&self) -> Result<Vec<u8>, AuthorityError> {
        let now = clock::now();
        let (authority, ca) = self.current()?;
        let (number, revoked) = {
            let fleet = self.keeper.read();
            let issuance = fleet.issuance();
            let number = issuance.crl_number();
            if let Some(kept) = self.kept(authority, number, now) {
                return Ok(kept);
            }
            let revoked: Vec<_> = issuance
                .revocations_of(authority, now)
                .map(|(serial, at, reason)| (serial.to_vec(), at, reason))
                .collect();
            (number, revoked)
        };
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
        *self
            .lists
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(List {
            authority,
            number,
            made_at: now,
            der: der.clone(),
        });
        Ok(der)
    }

    fn kept(&self, authority: u32, number: u64, now: Timestamp) -> Option<Vec<u8>> {
        let list = self
            .lists
            .list
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        list.as_ref()
            .filter(|list| {
                (list.authority, list.number) == (authority, number)
                    && now.duration_since(list.made_at) < VALIDITY / 2
            })
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
