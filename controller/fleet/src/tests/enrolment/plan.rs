//! The load to come: slots, chance, and neither; and what is worth a word.

use super::*;
use crate::{
    enrolment::{Load, Plan, STEPS, plan},
    event::Joined,
};

/// A fleet of so many clients of each group, without a past.
fn fleet(groups: &[(&str, u32)]) -> Fleet {
    let mut fleet = Fleet::default();
    let mut events = vec![];
    for (name, count) in groups {
        for _ in 0..*count {
            let number = u32::try_from(events.len()).expect("few");
            events.push(Event::ClientJoined(Joined {
                id: ClientId::new(Uuid::from_u128(u128::from(number))),
                number,
                name: format!("host {number}"),
                group: group(name),
                key: Digest::of(&number.to_be_bytes()),
                token: TokenId::new(Uuid::from_u128(1)),
                agent_version: String::new(),
                identity_expires_at: now(),
            }));
        }
    }
    fold(&mut fleet, events);
    fleet
}

fn fold(fleet: &mut Fleet, events: Vec<Event>) {
    fleet.fold(&Entry {
        time: now(),
        actor: Actor::Controller,
        request: None,
        replica: String::new(),
        events,
    });
}

fn now() -> Timestamp {
    "2027-01-31T00:00:00Z".parse().expect("a time")
}

fn put(fleet: &mut Fleet, audience: Audience, patch: ScepPatch) {
    let event = EnrolmentEvent::SettingsSet {
        audience,
        revision: fleet.enrolment().revision().next(),
        patch: Box::new(patch),
    };
    fold(fleet, vec![Event::Enrolment(event)]);
}

/// The timer on, at once, with the built-in server.
fn timed(change: impl FnOnce(&mut ScepPatch)) -> ScepPatch {
    patch(change).after(&timer(true).after(&built_in()))
}

fn slots(rate: u32, window: SignedDuration) -> ScepPatch {
    timed(|p| {
        p.capacity = Some(Capacity::PerThousandSeconds(rate));
        p.window = Some(Span(window));
    })
}

/// The plan of one group, as if this were set.
fn planned(fleet: &Fleet, with: &ScepPatch) -> Plan {
    plan(fleet, Some(&group("lab")), Some(with), now())
}

fn only(plan: Plan) -> (Load, Vec<String>) {
    let [load] = <[Load; 1]>::try_from(plan.servers).expect("one server");
    let sum: f64 = load.steps.iter().map(|step| step.requests).sum();
    assert!((sum - f64::from(load.devices)).abs() < 1e-6, "{sum}");
    assert!(!load.steps.is_empty());
    assert!(load.steps.len() <= usize::try_from(STEPS).expect("small"));
    assert!(load.step >= SignedDuration::from_secs(1));
    (load, plan.warnings)
}

fn secs(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

#[test]
fn slots_make_a_flat_curve() {
    let fleet = fleet(&[("lab", 600)]);
    let (load, warnings) = only(planned(&fleet, &slots(5_000, SignedDuration::ZERO)));
    assert_eq!(warnings, [""; 0]);
    assert_eq!((load.server.as_str(), load.devices), ("built-in", 600));
    assert_eq!(load.first, now());
    assert_eq!(load.last, now() + SignedDuration::from_millis(119_800));
    assert_eq!((load.peak_per_second, load.capacity.as_str()), (5, "5"));
    assert_eq!(load.step, secs(1));
    assert!(load.steps.iter().all(|step| step.requests == 5.0));
    // Nothing was set by planning.
    assert_eq!(plan(&fleet, None, None, now()).servers, []);
}

#[test]
fn chance_makes_expected_numbers() {
    let fleet = fleet(&[("lab", 1500)]);
    let (load, warnings) = only(planned(&fleet, &timed(|p| p.auto_adjust = Some(true))));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(
        (load.first, load.last),
        (now() + secs(1), now() + secs(600))
    );
    assert_eq!(load.peak_per_second, 3, "2.5, rounded up");
    assert_eq!(load.capacity, "off");
    assert_eq!((load.step, load.steps.len()), (secs(5), 120));
    assert!(load.steps.iter().all(|step| step.requests == 12.5));
}

#[test]
fn a_start_without_slots_or_chance_is_a_crowd() {
    let start = now() + DAY;
    let at = |p: &mut ScepPatch| p.request_start = Some(RequestStart::At(start));
    let (load, warnings) = only(planned(&fleet(&[("lab", 11)]), &timed(at)));
    assert_eq!((load.first, load.last), (start, start));
    assert_eq!((load.peak_per_second, load.steps.len()), (11, 1));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0]
            .starts_with("11 devices ask built-in at the same instant, 2027-02-01T00:00:00Z")
    );
    let (_, warnings) = only(planned(&fleet(&[("lab", 10)]), &timed(at)));
    assert_eq!(warnings, [""; 0], "ten are not worth a word");
}

