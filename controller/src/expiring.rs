//! What has expired and what is about to, in words: to the log once per change and daily, and into the register of what is wrong. Nothing is renewed here.

use std::{collections::BTreeMap, time::Duration};

use convoy_fleet::{
    expiry::{Expiry, Identities, Subject, expiry, lives},
    state::Fleet,
};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;

use crate::{
    clock,
    health::Degraded,
    keeper::{Keeper, names},
};

/// How often it is looked at: time passes without an event.
const LOOK: Duration = Duration::from_secs(5);
/// What lasts is said again after so long.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Something that has expired or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Which kind, as the API and the metrics spell it.
    pub kind: &'static str,
    /// Which of its kind. Empty where there is one.
    pub name: String,
    /// Never [`Expiry::Fresh`].
    pub expiry: Expiry,
    /// When it expires. `None`: several things, each at its own time.
    pub until: Option<Timestamp>,
    /// What it means and what helps.
    pub words: String,
}

/// How the API and the metrics spell a subject: its kind, and which of it.
#[must_use]
pub fn spelled(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Certificate(generation) => ("certificate", generation.to_string()),
        Subject::Root(version) => ("root", version.to_string()),
        Subject::Trust(group) => ("trust", group.to_string()),
        Subject::ClientCa => ("client_ca", String::new()),
        Subject::ScepCa(number) => ("scep_ca", number.to_string()),
    }
}

/// All that has expired or is about to.
#[must_use]
pub fn notices(fleet: &Fleet, now: Timestamp) -> Vec<Notice> {
    let mut notices: Vec<Notice> = lives(fleet)
        .into_iter()
        .filter_map(|life| {
            let expiry = expiry(life.from, life.until, now);
            let (kind, name) = spelled(&life.subject);
            let words = words(fleet, &life.subject, expiry, life.until)?;
            Some(Notice {
                kind,
                name,
                expiry,
                until: Some(life.until),
                words,
            })
        })
        .collect();
    let identities = Identities::of(fleet, now);
    for (expiry, clients, what) in [
        (
            Expiry::Expired,
            &identities.expired,
            "have expired identities; such a client can renew its own when it comes, and nothing else before that",
        ),
        (
            Expiry::Soon,
            &identities.overdue,
            "are overdue to renew their identities, of which less than a third of the life is left: agents do it at half, so these were away or cannot",
        ),
    ] {
        if !clients.is_empty() {
            notices.push(Notice {
                kind: "identities",
                name: String::new(),
                expiry,
                until: None,
                words: format!(
                    "{} of the roster {what}: {}",
                    counted(clients),
                    names(fleet, clients)
                ),
            });
        }
    }
    notices
}

fn counted(clients: &RoaringBitmap) -> String {
    match clients.len() {
        1 => "1 client".to_owned(),
        many => format!("{many} clients"),
    }
}

fn words(fleet: &Fleet, subject: &Subject, expiry: Expiry, until: Timestamp) -> Option<String> {
    let when = match expiry {
        Expiry::Fresh => return None,
        Expiry::Soon => format!("expires at {until:.0}"),
        Expiry::Expired => format!("expired at {until:.0}"),
    };
    Some(match subject {
        Subject::Certificate(generation) => {
            let use_of_it = if fleet.serving() == Some(*generation) {
                ", which is served,"
            } else if fleet.candidate() == Some(*generation) {
                ", to which a rotation runs,"
            } else {
                ""
            };
            format!(
                "certificate {generation}{use_of_it} {when}: agents pin its key and connect all the same, browsers and others that verify dates do not; \
                 import another with `convoy cert import`, and rotate to it"
            )
        }
        Subject::Root(version) => format!(
            "the fleet's root, version {version}, {when}: agents keep what they have and call it stale"
        ),
        Subject::Trust(group) => format!(
            "the trust document of group {group} {when}: agents keep it and call it stale; it is issued again by itself when no rotation runs"
        ),
        Subject::ClientCa => {
            format!("the client CA's certificate {when}: no identity that it issues lasts longer")
        }
        Subject::ScepCa(number) => format!(
            "the SCEP CA {number} {when}: nothing that it issues lasts longer; `convoy scep ca rollover` makes the next one"
        ),
    })
}

