//! What a session does about the controller's addresses: by which its client has come, and what became of one that it was asked to try.

use convoy_fleet::statement::Statement;
use convoy_proto::v1::{self, session_response};
use convoy_shared::{
    ack::HandshakeOutcome,
    address::{Address, Addresses},
};
use tokio::sync::oneshot;

use super::{End, Talk};
use crate::checks::Report;

/// An address that the client was asked to try, and who wants to know.
pub(super) struct Trying {
    address: Address,
    answer: oneshot::Sender<Result<(), String>>,
}

impl Talk {
    /// The listed addresses by which the client ever came, but for that of this session, with their places in the trust document.
    pub(super) fn other_ways(&self) -> Vec<(u8, Address)> {
        let fleet = self.agents.keeper.read();
        let listed = fleet.addresses().into_iter().flat_map(Addresses::as_slice);
        (0..)
            .zip(listed.map(|listed| &listed.address))
            .filter(|(_, address)| {
                **address != self.address
                    && fleet
                        .came_by(address)
                        .is_some_and(|clients| clients.contains(self.identity.client))
            })
            .map(|(place, address)| (place, address.clone()))
            .collect()
    }

    /// Notes over which listed addresses the client could not probe: for people. No gate asks for those by which it never came.
    pub(super) fn note_unreachable(&self, report: &Report) {
        if report.others.is_empty() {
            return;
        }
        let unreachable = {
            let fleet = self.agents.keeper.read();
            let listed = fleet.addresses().map(Addresses::as_slice);
            let listed = listed.unwrap_or_default();
            let failed = report
                .others
                .iter()
                .filter(|(_, (outcome, _))| *outcome != HandshakeOutcome::Accepted);
            failed
                .filter_map(|(place, _)| listed.get(usize::from(*place)))
                .map(|listed| listed.address.clone())
                .collect()
        };
        self.agents
            .sights
            .unreachable(self.identity.client, unreachable);
    }

    /// Writes down by which address the client has come, if that is news.
    pub(super) async fn note_way(&self, address: &Address) -> Result<(), End> {
        let known = self
            .agents
            .keeper
            .read()
            .came_by(address)
            .is_none_or(|clients| clients.contains(self.identity.client));
        if known {
            return Ok(());
        }
        self.state(Statement::CameBy(address.clone())).await
    }

    /// Asks the client to try an address.
    pub(super) async fn try_address(
        &mut self,
        address: Address,
        answer: oneshot::Sender<Result<(), String>>,
    ) -> Result<(), End> {
        let order = v1::TryAddress {
            address: address.to_string(),
        };
        self.send(session_response::Message::TryAddress(order))
            .await?;
        self.trying.retain(|trying| !trying.answer.is_closed());
        self.trying.push(Trying { address, answer });
        Ok(())
    }

    /// Brings what became of it to who has asked. An answer to what nobody asked says nothing.
    pub(super) fn take_tried(&mut self, tried: v1::AddressTried) {
        let asked = self
            .trying
            .iter()
            .position(|trying| trying.address.as_str() == tried.address);
        let Some(asked) = asked else { return };
        let Trying { answer, .. } = self.trying.swap_remove(asked);
        let result = if tried.failure.is_empty() {
            Ok(())
        } else {
            Err(tried.failure.chars().take(500).collect())
        };
        // Who has asked may have gone away.
        drop(answer.send(result));
    }
}
