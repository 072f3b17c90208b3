//! The built-in CA. Keys and messages are words here, and nobody signs.

mod first;
mod operator;
mod renewal;
mod waiting;

use super::*;
use crate::issuance::{
    Approval, Asked, Binding, Challenge, ChallengeId, CrlReason, Issuance, IssuanceCommand,
    IssuanceRefusal, Issued, Judgement, Kind, Order, Permit, Profile, SanKind, Transaction,
    Waiting, order,
};

impl World {
    /// A fleet with a CA.
    fn with_ca() -> Self {
        let mut world = Self::new();
        let make = world.make_ca(true);
        world.ca_does(make);
        world
    }

    fn make_ca(&mut self, first: bool) -> IssuanceCommand {
        let name = format!("CA {}", self.uuid());
        IssuanceCommand::MakeAuthority {
            certificate: name.as_bytes().to_vec(),
            spki: Digest::of(name.as_bytes()),
            not_after: self.now + DAY * 3650,
            ra: None,
            first,
        }
    }

    fn ca(&self) -> &Issuance {
        self.fleet.issuance()
    }

    fn ca_does(&mut self, command: IssuanceCommand) -> Vec<Event> {
        self.does(Command::Issuance(command))
    }

    fn ca_refuses(&mut self, command: IssuanceCommand) -> Refusal {
        self.refuses(Command::Issuance(command))
    }

    /// A challenge with this secret: for one request within an hour, unless it is changed.
    fn challenge(&self, secret: &str, change: impl FnOnce(&mut Challenge)) -> Challenge {
        let digest = Digest::of(secret.as_bytes());
        let mut challenge = Challenge {
            id: ChallengeId(*digest.as_bytes().first_chunk().expect("8 bytes")),
            digest,
            uses: Some(1),
            binding: None,
            not_before: self.now,
            expires_at: Some(self.now + HOUR),
            profile: "default".to_owned(),
            client: None,
            group: None,
            is_static: false,
        };
        change(&mut challenge);
        challenge
    }

    fn challenges(&mut self, secret: &str, change: impl FnOnce(&mut Challenge)) -> ChallengeId {
        let challenge = self.challenge(secret, change);
        let id = challenge.id;
        self.ca_does(IssuanceCommand::CreateChallenge(challenge));
        id
    }

    fn judge(&self, asked: &Asked) -> Result<Judgement, IssuanceRefusal> {
        let is_active = |client| self.fleet.roster().contains(client);
        self.ca().judge(asked, &is_active, self.now)
    }

    /// What may be issued at once.
    fn permit(&self, asked: &Asked) -> Permit {
        match self.judge(asked) {
            Ok(Judgement::Issue(permit)) => permit,
            other => panic!("{asked:?}: {other:?}"),
        }
    }

    fn sign(&mut self, asked: &Asked, permit: Permit) -> Issued {
        let serial = self.uuid().as_u128().to_be_bytes();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        Issued {
            serial: serial[zeros..].to_vec(),
            certificate: asked.transaction.as_bytes().to_vec(),
            subject: asked.subject_text.clone(),
            spki: asked.spki,
            not_before: self.now,
            not_after: self.now + permit.profile.lifetime,
            authority: self.ca().current().expect("a CA").number,
            transaction: asked.transaction.clone(),
            challenge: permit.challenge,
            renews: permit.renews,
            profile: permit.profile.name,
            client: permit.client,
            sans: permit.sans,
        }
    }

    fn record(&mut self, asked: Order) -> Result<Vec<Event>, IssuanceRefusal> {
        let before = self.fleet.clone();
        let events = order(&self.fleet, asked, self.now);
        match &events {
            Ok(events) => self.append(events.clone(), Actor::Stranger, None),
            Err(_) => assert_eq!(self.fleet, before),
        }
        events
    }

    /// A request that is answered at once.
    fn enrols(&mut self, asked: &Asked) -> Issued {
        let permit = self.permit(asked);
        let issued = self.sign(asked, permit);
        let events = self.record(Order::Issue(issued.clone())).expect("recorded");
        assert_eq!(events.len(), 1);
        issued
    }
}

/// A first request: its transaction is named by its key, as devices do.
fn asks(key: &str, secret: &str) -> Asked {
    Asked {
        transaction: format!("T-{key}"),
        kind: Kind::First(Some(Digest::of(secret.as_bytes()))),
        subject: vec![],
        subject_text: "CN=p1".to_owned(),
        has_other_parts: false,
        common_names: words(&["p1"]),
        sans: words(&["dns:p1.example", "ip:10.0.0.1"]),
        spki: Digest::of(key.as_bytes()),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
