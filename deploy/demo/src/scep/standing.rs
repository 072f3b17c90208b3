//! How far the devices' certificate requests are, as `convoy scep status --watch -o json` tells it, and how the demo words it. Nobody is asked here.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::load::Issued;
use crate::rotation::named;

/// A device and its newest request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Device {
    client: String,
    name: String,
    connected: bool,
    /// In the printers' words. Empty: there was none.
    status: String,
    details: String,
    cause: String,
    record: Option<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Record {
    certificate: Option<Certificate>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Certificate {
    serial: String,
}

const TO_BE_PROCESSED: &str = "To Be Processed";
const PROCESSING: &str = "Processing...";
const ERROR: &str = "Error";
const SUCCESSFUL: &str = "Successful";

/// All devices, each with its newest request.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// By client.
    devices: BTreeMap<String, Device>,
    /// How many there are to be.
    of: u16,
}

/// How many have which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) of: u16,
    pub(crate) to_be_processed: u16,
    pub(crate) processing: u16,
    pub(crate) error: u16,
    pub(crate) successful: u16,
}

/// A device that has no certificate in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unserved {
    pub(crate) name: String,
    pub(crate) why: String,
}

impl Device {
    /// Nothing more comes of it by itself.
    fn is_settled(&self) -> bool {
        self.status == ERROR || self.status == SUCCESSFUL
    }

    /// Status, details and cause in the printers' words.
    fn words(&self) -> String {
        let status = match self.status.as_str() {
            "" => "no request",
            status => status,
        };
        let mut words = status.to_owned();
        for part in [&self.details, &self.cause] {
            if !part.is_empty() {
                words.push_str(": ");
                words.push_str(part);
            }
        }
        if !self.connected {
            words.push_str(" (not connected)");
        }
        words
    }

    /// Why it does not count as served, if it does not.
    fn unserved(&self, issued: &[Issued]) -> Option<String> {
        if self.status != SUCCESSFUL {
            return Some(self.words());
        }
        let certificate = self
            .record
            .as_ref()
            .and_then(|record| record.certificate.as_ref());
        let recorded = certificate.is_some_and(|held| {
            issued
                .iter()
                .any(|one| one.client == self.client && one.serial == held.serial)
        });
        (!recorded)
            .then(|| "Successful, with a certificate that the CA has no record of".to_owned())
    }
}

impl Standing {
    /// Of so many devices of which nothing is known yet.
    pub(crate) fn of(clients: u16) -> Self {
        Self {
            devices: BTreeMap::new(),
            of: clients,
        }
    }

    /// What has become of a device.
    pub(crate) fn hear(&mut self, device: Device) {
        self.devices.insert(device.client.clone(), device);
    }

    /// Nobody is waited for.
    pub(crate) fn is_settled(&self) -> bool {
        let Counts {
            of,
            error,
            successful,
            ..
        } = self.counts();
        error + successful >= of
    }

    pub(crate) fn counts(&self) -> Counts {
        let with = |status: &str| {
            let devices = self.devices.values();
            let number = devices.filter(|device| device.status == status).count();
            u16::try_from(number).unwrap_or(u16::MAX)
        };
        Counts {
            of: self.of,
            to_be_processed: with(TO_BE_PROCESSED),
            processing: with(PROCESSING),
            error: with(ERROR),
            successful: with(SUCCESSFUL),
        }
    }

    /// Who is waited for, by name; empty if nobody is.
    pub(crate) fn waiting(&self) -> String {
        let mut names: Vec<&str> = self
            .devices
            .values()
            .filter(|device| !device.is_settled())
            .map(|device| device.name.as_str())
            .collect();
        names.sort_unstable();
        if names.is_empty() {
            return String::new();
        }
        format!("waiting for {}", named(names))
    }

    /// Who has no certificate that the CA knows of, and why.
    pub(crate) fn unserved(&self, issued: &[Issued]) -> Vec<Unserved> {
        let mut unserved: Vec<Unserved> = self
            .devices
            .values()
            .filter_map(|device| {
                Some(Unserved {
                    why: device.unserved(issued)?,
                    name: device.name.clone(),
                })
            })
            .collect();
        unserved.sort_by(|one, other| one.name.cmp(&other.name));
        let known = u16::try_from(self.devices.len()).unwrap_or(u16::MAX);
        for _ in known..self.of {
            unserved.push(Unserved {
                name: "a client".to_owned(),
                why: "the controller tells nothing of it".to_owned(),
            });
        }
        unserved
    }
}

