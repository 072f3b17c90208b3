//! Where clients reach the controller: what they are told, what they keep, and that nobody is lost when it moves.

use std::{net::SocketAddr, thread};

use convoy_proto::v1::{self, session_request, session_response};
use serde_json::{Value, json};

use crate::{
    fleet::{Fleet, Said},
    puppet::Puppet,
    road::{Road, Rule},
};

/// The same port on another address of this machine: another host and name.
fn elsewhere(fleet: &Fleet) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 2], fleet.agents_addr().port()))
}

fn show(fleet: &Fleet) -> Value {
    fleet.json(&["addresses", "show"])
}

/// The addresses that are listed, with whether they are ahead.
fn listed(fleet: &Fleet) -> Vec<(String, bool)> {
    show(fleet)["addresses"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let address = it["address"].as_str().expect("text").to_owned();
            (address, it["ahead"] == true)
        })
        .collect()
}

/// Who has come by an address.
fn came_by(fleet: &Fleet, address: &str) -> Vec<String> {
    let shown = show(fleet);
    let all = shown["addresses"].as_array().expect("a list");
    let one = all.iter().find(|it| it["address"] == address);
    let clients = one.expect("a listed address")["clients"].as_array();
    let mut names: Vec<String> = clients
        .expect("a list")
        .iter()
        .map(|name| name.as_str().expect("text").to_owned())
        .collect();
    names.sort();
    names
}

fn await_came_by(fleet: &mut Fleet, address: &str, names: &[&str]) {
    fleet.eventually(&format!("{names:?} have come by {address}"), |fleet| {
        (came_by(fleet, address) == names).then_some(())
    });
}

fn known(fleet: &Fleet, agent: &str) -> Vec<String> {
    let status = fleet.agent_status(agent);
    let addresses = status["addresses"].as_array().expect("a list");
    let texts = addresses.iter().map(|it| it.as_str().expect("text"));
    texts.map(str::to_owned).collect()
}

fn set(fleet: &Fleet, args: &[&str]) -> Said {
    fleet.convoy(&[&["addresses", "set"], args].concat())
}

#[test]
fn a_controller_moves_to_another_host_and_name_and_nobody_is_lost() {
    // Given a fleet whose clients come by the controller's first address, one of them switched off,
    let mut fleet = Fleet::with_agents(&["one", "two", "away"]);
    let old = fleet.agents_addr().to_string();
    let localhost = format!("localhost:{}", fleet.agents_addr().port());
    assert_eq!(
        listed(&fleet),
        [(old.clone(), false), (localhost.clone(), false)]
    );
    await_came_by(&mut fleet, &old, &["away", "one", "two"]);
    fleet.switch_off("away");

    // when an address is set at which the controller is not, then that is refused,
    let new = elsewhere(&fleet).to_string();
    let refused = set(&fleet, &[&new, &old]).failed(1);
    assert!(refused.contains("[ADDRESS_NOT_PROVED]"), "{refused}");
    assert!(refused.contains("--ahead"), "{refused}");
    assert_eq!(listed(&fleet).len(), 2);

    // and ahead of the move the clients are told, and try it last.
    let said = set(&fleet, &["--ahead", &old, &localhost, &new]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("127.0.0.2"), "{said:?}");
    for name in ["one", "two"] {
        fleet.eventually(&format!("{name} knows the new address"), |fleet| {
            (known(fleet, name) == [old.clone(), localhost.clone(), new.clone()]).then_some(())
        });
    }
    fleet.run("away");
    fleet.await_connected(&["away"]);
    fleet.eventually("who was away knows it too", |fleet| {
        known(fleet, "away").contains(&new).then_some(())
    });
    // It cannot be left for an address by which nobody has come.
    let refused = fleet
        .convoy(&["addresses", "set", &new, "--ahead"])
        .failed(1);
    assert!(refused.contains("[ADDRESS_NEEDED]"), "{refused}");
    for name in ["one", "two", "away"] {
        assert!(refused.contains(name), "{refused}");
    }

    // When the controller is started there and nowhere else, then all come by the new address;
    fleet.kill_controller();
    fleet.move_agents_to(elsewhere(&fleet));
    fleet.start_controller();
    fleet.await_connected(&["one", "two", "away"]);
    fleet.eventually("all have come by the new address", |fleet| {
        (came_by(fleet, &new) == ["away", "one", "two"]).then_some(())
    });
    // and the controller says that an address that clients use does not lead to it.
    fleet.eventually("it warns", |fleet| {
        let status = fleet.json(&["status"]);
        let degraded = status["degraded"].as_array().expect("a list");
        degraded
            .iter()
            .any(|it| it["code"] == "addresses" && it["words"].to_string().contains(&old))
            .then_some(())
    });

    // The old ones can go, and clients forget them.
    for gone in [&old, &localhost] {
        fleet.convoy(&["addresses", "remove", gone]);
    }
    assert_eq!(listed(&fleet), [(new.clone(), false)]);
    for name in ["one", "two", "away"] {
        fleet.eventually(&format!("{name} knows the new one alone"), |fleet| {
            (known(fleet, name) == [new.clone()]).then_some(())
        });
    }

    // Whoever joins now comes by the new address, and a rotation with a certificate for it completes with everybody.
    fleet.join_and_run(&["three"]);
    let (certificate, key) =
        fleet.new_certificate("moved", &["127.0.0.1", "localhost", "127.0.0.2"]);
    let generation = fleet.import(&certificate, &key);
    fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&["one", "two", "away", "three"]);
}

