//! Reads the controller's answers: all or nothing, so that nothing behind this door has to guess. Never asks anything.

use jiff::Timestamp;
use tonic::Status;

use crate::failure::{Failure, Unreadable};

/// What an answer cannot go without.
pub(crate) fn required<T>(part: Option<T>, what: &str) -> Result<T, Unreadable> {
    part.ok_or_else(|| Unreadable::new(format!("has no {what}")))
}

/// An instant; absent stays absent.
pub(crate) fn instant(
    wire: Option<prost_types::Timestamp>,
    what: &str,
) -> Result<Option<Timestamp>, Unreadable> {
    wire.map(|wire| {
        Timestamp::new(wire.seconds, wire.nanos)
            .map_err(|_| Unreadable::new(format!("has an impossible {what}")))
    })
    .transpose()
}

/// Every element, or the first that cannot be read.
pub(crate) fn all<W, T>(wire: Vec<W>) -> Result<Vec<T>, Unreadable>
where
    T: TryFrom<W, Error = Unreadable>,
{
    wire.into_iter().map(T::try_from).collect()
}

/// Follows a list to its last page. `fetch` takes a page token and returns the page and the next token.
pub(crate) async fn every_page<W, T>(
    mut fetch: impl AsyncFnMut(String) -> Result<(Vec<W>, String), Status>,
) -> Result<Vec<T>, Failure>
where
    T: TryFrom<W, Error = Unreadable>,
{
    let mut elements = Vec::new();
    let mut token = String::new();
    loop {
        let (page, next) = fetch(token.clone()).await.map_err(Failure::asking)?;
        elements.extend(all(page)?);
        if next.is_empty() {
            return Ok(elements);
        }
        if next == token {
            return Err(Unreadable::new("repeats a page of a list".to_owned()).into());
        }
        token = next;
    }
}
