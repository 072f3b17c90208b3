//! Which certificates are taken from an answer that is in order.

use super::hostile::{answered_by, faulty};
use super::*;

#[test]
fn a_certificate_must_be_valid_now() {
    let ca = authority();
    let hour = SignedDuration::from_hours(1);
    let second = SignedDuration::from_secs(1);
    let cases = [
        (hour, days(1), true),
        (hour + second, days(1), false),
        (-days(2), SignedDuration::ZERO, true),
        (-days(2), -second, false),
    ];
    for (begins, ends, good) in cases {
        let (_, step) = answered_by(settings(&ca), &ca, &mut |incoming| {
            let certificate = ca
                .issue(&Leaf {
                    not_before: now() + begins,
                    not_after: now() + ends,
                    ..leaf(incoming.requester.subject(), key(1).spki(), &[9])
                })
                .unwrap();
            incoming.success(&identity(&ca), &[&certificate]).unwrap()
        });
        if good {
            issued(step);
        } else {
            assert!(matches!(faulty(step), FaultyResponse::NotValid { .. }));
        }
    }
}

#[test]
fn a_certificate_of_an_unknown_ca_is_not_taken_where_one_is_pinned() {
    let (ca, next) = (authority(), named_authority("Test CA 2", 3));
    let answer = |unpinned: bool, along: bool| {
        let mut settings = settings(&ca);
        settings.ca_fingerprint = settings.ca_fingerprint.filter(|_| !unpinned);
        let (_, step) = answered_by(settings, &ca, &mut |incoming| {
            let certificate = grant(&next, incoming);
            let mut all = vec![&certificate];
            all.extend(along.then_some(&next.certificate));
            incoming.success(&identity(&ca), &all).unwrap()
        });
        step
    };
    assert!(matches!(
        faulty(answer(false, false)),
        FaultyResponse::Issuer
    ));
    // Nobody said which CA it is to be.
    issued(answer(true, false));
    // Rolled over in between: the former CA vouches for the next one.
    issued(answer(false, true));
}