/// Where it stands, for errors.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate requests: {}", self.counts())?;
        match self.waiting().as_str() {
            "" => Ok(()),
            waiting => write!(f, "; {waiting}"),
        }
    }
}

/// Those who are done in any case, and who is not if there is anybody.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, status) in [
            (self.to_be_processed, TO_BE_PROCESSED),
            (self.processing, PROCESSING),
        ] {
            if number > 0 {
                write!(f, "{number} {status}, ")?;
            }
        }
        write!(
            f,
            "{} {SUCCESSFUL}, {} {ERROR}, of {}",
            self.successful, self.error, self.of
        )
    }
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// A device as the watch tells of it.
    pub(crate) fn device(name: &str, status: &str, details: &str) -> Device {
        let record = match status {
            "" => "null",
            SUCCESSFUL => {
                r#"{"attempt": 1, "state": "Successful", "certificate": {"serial": "0A", "subject": "CN=a"}}"#
            }
            _ => r#"{"attempt": 1, "state": "Error", "certificate": null}"#,
        };
        serde_json::from_str(&format!(
            r#"{{"client": "id-of-{name}", "name": "{name}", "group": "default", "connected": true, "status": "{status}",
                "details": "{details}", "cause": "", "next_request": null, "supports": ["TLS"], "record": {record}}}"#
        ))
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::load::examples::issued, examples::device, *};

    #[test]
    fn devices_are_counted_by_status_and_those_not_settled_are_named() {
        let mut standing = Standing::of(4);
        assert!(!standing.is_settled());
        assert_eq!(standing.waiting(), "");
        for (name, status) in [
            ("agent-004", ""),
            ("agent-003", TO_BE_PROCESSED),
            ("agent-002", PROCESSING),
            ("agent-001", SUCCESSFUL),
        ] {
            standing.hear(device(name, status, ""));
        }
        assert_eq!(
            standing.counts(),
            Counts {
                of: 4,
                to_be_processed: 1,
                processing: 1,
                error: 0,
                successful: 1
            }
        );
        assert_eq!(
            standing.counts().to_string(),
            "1 To Be Processed, 1 Processing..., 1 Successful, 0 Error, of 4"
        );
        assert_eq!(
            standing.to_string(),
            "the certificate requests: 1 To Be Processed, 1 Processing..., 1 Successful, 0 Error, of 4; waiting for agent-002, agent-003, agent-004"
        );
        for name in ["agent-002", "agent-003", "agent-004"] {
            standing.hear(device(name, ERROR, "Deferred"));
        }
        assert!(standing.is_settled());
        assert_eq!(standing.counts().to_string(), "1 Successful, 3 Error, of 4");
        assert_eq!(standing.waiting(), "");
    }

    #[test]
    fn who_has_nothing_is_told_with_the_printers_words() {
        let mut standing = Standing::of(4);
        standing.hear(device(
            "agent-002",
            ERROR,
            "Communication Error (TOP ERROR)",
        ));
        standing.hear(device("agent-001", "", ""));
        standing.hear(device("agent-003", SUCCESSFUL, ""));
        let told = |issued: &[Issued]| -> Vec<String> {
            let unserved = standing.unserved(issued).into_iter();
            unserved
                .map(|Unserved { name, why }| format!("{name}: {why}"))
                .collect()
        };
        let nothing = [
            "agent-001: no request",
            "agent-002: Error: Communication Error (TOP ERROR)",
            "a client: the controller tells nothing of it",
        ];
        assert_eq!(told(&[issued("0A", "id-of-agent-003", 0)]), nothing);
        let strange = "agent-003: Successful, with a certificate that the CA has no record of";
        for other in [
            issued("0B", "id-of-agent-003", 0),
            issued("0A", "id-of-agent-001", 0),
        ] {
            assert_eq!(told(&[other])[2], strange);
        }
    }
}
