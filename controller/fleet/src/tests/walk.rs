//! Random walks: operators, restarts, jumps in time, and clients that are honest, away, reverted, lying or copied. What must hold is checked after every
//! step, and whatever state a walk ends in, a rotation can be brought to its end from there.

use super::*;
use crate::client::{ClientState, Suspicion};

const SEEDS: u64 = 200;
const STEPS: usize = 500;

/// xorshift64*, Vigna 2014.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        dice
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        let end = u64::try_from(end.max(1)).expect("small");
        usize::try_from(drawn % end).expect("small")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// It comes by now and then.
    Away,
    /// Its disk is put back at times.
    Reverting,
    /// It says what is not so.
    Lying,
    /// Its disk was copied, and both run.
    Cloned,
}

struct Machine {
    host: Host,
    manner: Manner,
    /// An earlier state of its disk, or its copy.
    other: Host,
}

struct Walk {
    seed: u64,
    world: World,
    dice: Dice,
    machines: Vec<Machine>,
    history: Vec<String>,
}

impl Drop for Walk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}:\n{}", self.seed, self.history.join("\n"));
        }
    }
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut walk = Self {
            seed,
            world: World::new(),
            dice: Dice::new(seed),
            machines: vec![],
            history: vec![],
        };
        for _ in 0..=walk.dice.below(5) {
            walk.enrol();
        }
        walk
    }

    fn tell(&mut self, told: String) {
        self.history.push(told);
    }

    fn enrol(&mut self) {
        let groups: Vec<_> = self
            .world
            .fleet
            .groups()
            .map(|(name, _)| name.clone())
            .collect();
        let group = &groups[self.dice.below(groups.len())];
        let host = self.world.joins(group);
        let manner = match self.dice.below(8) {
            0 => Manner::Away,
            1 => Manner::Reverting,
            2 => Manner::Lying,
            3 => Manner::Cloned,
            _ => Manner::Honest,
        };
        let mut other = host.clone();
        other.instance = InstanceId::new(self.world.uuid());
        self.tell(format!("{manner:?} client {} joins {group}", host.number));
        self.machines.push(Machine {
            host,
            manner,
            other,
        });
    }

    fn step(&mut self) {
        match self.dice.below(40) {
            0..20 => self.client(),
            20..29 => {
                let due = due(&self.world.fleet, self.world.now);
                self.tell(format!("duty {due:?}"));
                self.world.do_duty();
            }
            29..32 => self.time(),
            32 => {
                self.tell("restart".to_owned());
                self.world.restart();
            }
            33 if self.machines.len() < 12 => self.enrol(),
            34 => {
                let name = group(&format!("group-{}", self.dice.below(3)));
                self.operator(Command::CreateGroup(name));
            }
            _ => {
                let command = self.wish();
                self.operator(command);
            }
        }
        self.check();
    }

    fn time(&mut self) {
        let time = match self.dice.below(8) {
            0 => DAY * 100,
            1 => DAY * 3,
            2 => HOUR * 7,
            3 => MINUTE * 11,
            _ => MINUTE,
        };
        self.tell(format!("{time:#} pass"));
        self.world.pass(time);
    }

    fn operator(&mut self, command: Command) {
        let told = format!("{command:?}");
        let outcome = match self.world.command(command) {
            Ok(events) => format!("{} events", events.len()),
            Err(refusal) => refusal.reason().to_owned(),
        };
        self.tell(format!("{told}: {outcome}"));
    }

    fn wish(&mut self) -> Command {
        let generations = self.world.fleet.certificates().count();
        let drawn = self.dice.below(generations + 1) + 1;
        let generation = Generation(u64::try_from(drawn).expect("small"));
        let clients = self.machines.len();
        let client = u32::try_from(self.dice.below(clients)).expect("small");
        match self.dice.below(12) {
            0 => Command::Pause(None),
            1 | 2 => Command::Resume(None),
            3 if self.dice.one_in(3) => Command::Abort(None),
            4 => self.world.waive(client, HOUR),
            5 => Command::Resolve(client),
            6 if self.dice.one_in(6) => Command::Decommission(client),
            7 if self.nobody_needs(generation) => Command::RetireCertificate {
                generation,
                force: true,
            },
            8 => Command::ImportCertificate(
                self.world
                    .certificate(&format!("certificate {}", self.dice.below(6))),
            ),
            _ => {
                let strategy = [Strategy::Overlap, Strategy::Toggle][self.dice.below(2)];
                let options = RotationOptions {
                    max_missing: [None, Some(0), Some(1)][self.dice.below(3)],
                    ..RotationOptions::default()
                };
                self.world.start_command(strategy, generation, options)
            }
        }
    }

    /// Operators retire what nobody depends on any more: no disk, and no copy of one.
    fn nobody_needs(&self, generation: Generation) -> bool {
        let Some(anchor) = self.world.fleet.anchor(generation) else {
            return false;
        };
        self.machines.iter().all(|machine| {
            [&machine.host, &machine.other]
                .iter()
                .all(|host| !host.anchors.contains(&anchor.number))
        })
    }

    fn client(&mut self) {
        let at = self.dice.below(self.machines.len());
        let deed = self.dice.below(8);
        let world = &mut self.world;
        let machine = &mut self.machines[at];
        let number = machine.host.number;
        let told = match (machine.manner, deed) {
            (_, 0) => {
                world.leaves(number);
                "disconnects"
            }
            (Manner::Away, 1..6) => "is away",
            (Manner::Reverting, 1) => {
                machine.other = machine.host.clone();
                "is saved"
            }
            (Manner::Reverting, 2) => {
                machine.host = machine.other.clone();
                machine.host.instance = InstanceId::new(world.uuid());
                world.connect(&machine.host);
                "is put back"
            }
            (Manner::Reverting, 3) => {
                let old = machine.other.clone();
                machine.host = Host {
                    instance: machine.host.instance,
                    incarnation: machine.host.incarnation,
                    ..old
                };
                world.connect(&machine.host);
                "has its disk put back under its feet"
            }
            (Manner::Lying, 1..6) => lie(world, &mut self.dice, &machine.host),
            (Manner::Cloned, 1..4) => {
                std::mem::swap(&mut machine.host, &mut machine.other);
                world.visit(&mut machine.host);
                "speaks by its copy"
            }
            (_, 1) => {
                world.reboot(&mut machine.host);
                world.connect(&machine.host);
                "reboots"
            }
            (_, 2) => {
                world.connect(&machine.host);
                world.fetch(&mut machine.host);
                "fetches"
            }
            (_, 3) => {
                world.connect(&machine.host);
                "connects"
            }
            _ => {
                world.visit(&mut machine.host);
                "visits"
            }
        };
        self.tell(format!("client {number} {told}"));
    }

    fn check(&self) {
        for machine in &self.machines {
            invariants::nobody_is_orphaned(&self.world.fleet, &machine.host);
            if machine.manner == Manner::Cloned {
                invariants::nobody_is_orphaned(&self.world.fleet, &machine.other);
            }
        }
    }

    /// Faults stop: everyone is honest and there, one copy of each is left, and operators do what they are asked for.
    fn comes_to_an_end(&mut self) {
        self.tell("faults stop".to_owned());
        for machine in &self.machines {
            let number = machine.host.number;
            let state = self.world.fleet.client(number).map(|client| client.state);
            if state == Some(ClientState::Duplicated) {
                self.world.does(Command::Resolve(number));
            }
        }
        if self
            .world
            .fleet
            .running()
            .is_some_and(|rotation| rotation.paused)
        {
            self.world.does(Command::Resume(None));
        }
        for _ in 0..6 {
            self.world.settle();
            if self.world.fleet.running().is_none() {
                return;
            }
            for machine in &mut self.machines {
                self.world.visit(&mut machine.host);
            }
            self.check();
        }
        panic!(
            "no end: {:?}, missing {:?}",
            self.world.rotation(),
            self.world.missing()
        );
    }
}