#[test]
fn a_window_that_is_too_short_says_what_would_do() {
    let fleet = fleet(&[("lab", 5000)]);
    let (load, warnings) = only(planned(&fleet, &slots(1_000, HOUR)));
    assert_eq!(load.peak_per_second, 2);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let expected = "group lab: the window of 1h has 3600 slots at a capacity of 1, and 5000 devices need 5000 (decommissioned ones keep theirs): up to 2 ask at one instant; a window of 1h 23m 20s or a capacity of 1.389 would do";
    assert_eq!(warnings[0], expected);
    // Each of the two would do indeed.
    for enough in [slots(1_000, secs(5000)), slots(1_389, HOUR)] {
        let (load, warnings) = only(planned(&fleet, &enough));
        assert_eq!(warnings, [""; 0]);
        assert!(load.peak_per_second <= 2, "{}", load.peak_per_second);
    }
    let (load, warnings) = only(planned(&fleet, &slots(1, secs(1))));
    assert_eq!(load.peak_per_second, 5000);
    assert!(
        warnings[0].ends_with("; a window of 1388h 53m 20s or a capacity of 5000 would do"),
        "{warnings:?}"
    );
}

#[test]
fn groups_that_meet_at_one_server_are_told() {
    let mut fleet = fleet(&[("lab", 50), ("office", 50), ("hall", 3)]);
    let office = slots(10_000, SignedDuration::ZERO);
    put(&mut fleet, Audience::Group(group("lab")), office.clone());
    put(&mut fleet, Audience::Group(group("office")), office);
    let (load, warnings) = only(plan(&fleet, None, None, now()));
    assert_eq!((load.peak_per_second, load.devices), (20, 100));
    assert_eq!(load.capacity, "10", "each said once");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0]
            .starts_with("built-in gets up to 20 requests in one second from lab, office together"),
        "{warnings:?}"
    );
    assert_eq!(
        warnings[1],
        "3 devices have their timer off and are not in the plan"
    );
    // One after the other is well.
    let later = slots(10_000, SignedDuration::ZERO);
    let start = RequestStart::At(now() + MINUTE);
    let later = patch(|p| p.request_start = Some(start)).after(&later);
    put(&mut fleet, Audience::Group(group("office")), later);
    let (load, warnings) = only(plan(&fleet, None, None, now()));
    assert_eq!((load.peak_per_second, warnings.len()), (10, 1));
    // And so are two servers.
    let elsewhere = patch(|p| {
        p.server = Some(ScepServer::Url("http://[::1]:80/scep".to_owned()));
        p.port = Some(8080);
    });
    let elsewhere = elsewhere.after(&slots(2_500, SignedDuration::ZERO));
    put(&mut fleet, Audience::Group(group("office")), elsewhere);
    let plan = plan(&fleet, None, None, now());
    let servers: Vec<_> = plan.servers.iter().map(|load| &*load.server).collect();
    assert_eq!(servers, ["built-in", "http://[::1]:8080/scep"]);
    assert_eq!(plan.servers[1].capacity, "2.5");
    assert_eq!(plan.servers[1].peak_per_second, 3);
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn who_is_not_in_the_plan_is_said() {
    let mut fleet = fleet(&[("lab", 4), ("office", 2)]);
    put(&mut fleet, Audience::Client(1), timer(false));
    fold(&mut fleet, vec![Event::ClientDecommissioned { client: 2 }]);
    let nowhere = patch(|p| p.server = Some(ScepServer::None));
    put(&mut fleet, Audience::Client(3), nowhere);
    let (load, warnings) = only(planned(&fleet, &timed(|_| {})));
    assert_eq!(load.devices, 1);
    assert_eq!(
        warnings,
        [
            "1 device has its timer off and is not in the plan",
            "1 device has its timer on and no SCEP server: set server to built-in or a URL",
        ]
    );
    let past = timed(|p| p.request_start = Some(RequestStart::At(now() - DAY)));
    let (_, warnings) = only(planned(&fleet, &past));
    assert!(warnings[2].starts_with("1 device has a start in the past"));
    let nobody = plan(&fleet, Some(&group("nowhere")), Some(&past), now());
    assert_eq!(nobody, Plan::default());
}

