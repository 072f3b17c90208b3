//! Messages opened and answers written, off the async threads. What an answer says was decided before.

use std::sync::Arc;

use convoy_fleet::issuance::Issued;
use convoy_scep::{
    algorithm::Policy,
    certificate::Certificate,
    issue::Authority,
    message::FailInfo,
    server::{AnswerError, Identity, Incoming, Received, Rejection, receive_if},
};
use jiff::Timestamp;

use crate::keeper::OrderError;

/// A certificate that is handed out.
pub(super) struct Granted {
    der: Vec<u8>,
    /// The CA that issued it, by number.
    pub(super) authority: u32,
}

impl Granted {
    pub(super) fn of(issued: &Issued) -> Self {
        Self {
            der: issued.certificate.clone(),
            authority: issued.authority,
        }
    }
}

/// What a request comes to.
pub(super) enum Outcome {
    Issued(Granted),
    Again(Granted),
    Pending,
    /// The list of the CA with this number.
    Crl(u32),
}

/// Why it comes to nothing.
pub(super) enum Refused {
    Told(FailInfo, String),
    Broken,
}

impl Refused {
    pub(super) fn of(info: FailInfo, text: &str) -> Self {
        Self::Told(info, text.to_owned())
    }
}

impl From<OrderError> for Refused {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => Self::of(FailInfo::BadRequest, &refusal.to_string()),
            OrderError::Unsaved | OrderError::Gone => Self::Broken,
        }
    }
}

pub(super) type Opened = (Received, Option<(u32, Arc<Authority>)>);

/// Opens a message: as the CA in force, else as the first former one for which it holds. Certificates of any of them may be renewed.
pub(super) fn open(
    message: &[u8],
    authority: &Authority,
    former: &[(u32, Arc<Authority>)],
    policy: Policy,
    now: Timestamp,
    admits: &mut dyn FnMut(&[u8]) -> bool,
) -> Opened {
    let all: Vec<Certificate> = std::iter::once(authority)
        .chain(former.iter().map(|(_, older)| older.as_ref()))
        .map(|authority| authority.certificate.clone())
        .collect();
    let mut as_one = |authority| {
        let identity = Identity {
            former: &all,
            ..Identity::new(authority, policy)
        };
        receive_if(message, &identity, now, admits)
    };
    let received = as_one(authority);
    // Only what is not for the CA in force may be for a former one.
    let Received::Answer(_, Rejection::Envelope(_) | Rejection::OtherCa) = received else {
        return (received, None);
    };
    for (number, older) in former {
        let again = as_one(older);
        if matches!(again, Received::Request(_)) {
            return (again, Some((*number, Arc::clone(older))));
        }
    }
    (received, None)
}

pub(super) fn write(
    incoming: &Incoming,
    identity: &Identity<'_>,
    outcome: Result<Outcome, (FailInfo, String)>,
    issuer: Option<&Certificate>,
    crl: &[u8],
) -> Result<Vec<u8>, AnswerError> {
    match outcome {
        Ok(Outcome::Issued(granted) | Outcome::Again(granted)) => {
            match Certificate::from_der(&granted.der) {
                Ok(certificate) => {
                    let chain: Vec<_> = std::iter::once(&certificate).chain(issuer).collect();
                    incoming.success(identity, &chain)
                }
                Err(_) => incoming.failure(identity, FailInfo::BadCertId, None),
            }
        }
        Ok(Outcome::Pending) => incoming.pending(identity),
        Ok(Outcome::Crl(_)) => incoming.crl(identity, crl),
        Err((info, text)) => incoming.failure(identity, info, Some(&text)),
    }
}
