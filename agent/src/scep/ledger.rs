//! What the SCEP engine remembers: requests, certificates, the attempt in progress. A value, and how it is written as bytes; it is stored elsewhere.

mod file;

use convoy_shared::{
    enrolment::{ErrorDetail, HISTORY, IssuedCertificate, RequestRecord, RequestState},
    id::{Digest, Revision},
    schedule::Done,
    settings::{KeyUse, ScepSettings},
};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;

pub(crate) use file::BadLedger;

/// What the engine remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// The number of the last request that was made.
    pub(crate) last_attempt: u64,
    /// The requests that were made, by attempt: the last [`HISTORY`].
    pub(crate) records: Vec<RequestRecord>,
    /// The one that is due.
    pub(crate) upcoming: Option<RequestRecord>,
    /// The certificates, by attempt: the last [`HISTORY`], and those in use.
    pub(crate) certificates: Vec<Holding>,
    /// The device's own, once and for all.
    pub(crate) adjustment: Option<SignedDuration>,
    /// When the timer was first seen on, and a digest of the settings then.
    pub(crate) enabled: Option<(Digest, Timestamp)>,
    /// The last request of the timer that has ended.
    pub(crate) done: Option<Done>,
    /// The request of the timer that has not ended.
    pub(crate) underway: Option<Underway>,
    /// The certificate that is being put in place.
    pub(crate) finishing: Option<Finishing>,
    /// A restart is owed.
    pub(crate) restart: bool,
    /// The files of attempts up to this one are of a list that was lost, and are left alone.
    pub(crate) spared: u64,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) attempt: u64,
    pub(crate) key_name: String,
    pub(crate) key_use: KeyUse,
    /// With `IPSec`: the destination, as the settings have it.
    pub(crate) destination: String,
    /// The SCEP server's.
    pub(crate) url: String,
    /// The names as they were asked for: a CA may issue others.
    pub(crate) asked: String,
    pub(crate) certificate: IssuedCertificate,
    /// It is what its key use location has.
    pub(crate) in_use: bool,
    /// Its key and certificate are still there.
    pub(crate) held: bool,
}

impl Holding {
    fn is_at(&self, key_use: KeyUse, destination: &str) -> bool {
        self.key_use == key_use && self.destination == destination
    }
}

/// What a request is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) settings: ScepSettings,
    pub(crate) url: String,
    /// Of the document that they are from.
    pub(crate) revision: Revision,
}

/// What a request asks for, its templates filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) common_name: String,
    /// `dns:…`, `ip:…`, `uri:…`.
    pub(crate) sans: Vec<String>,
}

/// A request of the timer that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Underway {
    pub(crate) attempt: u64,
    pub(crate) due: Timestamp,
    pub(crate) terms: Terms,
    /// Known once the key is stored.
    pub(crate) names: Option<Names>,
    /// The attempt whose certificate is renewed.
    pub(crate) renews: Option<u64>,
    /// Known once the request is deferred.
    pub(crate) transaction: Option<String>,
    pub(crate) polls: u32,
    /// What is waited for ends then.
    pub(crate) until: Option<Timestamp>,
}

/// A certificate that is being put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finishing {
    pub(crate) holding: Holding,
    /// Of a request of the timer.
    pub(crate) due: Option<Timestamp>,
    pub(crate) delete_old: bool,
    pub(crate) restart: bool,
}

const MAGIC: &[u8] = b"convoy-agent scep 1\n";

impl Ledger {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let payload = file::LedgerFile::from(self).encode_to_vec();
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(Digest::of(&payload).as_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, BadLedger> {
        let (sum, payload) = bytes
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.split_at_checked(32))
            .ok_or(BadLedger::NoLedger)?;
        if sum != Digest::of(payload).as_bytes() {
            return Err(BadLedger::Checksum);
        }
        file::LedgerFile::decode(payload)
            .map_err(|_| BadLedger::Checksum)?
            .try_into()
    }

