//! Challenge passwords: asked of the controller just before a request, and kept on disk, sealed, only where it allows that. They are in no log, and in no error.

use convoy_proto::{time::read_timestamp, v1};
use convoy_scep::request::Challenge;
use convoy_shared::{id::Revision, secret};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tonic::Code;
use zeroize::{Zeroize as _, Zeroizing};

use super::{ledger::Names, store::Store};
use crate::{
    greet::ANSWER_TIMEOUT,
    link::{Client, told},
    refusal::Refusal,
};

/// The file.
const FILE: &str = "challenge";

/// A question to the controller, on its way to the session.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) request: v1::ObtainScepChallengeRequest,
    pub(crate) answer: oneshot::Sender<Result<Given, Denied>>,
}

impl Ask {
    /// Asks on a proven link.
    pub(crate) async fn put(self, mut client: Client) {
        let asked = timeout(ANSWER_TIMEOUT, client.obtain_scep_challenge(self.request)).await;
        let answer = match asked {
            Err(_) => Err(Denied::Away),
            Ok(Err(status)) => Err(Denied::from(status)),
            Ok(Ok(response)) => Given::try_from(response.into_inner()),
        };
        // Whoever asked may be gone.
        drop(self.answer.send(answer));
    }
}

/// A challenge password.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    /// `None`: the SCEP server wants none.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) storable: bool,
}

impl Given {
    pub(crate) const fn none() -> Self {
        Self {
            challenge: None,
            expires_at: None,
            storable: false,
        }
    }

    pub(crate) fn is_good_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl TryFrom<v1::ObtainScepChallengeResponse> for Given {
    type Error = Denied;

    fn try_from(mut wire: v1::ObtainScepChallengeResponse) -> Result<Self, Denied> {
        let challenge = if wire.challenge.is_empty() {
            None
        } else {
            let text = std::mem::take(&mut wire.challenge);
            Some(Challenge::new(text).map_err(|error| Denied::Refused(error.to_string()))?)
        };
        wire.challenge.zeroize();
        Ok(Self {
            challenge,
            // A time that cannot be is none.
            expires_at: read_timestamp(wire.expires_at, "expires_at").ok(),
            storable: wire.storable,
        })
    }
}

/// Why there is no challenge password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The controller is away, or cannot say now.
    Away,
    /// It said no.
    Refused(String),
}

impl From<tonic::Status> for Denied {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            Code::FailedPrecondition
            | Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::Unimplemented => Self::Refused(Refusal::from(status).to_string()),
            _ => {
                tracing::warn!(
                    error = told(&Refusal::from(status)),
                    "the controller has no challenge password now"
                );
                Self::Away
            }
        }
    }
}

/// The way to whichever session is open.
#[derive(Clone)]
pub(crate) struct Challenges {
    pub(crate) session: watch::Receiver<Option<mpsc::Sender<Ask>>>,
    pub(crate) store: Store,
    /// What a challenge that is kept is sealed under. `None`: none is kept.
    pub(crate) sealing: Option<Zeroizing<[u8; 32]>>,
}

impl Challenges {
    /// A challenge for these names at this server.
    pub(crate) async fn obtain(
        &self,
        url: &str,
        revision: Revision,
        names: &Names,
        now: Timestamp,
    ) -> Result<Given, Denied> {
        let said = self.ask(revision, names).await;
        match &said {
            Ok(given) => self.keep(url, given),
            Err(Denied::Away) => {
                if let Some(kept) = self.kept(url).filter(|kept| kept.is_good_at(now)) {
                    return Ok(kept);
                }
            }
            Err(Denied::Refused(_)) => {}
        }
        said
    }

    async fn ask(&self, revision: Revision, names: &Names) -> Result<Given, Denied> {
        let session = self.session.borrow().clone().ok_or(Denied::Away)?;
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            request: v1::ObtainScepChallengeRequest {
                revision: revision.0,
                common_name: names.common_name.clone(),
                subject_alt_names: names.sans.clone(),
            },
            answer,
        };
        session.try_send(ask).map_err(|_| Denied::Away)?;
        match timeout(ANSWER_TIMEOUT * 2, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Denied::Away),
        }
    }

    fn keep(&self, url: &str, given: &Given) {
        let kept = match (&given.challenge, &self.sealing) {
            (Some(challenge), Some(sealing)) if given.storable => {
                let until = given
                    .expires_at
                    .map(|end| end.to_string())
                    .unwrap_or_default();
                let mut text = Zeroizing::new(String::with_capacity(2048));
                for line in [url, "\n", &until, "\n", challenge.expose()] {
                    text.push_str(line);
                }
                match secret::seal(sealing.as_ref(), FILE, text.as_bytes()) {
                    Some(sealed) => self.store.write(FILE, &sealed),
                    None => self.store.remove(FILE),
                }
            }
            _ => self.store.remove(FILE),
        };
        if let Err(error) = kept {
            tracing::warn!(
                error = told(&error),
                "a challenge password cannot be kept for when the controller is away"
            );
        }
    }

    fn kept(&self, url: &str) -> Option<Given> {
        let bytes = match self.store.read_secret(FILE) {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::warn!(
                    error = told(&error),
                    "the challenge password that was kept cannot be read"
                );
                return None;
            }
        };
        let text = match secret::open(self.sealing.as_ref()?.as_ref(), FILE, &bytes) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(%error, "the challenge password that was kept cannot be used");
                return None;
            }
        };
        let mut lines = std::str::from_utf8(&text).ok()?.splitn(3, '\n');
        // A challenge is for one server: another one must not learn it.
        let (of, until, challenge) = (lines.next()?, lines.next()?, lines.next()?);
        let expires_at = if until.is_empty() {
            None
        } else {
            Some(until.parse().ok()?)
        };
        (of == url).then_some(())?;
        Some(Given {
            challenge: Some(Challenge::new(challenge).ok()?),
            expires_at,
            storable: true,
        })
    }

    /// Nothing is kept any more.
    pub(crate) fn forget(&self) {
        if let Err(error) = self.store.remove(FILE) {
            tracing::warn!(
                error = told(&error),
                "the challenge password that was kept cannot be removed"
            );
        }
    }
}
