//! Certificate requests that are cut off at any step: what was in use stays in use, the next start finishes or forgets, and nothing is issued twice.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::Response;
use http_body_util::Full;

use crate::{
    fleet::{Fleet, PATIENCE},
    scep_peer::{Peer, serve},
    scep_places::Place,
    scep_view::soon,
    scepper::Door,
};

/// Waits for what lasts too short for [`Fleet::eventually`].
fn at_once(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

#[test]
fn a_killed_agent_has_a_pair_in_place_and_finishes() {
    // Given a device with a certificate in place,
    let peer = Peer::start();
    let mut fleet = Fleet::with_agents(&["one"]);
    let place = Place::new(&fleet, "tls");
    fleet.configure("one", &place.table(""));
    fleet.scep_at(
        &peer.url("desk"),
        &["--key-use", "TLS", "--delete-old", "true"],
    );
    fleet.ok(&["scep", "timer", "on"]);
    fleet.await_scep("one", "Successful");
    let state = fleet.state_dir("one").join("scep");

    // when its agent is killed at each step that another request leaves on disk or at the server,
    let steps = [
        "begun",
        "key",
        "sent",
        "certificate",
        "staging",
        "replacing",
        "in place",
        "told",
        "any moment",
        "another moment",
    ];
    for (number, step) in (2_usize..).zip(steps) {
        let before = place.pair();
        let posts = peer.posts("desk");
        // Another start each time: who is away while the timer goes off and on for the same start has nothing new to do.
        let start = soon(-3600 * i64::try_from(number).expect("a number"));
        fleet.ok(&["scep", "timer", "off"]);
        fleet.ok(&["scep", "timer", "on", "--start", &start.to_string()]);
        // Attempts that were interrupted go on under their number.
        let file = |part: &str| state.join(format!("{part}-{number}.pem"));
        let ledger = fs::read(state.join("ledger")).expect("a ledger");
        let begun = Instant::now();
        let moment = Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_bytes()[0]) * 4);
        at_once(step, || match step {
            "begun" => fs::read(state.join("ledger")).is_ok_and(|now| now != ledger),
            "key" => file("key").exists(),
            "sent" => peer.posts("desk") > posts,
            "certificate" => file("certificate").exists(),
            // They last so short that what comes next will do.
            "staging" => is_there(&state, "installing.staging") || file("ca").exists(),
            "replacing" => is_there(&state, "installing.") || changed(&place, &before),
            "in place" => changed(&place, &before),
            "told" => changed(&place, &before) && !is_there(&state, "installing."),
            _ => begun.elapsed() >= moment,
        });
        fleet.kill("one");

        // then there is a key with its certificate in place, unless it was between the two files, which is noted down,
        if !is_there(&state, "installing.replacing") {
            let found = place.pair().fingerprint();
            let issued = peer.issued("desk");
            let known = issued.iter().any(|one| one.fingerprint() == found);
            assert!(known, "{step}");
        }

        // and the next start finishes, with a certificate that the server has issued.
        fleet.run("one");
        fleet.eventually(&format!("killed at {step:?}: it finishes"), |fleet| {
            let held = fleet.device_certificates("one");
            let newest = &held[0];
            let requests = fleet.device_requests("one");
            let made = requests
                .as_array()?
                .iter()
                .find(|row| row["status"] != "To Be Processed")?;
            let over = made["status"] == "Successful" && made["attempt"] == newest["attempt"];
            (over && newest["in_use"] == true && newest["attempt"] == number).then_some(())
        });
        let now = place.pair();
        assert_ne!(now.fingerprint(), before.fingerprint(), "{step}");
        let held = fleet.device_certificates("one");
        assert_eq!(held[0]["fingerprint"], hex(now.fingerprint()), "{step}");
        let in_use = held.iter().filter(|one| one["in_use"] == true).count();
        assert_eq!(in_use, 1, "{step}");
        assert!(!is_there(&state, "installing."), "{step}");
    }
}

fn hex(fingerprint: [u8; 32]) -> String {
    hex::encode(fingerprint)
}

/// Whether there is a file in a folder whose name begins so.
fn is_there(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .any(|entry| {
            let file = entry.file_name();
            file.to_str().is_some_and(|file| file.starts_with(name))
        })
}

fn changed(place: &Place, before: &convoy_scep::certificate::Certificate) -> bool {
    fs::read_to_string(place.file("tls.crt")).is_ok_and(|text| text != before.to_pem())
}