    /// The requests that were made, and the one that is due.
    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        self.records.iter().chain(&self.upcoming).cloned().collect()
    }

    pub(crate) fn record(&mut self, attempt: u64) -> Option<&mut RequestRecord> {
        self.records
            .iter_mut()
            .find(|record| record.attempt == attempt)
    }

    /// Begins a request: from now on its number is used.
    pub(crate) fn begin(&mut self, record: RequestRecord, underway: Option<Underway>) {
        self.last_attempt = record.attempt;
        self.upcoming = None;
        self.records.push(record);
        let surplus = self.records.len().saturating_sub(HISTORY);
        self.records.drain(..surplus);
        self.underway = underway;
    }

    pub(crate) fn set_state(&mut self, attempt: u64, state: RequestState, now: Timestamp) {
        if let Some(record) = self.record(attempt)
            && record.state != state
        {
            record.state = state;
            record.updated_at = now;
        }
    }

    pub(crate) fn warn(&mut self, attempt: u64, warnings: impl IntoIterator<Item = String>) {
        if let Some(record) = self.record(attempt) {
            for warning in warnings {
                if !record.warnings.contains(&warning) {
                    record.warnings.push(warning);
                }
            }
        }
    }

    /// Gives a request up that is not wanted any more as it was made: it does not count as the timer's last.
    pub(crate) fn abandon(&mut self, attempt: u64, why: ErrorDetail, now: Timestamp) {
        self.set_state(attempt, RequestState::Error(why), now);
        self.underway
            .take_if(|underway| underway.attempt == attempt);
    }

    /// Ends a request without a certificate.
    pub(crate) fn fail(&mut self, attempt: u64, why: ErrorDetail, now: Timestamp) {
        self.set_state(attempt, RequestState::Error(why), now);
        let underway = self
            .underway
            .take_if(|underway| underway.attempt == attempt);
        let finishing = self
            .finishing
            .take_if(|finishing| finishing.holding.attempt == attempt);
        let due = underway
            .map(|underway| underway.due)
            .or_else(|| finishing.and_then(|finishing| finishing.due));
        if let Some(due) = due {
            self.done = Some(Done {
                due,
                succeeded: false,
            });
        }
    }

    /// Ends a request with its certificate in place.
    pub(crate) fn succeed(&mut self, finishing: Finishing, now: Timestamp) {
        let Finishing {
            mut holding,
            due,
            delete_old,
            restart,
        } = finishing;
        let attempt = holding.attempt;
        self.set_state(
            attempt,
            RequestState::Successful(holding.certificate.clone()),
            now,
        );
        for older in &mut self.certificates {
            if older.is_at(holding.key_use, &holding.destination) {
                older.in_use = false;
                older.held &= !delete_old;
            }
        }
        holding.in_use = true;
        holding.held = true;
        self.certificates.retain(|older| older.attempt != attempt);
        self.certificates.push(holding);
        let mut surplus = self.certificates.len().saturating_sub(HISTORY);
        self.certificates.retain(|holding| {
            let goes = surplus > 0 && !holding.in_use;
            surplus -= usize::from(goes);
            !goes
        });
        if let Some(due) = due {
            self.done = Some(Done {
                due,
                succeeded: true,
            });
        }
        self.underway = None;
        self.finishing = None;
        self.restart = restart;
    }

    /// The certificate that a key use location has.
    pub(crate) fn in_use(&self, key_use: KeyUse, destination: &str) -> Option<&Holding> {
        self.certificates
            .iter()
            .find(|holding| holding.in_use && holding.held && holding.is_at(key_use, destination))
    }

    /// Whether there is room for another key.
    pub(crate) fn has_room(&self, settings: &ScepSettings) -> bool {
        let (key_use, destination) = (settings.key_use, &settings.ipsec_destination);
        let stay = self.certificates.iter().filter(|holding| {
            holding.held && !(settings.delete_old && holding.is_at(key_use, destination))
        });
        u32::try_from(stay.count()).is_ok_and(|stay| stay < settings.max_keys)
    }

    /// The end of the certificate in use that these settings renew. They may leave a destination to the device.
    pub(crate) fn not_after(&self, settings: &ScepSettings) -> Option<Timestamp> {
        let destination = &settings.ipsec_destination;
        let mut newest_first = self.certificates.iter().rev();
        let in_use = newest_first.find(|holding| {
            holding.in_use
                && holding.key_use == settings.key_use
                && (destination.is_empty() || holding.destination == *destination)
        })?;
        Some(in_use.certificate.not_after)
    }

    /// The attempts whose files are needed.
    pub(crate) fn needed(&self) -> Vec<u64> {
        let held = self.certificates.iter().filter(|holding| holding.held);
        held.map(|holding| holding.attempt)
            .chain(self.underway.as_ref().map(|underway| underway.attempt))
            .chain(self.finishing.as_ref().map(|it| it.holding.attempt))
            .collect()
    }
}