fn lie(world: &mut World, dice: &mut Dice, host: &Host) -> &'static str {
    let number = host.number;
    let held = [
        host.held,
        world.trust(&host.group),
        world.trust(&GroupName::default_group()),
        forged(host.held),
        at_revision(1, host.held),
    ][dice.below(5)];
    let to = world
        .fleet
        .certificates()
        .next_back()
        .map(|(newest, _)| newest);
    let generation = [Some(Generation(1)), world.fleet.serving(), to][dice.below(3)];
    let generation = generation.expect("one is served");
    match dice.below(5) {
        0 => {
            let liar = Host {
                held,
                off: dice.one_in(2),
                ..host.clone()
            };
            world.connect(&liar);
            "lies as it connects"
        }
        1 => {
            world.state(number, Statement::Received(held));
            "lies that it received"
        }
        2 => {
            world.state(number, Statement::Applied(held));
            "lies that it applied"
        }
        3 => {
            // Proofs are what both sides saw: it can show some, but of what it does not hold only late or misdirected ones.
            let stale = at_revision(1, host.held);
            world.state(number, Statement::Proved(stale, generation));
            world.state(number, Statement::Confirmed(forged(held), generation));
            world.state(number, Statement::Relaxed(stale));
            "shows what is stale"
        }
        _ => {
            let caught = [Suspicion::AcceptsDecoy, Suspicion::ContradictsSight][dice.below(2)];
            world.state(number, Statement::Suspected(caught));
            "is caught"
        }
    }
}

#[test]
fn whatever_happens_nobody_is_orphaned_and_there_is_an_end() {
    let mut sights = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut walk = Walk::new(seed);
        for _ in 0..STEPS {
            walk.step();
        }
        walk.comes_to_an_end();
        // From here on an undisturbed rotation completes.
        if !walk.world.fleet.roster().is_empty() {
            let strategy = [Strategy::Overlap, Strategy::Toggle][walk.dice.below(2)];
            walk.world.start(strategy);
            walk.comes_to_an_end();
            assert_eq!(walk.world.phase(), Phase::Completed);
        }
        let mut again = Fleet::default();
        for entry in &walk.world.journal {
            again.fold(entry);
        }
        assert!(again == walk.world.fleet, "the journal gives another state");
        for event in walk.world.journal.iter().flat_map(|entry| &entry.events) {
            if let Some(sight) = sight(event) {
                *sights.entry(sight).or_insert(0) += 1;
            }
        }
    }
    // The walks have been everywhere, and often.
    assert_eq!(sights.len(), 13, "{sights:?}");
    assert!(
        sights.values().all(|times: &u32| *times >= 10),
        "{sights:?}"
    );
}

/// What a walk is to meet.
fn sight(event: &Event) -> Option<String> {
    match event {
        Event::PhaseEntered { phase, .. } => Some(phase.to_string()),
        Event::ClientSuspected { .. } => Some("suspected".to_owned()),
        Event::ClientDuplicated { .. } => Some("duplicated".to_owned()),
        Event::EvidenceCleared { .. } => Some("cleared".to_owned()),
        Event::ClientWaived { .. } => Some("waived".to_owned()),
        Event::CertificateRetired { .. } => Some("retired".to_owned()),
        _ => None,
    }
}
