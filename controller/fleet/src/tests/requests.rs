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
