//! Joining in the folder of a client: as who it is, with the present trust, or, if its controller is lost for good, as a client of another fleet. What is on disk
//! changes in one step, or not at all.

use std::os::unix::fs::MetadataExt as _;

use convoy_shared::trust::check_replacement;

use super::{Answer, Change, Confirm, Door, How, JoinError, Joined, reach, warn_unless_accepted};
use crate::{
    disk::{DiskError, StateDir},
    greet::Greeted,
    key::IdentityKey,
    link::told,
    renew::accept,
    state::{self, State},
    tls::{Resume, Tls, labelled, session_label},
    verifier::Policy,
};

pub(super) async fn join(
    dir: &StateDir,
    door: &Door<'_>,
    key: &IdentityKey,
    held: State,
    name: &str,
    replace_fleet: Option<&mut Confirm<'_>>,
) -> Result<Joined, JoinError> {
    // Whose token it is must be known before this client says who it is.
    let stranger = Tls::stranger(Policy::AcceptAny)?;
    let (link, theirs) = door.reach(&stranger, door.token.root_digest).await?;
    link.close().await;
    let (own, token) = (held.fleet_id(), theirs.root.root.fleet_id);
    match replace_fleet {
        None if own != token => Err(JoinError::OtherFleet { own, token }),
        Some(_) if own == token => Err(JoinError::SameFleet),
        None => in_place(dir, door, key, held, &theirs).await,
        Some(confirm) => {
            let change = Change {
                client: held.client_id,
                name: held.name.clone(),
                from: own,
                to: token,
            };
            replace(dir, door, key, &held, name, confirm, &change).await
        }
    }
}

async fn in_place(
    dir: &StateDir,
    door: &Door<'_>,
    key: &IdentityKey,
    held: State,
    theirs: &Greeted,
) -> Result<Joined, JoinError> {
    if theirs.root.root.version < held.root.root.version {
        return Err(JoinError::OlderRoot {
            held: held.root.root.version,
            offered: theirs.root.root.version,
        });
    }
    if can_connect(&held, key).await {
        return Ok(Joined {
            state: held,
            how: How::AlreadyThere,
        });
    }
    let tls = Tls::client(Policy::AcceptAny, &held.identity, key, Resume::Never)?;
    // The chain must go on from the root on disk: the token alone moves nobody to other keys.
    let (mut link, greeted) = door.reach(&tls, held.root.envelope.digest()).await?;
    let answered = door
        .ask(
            &mut link,
            held.fleet_id(),
            key,
            &held.name,
            Some(held.client_id),
        )
        .await;
    let shown = std::mem::take(&mut link.peer_certificates);
    link.close().await;
    let answer = Answer::read(answered?, &greeted.root.root)?;
    let next = take(door, key, held, greeted, answer)?;
    next.store(dir)?;
    warn_unless_accepted(&next, &shown);
    Ok(Joined {
        state: next,
        how: How::InPlace,
    })
}

/// The state with what the controller has handed out, if nothing in it goes back.
fn take(
    door: &Door<'_>,
    key: &IdentityKey,
    held: State,
    greeted: Greeted,
    answer: Answer,
) -> Result<State, JoinError> {
    if answer.client_id != held.client_id {
        return Err(JoinError::OtherClient(answer.client_id));
    }
    check_replacement(
        &held.trust.document,
        held.held().digest,
        &answer.trust.document,
        answer.trust.held().digest,
        &greeted.root.root,
    )?;
    let identity = accept(answer.certificates, key, held.fleet_id(), held.client_id)?;
    let clock = held.clock();
    let mut next = held;
    // The chain begins with the root on disk.
    let newer: Vec<_> = greeted
        .earlier_roots
        .into_iter()
        .chain([greeted.root])
        .skip(1)
        .collect();
    let mark = clock.after(greeted.time, !newer.is_empty());
    next.prove(newer, mark, !greeted.doubted);
    next.group = answer.group;
    // Those that the operator has just given are kept until a session over one of the document's own holds.
    next.addresses.clone_from(&door.addresses);
    next.take(answer.trust);
    next.identity = identity;
    Ok(next)
}

async fn replace(
    dir: &StateDir,
    door: &Door<'_>,
    key: &IdentityKey,
    held: &State,
    name: &str,
    confirm: &mut Confirm<'_>,
    change: &Change,
) -> Result<Joined, JoinError> {
    let owner = std::fs::metadata(dir.path())
        .map_err(|source| DiskError::Io {
            verb: "look at",
            path: dir.path().to_owned(),
            source,
        })?
        .uid();
    let user = rustix::process::geteuid().as_raw();
    if user != 0 && user != owner {
        return Err(JoinError::NotOwner { owner, user });
    }
    if can_connect(held, key).await {
        return Err(JoinError::NotLost);
    }
    if !confirm(change).map_err(JoinError::Terminal)? {
        return Err(JoinError::Declined);
    }
    // Only now: people take longer than a connection lasts.
    let next = door.join_anew(key, name).await?;
    if next.fleet_id() != change.to {
        return Err(JoinError::OtherFleet {
            own: change.to,
            token: next.fleet_id(),
        });
    }
    let aside = format!("{}.{}", state::FILE, change.from);
    dir.write(&aside, &held.to_bytes())?;
    next.store(dir)?;
    Ok(Joined {
        state: next,
        how: How::Replaced(dir.file(&aside)),
    })
}

