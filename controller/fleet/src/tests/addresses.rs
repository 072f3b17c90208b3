//! Where clients reach the controller: what is published, who has come by which, and what is refused. Who proves what is none of it.

use super::*;

fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

fn set(texts: &[&str]) -> Command {
    Command::SetAddresses {
        addresses: addresses(texts),
        force: false,
    }
}

#[test]
fn new_addresses_are_published_with_their_names_and_the_same_again_is_no_change() {
    let mut world = World::new();
    let before = world.fleet.revision();
    let events = world.does(set(&["controller.example:7443", "b.example:1"]));
    let Some(Event::TrustPublished(published)) = events.last() else {
        panic!("nothing is published: {events:?}");
    };
    assert_eq!(published.revision, before.next());
    assert_eq!(published.server_names, ["controller.example", "b.example"]);
    assert_eq!(
        published.addresses,
        addresses(&["controller.example:7443", "b.example:1"])
    );
    assert!(
        world
            .does(set(&["controller.example:7443", "b.example:1"]))
            .is_empty()
    );
    // Whatever is published from now on names them too.
    let events = world.does(Command::CreateGroup("printers".parse().expect("a name")));
    assert!(matches!(
        events.last(),
        Some(Event::TrustPublished(published)) if published.addresses.contains(&address("b.example:1"))
    ));
}

#[test]
fn an_address_goes_only_when_everybody_has_come_by_another() {
    let mut world = World::new();
    let one = world.host();
    let other = world.host();
    world.does(set(&["controller.example:7443", "b.example:1"]));
    let came = |text: &str| Statement::CameBy(address(text));
    world.state(one.number, came("controller.example:7443"));
    world.state(one.number, came("b.example:1"));
    world.state(other.number, came("controller.example:7443"));
    // What is known already is no news, and what is not listed says nothing.
    assert!(world.state(one.number, came("b.example:1")).is_empty());
    assert!(world.state(one.number, came("c.example:1")).is_empty());

    let remove = |force| Command::RemoveAddress {
        address: address("controller.example:7443"),
        force,
    };
    let Refusal::AddressNeeded { clients, more, .. } = world.refuses(remove(false)) else {
        panic!("another refusal");
    };
    assert_eq!((clients.len(), more), (1, 0));
    world.state(other.number, came("b.example:1"));
    world.does(remove(false));
    assert_eq!(world.fleet.addresses(), Some(&addresses(&["b.example:1"])));
    let last = Command::RemoveAddress {
        address: address("b.example:1"),
        force: true,
    };
    assert!(matches!(world.refuses(last), Refusal::LastAddress(_)));
    // Should it be listed again, it may be another place.
    world.does(set(&["b.example:1", "controller.example:7443"]));
    assert_eq!(world.fleet.ways_of(one.number).count(), 1);
}
