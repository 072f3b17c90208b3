//! A client with a certificate of the fleet's client CA that the journal does not know: it is heard, noted and sent away. Nothing durable changes.

use std::sync::Arc;

use convoy_proto::v1::{SessionRequest, SessionResponse, ShowTrust, session_response};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{
    Agents,
    hello::hello,
    session::{Outbound, PATIENCE, hear_shown, prove},
};
use crate::{
    api::status,
    clock,
    peer::{Peer, UnknownIdentity},
    recovery::{Shown, UnknownClient},
};

/// Hears it, and sends it away.
pub(super) async fn run(
    agents: Arc<Agents>,
    peer: Arc<Peer>,
    identity: UnknownIdentity,
    mut inbound: Streaming<SessionRequest>,
    outbound: Outbound,
) {
    let refused = match timeout(
        PATIENCE,
        hear(&agents, &peer, identity, &mut inbound, &outbound),
    )
    .await
    {
        Ok(Ok(())) => status::unauthenticated(
            "CLIENT_NOT_IN_JOURNAL",
            "this controller's journal does not know this client, although its certificate is of this fleet: the journal may be an old copy. The \
             operator readmits it with `convoy recover fast-forward --readmit`, or it joins again in place with a new token",
        ),
        Ok(Err(refused)) => refused,
        Err(_) => return,
    };
    // A client that does not read hears nothing.
    drop(timeout(PATIENCE, outbound.send(Err(refused))).await);
}

async fn hear(
    agents: &Agents,
    peer: &Peer,
    identity: UnknownIdentity,
    inbound: &mut Streaming<SessionRequest>,
    outbound: &Outbound,
) -> Result<(), Status> {
    let hello = hello(inbound).await?;
    let (welcome, root_version) = prove(agents, peer, &hello, 0)?;
    for message in [
        session_response::Message::Welcome(welcome),
        session_response::Message::ShowTrust(ShowTrust {
            root_version: root_version.0,
        }),
    ] {
        let response = SessionResponse {
            message: Some(message),
        };
        outbound
            .send(Ok(response))
            .await
            .map_err(|_| status::internal("the client has gone"))?;
    }
    let shown = hear_shown(inbound, &mut Vec::new()).await?;
    let fleet = agents.keeper.read();
    let founded = fleet
        .founded()
        .ok_or_else(|| status::internal("the controller has no fleet"))?;
    let shown = Shown::read(founded, hello.held, shown)
        .map_err(|bad| status::invalid("trust_shown", &bad))?;
    agents.hints.saw_unknown(UnknownClient {
        identity,
        name: shown.name.clone(),
        group: shown.document.audience.clone(),
        position: shown.position(),
        agent_version: hello.agent_version,
        last_seen: clock::now(),
    });
    Ok(())
}
