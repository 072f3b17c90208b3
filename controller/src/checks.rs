//! Checks: what the controller saw of a probe and a decoy beside what the client says of them. Counts nothing itself, keeps nothing durably: a check that
//! is lost is asked for again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use convoy_fleet::{
    client::{ClientNumber, Suspicion},
    reason::Obstacle,
};
use convoy_shared::{
    ack::{HandshakeOutcome, Held},
    address::Address,
    id::Generation,
    label::CheckToken,
    trust::ModeInForce,
};
use tokio::sync::Notify;

/// The checks that are under way.
#[derive(Default)]
pub struct Checks {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_token: HashMap<CheckToken, Arc<Check>>,
    /// The newest check with a probe of each client.
    probes: HashMap<ClientNumber, CheckToken>,
}

/// So many decoys are made for one token: its own client needs one, and whoever read it off the wire shall not make the controller work.
const DECOYS: u8 = 8;

/// One check of one client. Ends with the last handle to it.
pub struct Check {
    /// Its one-time token.
    pub token: CheckToken,
    /// Whose.
    pub client: ClientNumber,
    /// The trust document that is to be in force.
    pub held: Held,
    /// What is asked for.
    pub wanted: Wanted,
    /// The other addresses by which the client ever came, by their places in the document: with a probe it must accept the candidate over each.
    pub over: Vec<(u8, Address)>,
    sights: Mutex<Sights>,
    changed: Notify,
    decoys: AtomicU8,
}

/// What a check asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Accept this candidate, and refuse a decoy.
    Proof(Generation),
    /// Refuse a decoy.
    Refusal,
    /// Accept a decoy: verification is to be off.
    Relaxation,
}

impl Wanted {
    /// The generation to probe.
    #[must_use]
    pub const fn probe(self) -> Option<Generation> {
        match self {
            Self::Proof(generation) => Some(generation),
            Self::Refusal | Self::Relaxation => None,
        }
    }
}

/// What the controller saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sights {
    probe_completed: bool,
    /// Places of the other addresses over which it completed a probe.
    probed_over: BTreeSet<u8>,
    decoy: Option<DecoySight>,
    report: Option<Report>,
}

impl Sights {
    /// The token stands in clear in the ClientHello, so that anyone may come with it: what somebody else completed says nothing, and what
    /// anyone may forge takes the place of nothing that only the client can do.
    fn saw_decoy(&mut self, client: ClientNumber, sight: DecoySight) {
        match (self.decoy, sight) {
            (_, DecoySight::Completed(by)) if by != Some(client) => {}
            (Some(DecoySight::Completed(_)), _)
            | (Some(DecoySight::Refused), DecoySight::Broken) => {}
            (_, sight) => self.decoy = Some(sight),
        }
    }
}

/// How the controller saw a decoy's handshake end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecoySight {
    /// The client of this identity completed it.
    Completed(Option<ClientNumber>),
    /// The peer sent a fatal alert about the certificate.
    Refused,
    /// Otherwise: nothing can be said.
    Broken,
}

/// What the client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The document in force.
    pub held: Held,
    /// Of the probe.
    pub probe: HandshakeOutcome,
    /// Of the decoy.
    pub decoy: HandshakeOutcome,
    /// The mode in force.
    pub mode: ModeInForce,
    /// What failed, where it could not make a handshake.
    pub failure: String,
    /// Of the probe over each other address, by its place in the document; and what failed.
    pub others: BTreeMap<u8, (HandshakeOutcome, String)>,
}

/// What a check has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Something is still to come: the report, or the sight of what it says.
    Pending,
    /// Both sides saw what was asked for.
    Shown,
    /// Nothing was shown, because of this; ask again later.
    Inconclusive(Obstacle),
    /// The client was caught.
    Caught(Suspicion),
}

