//! Clients that join again in place, because they can connect no more.

use super::*;
use crate::{client::ClientState, event::Rejoined};

/// A client that joins again in place with this token.
fn rejoin(world: &World, client: ClientNumber, token: TokenId) -> Command {
    Command::Rejoin(Rejoined {
        client,
        token,
        agent_version: "2".to_owned(),
        identity_expires_at: world.now + DAY,
    })
}

#[test]
fn a_client_that_joins_again_in_place_is_who_it_was_and_has_to_show_everything_anew() {
    // Given a client that has proved itself, in a group of its own,
    let (mut world, mut hosts) = World::at(Phase::Preparing, Strategy::Overlap, 2);
    let mut host = hosts.remove(0);
    world.settle();
    world.visit(&mut host);
    assert!(world.rotation().proved.contains(host.number));
    let before = world.client(&host).clone();
    let others = group("others");
    world.does(Command::CreateGroup(others.clone()));
    let token = world.token_for(&others, 1, HOUR);

    // when it joins again with a token, of another group and used up,
    let join = world.join(token, "newcomer");
    world.does(join);
    let command = rejoin(&world, host.number, token);
    world.does(command.clone());
    world.does(command);

    // then it is who it was, what it has shown no longer counts, no use of the token is used, and the journal says so.
    let now = world.client(&host).clone();
    let expected = Client {
        rejoined: Some((world.now, token)),
        agent_version: "2".to_owned(),
        identity_expires_at: world.now + DAY,
        ..before
    };
    assert_eq!(now, expected);
    assert_eq!(world.rotation().evidence(host.number), None);
    assert_eq!(world.fleet.token(token).map(|token| token.used), Some(1));
    // It shows it again, and counts.
    world.visit(&mut host);
    assert!(world.rotation().proved.contains(host.number));
}

#[test]
fn who_has_been_in_session_and_comes_with_its_key_alone_joins_in_place() {
    let mut world = World::new();
    let token = world.token(1, HOUR);
    let command = world.join(token, "a");
    world.does(command.clone());
    let host = world.hosts(1).remove(0);
    world.connect(&host);
    let join = world.join(token, &format!("host {}", host.number));
    let events = world.does(join.clone());
    assert!(matches!(&*events, [Event::ClientRejoined(_)]), "{events:?}");
    world.pass(HOUR * 2);
    assert!(matches!(world.refuses(join), Refusal::TokenExpired(_)));
}

#[test]
fn joining_in_place_needs_a_good_token_and_undoes_no_decommissioning_and_no_duplication() {
    let mut world = World::new();
    let host = world.hosts(1).remove(0);
    let duplicated = Event::ClientDuplicated {
        client: host.number,
    };
    world.append(vec![duplicated], Actor::Clients, None);
    let token = world.token(1, HOUR);
    let command = rejoin(&world, host.number, token);
    world.does(command.clone());
    assert_eq!(world.client(&host).state, ClientState::Duplicated);

    world.does(Command::Decommission(host.number));
    assert_eq!(world.refuses(command), Refusal::ClientDecommissioned);
    let next = world.joins(&GroupName::default_group());
    let command = rejoin(&world, next.number, token);
    world.pass(HOUR);
    assert!(matches!(world.refuses(command), Refusal::TokenExpired(_)));
    let token = world.token(1, HOUR);
    world.does(Command::RevokeToken(token));
    let command = rejoin(&world, next.number, token);
    assert_eq!(world.refuses(command), Refusal::TokenRevoked);
    let unknown = TokenId::new(world.uuid());
    let command = rejoin(&world, next.number, unknown);
    assert_eq!(world.refuses(command), Refusal::UnknownToken(unknown));
}