/// Whether the controller still shows this client a certificate that it accepts, and proves itself.
async fn can_connect(held: &State, key: &IdentityKey) -> bool {
    let clock = held.clock();
    let policy = Policy::Trust(held.snapshot(&clock));
    let Ok(tls) = Tls::client(policy, &held.identity, key, Resume::Never) else {
        return false;
    };
    let protocols = labelled(&session_label(held, held.mode(&clock)));
    let trusted = held.root.envelope.digest();
    for address in &held.addresses {
        match reach(address, &tls, &protocols, trusted).await {
            Ok((link, _)) => {
                link.close().await;
                return true;
            }
            Err(error) => {
                tracing::info!(%address, error = told(&error), "this client cannot connect here");
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use convoy_shared::{
        id::Digest,
        token::{JoinToken, TokenSecret},
        trust::{BadReplacement, Mode},
    };

    use super::*;
    use crate::samples::Fleet;

    const NOBODY: &str = "127.0.0.1:1";

    fn token(fleet: &Fleet) -> JoinToken {
        JoinToken {
            addresses: vec![NOBODY.to_owned()],
            root_digest: fleet.state().root.envelope.digest(),
            id: convoy_shared::id::TokenId::new(uuid::Uuid::nil()),
            secret: TokenSecret::new([7; 32].into()),
        }
    }

    /// What the client takes from a controller that offers this revision, under the next root if `renewed`.
    fn taken(fleet: &Fleet, revision: u64, renewed: bool) -> Result<State, JoinError> {
        let token = token(fleet);
        let door = Door {
            token: &token,
            addresses: vec![NOBODY.parse().expect("an address")],
        };
        let held = fleet.state();
        let (earlier_roots, root) = if renewed {
            (vec![held.root.clone()], fleet.next_root())
        } else {
            (vec![], held.root.clone())
        };
        let greeted = Greeted {
            earlier_roots,
            root,
            time: fleet.start(),
            doubted: false,
        };
        let answer = Answer {
            client_id: held.client_id,
            group: held.group.clone(),
            trust: fleet.trust(revision, Mode::Verify),
            certificates: held
                .identity
                .iter()
                .map(|der| der.to_vec().into())
                .collect(),
        };
        take(&door, fleet.key(), held, greeted, answer)
    }

    #[test]
    fn nothing_goes_back_and_the_chain_goes_on_from_the_root_on_disk() {
        let fleet = Fleet::new();
        let held = fleet.state();
        let revision = held.trust.document.revision.0;
        for older in [revision - 1, 1] {
            let refused = taken(&fleet, older, false).expect_err("refused");
            assert!(
                matches!(
                    refused,
                    JoinError::Replacement(BadReplacement::Older { .. })
                ),
                "{refused}"
            );
        }
        let next = taken(&fleet, revision + 1, false).expect("newer");
        assert_eq!(next.root, held.root);
        assert_eq!(next.earlier_roots, held.earlier_roots);
        // The address of the token is kept beside those that the document lists.
        assert!(
            next.addresses
                .iter()
                .any(|known| known.to_string() == NOBODY)
        );
        assert_eq!(
            (next.client_id, next.incarnation),
            (held.client_id, held.incarnation)
        );

        let renewed = taken(&fleet, revision + 1, true).expect("newer");
        assert_eq!(renewed.root, fleet.next_root());
        let mut earlier = held.earlier_roots.clone();
        earlier.push(held.root.clone());
        assert_eq!(renewed.earlier_roots, earlier);
        // It is what is read from the disk again.
        renewed.store(&fleet.dir).expect("stored");
        assert_eq!(State::load(&fleet.dir).expect("a state"), renewed);
    }

    #[tokio::test]
    async fn without_a_way_to_a_controller_the_disk_stays_as_it_is() {
        let fleet = Fleet::new();
        let held = fleet.state();
        held.store(&fleet.dir).expect("stored");
        let mut token = token(&fleet);
        token.root_digest = Digest::of(b"another root");
        let door = Door {
            token: &token,
            addresses: vec![NOBODY.parse().expect("an address")],
        };
        let mut yes = |_: &Change| -> Result<bool, std::io::Error> { Ok(true) };
        let confirm: &mut Confirm<'_> = &mut yes;
        for replace in [None, Some(confirm)] {
            let joined = join(&fleet.dir, &door, fleet.key(), held.clone(), "x", replace).await;
            assert!(matches!(joined, Err(JoinError::NoController(_))));
        }
        assert_eq!(State::load(&fleet.dir).expect("a state"), held);
    }
}
