//! The ledger as a message: what each field is called on disk. What it means is the ledger's.

use convoy_proto::{
    scep::{BadScep, read_record, read_settings, write_record, write_settings},
    v1,
};
use convoy_shared::{
    enrolment::IssuedCertificate,
    id::{BadId, Digest, Revision},
    schedule::Done,
    settings::BadSetting,
};
use jiff::{SignedDuration, Timestamp};

use super::{Finishing, Holding, Ledger, Names, Terms, Underway};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct LedgerFile {
    #[prost(uint64, tag = "1")]
    last_attempt: u64,
    #[prost(message, repeated, tag = "2")]
    records: Vec<v1::ScepRecord>,
    #[prost(message, optional, tag = "3")]
    upcoming: Option<v1::ScepRecord>,
    #[prost(message, repeated, tag = "4")]
    certificates: Vec<HoldingFile>,
    #[prost(int64, optional, tag = "5")]
    adjustment_seconds: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "6")]
    enabled_for: Option<Vec<u8>>,
    #[prost(string, optional, tag = "7")]
    enabled_at: Option<String>,
    #[prost(string, optional, tag = "8")]
    done_due: Option<String>,
    #[prost(bool, tag = "9")]
    done_succeeded: bool,
    #[prost(message, optional, tag = "10")]
    underway: Option<UnderwayFile>,
    #[prost(message, optional, tag = "11")]
    finishing: Option<FinishingFile>,
    #[prost(bool, tag = "12")]
    restart: bool,
    #[prost(uint64, tag = "13")]
    spared: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HoldingFile {
    #[prost(uint64, tag = "1")]
    attempt: u64,
    #[prost(string, tag = "2")]
    key_name: String,
    #[prost(string, tag = "3")]
    key_use: String,
    #[prost(string, tag = "4")]
    destination: String,
    #[prost(string, tag = "5")]
    url: String,
    #[prost(string, tag = "6")]
    asked: String,
    #[prost(string, tag = "7")]
    issued_at: String,
    #[prost(string, tag = "8")]
    serial: String,
    #[prost(string, tag = "9")]
    subject: String,
    #[prost(bytes = "vec", tag = "10")]
    fingerprint: Vec<u8>,
    #[prost(string, tag = "11")]
    not_before: String,
    #[prost(string, tag = "12")]
    not_after: String,
    #[prost(bool, tag = "13")]
    in_use: bool,
    #[prost(bool, tag = "14")]
    held: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct UnderwayFile {
    #[prost(uint64, tag = "1")]
    attempt: u64,
    #[prost(string, tag = "2")]
    due: String,
    #[prost(message, optional, tag = "3")]
    settings: Option<v1::ScepSettings>,
    #[prost(string, tag = "4")]
    url: String,
    #[prost(uint64, tag = "5")]
    revision: u64,
    #[prost(string, optional, tag = "6")]
    common_name: Option<String>,
    #[prost(string, repeated, tag = "7")]
    sans: Vec<String>,
    #[prost(uint64, optional, tag = "8")]
    renews: Option<u64>,
    #[prost(string, optional, tag = "9")]
    transaction: Option<String>,
    #[prost(uint32, tag = "10")]
    polls: u32,
    #[prost(string, optional, tag = "11")]
    until: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FinishingFile {
    #[prost(message, optional, tag = "1")]
    holding: Option<HoldingFile>,
    #[prost(string, optional, tag = "2")]
    due: Option<String>,
    #[prost(bool, tag = "3")]
    delete_old: bool,
    #[prost(bool, tag = "4")]
    restart: bool,
}

impl From<&Ledger> for LedgerFile {
    fn from(ledger: &Ledger) -> Self {
        Self {
            last_attempt: ledger.last_attempt,
            records: ledger.records.iter().map(write_record).collect(),
            upcoming: ledger.upcoming.as_ref().map(write_record),
            certificates: ledger.certificates.iter().map(HoldingFile::from).collect(),
            adjustment_seconds: ledger.adjustment.map(|length| length.as_secs()),
            enabled_for: ledger
                .enabled
                .map(|(settings, _)| settings.as_bytes().to_vec()),
            enabled_at: ledger.enabled.map(|(_, at)| at.to_string()),
            done_due: ledger.done.map(|done| done.due.to_string()),
            done_succeeded: ledger.done.is_some_and(|done| done.succeeded),
            underway: ledger.underway.as_ref().map(UnderwayFile::from),
            finishing: ledger.finishing.as_ref().map(|finishing| FinishingFile {
                holding: Some(HoldingFile::from(&finishing.holding)),
                due: finishing.due.map(|due| due.to_string()),
                delete_old: finishing.delete_old,
                restart: finishing.restart,
            }),
            restart: ledger.restart,
            spared: ledger.spared,
        }
    }
}

impl TryFrom<LedgerFile> for Ledger {
    type Error = BadLedger;

    fn try_from(file: LedgerFile) -> Result<Self, BadLedger> {
        let enabled = match (file.enabled_for, file.enabled_at) {
            (Some(settings), Some(at)) => Some((Digest::from_bytes(&settings)?, time(&at)?)),
            _ => None,
        };
        let records = file.records.into_iter().map(read_record);
        let done = file.done_due.as_deref().map(time).transpose()?;
        Ok(Self {
            last_attempt: file.last_attempt,
            records: records.collect::<Result<_, _>>()?,
            upcoming: file.upcoming.map(read_record).transpose()?,
            certificates: file
                .certificates
                .into_iter()
                .map(Holding::try_from)
                .collect::<Result<_, _>>()?,
            adjustment: file.adjustment_seconds.map(SignedDuration::from_secs),
            enabled,
            done: done.map(|due| Done {
                due,
                succeeded: file.done_succeeded,
            }),
            underway: file.underway.map(Underway::try_from).transpose()?,
            finishing: file.finishing.map(Finishing::try_from).transpose()?,
            restart: file.restart,
            spared: file.spared,
        })
    }
}

impl From<&Holding> for HoldingFile {
    fn from(holding: &Holding) -> Self {
        let certificate = &holding.certificate;
        Self {
            attempt: holding.attempt,
            key_name: holding.key_name.clone(),
            key_use: holding.key_use.to_string(),
            destination: holding.destination.clone(),
            url: holding.url.clone(),
            asked: holding.asked.clone(),
            issued_at: certificate.issued_at.to_string(),
            serial: certificate.serial.clone(),
            subject: certificate.subject.clone(),
            fingerprint: certificate.fingerprint.as_bytes().to_vec(),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            in_use: holding.in_use,
            held: holding.held,
        }
    }
}

impl TryFrom<HoldingFile> for Holding {
    type Error = BadLedger;

    fn try_from(file: HoldingFile) -> Result<Self, BadLedger> {
        Ok(Self {
            attempt: file.attempt,
            key_name: file.key_name,
            key_use: file.key_use.parse()?,
            destination: file.destination,
            url: file.url,
            asked: file.asked,
            certificate: IssuedCertificate {
                issued_at: time(&file.issued_at)?,
                serial: file.serial,
                subject: file.subject,
                fingerprint: Digest::from_bytes(&file.fingerprint)?,
                not_before: time(&file.not_before)?,
                not_after: time(&file.not_after)?,
            },
            in_use: file.in_use,
            held: file.held,
        })
    }
}

impl From<&Underway> for UnderwayFile {
    fn from(underway: &Underway) -> Self {
        let names = underway.names.as_ref();
        Self {
            attempt: underway.attempt,
            due: underway.due.to_string(),
            settings: Some(write_settings(&underway.terms.settings)),
            url: underway.terms.url.clone(),
            revision: underway.terms.revision.0,
            common_name: names.map(|names| names.common_name.clone()),
            sans: names.map_or_else(Vec::new, |names| names.sans.clone()),
            renews: underway.renews,
            transaction: underway.transaction.clone(),
            polls: underway.polls,
            until: underway.until.map(|until| until.to_string()),
        }
    }
}

impl TryFrom<UnderwayFile> for Underway {
    type Error = BadLedger;

    fn try_from(file: UnderwayFile) -> Result<Self, BadLedger> {
        let sans = file.sans;
        Ok(Self {
            attempt: file.attempt,
            due: time(&file.due)?,
            terms: Terms {
                settings: read_settings(file.settings.ok_or(BadLedger::Missing("settings"))?)?,
                url: file.url,
                revision: Revision(file.revision),
            },
            names: file
                .common_name
                .map(|common_name| Names { common_name, sans }),
            renews: file.renews,
            transaction: file.transaction,
            polls: file.polls,
            until: file.until.as_deref().map(time).transpose()?,
        })
    }
}

impl TryFrom<FinishingFile> for Finishing {
    type Error = BadLedger;

    fn try_from(file: FinishingFile) -> Result<Self, BadLedger> {
        Ok(Self {
            holding: file
                .holding
                .ok_or(BadLedger::Missing("a certificate"))?
                .try_into()?,
            due: file.due.as_deref().map(time).transpose()?,
            delete_old: file.delete_old,
            restart: file.restart,
        })
    }
}

fn time(text: &str) -> Result<Timestamp, BadLedger> {
    text.parse().map_err(|_| BadLedger::Missing("a time"))
}

/// What is wrong with a ledger.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadLedger {
    /// Something else altogether, or of another agent.
    #[error("it does not begin like a ledger of this agent")]
    NoLedger,
    /// Torn, or changed.
    #[error("its checksum does not fit its content")]
    Checksum,
    /// Incomplete.
    #[error("it lacks {0}")]
    Missing(&'static str),
    /// A record or settings.
    #[error(transparent)]
    Scep(#[from] BadScep),
    /// A digest.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A key use location.
    #[error(transparent)]
    Setting(#[from] BadSetting),
}