impl Checks {
    /// Begins a check.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub fn begin(
        self: &Arc<Self>,
        client: ClientNumber,
        held: Held,
        wanted: Wanted,
        over: Vec<(u8, Address)>,
    ) -> Result<OpenCheck, aws_lc_rs::error::Unspecified> {
        let mut token = [0; 16];
        SystemRandom::new().fill(&mut token)?;
        let check = Arc::new(Check {
            token: CheckToken(token),
            client,
            held,
            wanted,
            over,
            sights: Mutex::default(),
            changed: Notify::new(),
            decoys: AtomicU8::new(0),
        });
        {
            let mut open = self.lock();
            open.by_token.insert(check.token, Arc::clone(&check));
            if wanted.probe().is_some() {
                open.probes.insert(client, check.token);
            }
        }
        Ok(OpenCheck {
            checks: Arc::clone(self),
            check,
        })
    }

    /// Whether a decoy is to be made for this token: it was asked for, and not too often.
    #[must_use]
    pub fn wants_decoy(&self, token: CheckToken) -> bool {
        self.lock()
            .by_token
            .get(&token)
            .is_some_and(|check| check.decoys.fetch_add(1, Ordering::Relaxed) < DECOYS)
    }

    /// A probe was completed by this client. `over`: the place of the address, if it is not its session's.
    pub fn saw_probe(&self, client: ClientNumber, generation: Generation, over: Option<u8>) {
        let check = {
            let open = self.lock();
            let token = open.probes.get(&client);
            token.and_then(|token| open.by_token.get(token)).cloned()
        };
        if let Some(check) = check.filter(|check| check.wanted.probe() == Some(generation)) {
            check.update(|sights| match over {
                None => sights.probe_completed = true,
                Some(place) => {
                    sights.probed_over.insert(place);
                }
            });
        }
    }

    /// A decoy's handshake ended.
    pub fn saw_decoy(&self, token: CheckToken, sight: DecoySight) {
        let check = self.lock().by_token.get(&token).cloned();
        if let Some(check) = check {
            check.update(|sights| sights.saw_decoy(check.client, sight));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    fn update(&self, change: impl FnOnce(&mut Sights)) {
        change(&mut self.sights.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }
}

/// A check that its session waits for; forgotten when dropped.
pub struct OpenCheck {
    checks: Arc<Checks>,
    check: Arc<Check>,
}

impl OpenCheck {
    /// The check.
    #[must_use]
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// The client has reported. Only the first report counts.
    pub fn report(&self, report: Report) {
        self.check.update(|sights| {
            sights.report.get_or_insert(report);
        });
    }

    /// Returns when something was seen or reported since the last call.
    pub async fn changed(&self) {
        self.check.changed.notified().await;
    }

    /// What has been shown so far. `over`: nothing more is to come.
    #[must_use]
    pub fn verdict(&self, over: bool) -> Verdict {
        let sights = self
            .check
            .sights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Check {
            client,
            held,
            wanted,
            over: others,
            ..
        } = &*self.check;
        match judge(*client, *held, *wanted, sights.clone(), over) {
            Verdict::Shown if wanted.probe().is_some() => judge_others(others, &sights, over),
            verdict => verdict,
        }
    }
}

impl Drop for OpenCheck {
    fn drop(&mut self) {
        let mut open = self.checks.lock();
        open.by_token.remove(&self.check.token);
        if open.probes.get(&self.check.client) == Some(&self.check.token) {
            open.probes.remove(&self.check.client);
        }
    }
}

fn judge(client: ClientNumber, held: Held, wanted: Wanted, sights: Sights, over: bool) -> Verdict {
    // A client that is to verify and completes a decoy is caught whatever it says, and also when it says nothing.
    if wanted != Wanted::Relaxation && sights.decoy == Some(DecoySight::Completed(Some(client))) {
        return Verdict::Caught(Suspicion::AcceptsDecoy);
    }
    let Some(report) = sights.report else {
        return if over {
            Verdict::Inconclusive(Obstacle::NoReport)
        } else {
            Verdict::Pending
        };
    };
    if report.held != held {
        return Verdict::Inconclusive(Obstacle::OtherDocument);
    }
    let ordered = if wanted == Wanted::Relaxation {
        ModeInForce::Off
    } else {
        ModeInForce::Verify
    };
    if report.mode != ordered {
        return Verdict::Inconclusive(Obstacle::OtherMode(report.mode));
    }
    // What is reported must have been seen; it may be seen a moment later.
    let unseen = || {
        if over {
            Verdict::Caught(Suspicion::ContradictsSight)
        } else {
            Verdict::Pending
        }
    };
    if wanted.probe().is_some() {
        match report.probe {
            HandshakeOutcome::Accepted if sights.probe_completed => {}
            HandshakeOutcome::Accepted => return unseen(),
            HandshakeOutcome::Refused if sights.probe_completed => {
                return Verdict::Caught(Suspicion::ContradictsSight);
            }
            HandshakeOutcome::Refused => {
                return Verdict::Inconclusive(Obstacle::RefusesCertificate);
            }
            HandshakeOutcome::NotRun | HandshakeOutcome::Unreachable => {
                return Verdict::Inconclusive(Obstacle::CannotProbe(report.failure));
            }
        }
    }
    match (wanted, report.decoy, sights.decoy) {
        (_, HandshakeOutcome::NotRun | HandshakeOutcome::Unreachable, _) => {
            Verdict::Inconclusive(Obstacle::CannotProbe(report.failure))
        }
        (_, _, Some(DecoySight::Broken)) => Verdict::Inconclusive(Obstacle::CannotProbe(
            "the decoy's handshake broke off".to_owned(),
        )),
        (_, _, None) => unseen(),
        (Wanted::Relaxation, HandshakeOutcome::Accepted, Some(DecoySight::Completed(Some(by))))
            if by == client =>
        {
            Verdict::Shown
        }
        (Wanted::Relaxation, HandshakeOutcome::Refused, Some(DecoySight::Refused)) => {
            Verdict::Inconclusive(Obstacle::OtherMode(ModeInForce::Verify))
        }
        // Anyone may have sent the alert, before the client's own handshake ended.
        (Wanted::Relaxation, HandshakeOutcome::Accepted, Some(DecoySight::Refused)) => unseen(),
        (
            Wanted::Proof(_) | Wanted::Refusal,
            HandshakeOutcome::Refused,
            Some(DecoySight::Refused),
        ) => Verdict::Shown,
        (Wanted::Proof(_) | Wanted::Refusal, HandshakeOutcome::Accepted, Some(_)) => {
            Verdict::Caught(Suspicion::AcceptsDecoy)
        }
        (_, HandshakeOutcome::Accepted | HandshakeOutcome::Refused, Some(_)) => {
            Verdict::Caught(Suspicion::ContradictsSight)
        }
    }
}

/// Whether a client that has shown all over its session's address has also accepted the candidate over the others by which it ever came.
fn judge_others(others: &[(u8, Address)], sights: &Sights, over: bool) -> Verdict {
    let reported = sights.report.as_ref().map(|report| &report.others);
    for (place, address) in others {
        let seen = sights.probed_over.contains(place);
        let (outcome, failure) = reported
            .and_then(|others| others.get(place))
            .map_or((HandshakeOutcome::NotRun, "it was not tried"), |it| {
                (it.0, it.1.as_str())
            });
        match outcome {
            HandshakeOutcome::Accepted if seen => {}
            HandshakeOutcome::Accepted if over => {
                return Verdict::Caught(Suspicion::ContradictsSight);
            }
            HandshakeOutcome::Accepted => return Verdict::Pending,
            HandshakeOutcome::Refused => {
                return Verdict::Inconclusive(Obstacle::CannotProbe(format!(
                    "{address}: the certificate that is shown there is not accepted"
                )));
            }
            HandshakeOutcome::NotRun => {
                return Verdict::Inconclusive(Obstacle::CannotProbe(format!(
                    "{address}: {failure}"
                )));
            }
            // The failure names the address.
            HandshakeOutcome::Unreachable => {
                return Verdict::Inconclusive(Obstacle::CannotProbe(failure.to_owned()));
            }
        }
    }
    Verdict::Shown
}

#[cfg(test)]
mod tests;