#[test]
fn a_client_s_own_settings_are_its_own_in_the_plan_too() {
    let mut fleet = fleet(&[("lab", 3)]);
    let later = RequestStart::At(now() + DAY * 365 * 20);
    let own = patch(|p| p.request_start = Some(later));
    put(&mut fleet, Audience::Client(2), own);
    let (load, warnings) = only(planned(&fleet, &slots(1_000, SignedDuration::ZERO)));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(load.last, now() + DAY * 365 * 20 + secs(2));
    assert_eq!(load.step, DAY * 61);
    assert_eq!(load.steps[0].requests, 2.0);
    // Chance and slots at one server.
    let chance = patch(|p| {
        p.capacity = Some(Capacity::Off);
        p.auto_adjust = Some(true);
    });
    put(&mut fleet, Audience::Client(1), chance);
    let (load, _) = only(planned(&fleet, &slots(1_000, SignedDuration::ZERO)));
    assert_eq!((load.devices, load.peak_per_second), (3, 1));
}

#[test]
fn the_ends_of_time_are_planned_too() {
    let fleet = fleet(&[("lab", 3)]);
    for start in [Timestamp::MIN, Timestamp::MAX] {
        let start = |p: &mut ScepPatch| p.request_start = Some(RequestStart::At(start));
        only(planned(&fleet, &timed(start)));
        only(planned(
            &fleet,
            &slots(1, SignedDuration::ZERO).after(&patch(start)),
        ));
        let start = patch(|p| p.auto_adjust = Some(true)).after(&timed(start));
        only(planned(&fleet, &start));
    }
}

#[test]
fn a_hundred_thousand_devices_are_planned() {
    let mut fleet = fleet(&[("lab", 60_000), ("office", 40_000)]);
    let lab = slots(50_000, SignedDuration::ZERO);
    put(&mut fleet, Audience::Group(group("lab")), lab);
    let chance = timed(|p| p.auto_adjust = Some(true));
    put(&mut fleet, Audience::Group(group("office")), chance);
    // Some with a start of their own.
    for client in 0..1_000 {
        let start = now() + secs(i64::from(client) * 60);
        let own = patch(|p| p.request_start = Some(RequestStart::At(start)));
        put(&mut fleet, Audience::Client(60_000 + client), own);
    }
    let (load, warnings) = only(plan(&fleet, None, None, now()));
    assert_eq!(warnings, [""; 0]);
    assert_eq!(load.devices, 100_000);
    assert_eq!(load.peak_per_second, 50 + 66, "with 39,000 ÷ 600 by chance");
}
