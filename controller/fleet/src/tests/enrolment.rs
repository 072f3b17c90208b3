//! SCEP settings of groups and clients: who may change what and when, and whose secret is whose.

mod plan;
mod reports;

use convoy_shared::settings::{
    Capacity, ChallengeSource, Periodic, RequestStart, ScepPatch, ScepServer, ScepSettings, Span,
};

use super::*;
use crate::enrolment::{Audience, EnrolmentCommand, EnrolmentEvent};

fn default_group() -> Audience {
    Audience::Group(GroupName::default_group())
}

fn patch(change: impl FnOnce(&mut ScepPatch)) -> ScepPatch {
    let mut patch = ScepPatch::default();
    change(&mut patch);
    patch
}

fn timer(on: bool) -> ScepPatch {
    patch(|p| p.timer = Some(on))
}

fn built_in() -> ScepPatch {
    patch(|p| p.server = Some(ScepServer::BuiltIn))
}

fn polls(polls: u32) -> ScepPatch {
    patch(|p| p.polls = Some(polls))
}

fn set(audience: &Audience, patch: &ScepPatch) -> Command {
    settings(audience, patch, false)
}

fn settings(audience: &Audience, patch: &ScepPatch, reset: bool) -> Command {
    Command::Enrolment(EnrolmentCommand::SetSettings {
        audience: audience.clone(),
        patch: Box::new(patch.clone()),
        reset,
    })
}

fn note(audience: &Audience, ndes: bool, present: bool) -> Command {
    Command::Enrolment(EnrolmentCommand::NoteSecret {
        audience: audience.clone(),
        ndes,
        present,
    })
}

impl World {
    /// What holds for a client.
    fn holds(&self, host: &Host) -> ScepSettings {
        self.fleet.enrolment().client(host.number, &host.group)
    }

    /// A fleet of so many hosts whose group has the built-in server and the timer on.
    fn timed(hosts: usize) -> (Self, Vec<Host>) {
        let mut world = Self::new();
        let hosts = world.hosts(hosts);
        world.does(set(&default_group(), &timer(true).after(&built_in())));
        (world, hosts)
    }
}

fn on(whose: &str, fields: &str) -> Refusal {
    Refusal::TimerOn {
        whose: whose.to_owned(),
        fields: fields.to_owned(),
    }
}

#[test]
fn a_group_s_settings_hold_for_its_clients_until_theirs_differ() {
    let mut world = World::new();
    let [plain, own] = [world.host(), world.host()];
    let client = Audience::Client(own.number);
    world.does(set(&default_group(), &polls(3)));
    world.does(set(&client, &polls(7)));
    assert_eq!((world.holds(&plain).polls, world.holds(&own).polls), (3, 7));

    // The client's own survives its group's changes, and follows the rest of them.
    world.does(set(&default_group(), &polls(4).after(&built_in())));
    assert_eq!((world.holds(&plain).polls, world.holds(&own).polls), (4, 7));
    assert_eq!(world.holds(&own).server, ScepServer::BuiltIn);
    world.does(settings(&default_group(), &ScepPatch::default(), true));
    assert_eq!(world.holds(&plain), ScepSettings::default());
    assert_eq!(world.holds(&own).polls, 7);

    // Without it, it has its group's again.
    world.does(settings(&client, &ScepPatch::default(), true));
    assert_eq!(world.holds(&own), ScepSettings::default());
}

#[test]
fn each_change_has_a_revision_and_a_repetition_is_none() {
    let mut world = World::new();
    let [one, other] = [world.host(), world.host()];
    let revisions = |world: &World| {
        [&one, &other].map(|host| {
            let enrolment = world.fleet.enrolment();
            enrolment.revision_of(host.number, &host.group).0
        })
    };
    assert_eq!(revisions(&world), [0, 0]);
    let change = set(&default_group(), &polls(3));
    world.does(change.clone());
    assert_eq!(revisions(&world), [1, 1]);
    assert_eq!(world.does(change.clone()), []);
    world.does(set(&Audience::Client(one.number), &polls(4)));
    assert_eq!(revisions(&world), [2, 1]);
    assert_eq!(world.does(change), []);
    // Going back is a change, too.
    world.does(settings(
        &Audience::Client(one.number),
        &ScepPatch::default(),
        true,
    ));
    assert_eq!(revisions(&world), [3, 1]);
    assert_eq!(world.fleet.enrolment().revision(), Revision(3));
}

