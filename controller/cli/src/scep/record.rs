//! A device's request as the controller tells of it, in the printers' words. Which words, is not decided here.

use convoy_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    failure::Unreadable,
    words::{self, Known, Spelled},
};

/// A client and one of its requests: the newest one, or one of its history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) client: String,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) connected: bool,
    pub(crate) status: String,
    pub(crate) details: String,
    pub(crate) cause: String,
    next_request: Option<Timestamp>,
    supports: Vec<String>,
    /// None: there was no request.
    pub(crate) record: Option<Record>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Record {
    pub(crate) attempt: u64,
    pub(crate) trigger: Known<v1::ScepTrigger>,
    pub(crate) requested_at: Option<Timestamp>,
    pub(crate) key_name: String,
    key_use: String,
    pub(crate) state: Known<v1::ScepState>,
    pub(crate) updated_at: Option<Timestamp>,
    polls: u32,
    certificate: Option<Obtained>,
    pub(crate) warnings: Vec<String>,
}

/// A certificate that a device obtained.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Obtained {
    issued_at: Option<Timestamp>,
    serial: String,
    subject: String,
    fingerprint: String,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
}

impl Spelled for v1::ScepTrigger {
    const WHAT: &'static str = "trigger";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Timer => Some("timer"),
            Self::Manual => Some("manual"),
        }
    }
}

impl Spelled for v1::ScepState {
    const WHAT: &'static str = "status of a request";

    fn spelling(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::ToBeProcessed => Some("To Be Processed"),
            Self::Processing => Some("Processing..."),
            Self::Error => Some("Error"),
            Self::Successful => Some("Successful"),
        }
    }
}

impl TryFrom<v1::ScepStatus> for Status {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepStatus) -> Result<Self, Unreadable> {
        Ok(Self {
            client: wire.client,
            name: wire.name,
            group: wire.group,
            connected: wire.connected,
            status: wire.status,
            details: wire.details,
            cause: wire.cause,
            next_request: answers::instant(wire.next_request, "next_request")?,
            supports: wire.supports,
            record: wire.record.map(Record::try_from).transpose()?,
        })
    }
}

impl TryFrom<v1::ScepRecord> for Record {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepRecord) -> Result<Self, Unreadable> {
        Ok(Self {
            attempt: wire.attempt,
            trigger: Known::read(wire.trigger)?,
            requested_at: answers::instant(wire.requested_at, "requested_at")?,
            key_name: wire.key_name,
            key_use: wire.key_use,
            state: Known::read(wire.state)?,
            updated_at: answers::instant(wire.updated_at, "updated_at")?,
            polls: wire.polls,
            certificate: wire.certificate.map(Obtained::try_from).transpose()?,
            warnings: wire.warnings,
        })
    }
}

impl TryFrom<v1::ScepCertificate> for Obtained {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepCertificate) -> Result<Self, Unreadable> {
        Ok(Self {
            issued_at: answers::instant(wire.issued_at, "issued_at")?,
            serial: wire.serial,
            subject: wire.subject,
            fingerprint: hex::encode(wire.fingerprint),
            not_before: answers::instant(wire.not_before, "not_before")?,
            not_after: answers::instant(wire.not_after, "not_after")?,
        })
    }
}

impl Status {
    /// `Request Date/Time`, `Key Name`, `Status` and `Details`.
    pub(crate) fn columns(&self) -> [String; 4] {
        let dash = || "-".to_owned();
        let Some(record) = &self.record else {
            return [dash(), dash(), dash(), String::new()];
        };
        [
            words::instant(record.requested_at),
            record.key_name.clone(),
            self.status.clone(),
            self.told(),
        ]
    }

    /// `Details`: of a success, the date and time of issue, and of the next request.
    fn told(&self) -> String {
        if !self.details.is_empty() {
            return self.details.clone();
        }
        let obtained = self
            .record
            .as_ref()
            .and_then(|record| record.certificate.as_ref());
        match (obtained, self.next_request) {
            (Some(obtained), Some(next)) => format!(
                "issued {}, next request {}",
                words::instant(obtained.issued_at),
                words::instant(Some(next))
            ),
            (Some(obtained), None) => format!("issued {}", words::instant(obtained.issued_at)),
            (None, _) => String::new(),
        }
    }

    /// One line for people: status and details, with the cause of an error.
    pub(crate) fn line(&self) -> String {
        let mut line = if self.status.is_empty() {
            "no request yet".to_owned()
        } else {
            self.status.clone()
        };
        for part in [self.told(), self.cause.clone()] {
            if !part.is_empty() {
                line.push_str(": ");
                line.push_str(&part);
            }
        }
        words::plain(&line)
    }

    /// Its certificate, in a few words.
    pub(crate) fn certificate(&self) -> Option<String> {
        let obtained = self.record.as_ref()?.certificate.as_ref()?;
        Some(format!(
            "certificate {} of {}, valid until {}",
            words::plain(&obtained.serial),
            words::plain(&obtained.subject),
            words::instant(obtained.not_after)
        ))
    }
}

impl Record {
    /// Nothing more becomes of it.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self.state.value(),
            v1::ScepState::Error | v1::ScepState::Successful
        )
    }
}
