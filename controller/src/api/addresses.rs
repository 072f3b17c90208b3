//! `AddressService`: where clients reach the controller. Whoever sets addresses aims the fleet: this proves first that the controller is there.

use std::time::Duration;

use convoy_fleet::{
    client::ClientNumber,
    decide::{Command, decide, needing},
    state::Fleet,
};
use convoy_proto::v1::{
    self, ListAddressesRequest, ListAddressesResponse, RemoveAddressRequest, RemoveAddressResponse,
    SetAddressesRequest, SetAddressesResponse, address_service_server::AddressService,
};
use convoy_shared::address::{Address, Addresses, BadAddress, BadAddresses, Listed};
use futures_util::future::join_all;
use roaring::RoaringBitmap;
use tokio::time::timeout;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, actor, named, status, view};
use crate::{certificate::uncovered, clock, reach::reach};

/// So many connected clients are asked, one after the other, until one reaches the new addresses.
const ASKED: usize = 5;
/// How long a client may take to try one.
const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl AddressService for Api {
    async fn list_addresses(
        &self,
        request: Request<ListAddressesRequest>,
    ) -> Result<Response<ListAddressesResponse>, Status> {
        actor(&request)?;
        let fleet = self.keeper.read();
        let without = fleet
            .addresses()
            .map_or_else(RoaringBitmap::new, |addresses| needing(&fleet, addresses));
        Ok(Response::new(ListAddressesResponse {
            addresses: self.listed(&fleet),
            without: view::names(&fleet, &without),
            without_count: view::count(without.len()),
        }))
    }

    async fn set_addresses(
        &self,
        request: Request<SetAddressesRequest>,
    ) -> Result<Response<SetAddressesResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("SetAddresses", &asked.request_id, &asked)?;
        let parsed = asked
            .addresses
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Address>, BadAddress>>()
            .map_err(BadAddresses::from)
            .and_then(|parsed| self.as_listed(parsed, asked.ahead))
            .map_err(|bad| status::invalid("addresses", &bad))?;
        let command = Command::SetAddresses {
            addresses: parsed.clone(),
            force: asked.force,
        };
        // What is refused anyway is refused before anybody dials.
        let changes = {
            let fleet = self.keeper.read();
            decide(&fleet, command.clone(), clock::now())
                .map_err(|refusal| status::refused(&refusal))?
        };
        let new = if changes.is_empty() {
            vec![]
        } else {
            self.unproved(&parsed)
        };
        self.prove(&new).await?;
        let tried_by = self.try_first(&new, asked.force).await?;
        self.decide(command, actor, named).await?;
        let fleet = self.keeper.read();
        Ok(Response::new(SetAddressesResponse {
            addresses: self.listed(&fleet),
            tried_by,
            not_carried: not_carried(&fleet),
        }))
    }

    async fn remove_address(
        &self,
        request: Request<RemoveAddressRequest>,
    ) -> Result<Response<RemoveAddressResponse>, Status> {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let named = named("RemoveAddress", &asked.request_id, &asked)?;
        let command = Command::RemoveAddress {
            address: asked
                .address
                .parse()
                .map_err(|bad| status::invalid("address", &bad))?,
            force: asked.force,
        };
        self.decide(command, actor, named).await?;
        Ok(Response::new(RemoveAddressResponse {
            addresses: self.listed(&self.keeper.read()),
        }))
    }
}

impl Api {
    /// With `ahead`, those at which the controller is not known to be are ahead.
    fn as_listed(&self, addresses: Vec<Address>, ahead: bool) -> Result<Addresses, BadAddresses> {
        let fleet = self.keeper.read();
        let listed = addresses.into_iter().map(|address| Listed {
            ahead: ahead && !is_there(&fleet, &address),
            address,
        });
        Addresses::new(listed.collect())
    }

    /// Those of the addresses at which the controller is to be, and is not known to be.
    fn unproved(&self, addresses: &Addresses) -> Vec<Address> {
        let fleet = self.keeper.read();
        addresses
            .as_slice()
            .iter()
            .filter(|listed| !listed.ahead && !is_there(&fleet, &listed.address))
            .map(|listed| listed.address.clone())
            .collect()
    }

