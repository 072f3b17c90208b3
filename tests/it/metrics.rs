//! What a monitoring system reads, over plain HTTP.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::fleet::{Fleet, Said};

fn address(fleet: &Fleet) -> SocketAddr {
    let addresses = fs::read_to_string(fleet.data_dir().join("addresses")).expect("addresses");
    addresses
        .lines()
        .find_map(|line| line.strip_prefix("metrics "))
        .and_then(|address| address.parse().ok())
        .expect("a metrics address")
}

pub(crate) fn get(fleet: &Fleet, path: &str) -> String {
    let mut stream = TcpStream::connect(address(fleet)).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_rotation_shows_in_the_metrics() {
    // Given a fleet of two, one of them away while a rotation prepares,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["here", "away"]);
    fleet.switch_off("away");
    fleet.rotate(&[]);
    fleet.await_missing(&["away"]);

    // then a monitoring system sees who is missing,
    let text = get(&fleet, "/metrics");
    for line in [
        "convoy_clients{state=\"active\"} 2",
        "convoy_sessions 1",
        "convoy_rotation_phase{phase=\"Preparing\"} 1",
        "convoy_rotation_phase{phase=\"Completed\"} 0",
        "convoy_rotation_clients{evidence=\"proved\"} 1",
        "convoy_gate_missing 1",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(get(&fleet, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&fleet, "/secrets").starts_with("HTTP/1.1 404"));

    // and, when it is back, that the rotation is over.
    fleet.run("away");
    fleet.await_phase("Completed");
    assert!(get(&fleet, "/metrics").contains("convoy_rotation_clients{evidence=\"confirmed\"} 2"));
}

#[test]
fn strangers_cannot_hold_the_metrics_port() {
    // Given many who connect and say nothing, or half of something,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    let mut strangers: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = TcpStream::connect(address(&fleet)).expect("connected");
            if number % 2 == 0 {
                drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: "));
            }
            stream
        })
        .collect();

    // then a monitoring system is answered all the same;
    for path in ["/metrics", "/livez", "/readyz", "/statusz"] {
        assert!(get(&fleet, path).starts_with("HTTP/1.1 200"), "{path}");
    }

    // they are cut, one by one or all, and so is who has been answered, and would go on;
    let mut polite = TcpStream::connect(address(&fleet)).expect("connected");
    polite
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    strangers.push(polite);
    for mut stream in strangers {
        stream.set_nonblocking(true).expect("a socket");
        fleet.eventually("the stranger is cut", |_| {
            let mut answer = [0; 1024];
            match stream.read(&mut answer) {
                Ok(0) => Some(()),
                Ok(_) => None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(_) => Some(()),
            }
        });
    }

    // and a request that is too long is refused.
    let long = format!("/{}", "x".repeat(64 * 1024));
    let mut stream = TcpStream::connect(address(&fleet)).expect("connected");
    drop(stream.write_all(format!("GET {long} HTTP/1.1\r\n\r\n").as_bytes()));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[test]
fn ready_means_that_agents_can_be_served() {
    // Given a controller whose keeper stands still in the middle of an entry,
    let mut fleet = Fleet::start_with(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.join_and_run(&["one"]);
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    fleet.kill_controller();
    fleet.start_controller_held_at("decided.Preparing");
    fleet.await_serving();
    let (generation, _) = fleet.import_new();
    let start = fleet.spawn_convoy(&["rotation", "start", "--to", &generation]);
    fleet.await_held();

    // then it is not ready, and says why; it lives, since it need not be started anew yet;
    let answer = fleet.eventually("it is not ready", |fleet| {
        let answer = get(fleet, "/readyz");
        answer.starts_with("HTTP/1.1 503").then_some(answer)
    });
    assert!(answer.contains("the keeper"), "{answer}");
    assert!(get(&fleet, "/livez").starts_with("HTTP/1.1 200"));
    let statusz = get(&fleet, "/statusz");
    assert!(statusz.contains("\"ready\":false"), "{statusz}");
    let status = fleet.json(&["status"]);
    assert_eq!(status["ready"], false);
    let text = fleet.ok(&["status"]);
    assert!(text.contains("not serving agents: the keeper"), "{text}");

    // and one that starts after it is ready again.
    fleet.restart_controller();
    drop(Said::of(start));
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    fleet.await_phase("Completed");
}
