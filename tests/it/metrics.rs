//! What a monitoring system reads, over plain HTTP.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::fleet::Fleet;

pub(crate) fn get(fleet: &Fleet, path: &str) -> String {
    let addresses = fs::read_to_string(fleet.data_dir().join("addresses")).expect("addresses");
    let address = addresses
        .lines()
        .find_map(|line| line.strip_prefix("metrics "))
        .expect("a metrics address");
    let mut stream = TcpStream::connect(address).expect("connected");
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