#[test]
fn an_old_address_is_kept_until_a_session_over_a_new_one_has_held() {
    // Given a client that is switched off, while its controller's address becomes that of a road,
    let mut fleet = Fleet::with_agents(&["one"]);
    let old = fleet.agents_addr().to_string();
    let road = Road::to(fleet.agents_addr());
    let new = road.address.to_string();
    fleet.switch_off("one");
    let said = set(&fleet, &[&new, "--force"]);
    assert_eq!(said.code, 0, "{said:?}");

    // when the road leads nowhere as the client comes back by what it knows,
    let nowhere = Road::to(SocketAddr::from(([127, 0, 0, 1], 1)));
    road.lead(Rule::Pass(nowhere.address));
    fleet.run("one");
    fleet.await_connected(&["one"]);

    // then it takes the new address, and keeps the old beside it: over that it is in session again.
    fleet.eventually("it knows both", |fleet| {
        let known = known(fleet, "one");
        (known.first() == Some(&new) && known.contains(&old)).then_some(())
    });
    fleet.eventually("it is back", |fleet| {
        let shown = fleet.client("one");
        let revision = fleet.json(&["groups", "list"])[0]["trust_revision"].clone();
        (shown["connected"] == true && shown["trust_revision"] == revision).then_some(())
    });
    assert!(came_by(&fleet, &new).is_empty());
    assert_eq!(show(&fleet)["without"], json!(["one"]));

    // When the road leads to the controller, then it comes by the road, and forgets the old address.
    road.lead(Rule::Pass(fleet.agents_addr()));
    fleet.switch_off("one");
    fleet.run("one");
    fleet.eventually("it has come by the road", |fleet| {
        (came_by(fleet, &new) == ["one"]).then_some(())
    });
    fleet.eventually("it knows the new one alone", |fleet| {
        (known(fleet, "one") == [new.clone()]).then_some(())
    });
    assert_eq!(show(&fleet)["without_count"], 0);
}

