//! A fleet without a controller: a clock that is set by hand, documents that nobody signed, and hosts that are structs. Every entry is checked
//! against the invariants as it is appended, also in tests that are about something else.

mod addresses;
mod bridge;
mod clock;
mod copies;
mod driving;
mod ending;
mod enrolment;
mod evidence;
mod expiry;
mod gates;
mod hosts;
mod invariants;
mod issuance;
mod phases;
mod reasons;
mod recovery;
mod refusals;
mod rejoining;
mod requests;
mod restart;
mod walk;

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use convoy_shared::{
    ack::Held,
    address::{Address, Addresses},
    envelope::{Envelope, PublicKey, Role},
    id::{
        AnchorNumber, ClientId, Digest, FleetId, Generation, GroupName, Incarnation, InstanceId,
        Revision, RootVersion, RotationId, TokenId,
    },
    root::Root,
    trust::{Mode, ModeInForce},
};
use jiff::{SignedDuration, Timestamp};
use roaring::RoaringBitmap;
use uuid::Uuid;

use crate::{
    client::{Client, ClientNumber, ClientState},
    decide::{Command, decide},
    event::{Actor, Certificate, Connected, Entry, Event, Purpose, Request, SignedRoot},
    gate,
    presence::Presence,
    refusal::Refusal,
    rotation::{Duty, Phase, Rotation, RotationOptions, Strategy, due},
    standing::Standing,
    state::Fleet,
    statement::{self, Statement},
};
use hosts::Host;
use invariants::Ledger;

fn addresses(texts: &[&str]) -> Addresses {
    let parsed = texts.iter().map(|text| text.parse().expect("an address"));
    Addresses::of(parsed.collect()).expect("addresses")
}

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The state, the journal that led to it, and the time.
struct World {
    fleet: Fleet,
    now: Timestamp,
    journal: Vec<Entry>,
    ledger: Ledger,
    last_id: u128,
    tokens: BTreeMap<GroupName, TokenId>,
    presence: Presence,
}

impl World {
    /// A fleet that serves generation 1, and nobody in it.
    fn new() -> Self {
        Self::with_root(true, DAY * 30)
    }

    fn with_root(off_allowed: bool, max_off: SignedDuration) -> Self {
        let mut world = Self {
            fleet: Fleet::default(),
            now: Timestamp::from_second(1_767_225_600).expect("a time"),
            journal: vec![],
            ledger: Ledger::default(),
            last_id: 0,
            tokens: BTreeMap::new(),
            presence: Presence::default(),
        };
        let key = PublicKey::from_bytes(&[1; 32]).expect("32 bytes");
        let role = Role::new(vec![key], 1).expect("a role");
        let fleet = FleetId::new(world.uuid());
        let root = Root {
            fleet_id: fleet,
            version: RootVersion(1),
            root: role.clone(),
            policy: role,
            issued_at: world.now,
            expires_at: world.now + DAY * 3650,
            off_allowed,
            max_off,
        };
        world.does(Command::Found {
            fleet,
            root: SignedRoot {
                envelope: fake_envelope("root 1"),
                root,
            },
            client_ca: vec![1],
            certificate: world.certificate("first"),
            server_names: vec!["controller.example".to_owned()],
            addresses: addresses(&["controller.example:7443"]),
        });
        world
    }

    fn uuid(&mut self) -> Uuid {
        self.last_id += 1;
        Uuid::from_u128(self.last_id)
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now += time;
    }

    fn certificate(&self, name: &str) -> Certificate {
        Certificate {
            chain: vec![name.as_bytes().to_vec()],
            fingerprint: Digest::of(name.as_bytes()),
            spki: Digest::of(format!("key of {name}").as_bytes()),
            subject: format!("CN={name}"),
            issuer: "CN=Tests".to_owned(),
            names: vec!["controller.example".to_owned()],
            not_before: self.now - DAY,
            not_after: self.now + DAY * 3650,
            key_algorithm: "Ed25519".to_owned(),
        }
    }

    /// Decides a command and appends what it leads to.
    fn command(&mut self, command: Command) -> Result<Vec<Event>, Refusal> {
        let events = decide(&self.fleet, command, self.now)?;
        self.append(events.clone(), Actor::LocalAdmin(1000), None);
        Ok(events)
    }

    /// A command that must succeed.
    fn does(&mut self, command: Command) -> Vec<Event> {
        let told = format!("{command:?}");
        self.command(command)
            .unwrap_or_else(|refusal| panic!("{told}: {refusal}"))
    }

