//! A journal that has lost its end is refused, and goes on only when an operator says so.

use std::fs;

use crate::{
    crashes::{entries, journal, refuses_to_start},
    fleet::Fleet,
};

/// In a file that was not closed, this bit says which of two commits is the newer one.
const NEWER_COMMIT: (usize, u8) = (9, 1);

fn groups(fleet: &Fleet) -> usize {
    let listed = fleet.json(&["groups", "list"]);
    listed.as_array().expect("a list").len()
}

#[test]
fn one_flipped_bit_that_takes_back_the_newest_entry_stops_the_start() {
    // Given a controller that was killed, and has said that a group exists,
    let mut fleet = Fleet::start();
    for name in [
        "one", "two", "three", "four", "five", "six", "seven", "eight",
    ] {
        fleet.ok(&["groups", "create", name]);
    }
    fleet.kill_controller();
    let whole = fs::read(journal(&fleet)).expect("a journal");
    let written = entries(&fleet).len();

    // when one bit of the file turns, which takes that entry back,
    let mut flipped = whole.clone();
    flipped[NEWER_COMMIT.0] ^= NEWER_COMMIT.1;
    fs::write(journal(&fleet), flipped).expect("written");

    // then the controller does not start, and says what that means and what to do;
    let lost = written - 1;
    refuses_to_start(
        &mut fleet,
        &format!("the journal ends with entry {lost}, and entry {written} was written"),
    );
    assert!(
        fleet
            .log("controller")
            .contains("start once with --accept-older-journal")
    );
    // and with the file as it was, nothing is lost.
    fs::write(journal(&fleet), whole).expect("written");
    fleet.start_controller();
    assert_eq!(groups(&fleet), 9);
}

#[test]
fn an_older_journal_is_taken_when_an_operator_says_so_for_one_start() {
    // Given an older copy of the journal in the place of the newest,
    let mut fleet = Fleet::start();
    fleet.ok(&["groups", "create", "one"]);
    fleet.kill_controller();
    let older = fs::read(journal(&fleet)).expect("a journal");
    fleet.start_controller();
    fleet.ok(&["groups", "create", "two"]);
    fleet.kill_controller();
    fs::write(journal(&fleet), older).expect("written");
    refuses_to_start(&mut fleet, "an older copy was put back");

    // when an operator accepts it, then the controller goes on from there, now and afterwards.
    fleet.set_options(&["--accept-older-journal"]);
    fleet.start_controller();
    assert!(
        fleet
            .log("controller")
            .contains("the older journal is accepted")
    );
    assert_eq!(groups(&fleet), 2);
    fleet.set_options(&[]);
    fleet.restart_controller();
    assert_eq!(groups(&fleet), 2);
}

#[test]
fn a_journal_without_its_head_is_not_believed() {
    let mut fleet = Fleet::start();
    fleet.kill_controller();
    let head = fleet.data_dir().join("journal.head");
    let kept = fs::read(&head).expect("the head");
    fs::remove_file(&head).expect("removed");
    refuses_to_start(
        &mut fleet,
        "journal.head, which says what the journal's newest entry is",
    );
    fs::write(&head, kept).expect("written");
    fleet.start_controller();
}