#[test]
fn nothing_but_the_timer_changes_while_it_is_on() {
    let (mut world, hosts) = World::timed(1);
    let whose = GroupName::default_group().to_string();
    for (change, fields) in [
        (polls(3), "polls"),
        (polls(3).after(&timer(true)), "polls"),
        (patch(|p| p.port = Some(1)).after(&polls(3)), "port, polls"),
        (
            patch(|p| p.server = Some(ScepServer::Url("http://h/".to_owned()))),
            "server",
        ),
    ] {
        let refusal = world.refuses(set(&default_group(), &change));
        assert_eq!(refusal, on(&whose, fields));
        assert!(refusal.to_string().contains("convoy scep timer off"));
        let client = Audience::Client(hosts[0].number);
        assert_eq!(world.refuses(set(&client, &change)), on("host 0", fields));
    }
    // Nor by forgetting while keeping it on.
    let forget = settings(&default_group(), &timer(true).after(&built_in()), true);
    assert_eq!(world.does(forget), [], "there is nothing else to forget");
    let others = patch(|p| p.server = Some(ScepServer::Url("http://h/".to_owned())));
    let forget = settings(&default_group(), &timer(true).after(&others), true);
    assert_eq!(world.refuses(forget), on(&whose, "server"));

    // It can be turned off, alone or with what is to change; and on likewise.
    world.does(set(&default_group(), &timer(false)));
    world.does(set(&default_group(), &timer(true).after(&polls(3))));
    world.does(set(&default_group(), &timer(false).after(&polls(4))));
    assert_eq!(world.holds(&hosts[0]).polls, 4);
    assert!(!world.holds(&hosts[0]).timer);
}

#[test]
fn a_group_s_change_waits_for_the_timers_of_clients_that_differ() {
    let mut world = World::new();
    let hosts = world.hosts(2);
    let client = Audience::Client(hosts[1].number);
    world.does(set(&default_group(), &built_in()));
    world.does(set(&client, &timer(true)));
    assert_eq!(
        world.refuses(set(&default_group(), &polls(3))),
        on("host 1", "polls")
    );
    // What it has of its own does not change for it.
    world.does(set(&client, &timer(false)));
    world.does(set(&client, &timer(true).after(&polls(9))));
    world.does(set(&default_group(), &polls(3)));
    assert_eq!(world.holds(&hosts[1]).polls, 9);
    // Its own patch cannot be taken from it meanwhile, so that it would have its group's;
    let keep = settings(&client, &timer(true), true);
    assert_eq!(world.refuses(keep), on("host 1", "polls"));
    // but it can be turned off with it: the group's is off.
    world.does(settings(&client, &ScepPatch::default(), true));
    assert!(!world.holds(&hosts[1]).timer);

    // A client that is off in a group that is on may change, and turn on with it.
    world.does(set(&default_group(), &timer(true)));
    world.does(set(&client, &timer(false)));
    world.does(set(&client, &polls(5)));
    world.does(settings(&client, &ScepPatch::default(), true));
    assert!(world.holds(&hosts[1]).timer);
}

#[test]
fn those_that_left_hold_nobody_up() {
    let mut world = World::new();
    let hosts = world.hosts(2);
    let client = Audience::Client(hosts[1].number);
    world.does(set(&default_group(), &built_in()));
    world.does(set(&client, &timer(true)));
    world.does(note(&client, false, true));
    world.does(Command::Decommission(hosts[1].number));
    world.does(set(&default_group(), &polls(3)));
    for command in [set(&client, &timer(false)), note(&client, true, true)] {
        assert_eq!(world.refuses(command), Refusal::ClientDecommissioned);
    }
    // But nothing of them need be kept.
    world.does(note(&client, false, false));
    assert!(!world.fleet.enrolment().is_stored(&client, false));
}

#[test]
fn settings_that_cannot_be_are_refused_for_each_device_that_they_concern() {
    let mut world = World::new();
    let hosts = world.hosts(1);
    let client = Audience::Client(hosts[0].number);
    let refused = |world: &mut World, audience: &Audience, patch: &ScepPatch, field: &str| {
        let Refusal::BadSetting(text) = world.refuses(set(audience, patch)) else {
            panic!("another refusal");
        };
        assert!(text.contains(&format!("{field}: ")), "{text}");
        text
    };
    for audience in [default_group(), client.clone()] {
        refused(&mut world, &audience, &polls(1001), "polls");
        refused(&mut world, &audience, &timer(true), "server");
        let own = patch(|p| p.challenge = Some(ChallengeSource::BuiltIn));
        refused(&mut world, &audience, &own, "challenge");
        let short = patch(|p| p.window = Some(Span(-HOUR)));
        refused(&mut world, &audience, &short, "window");
    }
    // What a client has of its own must go together with what its group gets.
    world.does(set(&default_group(), &built_in()));
    let own = patch(|p| p.challenge = Some(ChallengeSource::BuiltIn));
    world.does(set(&client, &own));
    let other = patch(|p| p.server = Some(ScepServer::Url("http://h/".to_owned())));
    let text = refused(&mut world, &default_group(), &other, "challenge");
    assert!(text.starts_with("host 0, whose own settings"), "{text}");
    world.does(settings(&client, &ScepPatch::default(), true));
    world.does(set(&default_group(), &other));
}