    /// A command that must be refused, and so changes nothing.
    fn refuses(&mut self, command: Command) -> Refusal {
        let before = self.fleet.clone();
        let refusal = self.command(command).expect_err("a refusal");
        assert_eq!(self.fleet, before, "a refusal changes nothing");
        refusal
    }

    /// Takes in what a client states, and returns what it led to.
    fn state(&mut self, client: ClientNumber, statement: Statement) -> Vec<Event> {
        self.ledger.note(&self.fleet, client, &statement);
        if matches!(statement, Statement::Connected { .. }) {
            self.presence
                .connected(client, Ipv4Addr::LOCALHOST.into(), self.now);
        }
        self.silence_changes_nothing(client, &statement);
        let events = statement::decide(&self.fleet, client, statement);
        self.append(events.clone(), Actor::Clients, None);
        events
    }

    /// Who connects and states nothing new is not in the journal: an entry of what it stated would change nothing.
    fn silence_changes_nothing(&self, number: ClientNumber, statement: &Statement) {
        let Statement::Connected {
            incarnation,
            instance,
            held,
            signed: _,
            mode,
            agent_version,
            served,
        } = statement.clone()
        else {
            return;
        };
        let client = self.fleet.client(number).expect("a client");
        let decided = statement::decide(&self.fleet, number, statement.clone());
        if !decided.is_empty() || client.state == ClientState::Decommissioned {
            return;
        }
        let known = self.fleet.published(&client.group, held.revision) == Some(held.digest);
        let mut other = self.fleet.clone();
        other.fold(&Entry {
            time: self.fleet.clock().newest().expect("a fleet"),
            actor: Actor::Clients,
            request: None,
            replica: "1".to_owned(),
            events: vec![Event::ClientConnected(Connected {
                client: number,
                incarnation,
                instance,
                held: known.then_some(held.revision),
                mode,
                agent_version,
                served,
            })],
        });
        assert_eq!(other, self.fleet, "news was not written down");
    }

    /// A client's session ends.
    fn leaves(&mut self, client: ClientNumber) {
        self.presence.disconnected(client, self.now);
    }

    fn advance(&self) -> Command {
        Command::Advance {
            connected: self.presence.expected(),
        }
    }

    fn append(&mut self, mut events: Vec<Event>, actor: Actor, request: Option<Request>) {
        if events.is_empty() {
            return;
        }
        seal(&mut events);
        let entry = Entry {
            time: self.now,
            actor,
            request,
            replica: "1".to_owned(),
            events,
        };
        invariants::before_entry(&self.fleet, &self.ledger, &entry);
        self.fleet.fold(&entry);
        invariants::after_entry(&self.fleet);
        self.journal.push(entry);
    }

    /// Does one duty of the controller.
    fn do_duty(&mut self) -> bool {
        let Some(duty) = due(&self.fleet, self.now) else {
            return false;
        };
        let events = self.does(match duty {
            Duty::HoldCandidate(generation) | Duty::Swap(generation) => {
                Command::AttestLoaded(generation)
            }
            Duty::Advance => self.advance(),
            Duty::RefreshTrust => Command::RefreshTrust,
        });
        assert!(!events.is_empty(), "{duty:?} was due and led to nothing");
        true
    }

    /// Does duties until none is due.
    fn settle(&mut self) {
        for _ in 0..32 {
            if !self.do_duty() {
                return;
            }
        }
        panic!("duties without end: {:?}", due(&self.fleet, self.now));
    }

    fn restart(&mut self) {
        let server_names = self.fleet.server_names().to_vec();
        self.does(Command::StartReplica {
            server_names,
            mark: None,
        });
    }
}

/// What the controller does between a decision and its entry: here without a key.
fn seal(events: &mut [Event]) {
    for event in events {
        if let Event::TrustPublished(publication) = event {
            publication.documents = publication
                .groups
                .iter()
                .map(|group| {
                    fake_envelope(&format!(
                        "{group} {} {:?}",
                        publication.revision, publication.mode
                    ))
                })
                .collect();
        }
    }
}

fn fake_envelope(payload: &str) -> Envelope {
    Envelope {
        payload_type: "fake".to_owned(),
        payload: payload.as_bytes().to_vec(),
        signatures: vec![],
    }
}

fn group(name: &str) -> GroupName {
    name.parse().expect("a group name")
}

/// A document that nobody published.
fn forged(held: Held) -> Held {
    Held {
        revision: held.revision,
        digest: Digest::of(b"forged"),
    }
}

fn at_revision(revision: u64, held: Held) -> Held {
    Held {
        revision: Revision(revision),
        ..held
    }
}
