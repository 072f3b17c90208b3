//! Whether the addresses by which clients come lead to this controller: a controller that was moved without telling its clients says so. Nothing is
//! stopped by it.

use std::time::Duration;

use convoy_shared::{address::Address, root::Root};
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{
    health::Degraded,
    keeper::Keeper,
    reach::{Unreached, reach},
};

/// An address that does not lead here is tried again after so long.
const AGAIN: Duration = Duration::from_secs(60);

/// Looks at the start, and again as long as one does not lead here.
pub(crate) async fn run(keeper: Keeper) {
    loop {
        let lost = lost(&keeper).await;
        if lost.is_empty() {
            keeper.health().clear(Degraded::Addresses);
            return;
        }
        let told: Vec<_> = lost
            .iter()
            .map(|(address, clients, why)| {
                format!("{address}, by which {clients} come: {}", why.told())
            })
            .collect();
        keeper.health().say(
            Degraded::Addresses,
            format!(
                "clients may not find this controller, because an address that they use does not lead to it. {}. Have it led here, or tell the clients \
                 another with `convoy addresses set`",
                told.join("; ")
            ),
        );
        sleep(AGAIN).await;
    }
}

/// Addresses that clients of the roster use, and that do not lead here; how many clients that are, and why they do not.
async fn lost(keeper: &Keeper) -> Vec<(Address, u64, Unreached)> {
    let (used, root): (Vec<(Address, u64)>, Option<Root>) = {
        let fleet = keeper.read();
        let listed = fleet.addresses().into_iter().flat_map(|all| all.as_slice());
        let used = listed.filter_map(|listed| {
            let clients = fleet.came_by(&listed.address)?;
            let count = clients.intersection_len(fleet.roster());
            (count > 0).then(|| (listed.address.clone(), count))
        });
        (used.collect(), fleet.root().cloned())
    };
    let Some(root) = root else { return vec![] };
    let reached = join_all(used.iter().map(|(address, _)| reach(address, &root))).await;
    used.into_iter()
        .zip(reached)
        .filter_map(|((address, clients), reached)| Some((address, clients, reached.err()?)))
        .collect()
}
