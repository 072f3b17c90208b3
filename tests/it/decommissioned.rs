//! A client that was decommissioned may do nothing any more, also over what it had opened before, and is told so.

use convoy_agent::link::{Client, Link};
use convoy_proto::v1;
use tonic::{Code, Status};

use crate::{
    fleet::Fleet,
    puppet::Puppet,
    scep_ndes_page::{Ndes, PASSWORD, USER},
};

const SECRET: &str = "stored-1618033988";

/// Asks for a challenge password over this connection.
fn ask(fleet: &Fleet, puppet: &Puppet, client: &Client) -> Result<String, Status> {
    let settings = fleet.json(&["scep", "settings", "show", "--client", "gone"]);
    let request = v1::ObtainScepChallengeRequest {
        revision: settings["revision"].as_u64().expect("a number"),
        common_name: "gone".to_owned(),
        subject_alt_names: vec![],
    };
    let mut client = client.clone();
    let answer = puppet.block_on(client.obtain_scep_challenge(request))?;
    Ok(answer.into_inner().challenge)
}

/// Waits until the controller has closed a connection: strangers are greeted too, as long as it stands.
fn await_closed(fleet: &mut Fleet, puppet: &Puppet, link: &Link) {
    fleet.eventually("the connection is closed", |_| {
        let mut client = link.client.clone();
        let request = v1::GreetRequest {
            nonce: vec![1; 32].into(),
        };
        puppet.block_on(client.greet(request)).err().map(drop)
    });
}

#[test]
fn a_decommissioned_client_gets_nothing_over_connections_that_it_has() {
    // Given a client with a session, and a connection over which it was given a challenge password,
    let mut fleet = Fleet::start();
    let file = fleet.secret_file("challenge", SECRET);
    let stored = ["--challenge", "stored", "--challenge-file", &file];
    fleet.scep_at("http://127.0.0.1:1/scep", &stored);
    let token = fleet.ok(&["token", "create", "--uses", "2"]);
    fleet.join("gone", &token);
    fleet.join("stays", &token);
    let puppet = Puppet::of(&fleet, "gone");
    let mut talk = puppet.open();
    let link = puppet.link(&puppet.tls());
    let given = ask(&fleet, &puppet, &link.client).expect("a challenge");
    assert_eq!(given, SECRET);
    assert!(fleet.accepts("gone"));

    // when it is decommissioned, then it gets no other, and both connections are closed;
    fleet.ok(&["clients", "decommission", "gone", "--yes"]);
    let refused = ask(&fleet, &puppet, &link.client).expect_err("refused");
    assert!(
        matches!(
            refused.code(),
            Code::PermissionDenied | Code::Unavailable | Code::Unknown
        ),
        "{refused:?}"
    );
    await_closed(&mut fleet, &puppet, &link);
    while talk.hear().is_some() {}
    assert!(talk.ended.is_some());

    // its own check says what has become of it, and nobody else's does.
    let state = fleet.state_dir("gone");
    let check = ["check", "--state-dir", state.to_str().expect("UTF-8")];
    let said = fleet.agent(&check).failed(1);
    assert!(
        said.contains("does not want this client") && said.contains("decommissioned"),
        "{said}"
    );
    let said = fleet.agent(&[&check[..], &["-o", "json"]].concat());
    assert!(said.stdout.contains("CLIENT_DECOMMISSIONED"), "{said:?}");
    let state = fleet.state_dir("stays");
    let said = fleet.agent(&["check", "--state-dir", state.to_str().expect("UTF-8")]);
    assert!(said.stdout.contains("it wants this client"), "{said:?}");
}

#[test]
fn who_is_decommissioned_while_ndes_takes_its_time_gets_no_challenge() {
    // Given a client whose challenge password NDES is about to make,
    let ndes = Ndes::start(3);
    ndes.page.hold(true);
    let fleet = Fleet::start();
    let password = fleet.secret_file("ndes", PASSWORD);
    let page = ["--challenge", "ndes", "--ndes-url", &ndes.url];
    let user = ["--ndes-user", USER, "--ndes-password-file", &password];
    fleet.scep_at("http://127.0.0.1:1/scep", &[&page[..], &user].concat());
    let token = fleet.ok(&["token", "create"]);
    fleet.join("gone", &token);
    let puppet = Puppet::of(&fleet, "gone");
    let link = puppet.link(&puppet.tls());

    // when it is decommissioned before that is done, then it is refused.
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&fleet, &puppet, &link.client));
        while ndes.page.made() == 0 {
            assert!(!asking.is_finished(), "NDES was not asked");
            std::thread::yield_now();
        }
        fleet.ok(&["clients", "decommission", "gone", "--yes"]);
        ndes.page.hold(false);
        asking.join().expect("no panic")
    });
    assert!(asked.is_err(), "{asked:?}");
    assert_eq!(fleet.client("gone")["state"], "decommissioned");
}