#[test]
fn an_address_that_a_client_needs_goes_only_by_force() {
    // Given two addresses, and a client that has come by the first alone, and one that has joined and never run,
    let mut fleet = Fleet::with_agents(&["one"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("fresh", &token);
    let first = fleet.agents_addr().to_string();
    await_came_by(&mut fleet, &first, &["one"]);

    // when the first is removed, then both are named, and nothing changes;
    let refused = fleet.convoy(&["addresses", "remove", &first]).failed(1);
    for part in ["[ADDRESS_NEEDED]", "one", "fresh", "--force"] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(listed(&fleet).len(), 2);

    // and the one by which nobody has come cannot go for an address that `fresh` has not come by either, until it has.
    let second = listed(&fleet)[1].0.clone();
    let refused = fleet.convoy(&["addresses", "remove", &second]).failed(1);
    assert!(
        refused.contains("fresh") && !refused.contains("one,"),
        "{refused}"
    );
    fleet.run("fresh");
    fleet.await_connected(&["fresh"]);
    fleet.eventually("it has come by the first", |fleet| {
        (came_by(fleet, &first) == ["fresh", "one"]).then_some(())
    });
    let said = fleet.convoy(&["addresses", "remove", &second]);
    assert_eq!(said.code, 0, "{said:?}");

    // The last one stays whatever is said, and one that is not listed cannot go.
    let refused = fleet.convoy(&["addresses", "remove", &first, "--force"]);
    assert!(refused.failed(1).contains("[LAST_ADDRESS]"));
    let refused = fleet.convoy(&["addresses", "remove", "a.example:7443"]);
    assert!(refused.failed(1).contains("[ADDRESS_UNKNOWN]"));
    assert_eq!(listed(&fleet), [(first, false)]);
}

#[test]
fn addresses_stay_as_they_are_while_a_rotation_runs() {
    // Given a rotation that waits for a client,
    let mut fleet = Fleet::with_agents(&["one"]);
    fleet.switch_off("one");
    fleet.rotate(&[]);
    let before = listed(&fleet);
    let (first, second) = (before[0].0.clone(), before[1].0.clone());

    // then no address is set and none removed, by force neither;
    for args in [
        &["set", "--force", &second, &first][..],
        &["set", "--ahead", &first, &second, "a.example:7443"],
        &["remove", "--force", &second],
    ] {
        let refused = fleet.convoy(&[&["addresses"], args].concat()).failed(1);
        assert!(refused.contains("[ROTATION_RUNNING]"), "{refused}");
    }
    assert_eq!(listed(&fleet), before);
    // saying what is so already is no change.
    assert_eq!(set(&fleet, &[&first, &second]).code, 0);

    // and when it is over they may.
    fleet.run("one");
    fleet.await_phase("Completed");
    assert_eq!(set(&fleet, &[&second, &first]).code, 0);
    assert_eq!(listed(&fleet), [(second, false), (first, false)]);
}

#[test]
fn a_candidate_must_carry_the_names_of_all_addresses() {
    // Given a certificate that was imported, and an address with another name that was set since,
    let fleet = Fleet::with_agents(&["one"]);
    let (early, _) = fleet.import_new();
    let mut addresses: Vec<String> = listed(&fleet).into_iter().map(|it| it.0).collect();
    addresses.push("moved.example:7443".to_owned());
    let args: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let said = set(&fleet, &[&["--ahead"], &args[..]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.stderr.contains("does not carry moved.example"),
        "{said:?}"
    );

    // when somebody rotates to it, or imports another without the name, then that is refused by the name;
    let refused = fleet
        .convoy(&["rotation", "start", "--to", &early])
        .failed(1);
    for part in ["[CERTIFICATE_LACKS_NAMES]", "moved.example"] {
        assert!(refused.contains(part), "{refused}");
    }
    let (certificate, key) = fleet.new_certificate("lacking", &["127.0.0.1", "localhost"]);
    let files = [
        "--cert",
        certificate.to_str().expect("UTF-8"),
        "--key",
        key.to_str().expect("UTF-8"),
    ];
    let refused = fleet
        .convoy(&[&["cert", "import"], &files[..]].concat())
        .failed(1);
    assert!(refused.contains("moved.example"), "{refused}");

    // and one that carries all of them is rotated to.
    let names = ["127.0.0.1", "localhost", "moved.example"];
    let (certificate, key) = fleet.new_certificate("whole", &names);
    let generation = fleet.import(&certificate, &key);
    fleet.ok(&["rotation", "start", "--to", &generation]);
}

#[test]
fn one_client_tries_a_new_address_before_the_others_are_told() {
    // Given two clients, one of which says whatever the test wants,
    let mut fleet = Fleet::start();
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("first", &token);
    fleet.join("other", &token);
    let puppet = Puppet::of(&fleet, "first");
    let mut talk = puppet.open();
    fleet.await_connected(&["first"]);
    let road = Road::to(fleet.agents_addr());
    let new = road.address.to_string();
    let before = listed(&fleet);
    let all: Vec<&str> = before
        .iter()
        .map(|it| it.0.as_str())
        .chain([new.as_str()])
        .collect();
    let mut answer = |failure: &str, more: &[&str]| {
        thread::scope(|scope| {
            let setting = scope.spawn(|| set(&fleet, &[&all[..], more].concat()));
            let Some(session_response::Message::TryAddress(order)) = talk.hear() else {
                panic!("it is not asked to try");
            };
            assert_eq!(order.address, new);
            // Nobody is told yet.
            assert_eq!(listed(&fleet), before);
            talk.say(session_request::Message::AddressTried(v1::AddressTried {
                address: order.address,
                failure: failure.to_owned(),
            }));
            setting.join().expect("no panic")
        })
    };

    // when that one does not reach a new address, then nobody is told of it, and the operator hears why;
    let refused = answer("no route to host", &[]).failed(1);
    for part in [
        "[ADDRESS_NOT_REACHED]",
        "first",
        "no route to host",
        "--force",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    assert_eq!(listed(&fleet), before);

    // and when it does, the others are told, and come by what is best first.
    let said = answer("", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("first tried the new ones"), "{said:?}");
    assert_eq!(listed(&fleet).len(), 3);
    fleet.run("other");
    fleet.eventually("the other is told", |fleet| {
        known(fleet, "other").contains(&new).then_some(())
    });
}

#[test]
fn a_list_of_addresses_is_short_and_leads_somewhere() {
    let fleet = Fleet::start();
    let before = listed(&fleet);
    let port = fleet.agents_addr().port();
    for (args, why) in [
        (vec!["0.0.0.0:7443"], "unspecified"),
        (vec!["[::]:7443"], "unspecified"),
        (vec!["224.0.0.1:7443"], "multicast"),
        (vec!["169.254.1.1:7443"], "link-local"),
        (vec!["[fe80::1]:7443"], "link-local"),
        (vec!["a.example"], "host:port"),
        (vec!["a.example:0"], "host:port"),
        (vec!["a.example:1", "A.example.:1"], "twice"),
    ] {
        let refused = set(&fleet, &[&["--ahead"], &args[..]].concat()).failed(1);
        assert!(refused.contains(why), "{args:?}: {refused}");
    }
    let nine: Vec<_> = (1..=9).map(|port| format!("a.example:{port}")).collect();
    let nine: Vec<_> = nine.iter().map(String::as_str).collect();
    assert_eq!(set(&fleet, &nine).code, 2);
    // Somebody else's port is not the controller's.
    let api = fleet.api_addr().to_string();
    let refused = set(&fleet, &[&format!("127.0.0.1:{port}"), &api]).failed(1);
    assert!(refused.contains("[ADDRESS_NOT_PROVED]"), "{refused}");
    // Nor is another fleet's controller.
    let other = Fleet::start();
    let refused = set(&fleet, &[&other.agents_addr().to_string()]).failed(1);
    assert!(refused.contains("not this fleet's controller"), "{refused}");
    assert_eq!(listed(&fleet), before);
}

#[test]
fn a_second_port_is_listened_on_before_clients_are_told_of_it() {
    // Given a controller that is started with a second agents' port,
    let mut fleet = Fleet::with_agents(&["one"]);
    let second = elsewhere(&fleet);
    fleet.set_options(&["--agents-addr", &second.to_string()]);
    fleet.restart_controller();
    fleet.await_connected(&["one"]);

    let first = fleet.agents_addr();
    await_came_by(&mut fleet, &first.to_string(), &["one"]);

    // when that is set as the best address, then it is proved, tried and taken, and the first is not needed any more.
    fleet.set_addresses(&[second, first]);
    fleet.eventually("it has come by the second port", |fleet| {
        (came_by(fleet, &second.to_string()) == ["one"]).then_some(())
    });
    let said = fleet.convoy(&["addresses", "remove", &first.to_string()]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(listed(&fleet), [(second.to_string(), false)]);
}

#[test]
fn the_gate_asks_for_a_probe_over_every_address_by_which_a_client_has_come_and_over_no_other() {
    // Given a client that has come by two addresses, a road and the controller's own, and a third that leads nowhere for it,
    let mut fleet = Fleet::with_agents(&["one"]);
    let own = fleet.agents_addr();
    let road = Road::to(own);
    await_came_by(&mut fleet, &own.to_string(), &["one"]);
    fleet.set_addresses(&[road.address, own]);
    let (road_text, own_text) = (road.address.to_string(), own.to_string());
    fleet.eventually("it has come by both", |fleet| {
        (came_by(fleet, &road_text) == ["one"] && came_by(fleet, &own_text) == ["one"])
            .then_some(())
    });
    let nowhere = elsewhere(&fleet).to_string();
    let said = set(&fleet, &["--ahead", &road_text, &own_text, &nowhere]);
    assert_eq!(said.code, 0, "{said:?}");

    // when the road leads nowhere during a rotation, then gate A waits for the client, and says over which address it cannot probe;
    let closed = Road::to(SocketAddr::from(([127, 0, 0, 1], 1)));
    road.lead(Rule::Pass(closed.address));
    let (certificate, key) = fleet.new_certificate("new", &["127.0.0.1", "localhost", "127.0.0.2"]);
    let generation = fleet.import(&certificate, &key);
    fleet.ok(&["rotation", "start", "--to", &generation]);
    fleet.eventually("it is missing for the road", |fleet| {
        let reason = fleet.client("one")["missing_reason"].to_string();
        reason.contains(&road_text).then_some(())
    });
    assert_eq!(fleet.phase(), "Preparing");
    let unreachable = |fleet: &Fleet, address: &str| {
        let shown = show(fleet);
        let all = shown["addresses"].as_array().expect("a list");
        let one = all.iter().find(|it| it["address"] == address);
        one.expect("listed")["unreachable_from"].clone()
    };
    assert_eq!(unreachable(&fleet, &road_text), json!(["one"]));

    // and when it leads to the controller again, the rotation completes, although nothing is at the third, which is shown.
    road.lead(Rule::Pass(own));
    fleet.await_phase("Completed");
    assert_eq!(unreachable(&fleet, &nowhere), json!(["one"]));
    assert_eq!(unreachable(&fleet, &road_text), json!([]));
    fleet.assert_no_orphans(&["one"]);
}
