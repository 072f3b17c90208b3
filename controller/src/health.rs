//! What is wrong with the controller now, as a register that operators read. It stops nothing: agents are served all the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock;

/// Something that may be wrong. The order is the order in which operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degraded {
    /// The wall clock is not believed.
    Clock,
    /// A certificate that is to be served cannot be loaded.
    Certificate,
    /// An old certificate cannot be loaded: clients that trust only that one cannot connect.
    OldCertificate,
    /// An address by which clients come does not lead here.
    Addresses,
    /// Something that is due cannot be done.
    Duty,
    /// The journal is older than the fleet.
    JournalOlder,
    /// Another copy of this controller has gone on.
    Superseded,
    /// Something hints that the journal is older than the fleet.
    JournalHints,
    /// The journal cannot be written: nothing is decided.
    Journal,
    /// The disk is full: nothing can be written, and nothing is decided.
    DiskFull,
    /// The certificate that is served, or a CA of the controller's own, has expired.
    ExpiredCertificate,
    /// A document that is published has expired.
    ExpiredDocument,
}

impl Degraded {
    /// All, in order.
    pub const ALL: [Self; 12] = [
        Self::Clock,
        Self::Certificate,
        Self::OldCertificate,
        Self::Addresses,
        Self::Duty,
        Self::JournalOlder,
        Self::Superseded,
        Self::JournalHints,
        Self::Journal,
        Self::DiskFull,
        Self::ExpiredCertificate,
        Self::ExpiredDocument,
    ];

    /// The code, as scripts and metrics read it. It never changes its meaning.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Certificate => "certificate",
            Self::OldCertificate => "old_certificate",
            Self::Addresses => "addresses",
            Self::Duty => "duty",
            Self::JournalOlder => "journal_older",
            Self::Superseded => "superseded",
            Self::JournalHints => "journal_hints",
            Self::Journal => "journal",
            Self::DiskFull => "disk_full",
            Self::ExpiredCertificate => "expired_certificate",
            Self::ExpiredDocument => "expired_document",
        }
    }

    /// Whether it is logged as an error, not as a warning: clients may be cut off if nobody acts.
    const fn is_error(self) -> bool {
        match self {
            Self::Clock
            | Self::Certificate
            | Self::OldCertificate
            | Self::Duty
            | Self::JournalOlder
            | Self::Superseded
            | Self::Journal
            | Self::DiskFull => true,
            Self::JournalHints => false,
            // The controller may have no way to an address that clients have.
            Self::Addresses => false,
            // Agents pin the key, and keep an expired document.
            Self::ExpiredCertificate | Self::ExpiredDocument => false,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What is wrong, and what helps, for people.
    pub words: String,
    /// Since when.
    pub since: Timestamp,
}

/// The register. Its clones are the same register.
#[derive(Clone, Debug, Default)]
pub struct Health(watch::Sender<BTreeMap<Degraded, Reason>>);

impl Health {
    /// Something is wrong. Logs it when it begins and when its words change, and never again for the same.
    pub fn say(&self, degraded: Degraded, words: impl Into<String>) {
        let words = words.into();
        let now = clock::now();
        let changed = self.0.send_if_modified(|reasons| {
            let reason = reasons.entry(degraded).or_insert(Reason {
                words: String::new(),
                since: now,
            });
            let changed = reason.words != words;
            reason.words.clone_from(&words);
            changed
        });
        let code = degraded.code();
        match (changed, degraded.is_error()) {
            (true, true) => tracing::error!(degraded = code, "{words}"),
            (true, false) => tracing::warn!(degraded = code, "{words}"),
            (false, _) => {}
        }
    }

    /// It is no longer wrong. Nothing happens if it was not.
    pub fn clear(&self, degraded: Degraded) {
        let cleared = self
            .0
            .send_if_modified(|reasons| reasons.remove(&degraded).is_some());
        if cleared {
            tracing::info!(degraded = degraded.code(), "no longer degraded");
        }
    }

    /// What is wrong now.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<Degraded, Reason> {
        self.0.borrow().clone()
    }

    /// Whether this is wrong now.
    #[must_use]
    pub fn is(&self, degraded: Degraded) -> bool {
        self.0.borrow().contains_key(&degraded)
    }

    /// Changes as the register does.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<BTreeMap<Degraded, Reason>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_keeps_its_beginning_until_it_is_cleared() {
        let health = Health::default();
        let mut changes = health.changes();
        health.say(Degraded::Duty, "the disk is full");
        let since = health.reasons()[&Degraded::Duty].since;
        assert!(changes.has_changed().expect("the register"));
        changes.mark_unchanged();

        // The same again is no change, other words are one, and neither begins anew.
        health.say(Degraded::Duty, "the disk is full");
        assert!(!changes.has_changed().expect("the register"));
        health.say(Degraded::Duty, "the disk is gone");
        assert!(changes.has_changed().expect("the register"));
        let reason = &health.reasons()[&Degraded::Duty];
        assert_eq!(
            (reason.words.as_str(), reason.since),
            ("the disk is gone", since)
        );

        health.clear(Degraded::Duty);
        assert!(health.reasons().is_empty() && !health.is(Degraded::Duty));
        health.clear(Degraded::Clock);
    }

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        let mut codes = Degraded::ALL.map(Degraded::code).to_vec();
        assert!(
            codes
                .iter()
                .all(|code| { code.chars().all(|c| c.is_ascii_lowercase() || c == '_') })
        );
        codes.dedup();
        assert_eq!(codes.len(), Degraded::ALL.len());
    }
}
