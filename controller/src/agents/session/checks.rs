//! What a session does about checks: one at a time is asked for, reported on and judged. What one must show is decided in `duty`, and what it has shown in
//! `crate::checks`.

use std::{collections::BTreeMap, time::Duration};

use convoy_fleet::statement::Statement;
use convoy_proto::{
    agent::{read_check_token, read_held, words_of_peer},
    v1::{self, session_response},
};
use convoy_shared::{
    ack::{HandshakeOutcome, Held},
    address::MAX_ADDRESSES,
    trust::ModeInForce,
};
use tokio::time::Instant;

use super::{super::hello::clock_ahead, End, Talk};
use crate::{
    api::status,
    checks::{OpenCheck, Report, Verdict, Wanted},
};

/// How long a check may take until the client reports.
const REPORT: Duration = Duration::from_secs(40);
/// How long the controller's own sight may come after the report.
const SIGHT: Duration = Duration::from_secs(8);
/// A check without a result is asked for again after so long, doubled each time.
pub(super) const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// A check that is under way.
pub(super) struct Running {
    pub(super) open: OpenCheck,
    pub(super) until: Instant,
    reported: bool,
}

impl Talk {
    pub(super) async fn order(&mut self, held: Held, wanted: Wanted) -> Result<(), End> {
        if let Some(running) = &self.check {
            let check = running.open.check();
            if (check.held, check.wanted) == (held, wanted) {
                return Ok(());
            }
            self.check = None;
        }
        let now = Instant::now();
        if self.not_before.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.not_before = None;
        let open = self
            .agents
            .checks
            .begin(self.identity.client, held, wanted, self.other_ways())
            .map_err(|_| status::internal("no random numbers"))?;
        let check = v1::Check {
            token: open.check().token.0.to_vec().into(),
            trust: Some(held.into()),
            probe_generation: wanted.probe().map_or(0, |generation| generation.0),
        };
        // It is known to the listener before the client hears of it.
        self.check = Some(Running {
            open,
            until: now + REPORT,
            reported: false,
        });
        self.send(session_response::Message::Check(check)).await
    }

    pub(super) fn take_report(&mut self, report: &v1::CheckReport) -> Result<(), End> {
        let outcome = |wire: v1::HandshakeOutcome, field| {
            HandshakeOutcome::try_from(wire).map_err(|bad| status::invalid(field, &bad))
        };
        let token =
            read_check_token(&report.token).map_err(|bad| status::invalid("token", &bad))?;
        let said = Report {
            held: read_held(report.trust.clone()).map_err(|bad| status::invalid("trust", &bad))?,
            probe: outcome(report.probe(), "probe")?,
            decoy: outcome(report.decoy(), "decoy")?,
            mode: ModeInForce::try_from(report.mode())
                .map_err(|bad| status::invalid("mode", &bad))?,
            failure: words_of_peer(&report.failure),
            others: read_others(&report.others).map_err(|bad| status::invalid("others", &bad))?,
        };
        self.note_unreachable(&said);
        self.agents
            .sights
            .clock(self.identity.client, clock_ahead(report.wall_clock_seconds));
        // A report of a check that is over is stale, and says nothing.
        if let Some(running) = &mut self.check
            && running.open.check().token == token
        {
            running.open.report(said);
            if !running.reported {
                running.reported = true;
                running.until = Instant::now() + SIGHT;
            }
        }
        Ok(())
    }

    /// Takes the result of a check, if it has one.
    pub(super) async fn conclude(&mut self) -> Result<(), End> {
        let Some(running) = &self.check else {
            return Ok(());
        };
        let verdict = running.open.verdict(Instant::now() >= running.until);
        if verdict == Verdict::Pending {
            return Ok(());
        }
        let (held, wanted) = (running.open.check().held, running.open.check().wanted);
        self.check = None;
        let client = self.identity.id;
        match verdict {
            Verdict::Pending => Ok(()),
            Verdict::Shown => {
                self.again = AGAIN;
                self.not_before = None;
                self.agents.sights.unhindered(self.identity.client);
                self.state(match wanted {
                    Wanted::Proof(generation) => Statement::Proved(held, generation),
                    Wanted::Refusal => Statement::Confirmed(held, self.peer.served),
                    Wanted::Relaxation => Statement::Relaxed(held),
                })
                .await
            }
            Verdict::Inconclusive(why) => {
                tracing::info!(%client, %why, "a check showed nothing; it is repeated");
                self.hindered(why);
                self.later();
                Ok(())
            }
            Verdict::Caught(suspicion) => {
                self.later();
                self.state(Statement::Suspected(suspicion)).await
            }
        }
    }

    fn later(&mut self) {
        self.not_before = Some(Instant::now() + self.again);
        self.again = (self.again * 2).min(AGAIN_AT_MOST);
    }
}

/// By the addresses' places, each once.
fn read_others(wire: &[v1::ProbeOver]) -> Result<BTreeMap<u8, (HandshakeOutcome, String)>, String> {
    let places = || format!("places of at most {MAX_ADDRESSES} addresses, each once");
    let mut others = BTreeMap::new();
    for probe in wire {
        let outcome = HandshakeOutcome::try_from(probe.outcome()).map_err(|bad| bad.to_string())?;
        let place = u8::try_from(probe.place).map_err(|_| places())?;
        let said = (outcome, words_of_peer(&probe.failure));
        if usize::from(place) >= MAX_ADDRESSES || others.insert(place, said).is_some() {
            return Err(places());
        }
    }
    Ok(others)
}
