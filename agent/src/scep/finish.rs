//! The end of a request that has brought a certificate: stored, put in place, the old one deleted, the device restarted. No key leaves its files.

use std::time::Duration;

use convoy_scep::certificate::Certificate;
use convoy_shared::{
    enrolment::{ErrorDetail, IssuedCertificate, RequestState},
    id::Digest,
};
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::{
    attempt::{Bench, Brought, Ended, Job},
    ledger::{Finishing, Holding},
    names,
    store::Part,
};
use crate::{
    configuration::Configuration,
    disk::DiskError,
    link::told,
    place::{self, Material},
};

/// How long a restart waits for the controller to be told of the certificate.
const TELL: Duration = Duration::from_secs(5);
/// For what was said to leave this host.
const LEAVE: Duration = Duration::from_millis(200);

impl Bench {
    /// Stores the certificate, and puts it in place.
    pub(crate) async fn finish(&mut self, job: &Job, brought: Brought) -> Result<(), Ended> {
        let certificate = &brought.issued.certificate;
        let key_name = self.book.read(|ledger| {
            let mut records = ledger.records.iter();
            let record = records.find(|record| record.attempt == job.attempt);
            record.map_or_else(String::new, |record| record.key_name.clone())
        });
        let settings = &job.terms.settings;
        let finishing = Finishing {
            holding: Holding {
                attempt: job.attempt,
                key_name,
                key_use: settings.key_use,
                destination: settings.ipsec_destination.clone(),
                url: job.terms.url.clone(),
                asked: names::asked(settings, &brought.names),
                certificate: IssuedCertificate {
                    issued_at: self.clock.now(),
                    serial: certificate.serial_hex(),
                    subject: certificate.subject_text(),
                    fingerprint: Digest::new(certificate.fingerprint()),
                    not_before: certificate.not_before(),
                    not_after: certificate.not_after(),
                },
                in_use: false,
                held: false,
            },
            due: job.due,
            delete_old: settings.delete_old,
            restart: job.restart,
        };
        self.store(job.attempt, &brought)
            .and_then(|()| {
                let stored = finishing.clone();
                self.book.change(|ledger| ledger.finishing = Some(stored)).1
            })
            .map_err(|error| {
                Ended::device(format!(
                    "the certificate cannot be stored: {}",
                    told(&error)
                ))
            })?;
        self.put_in_place(finishing).await
    }

    fn store(&self, attempt: u64, brought: &Brought) -> Result<(), DiskError> {
        let store = &self.book.store;
        let pem = |all: &[Certificate]| all.iter().map(Certificate::to_pem).collect::<String>();
        let issued = &brought.issued;
        store.write(&Part::Key.file(attempt), brought.key_pem.as_bytes())?;
        store.write(&Part::Chain.file(attempt), pem(&issued.chain).as_bytes())?;
        store.write(&Part::Ca.file(attempt), pem(&issued.ca).as_bytes())?;
        store.write(
            &Part::Certificate.file(attempt),
            issued.certificate.to_pem().as_bytes(),
        )
    }

    /// Puts a certificate in place that is on disk; again, if that was cut off.
    pub(crate) async fn put_in_place(&self, finishing: Finishing) -> Result<(), Ended> {
        let holding = &finishing.holding;
        let attempt = holding.attempt;
        let material = self
            .material(attempt)
            .map_err(|error| {
                Ended::device(format!("the certificate cannot be read: {}", told(&error)))
            })?
            .ok_or_else(|| Ended::device("the key or the certificate is missing on disk"))?;
        let configuration = self.configuration()?;
        let installed = async {
            configuration
                .places
                .place(holding.key_use, &holding.destination)?
                .install(&self.state, &material)
                .await
        };
        let installed = installed
            .await
            .map_err(|error| Ended::Failed(ErrorDetail::KeyUseLocation(told(&error))))?;
        let mut warnings = installed.warnings;
        if finishing.restart && configuration.restart.is_none() {
            warnings
                .push("the device was not restarted: how to is not configured on it".to_owned());
        }
        let now = self.clock.now();
        tracing::info!(
            attempt,
            serial = holding.certificate.serial,
            not_after = %holding.certificate.not_after,
            key_use = %holding.key_use,
            "the certificate is in place"
        );
        // In place it is: where this cannot be stored, the next start puts it in place again.
        self.book.note(|ledger| {
            ledger.warn(attempt, warnings);
            ledger.succeed(finishing, now);
        });
        self.book.sweep();
        self.restart().await;
        Ok(())
    }

    pub(crate) fn material(&self, attempt: u64) -> Result<Option<Material>, DiskError> {
        let text = |part: Part| -> Result<Option<String>, DiskError> {
            let bytes = self.book.store.read(&part.file(attempt))?;
            Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
        };
        let key = self.book.store.read_secret(&Part::Key.file(attempt))?;
        let key = key.and_then(|bytes| {
            std::str::from_utf8(&bytes)
                .ok()
                .map(|text| Zeroizing::new(text.to_owned()))
        });
        let (certificate, chain, ca) = (
            text(Part::Certificate)?,
            text(Part::Chain)?,
            text(Part::Ca)?,
        );
        Ok(match (key, certificate, chain, ca) {
            (Some(key_pem), Some(certificate_pem), Some(chain_pem), Some(ca_pem)) => {
                Some(Material {
                    key_pem,
                    certificate_pem,
                    chain_pem,
                    ca_pem,
                })
            }
            _ => None,
        })
    }

    /// Restarts the device, if that is owed. Once: a restart that ends this process must not follow it into the next.
    pub(crate) async fn restart(&self) {
        if !self.book.read(|ledger| ledger.restart) {
            return;
        }
        let version = self.book.news().borrow().version;
        let mut said = self.told.clone();
        let in_session = self
            .challenges
            .session
            .borrow()
            .as_ref()
            .is_some_and(|session| !session.is_closed());
        if in_session
            && timeout(TELL, said.wait_for(|said| *said >= version))
                .await
                .is_ok()
        {
            sleep(LEAVE).await;
        }
        let ((), stored) = self.book.change(|ledger| ledger.restart = false);
        if let Err(error) = stored {
            tracing::error!(
                error = told(&error),
                "not restarted: it could not be stored, and so might be done for ever"
            );
            return;
        }
        let restarted = match Configuration::load(&self.configuration) {
            Ok(configuration) => place::restart(&configuration)
                .await
                .map_err(|error| told(&error)),
            Err(error) => Err(format!("the device was not restarted: {}", told(&error))),
        };
        if let Err(why) = restarted {
            tracing::error!(error = why, "the restart after a certificate failed");
            self.book.note(|ledger| {
                let mut newest_first = ledger.records.iter().rev();
                let placed = newest_first
                    .find(|record| matches!(record.state, RequestState::Successful(_)))
                    .map(|record| record.attempt);
                if let Some(attempt) = placed {
                    ledger.warn(attempt, [why]);
                }
            });
        }
    }
}
