//! `Certificate Issuance Request Status` and the history, for people and scripts, from what is on disk. Nobody is asked, and nothing is changed.

use std::fmt;

use convoy_shared::enrolment::{RequestRecord, RequestState};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    book,
    ledger::{Holding, Ledger},
    rules::{Believed, Rules},
    store::Store,
};
use crate::{
    disk::{DiskError, StateDir},
    state::{State, StateError},
};

/// The requests.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Requests {
    /// Of the controller's document. 0: it has set nothing.
    pub(crate) revision: u64,
    /// The auto-request timer.
    pub(crate) timer: bool,
    /// `Next Request Date/Time`.
    pub(crate) next_request: Option<Timestamp>,
    /// Newest first.
    pub(crate) requests: Vec<Row>,
}

/// One request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) attempt: u64,
    pub(crate) request_time: Timestamp,
    pub(crate) key_name: String,
    pub(crate) key_use: String,
    pub(crate) status: &'static str,
    pub(crate) details: String,
    /// The cause of an error in words.
    pub(crate) cause: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl From<&RequestRecord> for Row {
    fn from(record: &RequestRecord) -> Self {
        let (details, cause) = match &record.state {
            RequestState::ToBeProcessed => (record.requested_at.to_string(), None),
            RequestState::Processing { polls, waiting } => match waiting {
                None => (String::new(), None),
                Some(why) => (format!("{why}, poll {polls}"), Some(why.cause())),
            },
            RequestState::Error(why) => (why.to_string(), Some(why.cause())),
            RequestState::Successful(certificate) => (certificate.issued_at.to_string(), None),
        };
        Self {
            attempt: record.attempt,
            request_time: record.requested_at,
            key_name: record.key_name.clone(),
            key_use: record.key_use.to_string(),
            status: record.state.word(),
            details,
            cause,
            warnings: record.warnings.clone(),
        }
    }
}

/// The certificates.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct History {
    /// Newest first.
    pub(crate) certificates: Vec<Certificate>,
}

/// One certificate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Certificate {
    pub(crate) attempt: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) key_name: String,
    pub(crate) key_use: String,
    pub(crate) destination: String,
    pub(crate) serial: String,
    pub(crate) subject: String,
    pub(crate) fingerprint: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Its key use location has it.
    pub(crate) in_use: bool,
    /// Its key and certificate are still on the device.
    pub(crate) held: bool,
}

impl From<&Holding> for Certificate {
    fn from(holding: &Holding) -> Self {
        let certificate = &holding.certificate;
        Self {
            attempt: holding.attempt,
            issued_at: certificate.issued_at,
            key_name: holding.key_name.clone(),
            key_use: holding.key_use.to_string(),
            destination: holding.destination.clone(),
            serial: certificate.serial.clone(),
            subject: certificate.subject.clone(),
            fingerprint: certificate.fingerprint.to_string(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            in_use: holding.in_use,
            held: holding.held,
        }
    }
}

/// The ledger of a folder, only looked at.
fn ledger(store: &Store) -> Result<Ledger, ShowError> {
    match store.read(book::FILE)? {
        None => Ok(Ledger::default()),
        Some(bytes) => {
            Ledger::from_bytes(&bytes).map_err(|error| ShowError::Damaged(error.to_string()))
        }
    }
}

/// The requests of a folder.
pub(crate) fn requests(dir: &StateDir) -> Result<Requests, ShowError> {
    let state = State::load(dir)?;
    let Some(store) = Store::find(dir)? else {
        return Ok(Requests {
            revision: 0,
            timer: false,
            next_request: None,
            requests: Vec::new(),
        });
    };
    let rules = Rules::load(&store, &Believed::of(&state))?;
    let ledger = ledger(&store)?;
    Ok(Requests {
        revision: rules.revision.0,
        timer: rules.settings.timer,
        next_request: ledger.upcoming.as_ref().map(|record| record.requested_at),
        requests: ledger.all().iter().rev().map(Row::from).collect(),
    })
}

impl Requests {
    /// The newest request that was made, in words.
    pub(crate) fn newest(&self) -> Option<String> {
        let mut made = self.requests.iter();
        let row = made.find(|row| row.status != RequestState::ToBeProcessed.word())?;
        Some(
            format!("{} {} {}", row.request_time, row.status, row.details)
                .trim_end()
                .to_owned(),
        )
    }
}

/// The certificates of a folder.
pub(crate) fn history(dir: &StateDir) -> Result<History, ShowError> {
    State::load(dir)?;
    let ledger = match Store::find(dir)? {
        Some(store) => ledger(&store)?,
        None => Ledger::default(),
    };
    Ok(History {
        certificates: ledger
            .certificates
            .iter()
            .rev()
            .map(Certificate::from)
            .collect(),
    })
}

/// Lines of columns, each as wide as its widest cell.
fn columns<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let width = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self
            .next_request
            .map_or_else(|| "-".to_owned(), |time| time.to_string());
        writeln!(f, "Next Request Date/Time: {next}")?;
        writeln!(f)?;
        let head = ["Request Date/Time", "Key Name", "Status", "Details"];
        let rows = self.requests.iter().map(|row| {
            [
                row.request_time.to_string(),
                row.key_name.clone(),
                row.status.to_owned(),
                row.details.clone(),
            ]
        });
        columns(f, head, rows)?;
        for row in &self.requests {
            let told = row.cause.iter().chain(&row.warnings);
            for text in told {
                writeln!(f, "request {}: {text}", row.attempt)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "Issued",
            "Key Name",
            "Key Use Location",
            "Serial",
            "Valid Until",
            "Subject",
            "",
        ];
        let rows = self.certificates.iter().map(|certificate| {
            let place = if certificate.destination.is_empty() {
                certificate.key_use.clone()
            } else {
                format!("{} ({})", certificate.key_use, certificate.destination)
            };
            let state = match (certificate.in_use, certificate.held) {
                (true, _) => "in use",
                (false, true) => "",
                (false, false) => "deleted",
            };
            [
                certificate.issued_at.to_string(),
                certificate.key_name.clone(),
                place,
                certificate.serial.clone(),
                certificate.not_after.to_string(),
                certificate.subject.clone(),
                state.to_owned(),
            ]
        });
        columns(f, head, rows)
    }
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowError {
    /// The folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// This host has not joined, or its state is damaged.
    #[error(transparent)]
    State(#[from] StateError),
    /// The list is damaged.
    #[error(
        "the list of certificate requests is damaged: {0}; the agent sets it aside at its next start"
    )]
    Damaged(String),
}
