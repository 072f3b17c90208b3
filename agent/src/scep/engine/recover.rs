//! The start of the engine: what a crash left is finished, or forgotten. What was in use stays in use.

use std::sync::Arc;

use convoy_shared::enrolment::ErrorDetail;

use super::Engine;
use crate::{
    link::told,
    place,
    scep::attempt::{Ended, Job},
};

impl Engine {
    /// Puts right what a crash left: what was being put in place first.
    pub(super) async fn recover(&mut self) {
        if let Ok(configuration) = self.bench.configuration()
            && let Err(error) = place::recover(&self.bench.state, &configuration.places).await
        {
            tracing::error!(
                error = told(&error),
                "an installation that was cut off is not yet put right"
            );
        }
        let now = self.bench.clock.now();
        let book = Arc::clone(&self.bench.book);
        let (finishing, underway) =
            book.read(|ledger| (ledger.finishing.clone(), ledger.underway.clone()));
        let alive = finishing
            .as_ref()
            .map(|finishing| finishing.holding.attempt)
            .or_else(|| underway.as_ref().map(|underway| underway.attempt));
        book.note(|ledger| {
            let lost: Vec<_> = ledger
                .records
                .iter()
                .filter(|record| !record.state.is_final() && Some(record.attempt) != alive)
                .map(|record| record.attempt)
                .collect();
            for attempt in lost {
                let why = ErrorDetail::Device("interrupted by a restart".to_owned());
                ledger.fail(attempt, why, now);
            }
        });
        if let Some(finishing) = finishing {
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(async move {
                let attempt = finishing.holding.attempt;
                if let Err(Ended::Failed(why)) = bench.put_in_place(finishing).await {
                    let now = bench.clock.now();
                    bench.book.note(|ledger| ledger.fail(attempt, why, now));
                    bench.book.sweep();
                }
            }));
        } else if let Some(underway) = underway.filter(|_| self.timers) {
            // The settings may have changed just before the crash.
            let mut wanted = self.rules.settings.clone();
            wanted
                .ipsec_destination
                .clone_from(&underway.terms.settings.ipsec_destination);
            if wanted.timer && wanted == underway.terms.settings {
                self.spawn(Job::again(underway));
            } else {
                let why = ErrorDetail::Device("the settings have changed".to_owned());
                book.note(|ledger| ledger.fail(underway.attempt, why, now));
                book.sweep();
            }
        } else if self.timers {
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(async move { bench.restart().await }));
        }
    }
}