    /// The controller proves itself at each of them.
    async fn prove(&self, addresses: &[Address]) -> Result<(), Status> {
        let Some(root) = self.keeper.read().root().cloned() else {
            return Ok(());
        };
        let proofs = addresses.iter().map(|address| reach(address, &root));
        for (address, proof) in addresses.iter().zip(join_all(proofs).await) {
            if let Err(error) = proof {
                let why = error.told();
                return Err(status::failed(
                    "ADDRESS_NOT_PROVED",
                    &format!(
                        "nothing has changed: {address} does not lead to this controller: {why}. Have it led here (`--agents-addr` may be given more than once), or \
                         say --ahead if the controller is not there yet"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// One connected client tries them, before the others are told. Its name; empty if none was connected or none reached them.
    async fn try_first(&self, addresses: &[Address], force: bool) -> Result<String, Status> {
        if addresses.is_empty() {
            return Ok(String::new());
        }
        let connected: Vec<ClientNumber> = {
            let fleet = self.keeper.read();
            (self.sessions.clients() & fleet.roster())
                .iter()
                .take(ASKED)
                .collect()
        };
        let mut failures = Vec::new();
        for client in connected {
            let name = self.keeper.read().client(client).map(|it| it.name.clone());
            let name = name.unwrap_or_else(|| client.to_string());
            match self.try_with(client, addresses).await {
                Ok(()) => return Ok(name),
                Err(failure) => failures.push(format!("{name}: {failure}")),
            }
        }
        if failures.is_empty() || force {
            return Ok(String::new());
        }
        Err(status::failed(
            "ADDRESS_NOT_REACHED",
            &format!(
                "nothing has changed: no client that was asked reaches the new addresses. {}. Mend the way, or say --force",
                failures.join("; ")
            ),
        ))
    }

    async fn try_with(&self, client: ClientNumber, addresses: &[Address]) -> Result<(), String> {
        for address in addresses {
            let answer = self
                .sessions
                .try_address(client, address.clone())
                .map_err(|error| error.to_string())?;
            let tried = timeout(PATIENCE, answer)
                .await
                .map_err(|_| format!("{address}: no answer within {} s", PATIENCE.as_secs()))?
                .map_err(|_| "its session ended before it had answered".to_owned())?;
            tried.map_err(|failure| format!("{address}: {failure}"))?;
        }
        Ok(())
    }
}

/// Whether the controller is known to be at an address.
fn is_there(fleet: &Fleet, address: &Address) -> bool {
    fleet.addresses().is_some_and(|addresses| {
        addresses
            .as_slice()
            .iter()
            .any(|listed| listed.address == *address && !listed.ahead)
    })
}

/// The hosts of addresses that the certificate that is served does not carry.
fn not_carried(fleet: &Fleet) -> Vec<String> {
    let served = fleet
        .serving()
        .and_then(|serving| fleet.certificate(serving))
        .and_then(|kept| kept.certificate.chain.first());
    let hosts = fleet.addresses().map(Addresses::hosts).unwrap_or_default();
    served.map_or_else(Vec::new, |served| uncovered(served, &hosts))
}

impl Api {
    fn listed(&self, fleet: &Fleet) -> Vec<v1::Address> {
        let missing = not_carried(fleet);
        let all = fleet.addresses().map(Addresses::as_slice);
        let all = all.unwrap_or_default();
        all.iter()
            .map(|listed| {
                let came = |address| fleet.came_by(address).cloned().unwrap_or_default();
                let clients = came(&listed.address) & fleet.roster();
                let unreachable = self.sights.unreachable_from(&listed.address) & fleet.roster();
                let mut only = clients.clone();
                for other in all.iter().filter(|other| other.address != listed.address) {
                    only -= came(&other.address);
                }
                v1::Address {
                    address: listed.address.to_string(),
                    ahead: listed.ahead,
                    clients: view::names(fleet, &clients),
                    client_count: view::count(clients.len()),
                    only_way_of: view::names(fleet, &only),
                    only_way_of_count: view::count(only.len()),
                    carried: !missing.contains(&listed.address.host()),
                    unreachable_from: view::names(fleet, &unreachable),
                    unreachable_from_count: view::count(unreachable.len()),
                }
            })
            .collect()
    }
}
