//! Crowds: strangers and clients that take what they can get. They take little, and the fleet goes on.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use convoy_agent::{
    link::Link,
    tls::{Tls, unlabelled},
    verifier::Policy,
};
use convoy_proto::v1;
use rustls::pki_types::ServerName;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    crowd::{
        COUNTED, Crowd, config, connect, ended, greets, half_open, shake, source, unfinished,
        unfinished_plain,
    },
    fleet::Fleet,
    puppet::Puppet,
    road::runtime,
};

/// Strangers on each port that hold a connection.
const STRANGERS: usize = 512;
/// The most memory that the controller, as it is built for tests, may take for them, in kB.
const MOST: u64 = 112 * 1024;

#[test]
fn strangers_with_unfinished_requests_take_little_memory() {
    // Given a controller,
    let mut fleet = Fleet::serving_scep(&[COUNTED]);
    let before = resident(&fleet);

    // when 512 strangers on each port begin requests, send most of a long message, and never end it,
    let tls = config();
    let (agents, operators) = (fleet.agents_addr(), fleet.api_addr());
    let crowds = [
        (agents, "/convoy.v1.AgentService/Join"),
        (
            operators,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ),
    ]
    .map(|(port, method)| {
        let tls = tls.clone();
        Crowd::of(STRANGERS, move |number| {
            unfinished(tls.clone(), number, port, method, 16)
        })
    });

    let scep = fleet.scep_addr();
    let plain = Crowd::of(STRANGERS, move |number| unfinished_plain(number, scep));

    // then they take little, as long as they are there,
    let mut most = 0;
    let mut same = 0;
    while same < 100 {
        thread::sleep(Duration::from_millis(100));
        let now = resident(&fleet);
        same = if now > most { 0 } else { same + 1 };
        most = most.max(now);
    }
    assert!(
        most - before <= MOST,
        "from {before} kB to {most} kB with {STRANGERS} strangers on each port"
    );

    // and a host joins among them.
    fleet.join_and_run(&["one"]);
    drop((crowds, plain));
}

/// What the controller has in memory, in kB.
fn resident(fleet: &Fleet) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", fleet.controller_pid()));
    status
        .expect("a running controller")
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"))
        .and_then(|size| size.trim().parse().ok())
        .expect("a size")
}

#[test]
fn a_client_has_four_connections_and_its_newest_ones_last() {
    // Given a client that opens many connections and speaks on none,
    let mut fleet = Fleet::with_agents(&["honest"]);
    let token = fleet.ok(&["token", "create"]);
    fleet.join("greedy", &token);
    let puppet = Puppet::of(&fleet, "greedy");
    let tls = puppet.tls().offering(&unlabelled());
    let to = fleet.agents_addr();
    let closed = Arc::new(AtomicUsize::new(0));
    let hold = async |count: usize, closed: Arc<AtomicUsize>| {
        for _ in 0..count {
            let stream = shake(&tls, source(0), to).await.expect("a handshake");
            let closed = Arc::clone(&closed);
            tokio::spawn(async move {
                ended(stream).await;
                closed.fetch_add(1, Ordering::Relaxed);
            });
        }
    };
    puppet.block_on(hold(36, Arc::clone(&closed)));

    // then all are closed but four,
    let wait = |fleet: &mut Fleet, closed: &Arc<AtomicUsize>, count| {
        fleet.eventually("the oldest are closed", |_| {
            puppet.block_on(async { sleep(Duration::from_millis(10)).await });
            (closed.load(Ordering::Relaxed) == count).then_some(())
        });
    };
    wait(&mut fleet, &closed, 32);

    // and these when there are newer ones, which are not.
    let newest = Arc::new(AtomicUsize::new(0));
    puppet.block_on(hold(4, Arc::clone(&newest)));
    wait(&mut fleet, &closed, 36);
    assert_eq!(newest.load(Ordering::Relaxed), 0, "a new one was closed");

    // It is served on another one, and others have noticed nothing.
    let talk = puppet.open();
    fleet.await_connected(&["greedy", "honest"]);
    let sessions = fleet.log("honest").matches("in session").count();
    assert_eq!(sessions, 1, "the honest client was disturbed");
    drop(talk);
}