#[test]
fn what_the_controller_issued_before_it_died_is_what_the_device_gets() {
    // Given a way to the built-in server on which the first answer to a message is lost,
    let mut fleet = Fleet::serving_scep(&[]);
    fleet.join_and_run(&["one"]);
    let door = Door::of(&fleet);
    let lost = Arc::new(AtomicBool::new(false));
    let losing = Arc::clone(&lost);
    let (address, _way) = serve(move |request| {
        let lost = Arc::clone(&losing);
        async move {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (posted, body) = (request.method() == http::Method::POST, request.into_body());
            let reply = tokio::task::spawn_blocking(move || match posted {
                true => door.post(&body),
                false => door.get(&query),
            });
            let reply = reply.await.map_err(io::Error::other)?;
            if posted && reply.status == 200 && !lost.swap(true, Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let answer =
                Response::builder().status(if reply.status == 0 { 502 } else { reply.status });
            answer
                .body(Full::new(reply.body.into()))
                .map_err(io::Error::other)
        }
    });
    let challenge = fleet.ok(&["scep", "challenge", "create", "--client", "one"]);
    let file = fleet.secret_file("challenge", &challenge);
    fleet.scep_at(
        &format!("http://{address}/scep"),
        &["--challenge", "stored", "--challenge-file", &file],
    );
    fleet.scep_set(&["--timeout", "3s"]);
    fleet.scep_set(&["--polls", "30"]);

    // when a device requests, and the controller is killed after it has issued and before the device hears of it,
    fleet.ok(&["scep", "timer", "on"]);
    fleet.eventually("an answer is lost", |_| {
        lost.load(Ordering::SeqCst).then_some(())
    });
    fleet.kill_controller();
    assert_eq!(fleet.device_certificates("one").len(), 0);
    fleet.start_controller();

    // then the device gets the very certificate, and no second one was issued, though the challenge was for one.
    let shown = fleet.await_scep("one", "Successful");
    let issued = fleet.json(&["scep", "issued", "list"]);
    assert_eq!(issued.as_array().map(Vec::len), Some(1), "{issued}");
    assert_eq!(
        shown["record"]["certificate"]["serial"], issued[0]["serial"],
        "{shown} {issued}"
    );
}

/// A small disk, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`: only root can make one.
    fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k,mode=700", "convoy-test"])
            .arg(folder)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder.to_owned()))
    }

    /// Fills it to its last byte.
    fn fill(&self) {
        let file = self.0.join("filler");
        let mut size = 512 * 1024;
        let mut bytes = Vec::new();
        while size > 0 {
            let more = vec![0; size];
            let longer = [&bytes[..], &more].concat();
            match fs::write(&file, &longer) {
                Ok(()) => bytes = longer,
                Err(_) => size /= 2,
            }
        }
        drop(fs::write(&file, &bytes));
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_leaves_what_was_in_use() {
    // Given a device whose place and whose state folder are on small disks,
    let peer = Peer::start();
    let mut fleet = Fleet::start();
    let place = Place::new(&fleet, "tls");
    let disks = (
        SmallDisk::mount(&place.folder),
        SmallDisk::mount(&fleet.state_dir("one")),
    );
    let (Some(place_disk), Some(state_disk)) = disks else {
        eprintln!("not root: no disk can be filled");
        return;
    };
    fleet.join_and_run(&["one"]);
    fleet.configure("one", &place.table(""));
    fleet.scep_at(&peer.url("desk"), &["--key-use", "TLS"]);
    let request = ["scep", "request", "one", "--wait"];
    fleet.ok(&request);
    let first = place.pair();

    // when the place's disk is full, then the place keeps what it had, and that is said;
    place_disk.fill();
    let said = fleet.convoy(&request).failed(1);
    assert!(said.contains("Key Use Location Error"), "{said}");
    assert_eq!(place.pair().fingerprint(), first.fingerprint());
    place_disk.make_room();

    // when the device's own disk is full, then nothing is sent, and that is said;
    let posts = peer.posts("desk");
    state_disk.fill();
    let said = fleet.convoy(&request).failed(1);
    assert!(said.contains("Device Error"), "{said}");
    assert_eq!(peer.posts("desk"), posts);
    assert_eq!(place.pair().fingerprint(), first.fingerprint());

    // and when there is room, then it goes on.
    state_disk.make_room();
    fleet.ok(&request);
    let newest = peer.issued("desk").pop().expect("a certificate");
    assert_eq!(place.pair().fingerprint(), newest.fingerprint());
    fleet.kill("one");
}
