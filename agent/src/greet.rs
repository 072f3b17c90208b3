//! The proof that a channel ends at the fleet's controller, asked for outside a session: for joining and for checking. Nothing is stored here.

use std::time::Duration;

use convoy_proto::{
    documents::{BadDocument, SignedRoot, chain_from, open_channel_proof, required_envelope},
    v1,
};
use convoy_shared::{envelope::Envelope, id::Digest};
use jiff::Timestamp;
use tokio::time::timeout;

use crate::{hello::nonce, link::Link, refusal::Refusal};

/// For one answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A controller that has proved itself.
#[derive(Clone, Debug)]
pub struct Greeted {
    /// The roots from the one that was trusted before, without the one in force, oldest first.
    pub earlier_roots: Vec<SignedRoot>,
    /// The root in force.
    pub root: SignedRoot,
    /// The controller's time, signed.
    pub time: Timestamp,
    /// It doubts its own clock: no lease of "off" begins anew.
    pub doubted: bool,
}

/// Asks for the root chain and for a proof of this very channel. `trusted` is the digest of a root that is trusted already.
///
/// # Errors
/// If the chain does not contain it, or the proof does not hold.
pub async fn greet(link: &mut Link, trusted: Digest) -> Result<Greeted, GreetError> {
    let nonce = nonce();
    let request = v1::GreetRequest {
        nonce: nonce.to_vec().into(),
    };
    let answer = timeout(ANSWER_TIMEOUT, link.client.greet(request))
        .await
        .map_err(|_| GreetError::Silent)?
        .map_err(|status| GreetError::Refused(status.into()))?
        .into_inner();
    let envelopes = answer
        .roots
        .into_iter()
        .map(Envelope::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let mut earlier_roots = chain_from(envelopes, trusted)?;
    let root = earlier_roots
        .pop()
        .ok_or(BadDocument::NoSuchRoot(trusted))?;
    let proof = required_envelope(answer.channel_proof)?;
    let proved = open_channel_proof(&proof, &root.root, &nonce, &link.exporter)?;
    Ok(Greeted {
        earlier_roots,
        root,
        time: proved.time,
        doubted: proved.doubted,
    })
}

/// Why a controller has not proved itself.
#[derive(Debug, thiserror::Error)]
pub enum GreetError {
    /// No answer.
    #[error("the server did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent,
    /// It said no.
    #[error("the server refused to prove itself")]
    Refused(#[source] Refusal),
    /// The proof does not hold.
    #[error(
        "the server has not proved that it is the fleet's controller; somebody may stand between this host and it"
    )]
    NotProved(#[from] BadDocument),
}
