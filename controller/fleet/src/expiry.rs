//! What has expired, and what is about to: certificates, documents and identities. Who is told, and how often, is decided elsewhere.

use convoy_shared::{
    certificate,
    id::{Generation, GroupName, RootVersion},
};
use jiff::Timestamp;
use roaring::RoaringBitmap;

use crate::{client::Client, state::Fleet};

/// Where something stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expiry {
    /// Nothing to say.
    Fresh,
    /// Less than a third of its life is left.
    Soon,
    /// It is over.
    Expired,
}

/// Where something stands that is valid in this time.
#[must_use]
pub fn expiry(from: Timestamp, until: Timestamp, now: Timestamp) -> Expiry {
    let third = until.duration_since(from) / 3;
    if until <= now {
        Expiry::Expired
    } else if until.duration_since(now) < third {
        Expiry::Soon
    } else {
        Expiry::Fresh
    }
}

/// Something that is valid for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// What.
    pub subject: Subject,
    /// Its first instant.
    pub from: Timestamp,
    /// Its last.
    pub until: Timestamp,
}

/// What is valid for a time. Clients' identities are too many to be among them: [`Identities`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A server certificate that is not retired.
    Certificate(Generation),
    /// The root in force.
    Root(RootVersion),
    /// A group's trust document.
    Trust(GroupName),
    /// The client CA.
    ClientCa,
    /// The built-in SCEP CA in force.
    ScepCa(u32),
}

/// All that is served or published, or may be.
#[must_use]
pub fn lives(fleet: &Fleet) -> Vec<Life> {
    let mut lives: Vec<Life> = fleet
        .certificates()
        .filter(|(_, kept)| !kept.retired)
        .map(|(generation, kept)| Life {
            subject: Subject::Certificate(generation),
            from: kept.certificate.not_before,
            until: kept.certificate.not_after,
        })
        .collect();
    lives.extend(fleet.root().map(|root| Life {
        subject: Subject::Root(root.version),
        from: root.issued_at,
        until: root.expires_at,
    }));
    lives.extend(fleet.groups().map(|(name, group)| Life {
        subject: Subject::Trust(name.clone()),
        from: group.trust.issued_at,
        until: group.trust.expires_at,
    }));
    let founded = fleet.founded();
    lives.extend(founded.and_then(|founded| of_ca(Subject::ClientCa, &founded.client_ca)));
    let scep = fleet.issuance().current();
    lives.extend(scep.and_then(|ca| of_ca(Subject::ScepCa(ca.number), &ca.certificate)));
    lives
}

fn of_ca(subject: Subject, der: &[u8]) -> Option<Life> {
    let at = |seconds: i64| Timestamp::from_second(seconds).ok();
    Some(Life {
        subject,
        from: at(certificate::not_before(der).ok()?)?,
        until: at(certificate::not_after(der).ok()?)?,
    })
}

/// Clients of the roster whose identity certificates agents should have renewed: they do at half of its life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identities {
    /// Less than a third of its life is left.
    pub overdue: RoaringBitmap,
    /// It has expired: the client can renew it, and nothing else.
    pub expired: RoaringBitmap,
}

impl Identities {
    /// As they are now.
    #[must_use]
    pub fn of(fleet: &Fleet, now: Timestamp) -> Self {
        let mut found = Self::default();
        for number in fleet.roster() {
            match fleet.client(number).map(|client| identity(client, now)) {
                Some(Expiry::Soon) => drop(found.overdue.insert(number)),
                Some(Expiry::Expired) => drop(found.expired.insert(number)),
                Some(Expiry::Fresh) | None => {}
            }
        }
        found
    }
}

/// Where a client's identity certificate stands.
#[must_use]
pub fn identity(client: &Client, now: Timestamp) -> Expiry {
    expiry(client.identity_issued_at, client.identity_expires_at, now)
}
