//! Kills all through a rotation of eight: a seed says whom, at which sight, and until which. The kill at each single step is proved elsewhere.

use std::{
    collections::hash_map::RandomState,
    env,
    hash::{BuildHasher as _, Hasher as _},
};

use serde_json::Value;

use crate::{curious::certificate_seen, fleet::Fleet};

const AGENTS: [&str; 8] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight",
];
const ALL: usize = AGENTS.len();
/// In each rotation.
const KILLS: usize = 20;

/// The phases of a rotation that nothing stops.
const PHASES: [&str; 7] = [
    "Planned",
    "PausingReplication",
    "Preparing",
    "Swapping",
    "Enforcing",
    "ResumingReplication",
    "Completed",
];
const PREPARING: usize = 2;
const SWAPPING: usize = 3;
const ENFORCING: usize = 4;
const RESUMING: usize = 5;

/// Numbers that look random and are the same for the same seed (Knuth's MMIX constants).
struct Seeded(u64);

impl Seeded {
    /// The seed that is asked for by `CONVOY_SEED`, or a new one. It is printed.
    fn printed() -> Self {
        let seed = match env::var("CONVOY_SEED") {
            Ok(seed) => seed.parse().expect("CONVOY_SEED is a number"),
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        eprintln!("the same kills again: CONVOY_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).expect("31 bits");
        high % limit
    }
}

/// How far a rotation is: its phase, and how many of its clients that phase does not wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sight {
    phase: usize,
    shown: usize,
}

fn number(status: &Value, name: &str) -> usize {
    let number = status[name].as_u64().expect("a number");
    usize::try_from(number).expect("few")
}

/// Who looks at the rotation, and what each look must show.
struct Observer {
    /// What gate A asks for.
    asked: &'static str,
    phase: usize,
    /// Who has been away since before it could show what this phase asks: no later phase may begin.
    holds: Option<(&'static str, usize)>,
}

impl Observer {
    fn look(&mut self, fleet: &Fleet) -> (Sight, Vec<String>) {
        let status = fleet.rotation();
        let phase = PHASES.iter().position(|phase| status["phase"] == *phase);
        let phase = phase.unwrap_or_else(|| panic!("it was given up: {status}"));
        assert!(phase >= self.phase, "it went back: {status}");
        self.phase = phase;
        assert_eq!(number(&status, "clients"), ALL, "{status}");
        // No gate has opened early: by what the controller says,
        if phase > PREPARING {
            assert_eq!(number(&status, self.asked), ALL, "{status}");
        }
        if phase > ENFORCING {
            assert_eq!(number(&status, "confirmed"), ALL, "{status}");
        }
        // and by what it cannot know, because nobody has told it.
        if let Some((away, held)) = self.holds {
            assert!(phase <= held, "{away} was not waited for: {status}");
        }
        let missing = status["missing"].as_array().expect("a list").iter();
        let missing = missing.map(|client| client["name"].as_str().expect("a name").to_owned());
        let sight = Sight {
            phase,
            shown: ALL - number(&status, "missing_count"),
        };
        (sight, missing.collect())
    }
}

struct Chaos {
    fleet: Fleet,
    dice: Seeded,
    observer: Observer,
    /// Who is away for longer than until the next kill.
    away: Vec<&'static str>,
    revisions: [u64; ALL],
    kills: usize,
}

impl Chaos {
    fn begin(strategy: &str) -> Self {
        let dice = Seeded::printed();
        let fleet = Fleet::with_agents(&AGENTS);
        let revisions = AGENTS.map(|name| trust_revision(&fleet, name));
        Self {
            fleet,
            dice,
            observer: Observer {
                asked: if strategy == "toggle" {
                    "applied"
                } else {
                    "proved"
                },
                phase: 0,
                holds: None,
            },
            away: Vec::new(),
            revisions,
            kills: 0,
        }
    }

    fn present(&self) -> Vec<&'static str> {
        let agents = AGENTS.into_iter();
        agents.filter(|name| !self.away.contains(name)).collect()
    }

    /// One that runs.
    fn anybody(&mut self) -> &'static str {
        let present = self.present();
        present[self.dice.below(present.len())]
    }

    fn await_sight(&mut self, phase: usize, shown: usize) {
        let wanted = Sight { phase, shown };
        let observer = &mut self.observer;
        self.fleet.eventually(&format!("{wanted:?}"), |fleet| {
            (observer.look(fleet).0 >= wanted).then_some(())
        });
    }

    /// Kills as often as this in a phase, each time at a sight that the seed chooses. The controller is among the victims.
    fn strike_in(&mut self, phase: usize, kills: usize) {
        let mut shown: Vec<_> = (0..kills).map(|_| self.dice.below(ALL)).collect();
        shown.sort_unstable();
        let certain = self.dice.below(kills);
        for (kill, shown) in shown.into_iter().enumerate() {
            let controller = self.dice.below(4) == 0 || kill == certain;
            let victim = self.anybody();
            self.await_sight(phase, shown);
            if controller {
                self.strike_controller();
            } else {
                self.strike(victim);
            }
        }
    }

