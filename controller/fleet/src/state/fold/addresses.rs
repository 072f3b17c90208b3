//! What an event about the controller's addresses changes: which are listed, and who has come by which. Nothing is decided here.

use std::collections::BTreeMap;

use convoy_shared::address::{Address, Addresses};

use crate::{client::ClientNumber, rotation::Phase, state::Fleet};

impl Fleet {
    /// Who came by an address is forgotten with it: should it be listed again, it may be another place.
    pub(super) fn set_addresses(&mut self, addresses: &Addresses) {
        let mut before = std::mem::take(&mut self.ways);
        let listed = addresses.as_slice().iter();
        self.ways = listed
            .map(|listed| {
                let clients = before.remove(&listed.address).unwrap_or_default();
                (listed.address.clone(), clients)
            })
            .collect::<BTreeMap<_, _>>();
        self.addresses = Some(addresses.clone());
    }

    pub(super) fn use_address(&mut self, client: ClientNumber, address: &Address) {
        let Some(clients) = self.ways.get_mut(address) else {
            return;
        };
        clients.insert(client);
        // What it has proved, it has not proved over this one.
        if let Some(rotation) = self.running_mut()
            && rotation.phase <= Phase::Preparing
        {
            rotation.proved.remove(client);
        }
    }
}
