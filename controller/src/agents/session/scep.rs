//! What a session does about SCEP: the document that its client is owed, its client's reports, and orders with their answers. Trust is not touched.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use convoy_fleet::{enrolment::EnrolmentStatement, statement::Statement};
use convoy_proto::{
    scep::{encode_scep, read_record},
    v1::{self, session_response},
};
use convoy_shared::{
    enrolment::{HISTORY, RequestRecord},
    id::{Digest, Revision},
    settings::ScepDocument,
};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tonic::Status;

use super::{End, Talk};
use crate::{
    agents::{duty::Basis, hello::Hello},
    api::status,
    clock,
    sessions::Order,
};

/// The most records of a report: the history, and what is under way.
const RECORDS: usize = HISTORY + 1;
/// The most orders that wait for their answers.
const WAITING: usize = 8;
/// A connection that has lasted so long since a message was sent has brought it: a dead one is noticed before.
const SURE: Duration = Duration::from_secs(60);

/// What a session knows of its client's SCEP.
pub(super) struct Enrolling {
    /// Revision of the document on the client's disk.
    pub(super) held: Revision,
    /// Orders for the client.
    pub(super) orders: mpsc::Receiver<Order>,
    supports: Vec<String>,
    /// What the document was made of that was looked at last.
    looked: Option<Basis>,
    /// The document that was sent last, and is not known to be on the client's disk.
    sent: Option<Sent>,
    /// Where the answers go, by order.
    waiting: HashMap<Bytes, oneshot::Sender<v1::ScepOrderAnswer>>,
}

#[derive(Clone, Copy)]
struct Sent {
    revision: Revision,
    content: Digest,
    at: Instant,
}

impl Enrolling {
    /// As the client says hello.
    pub(super) fn new(hello: &Hello, orders: mpsc::Receiver<Order>) -> Self {
        Self {
            held: hello.scep_revision,
            orders,
            supports: hello.scep_supports.clone(),
            looked: None,
            sent: None,
            waiting: HashMap::new(),
        }
    }
}

impl Talk {
    /// States what is on the client's disk, and what it can do.
    pub(super) async fn state_scep(&self, held: Revision) -> Result<(), End> {
        let known = {
            let fleet = self.agents.keeper.read();
            match fleet.enrolment().requests(self.identity.client) {
                Some(known) => known.held == held && known.supports == self.scep.supports,
                None => held == Revision(0) && self.scep.supports.is_empty(),
            }
        };
        if known {
            return Ok(());
        }
        self.state(Statement::Enrolment(EnrolmentStatement::Stated {
            held,
            supports: self.scep.supports.clone(),
        }))
        .await
    }

    /// Sends the client its document, once for each change of what that is made of. A client that is known to hold all of it gets none.
    pub(super) async fn give_scep(&mut self, basis: Basis) -> Result<(), End> {
        if self.scep.looked == Some(basis) {
            return Ok(());
        }
        self.scep.looked = Some(basis);
        let scep = &self.agents.scep;
        let client = self.identity.client;
        let document = scep.document(&self.agents.keeper.read(), client, clock::now());
        let Some(document) = document else {
            return Ok(());
        };
        let (revision, content) = (document.revision, content(&document));
        if self.scep.held == revision && scep.devices.knows(client, &content) {
            return Ok(());
        }
        let envelope = scep.sign(&document);
        self.send(session_response::Message::Scep(envelope.into()))
            .await?;
        self.scep.sent = Some(Sent {
            revision,
            content,
            at: Instant::now(),
        });
        Ok(())
    }

    /// Notes that the client holds what it was sent, if that is sure: it says so for the first time, or the connection has lasted long since.
    pub(super) fn settle_scep(&mut self, said: Revision) {
        let news = said != self.scep.held;
        let sure = |sent: &Sent| sent.revision == said && (news || sent.at.elapsed() >= SURE);
        if let Some(sent) = self.scep.sent.take_if(|sent| sure(sent)) {
            let client = self.identity.client;
            self.agents.scep.devices.learned(client, sent.content);
        }
    }

    pub(super) async fn take_scep_report(&mut self, report: v1::ScepReport) -> Result<(), End> {
        let (client, id) = (self.identity.client, self.identity.id);
        let records =
            read_records(report.records).map_err(|bad| status::invalid("records", &bad))?;
        // Such a session may take trust, and no more: the client reports again in the next one.
        if self.peer.bridged || self.identity.expired {
            return Ok(());
        }
        let held = Revision(report.revision);
        self.settle_scep(held);
        if !records.is_empty() {
            let known = self
                .agents
                .keeper
                .read()
                .enrolment()
                .requests(client)
                .cloned();
            let reported = EnrolmentStatement::Reported(records.clone());
            self.state(Statement::Enrolment(reported)).await?;
            self.agents
                .scep
                .devices
                .heard(client, id, known.as_ref(), &records);
        }
        if held != self.scep.held {
            self.state_scep(held).await?;
            self.scep.held = held;
        }
        Ok(())
    }

