//! The start of the engine: what a crash left is finished, or forgotten. What was in use stays in use.

use std::sync::Arc;

use convoy_shared::{
    enrolment::{ErrorDetail, RequestState},
    settings::ScepSettings,
};
use jiff::SignedDuration;

use super::Engine;
use crate::{
    configuration::Configuration,
    link::told,
    place::{self, Places},
    run::{Shutdown, asked},
    scep::{
        attempt::{Bench, Ended, Job, Stop},
        ledger::Finishing,
    },
};

impl Engine {
    /// Puts right what a crash left: what was being put in place first. Whether it has come to its end: it has not if the process is to stop.
    pub(super) async fn recover(&mut self, shutdown: &mut Shutdown) -> bool {
        let places = match Configuration::load(&self.bench.configuration) {
            Ok(configuration) => configuration.places,
            Err(error) => {
                tracing::error!(
                    error = told(&error),
                    "the configuration is not right: files of an installation that was cut off are put back all the same, and nobody is told"
                );
                Places::default()
            }
        };
        let put_right = tokio::select! {
            biased;
            put_right = place::recover(&self.bench.state, &places) => put_right,
            // It can be tried again at the next start.
            () = asked(shutdown) => return false,
        };
        if let Err(error) = put_right {
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
            let terms = underway.as_ref().map(|underway| &underway.terms.settings);
            let patience = Patience::of(terms.unwrap_or(&self.rules.settings));
            let polls = underway.map_or(0, |underway| underway.polls);
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(
                bench.put_in_place_again(finishing, patience, polls),
            ));
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
                book.note(|ledger| ledger.abandon(underway.attempt, why, now));
                book.sweep();
            }
        } else if self.timers {
            let bench = self.bench.clone();
            self.running = Some(tokio::spawn(async move { bench.restart().await }));
        }
        true
    }
}

/// How often something is tried again, and how long after.
#[derive(Clone, Copy)]
struct Patience {
    polls: u32,
    interval: SignedDuration,
}

impl Patience {
    fn of(settings: &ScepSettings) -> Self {
        Self {
            polls: settings.polls,
            interval: settings.poll_interval.0,
        }
    }
}

impl Bench {
    /// Puts a certificate in place when that was cut off. What uses it may not have started yet, so that it is tried as long as polls are left.
    async fn put_in_place_again(self, finishing: Finishing, patience: Patience, mut polls: u32) {
        let attempt = finishing.holding.attempt;
        loop {
            let why = match self.put_in_place(finishing.clone()).await {
                Ok(()) | Err(Ended::Left) => return,
                Err(Ended::Failed(why) | Ended::Abandoned(why)) => why,
            };
            let now = self.clock.now();
            // What is lost does not come back.
            let whole = matches!(self.material(attempt), Ok(Some(_)));
            if !whole || polls >= patience.polls {
                tracing::warn!(attempt, %why, cause = why.cause(), "the certificate could not be put in place");
                self.book.note(|ledger| ledger.fail(attempt, why, now));
                self.book.sweep();
                return;
            }
            polls += 1;
            let until = now.saturating_add(patience.interval).unwrap_or(now);
            tracing::warn!(attempt, %why, cause = why.cause(), %until, polls, "the certificate is not in place yet");
            let state = RequestState::Processing {
                polls,
                waiting: Some(why),
            };
            self.book.note(|ledger| {
                ledger.set_state(attempt, state, now);
                if let Some(underway) = &mut ledger.underway {
                    underway.polls = polls;
                }
            });
            let mut stop = self.stop.clone();
            tokio::select! {
                () = self.clock.sleep_until(until) => {}
                _ = stop.wait_for(|stop| *stop == Stop::Leave) => return,
            }
        }
    }
}
