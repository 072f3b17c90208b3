//! What clients report of their requests: repeated, late, out of order, and made up.

use convoy_shared::{
    enrolment::{ErrorDetail, RequestRecord, RequestState, Trigger},
    settings::KeyUse,
};

use super::*;
use crate::enrolment::{EnrolmentStatement, HISTORY};

fn record(attempt: u64, state: RequestState, second: i64) -> RequestRecord {
    let time = Timestamp::from_second(second).expect("a time");
    RequestRecord {
        attempt,
        trigger: Trigger::Timer,
        requested_at: Timestamp::UNIX_EPOCH,
        key_name: "scep".to_owned(),
        key_use: KeyUse::None,
        state,
        updated_at: time,
        warnings: vec![],
    }
}

const DUE: RequestState = RequestState::ToBeProcessed;

fn polling(polls: u32) -> RequestState {
    RequestState::Processing {
        polls,
        waiting: Some(ErrorDetail::Deferred),
    }
}

fn failed() -> RequestState {
    RequestState::Error(ErrorDetail::TopError)
}

impl World {
    /// How many events a report leads to.
    fn reports(&mut self, host: &Host, records: Vec<RequestRecord>) -> usize {
        let statement = Statement::Enrolment(EnrolmentStatement::Reported(records));
        self.state(host.number, statement).len()
    }

    fn known(&self, host: &Host) -> Vec<(u64, RequestState)> {
        let requests = self.fleet.enrolment().requests(host.number);
        let records = requests.into_iter().flat_map(|known| &known.records);
        records
            .map(|record| (record.attempt, record.state.clone()))
            .collect()
    }
}

#[test]
fn a_request_goes_from_due_to_its_end_and_repetition_is_nothing() {
    let mut world = World::new();
    let host = world.host();
    let steps = [
        record(1, DUE, 1),
        record(1, polling(0), 2),
        record(1, polling(1), 3),
        record(1, failed(), 4),
    ];
    for step in &steps {
        assert_eq!(world.reports(&host, vec![step.clone()]), 1);
        assert_eq!(world.reports(&host, vec![step.clone()]), 0);
    }
    // All of it once more, as after a lost answer: it has ended.
    assert_eq!(world.reports(&host, steps.to_vec()), 0);
    assert_eq!(world.known(&host), [(1, failed())]);
}

#[test]
fn what_has_ended_stays_so_and_nothing_older_comes_up() {
    let mut world = World::new();
    let host = world.host();
    world.reports(&host, vec![record(5, failed(), 10)]);
    for state in [DUE, polling(0), RequestState::Error(ErrorDetail::KeyLimit)] {
        assert_eq!(world.reports(&host, vec![record(5, state, 99)]), 0);
    }
    for attempt in [0, 1, 4] {
        assert_eq!(world.reports(&host, vec![record(attempt, DUE, 99)]), 0);
    }
    assert_eq!(world.known(&host), [(5, failed())]);
    // An earlier one that is known and has not ended may still end.
    world.reports(&host, vec![record(6, polling(3), 20)]);
    world.reports(&host, vec![record(7, DUE, 21)]);
    assert_eq!(world.reports(&host, vec![record(6, polling(2), 19)]), 0);
    assert_eq!(world.reports(&host, vec![record(6, failed(), 19)]), 1);
    let known = [(5, failed()), (6, failed()), (7, DUE)];
    assert_eq!(world.known(&host), known);
}

#[test]
fn one_report_cannot_do_what_two_could_not() {
    let mut world = World::new();
    let host = world.host();
    // Ended, and then alive again; out of order; twice the same; and the attempt that there is not.
    let records = vec![
        record(3, failed(), 10),
        record(3, polling(0), 11),
        record(2, DUE, 5),
        record(2, DUE, 5),
        record(0, DUE, 5),
        record(3, failed(), 12),
    ];
    assert_eq!(world.reports(&host, records.clone()), 2);
    assert_eq!(world.known(&host), [(2, DUE), (3, failed())]);
    let before = world.fleet.clone();
    assert_eq!(world.reports(&host, records), 0);
    assert_eq!(world.fleet, before);
}

#[test]
fn so_many_are_kept_and_no_more() {
    let mut world = World::new();
    let host = world.host();
    let most = u64::try_from(HISTORY).expect("small");
    for attempt in 1..=most + 5 {
        world.reports(&host, vec![record(attempt, failed(), 1)]);
    }
    let known = world.known(&host);
    assert_eq!(known.len(), HISTORY);
    assert_eq!((known[0].0, known[HISTORY - 1].0), (6, most + 5));
    // Those that were forgotten do not come back.
    assert_eq!(world.reports(&host, vec![record(3, DUE, 99)]), 0);
    // Nor does a flood write more than is kept.
    let flood = (1..most * 50).map(|attempt| record(attempt, DUE, 99));
    assert_eq!(world.reports(&host, flood.collect()), HISTORY);
    assert_eq!(world.known(&host).len(), HISTORY);
    assert_eq!(world.known(&host)[HISTORY - 1].0, most * 50 - 1);
}

#[test]
fn a_client_speaks_for_itself_and_only_while_it_is_one() {
    let mut world = World::new();
    let [one, other] = [world.host(), world.host()];
    world.reports(&one, vec![record(1, failed(), 1)]);
    assert!(world.known(&other).is_empty());
    world.does(Command::Decommission(one.number));
    assert_eq!(world.reports(&one, vec![record(2, DUE, 2)]), 0);
}

#[test]
fn what_a_client_supports_is_kept_within_bounds() {
    let mut world = World::new();
    let host = world.host();
    let mut states = |held, supports: Vec<String>| {
        let statement = EnrolmentStatement::Stated {
            held: Revision(held),
            supports,
        };
        let events = world.state(host.number, Statement::Enrolment(statement));
        let known = world.fleet.enrolment().requests(host.number);
        let known = known.map_or(vec![], |known| known.supports.clone());
        (events.len(), known)
    };
    assert_eq!(states(0, vec![]), (0, vec![]), "no news");
    let words = vec!["RSA-2048".to_owned(), "TLS".to_owned()];
    assert_eq!(states(3, words.clone()), (1, words.clone()));
    assert_eq!(states(3, words.clone()), (0, words.clone()));
    assert_eq!(states(4, words.clone()), (1, words));
    let odd = ["", "a\u{1b}[2J", &"x".repeat(65)].map(str::to_owned);
    assert_eq!(states(4, odd.to_vec()), (1, vec![]));
    assert_eq!(states(4, odd.to_vec()), (0, vec![]));
    let many = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(states(4, many).1.len(), 64);
}
