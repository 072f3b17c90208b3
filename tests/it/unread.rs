//! A stderr that nobody reads holds up nothing.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
};

use crate::{fleet::Fleet, metrics::get};

/// A controller, with its metrics, that says everything into a pipe that is full.
fn unread() -> Fleet {
    let mut fleet = Fleet::unstarted();
    fleet.set_options(&["--metrics-addr", "127.0.0.1:0"]);
    fleet.set_filter("trace");
    fleet.leave_unread();
    fleet.start_controller();
    fleet
}

/// Has the controller say more than it has room for.
fn overfill(fleet: &mut Fleet) {
    fleet.eventually("lines are lost", |fleet| {
        ping(fleet);
        (lost(fleet) > 0).then_some(())
    });
}

fn lost(fleet: &Fleet) -> u64 {
    let text = get(fleet, "/metrics");
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("convoy_log_lines_lost_total "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

/// Each frame of HTTP/2 is some lines of a log that says everything.
fn ping(fleet: &Fleet) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut socket = UnixStream::connect(fleet.data_dir().join("convoy.sock")).expect("connected");
    let mut answers = socket.try_clone().expect("the same socket");
    let reader = thread::spawn(move || io::copy(&mut answers, &mut io::sink()));
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .expect("sent");
    socket.write_all(SETTINGS).expect("sent");
    socket.write_all(&PING.repeat(2000)).expect("sent");
    socket.shutdown(Shutdown::Write).expect("ended");
    let read = reader.join().expect("no panic").expect("answers");
    assert!(read >= 2000, "{read} bytes of answers");
}

#[test]
fn programs_whose_stderr_nobody_reads_serve_rotate_and_end() {
    // Given a controller and an agent whose stderr is a full pipe that nobody reads, and that have said more than there is room for,
    let mut fleet = unread();
    fleet.join_and_run(&["one"]);
    overfill(&mut fleet);

    // then operators are answered, and the agent takes part in a rotation;
    assert!(fleet.ok(&["clients", "list"]).contains("one"));
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    assert!(get(&fleet, "/readyz").starts_with("HTTP/1.1 200"));
    assert_eq!(fleet.client("one")["connected"], true);

    // and both end when they are told to, also when there is an error to be told.
    let taken = fleet.api_addr().to_string();
    assert_eq!(fleet.stop("one"), 0);
    assert_eq!(fleet.stop_controller(), 0);
    let _socket = std::net::TcpListener::bind(&taken).expect("the controller's address");
    fleet.start_controller_held_at("nowhere");
    assert_eq!(fleet.await_controller_end(), 1);
}

#[test]
fn lines_that_are_lost_are_said_when_somebody_reads_again() {
    // Given a controller that has said more than there is room for,
    let mut fleet = unread();
    overfill(&mut fleet);

    // when somebody reads, then what was kept is there, and how much was lost,
    fleet.read_on();
    fleet.eventually("the loss is said", |fleet| {
        let log = fleet.log("unread");
        let said = log
            .lines()
            .find(|line| line.contains("lines of the log are lost"))?;
        assert!(said.contains("lost="), "{said}");
        assert!(log.contains(" serving "), "the beginning is kept");
        Some(())
    });

    // and what is said from now on, to the end.
    assert_eq!(fleet.stop_controller(), 0);
    fleet.eventually("the end is said", |fleet| {
        let log = fleet.log("unread");
        log.lines()
            .any(|line| line.ends_with(": stopped"))
            .then_some(())
    });
}
