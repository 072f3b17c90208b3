//! A fleet without a controller: a clock that is set by hand, documents that nobody signed, and hosts that are structs. Every entry is checked
//! against the invariants as it is appended, also in tests that are about something else.

mod bridge;
mod copies;
mod ending;
mod enrolment;
mod evidence;
mod gates;
mod invariants;
mod issuance;
mod phases;
mod refusals;
mod requests;
mod restart;
mod walk;

use std::collections::BTreeMap;

use convoy_shared::{
    ack::Held,
    envelope::{Envelope, PublicKey, Role},
    id::{
        AnchorNumber, ClientId, Digest, FleetId, Generation, GroupName, Incarnation, InstanceId,
        Revision, RootVersion, RotationId, TokenId,
    },
    root::Root,
    trust::{Mode, ModeInForce},
};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::{
    client::{Client, ClientNumber},
    decide::{Command, decide},
    event::{Actor, Certificate, Entry, Event, Purpose, Request, SignedRoot},
    gate,
    refusal::Refusal,
    rotation::{Duty, Phase, Rotation, RotationOptions, Strategy, due},
    state::Fleet,
    statement::{self, Statement},
};
use invariants::Ledger;

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
}

/// A host: what is on its disk, and its agent.
#[derive(Clone, Debug)]
struct Host {
    number: ClientNumber,
    group: GroupName,
    held: Held,
    anchors: Vec<AnchorNumber>,
    off: bool,
    instance: InstanceId,
    incarnation: Incarnation,
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
        let events = statement::decide(&self.fleet, client, statement);
        self.append(events.clone(), Actor::Clients, None);
        events
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
            Duty::Advance => Command::Advance,
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
        self.does(Command::StartReplica { server_names });
    }

    fn token(&mut self, uses: u32, lifetime: SignedDuration) -> TokenId {
        self.token_for(&GroupName::default_group(), uses, lifetime)
    }

    fn token_for(&mut self, group: &GroupName, uses: u32, lifetime: SignedDuration) -> TokenId {
        let token = TokenId::new(self.uuid());
        self.does(Command::CreateToken {
            token,
            group: group.clone(),
            uses,
            expires_at: self.now + lifetime,
            public_key: PublicKey::from_bytes(&[2; 32]).expect("32 bytes"),
        });
        token
    }

    fn join(&mut self, token: TokenId, key: &str) -> Command {
        Command::Join {
            token,
            id: ClientId::new(self.uuid()),
            key: Digest::of(key.as_bytes()),
            name: key.to_owned(),
            agent_version: "1".to_owned(),
            identity_expires_at: self.now + DAY * 365,
        }
    }

    /// A new host, which has its group's document and has opened no session yet.
    fn joins(&mut self, group: &GroupName) -> Host {
        let token = match self.tokens.get(group) {
            Some(token) => *token,
            None => self.token_for(group, u32::MAX, DAY * 36_500),
        };
        self.tokens.insert(group.clone(), token);
        let number = self.fleet.next_client();
        let join = self.join(token, &format!("host {number}"));
        self.does(join);
        let instance = InstanceId::new(self.uuid());
        let mut host = Host {
            number,
            group: group.clone(),
            held: self.trust(group),
            anchors: vec![],
            off: false,
            instance,
            incarnation: Incarnation(1),
        };
        host.store(&self.fleet);
        host
    }

    /// A new host of the default group that has opened a session.
    fn host(&mut self) -> Host {
        let host = self.joins(&GroupName::default_group());
        self.connect(&host);
        host
    }

    fn hosts(&mut self, count: usize) -> Vec<Host> {
        (0..count).map(|_| self.host()).collect()
    }

    fn connect(&mut self, host: &Host) -> Vec<Event> {
        self.state(host.number, host.connected(&self.fleet))
    }

    /// The agent is started again.
    fn reboot(&mut self, host: &mut Host) {
        host.instance = InstanceId::new(self.uuid());
        host.incarnation = host.incarnation.next();
    }

    /// A session of an honest agent: it stores its group's document, comes back with it and shows what it can.
    fn visit(&mut self, host: &mut Host) {
        self.connect(host);
        self.fetch(host);
        self.show(host);
    }

    /// It stores its group's document, if it is another one, and comes back with it.
    fn fetch(&mut self, host: &mut Host) {
        if host.held != self.trust(&host.group) {
            self.state(host.number, Statement::Received(self.trust(&host.group)));
            host.store(&self.fleet);
            self.state(host.number, Statement::Applied(host.held));
            self.connect(host);
        }
    }

    /// It shows what its document is about, if the controller can see it now.
    fn show(&mut self, host: &Host) {
        let Some(rotation) = self.fleet.rotations().last() else {
            return;
        };
        let (to, held) = (rotation.to, host.held);
        let statement = match self.purpose(&host.group) {
            Purpose::Prepare(id) if id == rotation.id && rotation.candidate_held => {
                match rotation.strategy {
                    Strategy::Overlap => Statement::Proved(held, to),
                    Strategy::Toggle => Statement::Relaxed(held),
                }
            }
            Purpose::Enforce(id) if id == rotation.id && host.served(&self.fleet) == to => {
                Statement::Confirmed(held, to)
            }
            Purpose::Prepare(_) | Purpose::Enforce(_) | Purpose::Steady => return,
        };
        self.state(host.number, statement);
    }

    /// Imports a new certificate and starts a rotation to it.
    fn start(&mut self, strategy: Strategy) -> RotationId {
        self.start_with(strategy, RotationOptions::default())
    }

    fn start_with(&mut self, strategy: Strategy, options: RotationOptions) -> RotationId {
        let to = self.import(&format!("certificate {}", self.last_id));
        let command = self.start_command(strategy, to, options);
        self.does(command);
        self.rotation().id
    }

    fn start_command(
        &mut self,
        strategy: Strategy,
        to: Generation,
        options: RotationOptions,
    ) -> Command {
        Command::StartRotation {
            rotation: RotationId::new(self.uuid()),
            to,
            strategy,
            options,
            allow_empty: false,
        }
    }

    fn import(&mut self, name: &str) -> Generation {
        let certificate = self.certificate(name);
        self.does(Command::ImportCertificate(certificate));
        let (newest, _) = self.fleet.certificates().next_back().expect("one");
        newest
    }

    /// A rotation with so many hosts that has come to this phase by their proofs.
    fn at(phase: Phase, strategy: Strategy, hosts: usize) -> (Self, Vec<Host>) {
        let mut world = Self::new();
        let mut hosts = world.hosts(hosts);
        world.start(strategy);
        world.drive(&mut hosts, phase);
        (world, hosts)
    }

    /// Lets these hosts come by until the rotation is in this phase.
    fn drive(&mut self, hosts: &mut [Host], phase: Phase) {
        for _ in 0..16 {
            while self.phase() != phase && self.do_duty() {}
            if self.phase() == phase {
                return;
            }
            for host in &mut *hosts {
                self.visit(host);
            }
        }
        panic!("stuck in {}, on the way to {phase}", self.phase());
    }

    fn rotation(&self) -> &Rotation {
        self.fleet.rotations().last().expect("a rotation")
    }

    fn phase(&self) -> Phase {
        self.rotation().phase
    }

    fn missing(&self) -> Vec<ClientNumber> {
        gate::missing(&self.fleet, self.rotation(), self.now)
            .iter()
            .collect()
    }

    fn waive(&self, client: ClientNumber, time: SignedDuration) -> Command {
        Command::Waive {
            rotation: None,
            client,
            reason: "in repair".to_owned(),
            until: self.now + time,
        }
    }

    fn client(&self, host: &Host) -> &Client {
        self.fleet.client(host.number).expect("a client")
    }

    fn trust(&self, group: &GroupName) -> Held {
        self.fleet.group(group).expect("a group").trust.held
    }

    fn purpose(&self, group: &GroupName) -> Purpose {
        self.fleet.group(group).expect("a group").trust.purpose
    }

    /// Mode and anchors of the default group's document.
    fn published(&self) -> (Mode, Vec<u64>) {
        let trust = &self
            .fleet
            .group(&GroupName::default_group())
            .expect("a group")
            .trust;
        let anchors = self.fleet.anchors_of(trust.held.revision);
        (trust.mode, anchors.iter().map(|anchor| anchor.0).collect())
    }

    fn serving(&self) -> u64 {
        self.fleet.serving().expect("one is served").0
    }

    /// Received, applied, proved, confirmed.
    fn counts(&self) -> [u64; 4] {
        let rotation = self.rotation();
        [
            &rotation.received,
            &rotation.applied,
            &rotation.proved,
            &rotation.confirmed,
        ]
        .map(roaring::RoaringBitmap::len)
    }
}

impl Host {
    /// Writes its group's document to its disk.
    fn store(&mut self, fleet: &Fleet) {
        let trust = &fleet.group(&self.group).expect("a group").trust;
        self.held = trust.held;
        self.anchors = fleet.anchors_of(trust.held.revision).to_vec();
        self.off = trust.mode != Mode::Verify;
    }

    /// The certificate that it is shown.
    fn served(&self, fleet: &Fleet) -> Generation {
        let anchors = (!self.off).then_some(&*self.anchors);
        let choice = fleet.certificate_for(anchors).expect("one is served");
        choice.generation
    }

    fn connected(&self, fleet: &Fleet) -> Statement {
        Statement::Connected {
            incarnation: self.incarnation,
            instance: self.instance,
            held: self.held,
            mode: if self.off {
                ModeInForce::Off
            } else {
                ModeInForce::Verify
            },
            agent_version: "1".to_owned(),
            served: self.served(fleet),
        }
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