#[test]
fn half_open_handshakes_hold_up_neither_joins_nor_a_rotation() {
    // Given a flood of handshakes that nobody goes on with, from many addresses,
    let mut fleet = Fleet::start_with(&[COUNTED]);
    let to = fleet.agents_addr();
    let came = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::clone(&came);
    let flood = Crowd::of(2500, move |number| {
        let arrived = Arc::clone(&arrived);
        async move {
            arrived.fetch_max(number, Ordering::Relaxed);
            half_open(number, to).await;
            sleep(Duration::from_millis(500)).await;
        }
    });
    fleet.eventually("the flood is there", |_| {
        (came.load(Ordering::Relaxed) == 2499).then_some(())
    });

    // when hosts join from an address that nobody knows yet, then each is let in,
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    fleet.join_and_run(&names);

    // and a rotation completes.
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    fleet.assert_no_orphans(&names);
    drop(flood);
}

#[test]
fn idle_strangers_cut_no_join() {
    // Given more strangers than there is room for, who shake hands and ask for nothing, from many addresses,
    let mut fleet = Fleet::start_with(&[COUNTED]);
    let to = fleet.agents_addr();
    let tls = config();
    let came = Arc::new(AtomicUsize::new(0));
    let arrived = Arc::clone(&came);
    let crowd = Crowd::of(700, move |number| {
        let (tls, arrived) = (tls.clone(), Arc::clone(&arrived));
        async move {
            if let Ok(stream) = shake(&tls, source(number), to).await {
                arrived.fetch_add(1, Ordering::Relaxed);
                ended(stream).await;
            }
            sleep(Duration::from_secs(4)).await;
        }
    });
    fleet.eventually("the crowd is there", |_| {
        (came.load(Ordering::Relaxed) >= 700).then_some(())
    });

    // when hosts join, then each is let in, and a rotation of them completes.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    fleet.join_and_run(&names);
    fleet.rotate(&[]);
    fleet.await_phase("Completed");
    drop(crowd);
}

#[test]
fn many_hosts_behind_one_address_wait_for_a_place_and_all_come_in() {
    // Given 80 hosts behind one address, whose way is long: each takes half a second until it begins,
    let fleet = Fleet::start_with(&[COUNTED]);
    let to = fleet.agents_addr();
    let tls = config();
    let outcomes = runtime().block_on(async {
        let mut hosts = JoinSet::new();
        for _ in 0..80 {
            let tls = tls.clone();
            hosts.spawn(async move {
                let stream = connect(source(0), to).await?;
                sleep(Duration::from_millis(500)).await;
                let name = ServerName::from(to.ip());
                let stream = TlsConnector::from(tls).connect(name, stream).await?;
                greets(stream).await
            });
        }
        hosts.join_all().await
    });

    // when they come at once, then each has its turn, and none has to come again.
    let failed: Vec<_> = outcomes.iter().filter(|one| one.is_err()).collect();
    assert!(
        failed.is_empty(),
        "{} of 80 failed: {failed:?}",
        failed.len()
    );
}

#[test]
fn an_address_that_is_named_has_room_for_many() {
    // Given a controller that was told that many hosts are behind an address, and one that was not,
    let told = Fleet::start_with(&[COUNTED, "--nat", "127.0.0.0/24"]);
    let untold = Fleet::start_with(&[COUNTED]);
    let tls = Tls::stranger(Policy::AcceptAny).expect("TLS");
    let stay = |fleet: &Fleet| {
        let address = fleet.agents_addr().to_string().parse().expect("an address");
        runtime().block_on(async {
            // when 80 hosts come from it, one after the other, greet and stay,
            let mut links = Vec::new();
            for _ in 0..80 {
                let come = async {
                    let protocols = unlabelled();
                    let mut link = Link::open(&address, &tls, &protocols).await.ok()?;
                    greet(&mut link).await.then_some(link)
                };
                match timeout(Duration::from_secs(3), come).await {
                    Ok(Some(link)) => links.push(link),
                    Ok(None) | Err(_) => break,
                }
            }
            let mut alive = 0;
            for link in &mut links {
                alive += usize::from(greet(link).await);
            }
            alive
        })
    };
    // then all can, or so many as one address may have.
    assert_eq!(stay(&told), 80);
    assert_eq!(stay(&untold), 64);
}

async fn greet(link: &mut Link) -> bool {
    let request = v1::GreetRequest {
        nonce: vec![7; 32].into(),
    };
    link.client.greet(request).await.is_ok()
}
