//! Requests that are repeated, and journals that are read again.

use super::*;
use crate::state::Outcome;

impl World {
    /// Serves a request as the controller does.
    fn serve(
        &mut self,
        id: &str,
        body: &str,
        command: Command,
    ) -> Result<Option<Outcome>, Refusal> {
        let request = Request {
            id: id.to_owned(),
            body: Digest::of(body.as_bytes()),
        };
        if let Some(outcome) = self.fleet.repeated(&request, self.now)? {
            return Ok(outcome);
        }
        let events = decide(&self.fleet, command, self.now)?;
        let outcome = events.iter().rev().find_map(crate::state::outcome);
        self.append(events, Actor::LocalAdmin(1000), Some(request));
        Ok(outcome)
    }
}

#[test]
fn a_request_is_served_once() {
    let mut world = World::new();
    world.hosts(1);
    let to = world.import("new");
    let [first, second] =
        [0; 2].map(|_| world.start_command(Strategy::Overlap, to, RotationOptions::default()));
    let served = world.serve("r1", "start 2", first).expect("served");
    let id = world.rotation().id;
    assert_eq!(served, Some(Outcome::Rotation(id)));
    world.pass(HOUR * 24 - MINUTE);
    let again = world.serve("r1", "start 2", second.clone());
    assert_eq!(again, Ok(served));
    assert_eq!(world.fleet.rotations().len(), 1);
    // Without its id it is a request like any other.
    assert!(matches!(
        world.serve("r2", "start 2", second),
        Err(Refusal::RotationRunning { .. })
    ));
}

#[test]
fn a_request_id_belongs_to_its_body_for_a_day() {
    let mut world = World::new();
    let create = |name: &str| Command::CreateGroup(group(name));
    let made = |name: &str| Ok(Some(Outcome::Group(group(name))));
    assert_eq!(world.serve("r1", "a", create("a")), made("a"));
    let reused = Err(Refusal::RequestReused("r1".to_owned()));
    assert_eq!(world.serve("r1", "b", create("b")), reused);
    assert_eq!(world.fleet.group(&group("b")), None);
    world.pass(DAY - MINUTE);
    assert_eq!(world.serve("r1", "b", create("b")), reused);
    world.pass(MINUTE);
    assert_eq!(world.serve("r1", "b", create("b")), made("b"));
    // From then on it is that one's.
    assert_eq!(world.serve("r1", "b", create("b")), made("b"));
    assert_eq!(world.serve("r1", "a", create("a")), reused);
}

#[test]
fn a_refused_request_leaves_its_id_free() {
    let mut world = World::new();
    let create = |name: &str| Command::CreateGroup(group(name));
    assert!(world.serve("r1", "a", create("default")).is_err());
    assert!(world.serve("r1", "b", create("b")).is_ok());
}

#[test]
fn a_journal_that_is_read_again_gives_the_same_state() {
    let (mut world, mut hosts) = World::at(Phase::Swapping, Strategy::Toggle, 3);
    world.restart();
    world.does(Command::CreateGroup(group("printers")));
    hosts.push(world.joins(&group("printers")));
    let waive = world.waive(0, HOUR);
    world.does(waive);
    world
        .serve("r1", "a", Command::Pause(None))
        .expect("served");
    world.does(Command::Resume(None));
    world.state(
        1,
        Statement::Suspected(crate::client::Suspicion::AcceptsDecoy),
    );
    world.drive(&mut hosts, Phase::Completed);
    world.start(Strategy::Overlap);
    world.drive(&mut hosts, Phase::Enforcing);
    let mut again = Fleet::default();
    for entry in &world.journal {
        again.fold(entry);
    }
    assert_eq!(again, world.fleet);
}

/// Each id in its turn, twice: a walk over all of them for each entry, or for each question, would take minutes.
#[test]
fn forty_thousand_requests_are_folded_and_asked_for_one_by_one() {
    let mut world = World::new();
    let request = |number: u32, body: &str| Request {
        id: format!("request {number}"),
        body: Digest::of(body.as_bytes()),
    };
    for (day, body) in ["one", "two"].into_iter().enumerate() {
        for number in 0..40_000 {
            let asked = request(number, body);
            assert_eq!(world.fleet.repeated(&asked, world.now), Ok(None), "{day}");
            let entry = Entry {
                time: world.now,
                actor: Actor::LocalAdmin(0),
                request: Some(asked.clone()),
                replica: "1".to_owned(),
                events: vec![Event::AlreadySo],
            };
            world.fleet.fold(&entry);
            assert_eq!(world.fleet.repeated(&asked, world.now), Ok(Some(None)));
        }
        // None is forgotten before its day is over, and each is forgotten then.
        assert!(
            world
                .fleet
                .repeated(&request(0, "other"), world.now)
                .is_err()
        );
        world.pass(HOUR * 24);
    }
}

#[test]
fn an_id_that_comes_again_after_its_day_is_remembered_for_another() {
    let mut world = World::new();
    let create = |name: &str| Command::CreateGroup(group(name));
    world.serve("r1", "a", create("a")).expect("served");
    world.pass(HOUR * 25);
    world.serve("r1", "b", create("b")).expect("served");
    world.pass(HOUR * 23);
    world.serve("r2", "c", create("c")).expect("served");
    assert!(matches!(
        world.serve("r1", "d", create("d")),
        Err(Refusal::RequestReused(_))
    ));
}