#[test]
fn nobody_s_settings_cannot_be_set() {
    let mut world = World::new();
    let nobody = Audience::Client(7);
    let nowhere = Audience::Group(group("nowhere"));
    for present in [true, false] {
        assert_eq!(
            world.refuses(note(&nobody, false, present)),
            Refusal::NoSuchClient
        );
        assert_eq!(
            world.refuses(note(&nowhere, true, present)),
            Refusal::NoSuchGroup(group("nowhere"))
        );
    }
    assert_eq!(
        world.refuses(set(&nobody, &polls(3))),
        Refusal::NoSuchClient
    );
    assert_eq!(
        world.refuses(set(&nowhere, &polls(3))),
        Refusal::NoSuchGroup(group("nowhere"))
    );
}

#[test]
fn a_client_without_a_secret_of_its_own_uses_its_group_s() {
    let mut world = World::new();
    let hosts = world.hosts(2);
    let client = Audience::Client(hosts[0].number);
    let whose = |world: &World, host: &Host, ndes| {
        let enrolment = world.fleet.enrolment();
        enrolment.secret_for(host.number, &host.group, ndes)
    };
    for ndes in [true, false] {
        assert_eq!(whose(&world, &hosts[0], ndes), None);
        world.does(note(&default_group(), ndes, true));
        assert_eq!(whose(&world, &hosts[0], ndes), Some(default_group()));
        world.does(note(&client, ndes, true));
        assert_eq!(whose(&world, &hosts[0], ndes), Some(client.clone()));
        assert_eq!(whose(&world, &hosts[1], ndes), Some(default_group()));
        // One kind says nothing of the other.
        assert_eq!(whose(&world, &hosts[0], !ndes).is_some(), !ndes);
        world.does(note(&client, ndes, false));
        assert_eq!(world.does(note(&client, ndes, false)), [], "it is gone");
        assert_eq!(whose(&world, &hosts[0], ndes), Some(default_group()));
    }
    // Settings, forgotten, leave secrets alone; and secrets settings.
    world.does(settings(&default_group(), &polls(3), true));
    assert!(world.fleet.enrolment().is_stored(&default_group(), true));
    world.does(note(&default_group(), true, false));
    assert_eq!(world.holds(&hosts[0]).polls, 3);
}

#[test]
fn slots_are_evenly_spaced_and_begin_anew_where_the_window_ends() {
    let mut world = World::new();
    let hosts = world.hosts(5);
    let slots = |world: &World| -> Vec<Option<i128>> {
        hosts
            .iter()
            .map(|host| {
                let slot = world.fleet.enrolment().slot(host.number, &host.group);
                slot.map(|slot| slot.as_millis())
            })
            .collect()
    };
    assert_eq!(slots(&world), [None; 5]);
    let rate = |rate| patch(|p| p.capacity = Some(Capacity::PerThousandSeconds(rate)));
    world.does(set(&default_group(), &rate(2000)));
    assert_eq!(slots(&world), [0, 500, 1000, 1500, 2000].map(Some));
    let second = patch(|p| p.window = Some(Span(SignedDuration::from_secs(1))));
    world.does(set(&default_group(), &second));
    assert_eq!(slots(&world), [0, 500, 0, 500, 0].map(Some));
    world.does(set(&default_group(), &rate(1)));
    assert_eq!(slots(&world), [Some(0); 5], "one slot is the least");
    // Whoever leaves keeps its place, so that nobody else's time moves.
    world.does(set(&default_group(), &rate(2000)));
    let before = slots(&world);
    world.does(Command::Decommission(hosts[1].number));
    assert_eq!(slots(&world), before);
}

#[test]
fn a_restart_finds_the_same() {
    let (mut world, hosts) = World::timed(2);
    world.does(note(&default_group(), false, true));
    let periodic = patch(|p| {
        p.periodic = Some(Periodic::Every(DAY));
        p.request_start = Some(RequestStart::AtOnce);
        p.timer = Some(false);
    });
    world.does(set(&Audience::Client(hosts[1].number), &periodic));
    let mut again = Fleet::default();
    for entry in &world.journal {
        again.fold(entry);
    }
    assert_eq!(again, world.fleet);
    let changes =
        |event: &Event| matches!(event, Event::Enrolment(EnrolmentEvent::SettingsSet { .. }));
    let events = world.journal.iter().flat_map(|entry| &entry.events);
    assert_eq!(events.filter(|event| changes(event)).count(), 2);
}
