//! The built-in SCEP server among many: those who ask too much, guess, say nothing or come all at once, and those who are not hindered by it.

use std::{
    collections::HashSet,
    io::Write as _,
    net::Shutdown,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use convoy_scep::{
    client::{Failure, Issued},
    message::FailInfo,
    request::Challenge,
};

use crate::{
    fleet::Fleet,
    scep_forged::{Forged, first, fresh},
    scepper::{Desk, Device, Door, NOT_ACCEPTED, Reply, words},
};

#[test]
fn an_address_that_asks_too_much_is_told_to_come_back() {
    // Given a server that takes two requests per second from an address, and so twenty at once,
    let mut fleet = Fleet::serving_scep(&["--scep-rate", "2"]);
    let door = Door::of(&fleet);
    // when one asks without a pause, then it has these answered,
    for number in 0..20 {
        assert_eq!(door.get("operation=GetCACaps").status, 200, "{number}");
    }
    // and is soon told to come back later, whatever it asks;
    let told = fleet.eventually("too many requests", |_| {
        let reply = door.get("operation=GetCACert");
        (reply.status != 200).then_some(reply)
    });
    assert_eq!(told.status, 503);
    assert!(told.head.contains("retry-after: 10\r\n"), "{}", told.head);
    // others are served meanwhile,
    assert_eq!(
        door.from("127.0.0.2").get("operation=GetCACert").status,
        200
    );
    // and so is it, later.
    fleet.eventually("it is served again", |_| {
        (door.get("operation=GetCACert").status == 200).then_some(())
    });
}

#[test]
fn who_guesses_is_stopped_and_nobody_else() {
    // Given a server without a limit on requests, a good challenge, and one who guesses at it,
    let fleet = Fleet::serving_scep(&[]);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let door = Door::of(&fleet);
    let ca = door.ca();
    let device = Device::new(door, "p1.example");
    let asking = |secret: &str| {
        let mut request = device.request.clone();
        request.challenge = Some(Challenge::new(secret).expect("a challenge"));
        first(&request, &device.key)
    };
    let message = |secret: &str| {
        let (csr, own) = asking(secret);
        Forged::by(&own, &device.key, "T").sealed(&ca, &csr)
    };
    // when he guesses, or sends what is no message, then he is told so, sixty times and then once in two seconds;
    let guess = |number: usize| message(&format!("GUESS{number:027}"));
    let noise = |_| b"noise".to_vec();
    type Message<'a> = &'a dyn Fn(usize) -> Vec<u8>;
    let tries: [(&str, u16, Message<'_>); 2] =
        [("127.0.0.1", 200, &guess), ("127.0.0.3", 400, &noise)];
    for (address, status, attempt) in tries {
        let (door, began) = (door.from(address), Instant::now());
        let mut told = 0;
        let stopped = loop {
            let reply = door.post(&attempt(told));
            if reply.status == 503 {
                break reply;
            }
            assert_eq!(reply.status, status, "{}", reply.head);
            if status == 200 {
                assert_eq!(reply.refusal().0, Some(FailInfo::BadRequest));
            }
            told += 1;
        };
        assert!(stopped.head.contains("retry-after: 10\r\n"));
        let more = usize::try_from(began.elapsed().as_secs() / 2).expect("a number");
        assert!((60..=61 + more).contains(&told), "{told} guesses");
    }
    // from then on the good challenge helps nobody at that address, and who the CA is can still be asked;
    assert_eq!(door.post(&message(&challenge)).status, 503);
    assert_eq!(door.ca(), ca);
    // good devices at other addresses do not notice, however often they ask.
    let elsewhere = door.from("127.0.0.2");
    let good = message(&challenge);
    let (_, own) = asking(&challenge);
    let granted = elsewhere.post(&good).granted(&own, &device.key);
    for _ in 0..70 {
        let again = elsewhere.post(&good).granted(&own, &device.key);
        assert_eq!(again, granted);
    }
    // Who hangs up before he is told is counted all the same: he does not have sixty more.
    let hurried = door.from("127.0.0.4");
    for number in 100..300 {
        let message = guess(number);
        let head = format!(
            "POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            message.len()
        );
        let mut stream = hurried.connect();
        drop(stream.write_all(&[head.as_bytes(), &message].concat()));
    }
    let told = (300..).take_while(|number| hurried.post(&guess(*number)).status == 200);
    assert!(told.count() < 40);
}

#[test]
fn who_says_nothing_or_speaks_slowly_hinders_nobody() {
    // Given hundreds of connections that say nothing, half a head, or half a body,
    let fleet = Fleet::serving_scep(&[]);
    let challenge = Desk::of(&fleet).challenge_for(0);
    let door = Door::of(&fleet);
    let begun = [
        &b""[..],
        b"GET /scep?operation=GetCACaps HTTP/1.1\r\nHo",
        b"POST /scep?operation=PKIOperation HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n0",
    ];
    let mut held: Vec<_> = begun
        .iter()
        .cycle()
        .take(600)
        .map(|bytes| {
            let mut stream = door.connect();
            stream.write_all(bytes).expect("sent");
            stream
        })
        .collect();
    // when a device asks, then it has its certificate soon;
    let began = Instant::now();
    let device = Device::new(door, "p1.example");
    device.enrol(&challenge).expect("a certificate");
    assert!(began.elapsed() < Duration::from_secs(10));
    // each of the others is cut off by the server in the end, which waits for no byte longer than a quarter of a minute; the oldest give their places to
    // those that come, and hear nothing.
    for (index, stream) in held.split_off(597).into_iter().enumerate() {
        let reply = Reply::read(stream);
        assert!(
            matches!((index, reply.status), (0 | 1, 0 | 408) | (2, 408)),
            "{index}: {}",
            reply.head
        );
        assert!(began.elapsed() < Duration::from_secs(60));
    }
    // One that closes its side early is answered all the same.
    let mut stream = door.connect();
    stream
        .write_all(b"GET /scep?operation=GetCACaps HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .expect("sent");
    assert!(matches!(Reply::read(stream).status, 0 | 200));
    assert_eq!(door.get("operation=GetCACaps").status, 200);
}

/// How many come at once.
const CROWD: usize = 64;

#[test]
fn of_many_at_once_one_wins_a_single_challenge_and_all_an_unlimited_one() {
    // Given a crowd of devices, of which a few share an address, one challenge for a single request and one for any number,
    let fleet = Fleet::serving_scep(&[]);
    let desk = Desk::of(&fleet);
    let door = Door::of(&fleet);
    let (single, unlimited) = (desk.challenge_for(1), desk.challenge_for(0));
    let devices: Vec<Device> = (0..CROWD)
        .map(|number| {
            let door = door.from(&format!("127.0.0.{}", 2 + number % 8));
            Device::new(door, &format!("p{number}.example"))
        })
        .collect();

    // when all show the first one at the same moment, then exactly one has a certificate, and the others are refused;
    let results = all_at_once(&devices, &single);
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, CROWD - 1));
    for refusal in lost {
        assert_eq!(words(refusal), NOT_ACCEPTED);
    }
    assert_eq!(desk.issued().len(), 1);

    // when all show the other one, then each has one of its own, the winner a second one.
    let results = all_at_once(&devices, &unlimited);
    let mut serials = HashSet::new();
    for (device, result) in devices.iter().zip(results) {
        let certificate = result.expect("a certificate").certificate;
        assert_eq!(certificate.spki(), device.key.spki());
        assert!(serials.insert(certificate.serial_hex()), "{certificate:?}");
    }
    let record: HashSet<String> = desk.issued().into_iter().map(|one| one.serial).collect();
    assert!(record.is_superset(&serials));
    assert_eq!(record.len(), CROWD + 1);

    // When one request comes in many messages at once, then there is one certificate for all.
    let device = Device::new(door, "q.example");
    let mut request = device.request.clone();
    request.challenge = Challenge::new(unlimited).ok();
    let (csr, own) = first(&request, &device.key);
    let mut forged = Forged::by(&own, &device.key, "same");
    let ca = door.ca();
    let messages: Vec<_> = (0..16)
        .map(|_| {
            forged.nonce = fresh();
            forged.sealed(&ca, &csr)
        })
        .collect();
    let start = Barrier::new(messages.len());
    let granted: HashSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = messages
            .iter()
            .map(|message| {
                scope.spawn(|| {
                    start.wait();
                    door.post(message)
                })
            })
            .collect();
        let replies = threads
            .into_iter()
            .map(|thread| thread.join().expect("a reply"));
        replies
            .map(|reply| reply.granted(&own, &device.key).serial_hex())
            .collect()
    });
    assert_eq!(granted.len(), 1);
    assert_eq!(desk.issued().len(), CROWD + 2);
}

fn all_at_once(devices: &[Device], challenge: &str) -> Vec<Result<Issued, Failure>> {
    let start = Barrier::new(devices.len());
    thread::scope(|scope| {
        let threads: Vec<_> = devices
            .iter()
            .map(|device| {
                scope.spawn(|| {
                    start.wait();
                    device.enrol(challenge)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("an end"))
            .collect()
    })
}