    /// Kills the controller until some agents have tried in vain to reach it.
    fn strike_controller(&mut self) {
        let vain = |fleet: &Fleet, name| fleet.log(name).matches("no session").count();
        let present = self.present();
        let enough = 1 + self.dice.below(3);
        eprintln!(
            "{}: the controller, until {enough} agents have missed it",
            PHASES[self.observer.phase]
        );
        self.fleet.kill_controller();
        let before: Vec<_> = present.iter().map(|name| vain(&self.fleet, name)).collect();
        self.fleet.eventually("agents have tried in vain", |fleet| {
            let now = present.iter().zip(&before);
            let tried = now.filter(|(name, before)| vain(fleet, name) > **before);
            (tried.count() >= enough).then_some(())
        });
        self.fleet.start_controller();
        self.kills += 1;
    }

    /// Kills an agent until the controller has noticed, or until nobody is waited for but those that are away.
    fn strike(&mut self, victim: &'static str) {
        self.leave(victim);
        let noticed = self.dice.below(2) == 0;
        let until = if noticed { "noticed" } else { "alone" };
        eprintln!("{victim} stays away until {until}");
        let Self {
            fleet,
            observer,
            away,
            ..
        } = self;
        fleet.eventually(&format!("{victim} may come back"), |fleet| {
            let (_, missing) = observer.look(fleet);
            let back = if noticed {
                fleet.client(victim)["connected"] == false
            } else {
                missing.iter().all(|name| away.contains(&name.as_str()))
            };
            back.then_some(())
        });
        self.come_back(victim);
    }

    fn leave(&mut self, victim: &'static str) {
        eprintln!("{}: {victim} is killed", PHASES[self.observer.phase]);
        self.fleet.kill(victim);
        self.away.push(victim);
        self.kills += 1;
    }

    /// Starts an agent again, that has lost nothing by its death.
    fn come_back(&mut self, victim: &'static str) {
        let index = AGENTS.iter().position(|name| *name == victim);
        let before = &mut self.revisions[index.expect("an agent")];
        let now = trust_revision(&self.fleet, victim);
        assert!(now >= *before, "{victim} went from {before} to {now}");
        *before = now;
        self.fleet.assert_no_orphans(&[victim]);
        self.away.retain(|name| *name != victim);
        self.fleet.run(victim);
    }
}

fn trust_revision(fleet: &Fleet, name: &str) -> u64 {
    let held = fleet.agent_status(name);
    held["trust_revision"].as_u64().expect("a revision")
}

fn survives_chaos(strategy: &str) {
    // Given a fleet, one of which is away as its rotation starts,
    let mut chaos = Chaos::begin(strategy);
    let first = chaos.anybody();
    chaos.leave(first);
    chaos.observer.holds = Some((first, PREPARING));
    let (generation, new) = chaos.fleet.import_new();
    let start = ["rotation", "start", "--to", &generation];
    chaos
        .fleet
        .ok(&[start.as_slice(), &["--strategy", strategy]].concat());

    // when one after the other is killed,
    chaos.strike_in(PREPARING, 7);
    // then gate A waits for the one that was away, and opens for it, though another has gone meanwhile;
    chaos.await_sight(PREPARING, ALL - 1);
    let second = chaos.anybody();
    // Who may have gone only because the controller was killed is expected back after the swap: this one goes by itself, and is seen to.
    chaos.fleet.await_connected(&[second]);
    chaos.leave(second);
    chaos.fleet.eventually("it is seen to have gone", |fleet| {
        (fleet.client(second)["connected"] == false).then_some(())
    });
    chaos.observer.holds = Some((second, ENFORCING));
    chaos.come_back(first);
    chaos.strike_in(SWAPPING, 4);
    chaos.strike_in(ENFORCING, 6);
    // gate B waits for that one;
    chaos.await_sight(ENFORCING, ALL - 1);
    chaos.observer.holds = None;
    chaos.come_back(second);
    // and with everybody there it completes, whatever is killed then.
    chaos.strike_in(RESUMING, 1);
    assert_eq!(chaos.kills, KILLS);
    chaos.await_sight(PHASES.len() - 1, ALL);
    let mut fleet = chaos.fleet;
    fleet.await_connected(&AGENTS);
    assert_eq!(certificate_seen(fleet.agents_addr()), new);
    fleet.assert_no_orphans(&AGENTS);
    for name in AGENTS {
        let held = fleet.agent_status(name);
        assert_eq!(held["mode_in_force"], "verify", "{name}: {held}");
        assert_eq!(held["anchors"].as_array().map(Vec::len), Some(1), "{name}");
    }
}

#[test]
fn overlap_survives_kills_of_anybody_at_any_sight() {
    survives_chaos("overlap");
}

#[test]
fn toggle_survives_kills_of_anybody_at_any_sight() {
    survives_chaos("toggle");
}
