//! Who is connected is no history: it is kept beside the journal, lasts over a restart, and a swap knows who is to come back.

use crate::{crashes::entries, fleet::Fleet};

#[test]
fn coming_and_going_leaves_no_entry_in_the_journal() {
    // Given a client that has said all it has to say,
    let mut fleet = Fleet::with_agents(&["one"]);
    let news = |fleet: &Fleet| {
        fleet
            .log("controller")
            .matches("client stated something new")
            .count()
    };
    fleet.eventually("it has said all", |fleet| {
        let said = fleet.log("controller").contains("SCEP document held");
        said.then_some(())
    });
    let before = fleet.client("one");
    assert_eq!(news(&fleet), 1);
    assert_eq!(before["address"], "127.0.0.1", "{before}");
    // It may come by the other of its controller's two addresses the next time, which is news of its own.
    let ways = |fleet: &Fleet| {
        fleet
            .log("controller")
            .matches("client has come by this address for the first time")
            .count()
    };
    fleet.kill_controller();
    let (written, known) = (entries(&fleet).len(), ways(&fleet));

    // when it loses its controller and comes back, twice,
    for _ in 0..2 {
        fleet.start_controller();
        fleet.await_connected(&["one"]);
        fleet.await_presence_saved();
        fleet.kill_controller();
    }

    // then the controller's own starts are all that was written.
    let new_ways = ways(&fleet) - known;
    assert_eq!(entries(&fleet).len(), written + 2 + new_ways);
    fleet.start_controller();
    fleet.await_connected(&["one"]);
    let after = fleet.client("one");
    for same in [
        "trust_revision",
        "served_generation",
        "agent_version",
        "address",
    ] {
        assert_eq!(after[same], before[same], "{same}");
    }

    // A process that is another one is news.
    fleet.kill("one");
    fleet.run("one");
    fleet.eventually("its start is known", |fleet| {
        (news(fleet) == 2).then_some(())
    });
}

#[test]
fn who_was_connected_when_the_controller_was_killed_is_expected_back_after_the_swap() {
    // Given a rotation about to swap, two clients that are connected and one that has proved and gone,
    let all = ["one", "two", "three"];
    let mut fleet = Fleet::with_agents(&all);
    fleet.kill_controller();
    fleet.start_controller_held_at("decided.Swapping");
    fleet.await_serving();
    fleet.await_connected(&all);
    fleet.rotate(&[]);
    fleet.await_held();
    fleet.switch_off("three");
    fleet.await_presence_saved();

    // when the controller is killed before anything of it is written, and nobody comes back in time,
    fleet.kill_controller();
    for name in ["one", "two"] {
        fleet.kill(name);
    }
    fleet.start_controller();

    // then the two are waited for, and the one that had gone is not.
    let status = fleet.await_phase("Swapping");
    assert_eq!(status["expected_back"], 2, "{status}");
    fleet.await_missing(&["one", "two"]);
    for name in all {
        fleet.run(name);
    }
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&all);
}

#[test]
fn what_is_known_of_presence_can_be_lost_and_the_controller_starts() {
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.await_presence_saved();
    fleet.kill_controller();
    std::fs::write(fleet.data_dir().join("presence.redb"), "damaged").expect("written");
    fleet.start_controller();
    let log = fleet.log("controller");
    assert!(log.contains("it is begun anew"), "{log}");
    fleet.await_connected(&["one"]);
}