    /// Sends an order to the client. Its answer goes where the order came from.
    pub(super) async fn pass_on(
        &mut self,
        order: v1::ScepOrder,
        answer: oneshot::Sender<v1::ScepOrderAnswer>,
    ) -> Result<(), End> {
        let refused = if self.peer.bridged || self.identity.expired {
            Some(
                "the client has to take new trust, or to renew its identity, first: try again in a minute",
            )
        } else {
            self.scep.waiting.retain(|_, answer| !answer.is_closed());
            (self.scep.waiting.len() >= WAITING)
                .then_some("the client has not answered earlier orders yet: try again in a minute")
        };
        if let Some(reason) = refused {
            let said = v1::ScepOrderAnswer {
                id: order.id,
                attempt: 0,
                reason: reason.to_owned(),
                warnings: vec![],
            };
            self.agents
                .scep
                .devices
                .answered(self.identity.client, &said.id, None);
            // Who has asked may have gone away.
            drop(answer.send(said));
            return Ok(());
        }
        let id = order.id.clone();
        self.send(session_response::Message::ScepOrder(order))
            .await?;
        self.scep.waiting.insert(id, answer);
        Ok(())
    }

    /// Brings an answer to who has asked.
    pub(super) fn take_answer(&mut self, answer: v1::ScepOrderAnswer) -> Result<(), End> {
        check_answer(&answer)?;
        // An answer to what nobody asked says nothing.
        if let Some(asked) = self.scep.waiting.remove(&answer.id) {
            let attempt = (answer.attempt > 0).then_some(answer.attempt);
            self.agents
                .scep
                .devices
                .answered(self.identity.client, &answer.id, attempt);
            drop(asked.send(answer));
        }
        Ok(())
    }
}

/// What a document says, whenever it was issued.
fn content(document: &ScepDocument) -> Digest {
    let undated = ScepDocument {
        issued_at: Timestamp::UNIX_EPOCH,
        ..document.clone()
    };
    Digest::of(&encode_scep(&undated))
}

/// Records in the order of their attempts, each once.
fn read_records(wire: Vec<v1::ScepRecord>) -> Result<Vec<RequestRecord>, String> {
    if wire.len() > RECORDS {
        return Err(format!("at most {RECORDS}"));
    }
    let records: Vec<_> = wire
        .into_iter()
        .map(|record| read_record(record).map_err(|bad| bad.to_string()))
        .collect::<Result<_, _>>()?;
    let mut last = 0;
    for record in &records {
        if record.attempt <= last {
            return Err("attempts count from 1, and come in order".to_owned());
        }
        last = record.attempt;
    }
    Ok(records)
}

fn check_answer(answer: &v1::ScepOrderAnswer) -> Result<(), Status> {
    let short = |text: &str, most: usize| text.chars().count() <= most;
    if short(&answer.reason, 1000)
        && answer.warnings.len() <= 8
        && answer.warnings.iter().all(|warning| short(warning, 300))
    {
        Ok(())
    } else {
        Err(status::invalid(
            "scep_order_answer",
            &"a reason of at most 1000 characters, and at most 8 warnings of at most 300",
        ))
    }
}

#[cfg(test)]
mod tests {
    use convoy_proto::scep::write_record;
    use convoy_shared::{
        enrolment::{RequestState, Trigger},
        settings::KeyUse,
    };

    use super::*;

    fn record(attempt: u64) -> v1::ScepRecord {
        write_record(&RequestRecord {
            attempt,
            trigger: Trigger::Timer,
            requested_at: Timestamp::UNIX_EPOCH,
            key_name: "scep".to_owned(),
            key_use: KeyUse::None,
            state: RequestState::ToBeProcessed,
            updated_at: Timestamp::UNIX_EPOCH,
            warnings: vec![],
        })
    }

    #[test]
    fn a_report_is_read_whole_or_refused() {
        let read = |attempts: &[u64]| {
            read_records(attempts.iter().map(|attempt| record(*attempt)).collect())
        };
        assert_eq!(read(&[1, 2, 5]).map(|records| records.len()), Ok(3));
        assert_eq!(read(&[]), Ok(vec![]));
        for bad in [&[0][..], &[2, 1], &[3, 3], &[1; RECORDS + 1]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read_records(vec![v1::ScepRecord::default()]).is_err());
    }

    #[test]
    fn an_answer_is_bounded() {
        let answer = |reason: usize, warnings: usize| v1::ScepOrderAnswer {
            reason: "x".repeat(reason),
            warnings: vec!["y".to_owned(); warnings],
            ..v1::ScepOrderAnswer::default()
        };
        assert!(check_answer(&answer(1000, 8)).is_ok());
        assert!(check_answer(&answer(1001, 0)).is_err());
        assert!(check_answer(&answer(0, 9)).is_err());
    }
}