/// What was said, and when.
#[derive(Debug, Default)]
struct Said(BTreeMap<(&'static str, String, Expiry), (Timestamp, RoaringBitmap)>);

impl Said {
    /// Whether this is to be said now: it is news, or a day has passed. `clients` are those that it is about, where it is about clients.
    fn is_due(&mut self, notice: &Notice, clients: RoaringBitmap, now: Timestamp) -> bool {
        let key = (notice.kind, notice.name.clone(), notice.expiry);
        let known = self.0.get(&key).is_some_and(|(at, known)| {
            clients.is_subset(known) && (*at..*at + AGAIN).contains(&now)
        });
        if !known {
            self.0.insert(key, (now, clients));
        }
        !known
    }

    /// Forgets what is no longer so.
    fn keep(&mut self, notices: &[Notice]) {
        self.0.retain(|(kind, name, expiry), _| {
            notices.iter().any(|notice| {
                notice.kind == *kind && notice.name == *name && notice.expiry == *expiry
            })
        });
    }
}

/// Runs for ever.
pub async fn run(keeper: Keeper) {
    let mut said = Said::default();
    loop {
        look(&keeper, &mut said, clock::now());
        tokio::time::sleep(LOOK).await;
    }
}

fn look(keeper: &Keeper, said: &mut Said, now: Timestamp) {
    let (notices, identities, serving) = {
        let fleet = keeper.read();
        let serving = fleet.serving().map(|generation| generation.to_string());
        (notices(&fleet, now), Identities::of(&fleet, now), serving)
    };
    said.keep(&notices);
    for notice in &notices {
        let clients = match (notice.kind, notice.expiry) {
            ("identities", Expiry::Expired) => identities.expired.clone(),
            ("identities", _) => identities.overdue.clone(),
            _ => RoaringBitmap::new(),
        };
        if said.is_due(notice, clients, now) {
            let expired = notice.expiry == Expiry::Expired;
            tracing::warn!(
                kind = notice.kind,
                name = notice.name,
                expired,
                "{}",
                notice.words
            );
        }
    }
    for (degraded, kinds) in [
        (
            Degraded::ExpiredCertificate,
            ["certificate", "client_ca", "scep_ca"].as_slice(),
        ),
        (Degraded::ExpiredDocument, &["root", "trust"]),
    ] {
        let expired: Vec<&str> = notices
            .iter()
            .filter(|notice| notice.expiry == Expiry::Expired && kinds.contains(&notice.kind))
            // An old or a future one does no harm.
            .filter(|notice| notice.kind != "certificate" || Some(&notice.name) == serving.as_ref())
            .map(|notice| notice.words.as_str())
            .collect();
        if expired.is_empty() {
            keeper.health().clear(degraded);
        } else {
            keeper.health().say(degraded, expired.join(". "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_per_change_and_daily() {
        let start = Timestamp::constant(1_800_000_000, 0);
        let notice = |expiry| Notice {
            kind: "certificate",
            name: "1".to_owned(),
            expiry,
            until: None,
            words: String::new(),
        };
        let none = RoaringBitmap::new;
        let mut said = Said::default();
        let soon = notice(Expiry::Soon);
        assert!(said.is_due(&soon, none(), start));
        assert!(!said.is_due(&soon, none(), start));
        assert!(!said.is_due(&soon, none(), start + AGAIN - SignedDuration::from_secs(1)));
        assert!(said.is_due(&soon, none(), start + AGAIN));
        assert!(!said.is_due(&soon, none(), start + AGAIN));
        let expired = notice(Expiry::Expired);
        assert!(said.is_due(&expired, none(), start + AGAIN));
        // What was mended and comes again is news.
        said.keep(&[]);
        assert!(said.is_due(&soon, none(), start + AGAIN));
        // One more client is news, one less is not.
        let clients = |numbers: &[u32]| numbers.iter().copied().collect::<RoaringBitmap>();
        let several = Notice {
            kind: "identities",
            ..notice(Expiry::Soon)
        };
        assert!(said.is_due(&several, clients(&[1, 2]), start));
        assert!(!said.is_due(&several, clients(&[1]), start));
        assert!(said.is_due(&several, clients(&[1, 2, 3]), start));
    }
}
