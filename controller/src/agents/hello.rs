//! What a client says first in a session, parsed whole or refused. What follows from it is decided in `session`.

use convoy_proto::{
    agent::{PROTOCOL_VERSION, read_held},
    documents::read_32,
    v1::{SessionRequest, session_request},
};
use convoy_shared::{
    ack::Held,
    address::Address,
    id::{Incarnation, InstanceId, Revision, RootVersion},
    proof::Nonce,
    trust::ModeInForce,
};
use jiff::SignedDuration;
use tonic::{Status, Streaming};

use crate::{api::status, clock};

/// What a client holds.
pub(super) struct Hello {
    pub(super) nonce: Nonce,
    pub(super) incarnation: Incarnation,
    pub(super) instance: InstanceId,
    pub(super) root_version: RootVersion,
    pub(super) held: Held,
    pub(super) mode: ModeInForce,
    pub(super) agent_version: String,
    pub(super) scep_revision: Revision,
    pub(super) scep_supports: Vec<String>,
    /// How far the host's wall clock is ahead. Negative: behind.
    pub(super) clock_ahead: SignedDuration,
    /// The address that it dialled.
    pub(super) address: Address,
}

/// The most words about SCEP, and the longest, in characters.
const WORDS: usize = 64;

/// Reads the first message.
pub(super) async fn hello(inbound: &mut Streaming<SessionRequest>) -> Result<Hello, Status> {
    let first = inbound.message().await?.and_then(|request| request.message);
    let Some(session_request::Message::Hello(hello)) = first else {
        return Err(status::invalid("hello", &"a session begins with a hello"));
    };
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(status::failed(
            "PROTOCOL_VERSION",
            &format!(
                "the agent speaks protocol version {}, and this controller {PROTOCOL_VERSION}; update the older one",
                hello.protocol_version
            ),
        ));
    }
    let mode = hello.mode();
    Ok(Hello {
        nonce: read_32(&hello.nonce, "nonce").map_err(|bad| status::invalid("nonce", &bad))?,
        incarnation: Incarnation(hello.incarnation),
        instance: InstanceId::from_bytes(&hello.instance)
            .map_err(|bad| status::invalid("instance", &bad))?,
        root_version: RootVersion(hello.root_version),
        held: read_held(hello.trust).map_err(|bad| status::invalid("trust", &bad))?,
        mode: ModeInForce::try_from(mode).map_err(|bad| status::invalid("mode", &bad))?,
        agent_version: hello.agent_version.chars().take(64).collect(),
        scep_revision: Revision(hello.scep_revision),
        scep_supports: words(hello.scep_supports)?,
        clock_ahead: clock_ahead(hello.wall_clock_seconds),
        address: hello
            .address
            .parse()
            .map_err(|bad| status::invalid("address", &bad))?,
    })
}

/// How far a host's wall clock is ahead of the controller's. A host may say what it likes.
pub(super) fn clock_ahead(wall_clock_seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(wall_clock_seconds.saturating_sub(clock::now().as_second()))
}

fn words(words: Vec<String>) -> Result<Vec<String>, Status> {
    let fits = |word: &String| word.chars().count() <= WORDS && !word.chars().any(char::is_control);
    if words.len() <= WORDS && words.iter().all(fits) {
        Ok(words)
    } else {
        Err(status::invalid(
            "scep_supports",
            &"at most 64 words of at most 64 characters",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_supports_is_bounded() {
        let many = |count: usize, length: usize| vec!["x".repeat(length); count];
        assert!(words(many(WORDS, WORDS)).is_ok());
        for bad in [
            many(WORDS + 1, 1),
            many(1, WORDS + 1),
            vec!["a\n".to_owned()],
        ] {
            assert!(words(bad).is_err());
        }
    }
}
