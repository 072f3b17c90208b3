//! Deferral, communication errors and restarts.

use super::*;

#[test]
fn a_deferred_request_is_polled_under_one_transaction() {
    for ca in each_kind() {
        let mut server = Server::new(&ca);
        let (mut enrolment, step) = first(settings(&ca));
        let (mut transactions, mut nonces) = (Vec::new(), Vec::new());
        let mut approved = None;
        let mut pend = |incoming: &Incoming, identity: &Identity<'_>| {
            transactions.push(incoming.transaction_id.clone());
            nonces.push(incoming.sender_nonce().clone());
            match &incoming.kind {
                Kind::Enrol { .. } => approved = Some(grant(&ca, incoming)),
                Kind::Poll { issuer, subject } => {
                    assert_eq!(issuer, ca.certificate.subject());
                    assert_eq!(
                        Some(subject.as_slice()),
                        approved.as_ref().map(Certificate::subject)
                    );
                }
                other => panic!("{other:?}"),
            }
            match transactions.len() {
                3 => incoming
                    .success(identity, &[approved.as_ref().unwrap()])
                    .unwrap(),
                _ => incoming.pending(identity).unwrap(),
            }
        };
        let mut step = server.run(&mut enrolment, step, &mut pend);
        for left in [2, 1] {
            let Step::Wait {
                until,
                why: Waiting::Deferred,
            } = step
            else {
                panic!("{step:?}")
            };
            assert_eq!(until, now() + SignedDuration::from_secs(60));
            assert_eq!(
                enrolment.pending().map(|pending| pending.polls_left),
                Some(left)
            );
            step = enrolment.wake(until);
            step = server.run(&mut enrolment, step, &mut pend);
        }
        issued(step);
        assert_eq!(server.seen, [19, 20, 20]);
        assert!(transactions.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(
            transactions[0].as_str(),
            TransactionId::of_key(key(1).spki()).as_str()
        );
        assert!(nonces.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(enrolment.pending().is_none());
    }
}

#[test]
fn polling_ends_and_says_what_it_waited_for() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let mut pending =
        |incoming: &Incoming, identity: &Identity<'_>| incoming.pending(identity).unwrap();
    let (mut enrolment, mut step) = first(settings(&ca));
    for _ in 0..3 {
        step = server.run(&mut enrolment, step, &mut pending);
        assert!(
            matches!(
                step,
                Step::Wait {
                    why: Waiting::Deferred,
                    ..
                }
            ),
            "{step:?}"
        );
        step = enrolment.wake(now());
    }
    step = server.run(&mut enrolment, step, &mut pending);
    assert!(matches!(failure(step), Failure::Deferred));

    let (mut enrolment, _) = first(Settings {
        polls: 1,
        ..settings(&ca)
    });
    let step = enrolment.unreachable(TransportError::Timeout, now());
    assert!(matches!(
        step,
        Step::Wait {
            why: Waiting::Transport(TransportError::Timeout),
            ..
        }
    ));
    let Step::Send(again) = enrolment.wake(now()) else {
        panic!()
    };
    assert_eq!(again.query, "operation=GetCACaps");
    assert!(matches!(
        failure(enrolment.receive(status(503), now())),
        Failure::Http(503)
    ));
    assert!(matches!(
        failure(enrolment.wake(now())),
        Failure::Faulty(FaultyResponse::Unexpected)
    ));

    let (mut enrolment, _) = first(Settings {
        polls: 0,
        ..settings(&ca)
    });
    let step = enrolment.unreachable(TransportError::NoConnection, now());
    assert!(matches!(
        failure(step),
        Failure::Transport(TransportError::NoConnection)
    ));
}

#[test]
fn a_request_that_got_no_reply_is_sent_again_with_another_nonce() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, mut step) = first(settings(&ca));
    let mut nonces = Vec::new();
    for trouble in [status(500), status(302)] {
        while let Step::Send(request) = step {
            let is_message = request.method == Method::Post;
            let reply = server.reply(&request, &mut |incoming, identity| {
                nonces.push(incoming.sender_nonce().clone());
                granting(&ca)(incoming, identity)
            });
            step = enrolment.receive(if is_message { trouble.clone() } else { reply }, now());
        }
        assert!(
            matches!(step, Step::Wait { why: Waiting::Http(code), .. } if code == trouble.status)
        );
        step = enrolment.wake(now());
    }
    issued(server.run(&mut enrolment, step, &mut granting(&ca)));
    assert_eq!(server.seen, [19, 19, 19]);
    assert_ne!(nonces[0], nonces[1]);
}

#[test]
fn a_deferred_request_survives_a_restart() {
    let ca = authority();
    let mut server = Server::new(&ca);
    let (mut enrolment, step) = first(settings(&ca));
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        incoming.pending(identity).unwrap()
    });
    assert!(matches!(step, Step::Wait { .. }));
    let stored = enrolment.pending().unwrap();
    let text = stored.transaction_id.to_string();
    drop(enrolment);

    let pending = Pending {
        transaction_id: text.parse().unwrap(),
        polls_left: stored.polls_left,
    };
    let (mut enrolment, step) = Enrolment::resume(
        settings(&ca),
        request(),
        key(1),
        Purpose::First { challenge: None },
        pending,
    );
    assert_eq!(enrolment.pending(), Some(stored.clone()));
    let step = server.run(&mut enrolment, step, &mut |incoming, identity| {
        assert_eq!(incoming.transaction_id, stored.transaction_id);
        let Kind::Poll { subject, .. } = &incoming.kind else {
            panic!("{incoming:?}")
        };
        let certificate = ca
            .issue(&leaf(subject, incoming.requester.spki(), &[9]))
            .unwrap();
        incoming.success(identity, &[&certificate]).unwrap()
    });
    assert_eq!(issued(step).certificate.serial(), [9]);
    assert_eq!(server.seen, [19, 20]);
}
