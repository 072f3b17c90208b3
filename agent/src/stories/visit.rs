//! One session of the tests' controller: what it says, and what it hears. It decides nothing.

use convoy_proto::v1;
use convoy_shared::{ack::Held, label::Label};
use rustls::HandshakeKind;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Status, Streaming};

use super::controller::PATIENCE;
use crate::state::SignedTrust;

/// A session.
pub(super) struct Visit {
    pub(super) hello: v1::Hello,
    pub(super) label: Option<Label>,
    pub(super) kind: HandshakeKind,
    pub(super) inbound: Streaming<v1::SessionRequest>,
    pub(super) outbound: mpsc::UnboundedSender<Result<v1::SessionResponse, Status>>,
}

impl Visit {
    pub(super) fn say(&self, message: v1::session_response::Message) {
        let response = v1::SessionResponse {
            message: Some(message),
        };
        // Nobody hears it where the agent has gone.
        drop(self.outbound.send(Ok(response)));
    }

    pub(super) fn publish(&self, trust: &SignedTrust) {
        let envelope = trust.envelope.clone().into();
        self.say(v1::session_response::Message::Trust(envelope));
    }

    pub(super) fn reconnect(&self, full_handshake: bool) {
        self.say(v1::session_response::Message::Reconnect(v1::Reconnect {
            reason: "the story says so".to_owned(),
            full_handshake,
            not_before: None,
        }));
    }

    pub(super) async fn check(
        &mut self,
        token: [u8; 16],
        held: Held,
        probe_generation: u64,
    ) -> v1::CheckReport {
        self.say(v1::session_response::Message::Check(v1::Check {
            token: token.to_vec().into(),
            trust: Some(held.into()),
            probe_generation,
        }));
        match self.next().await {
            Some(v1::session_request::Message::CheckReport(report)) => report,
            other => panic!("no report: {other:?}"),
        }
    }

    /// The next message; `None` when the agent has ended its side.
    pub(super) async fn next(&mut self) -> Option<v1::session_request::Message> {
        let next = timeout(PATIENCE, self.inbound.message())
            .await
            .expect("in time");
        next.ok().flatten().and_then(|request| request.message)
    }
}
