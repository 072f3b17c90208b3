//! What comes in numbers, gathered for a few milliseconds and appended as one entry: statements of distinct clients, and certificate orders of
//! distinct challenges and transactions. Whatever touches anything shared is never in a batch.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, PoisonError},
    time::Duration,
};

use convoy_fleet::{
    client::ClientNumber,
    event::{Actor, Event},
    issuance::{self, Order},
    statement::{self, Statement},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::Worker;
use crate::{
    clock,
    journal::AppendError,
    keeper::{KeeperError, Message, OrderError},
};

/// How long a batch waits for more.
const LINGER: Duration = Duration::from_millis(5);
/// The most statements in a batch.
const BATCH: usize = 4096;
/// The most orders: each holds a certificate, and an entry has a limit.
const ORDERS: usize = 256;

type Answer = oneshot::Sender<Result<(), KeeperError>>;
type OrderAnswer = oneshot::Sender<Result<(), OrderError>>;

impl Worker {
    pub(super) async fn statements(
        &mut self,
        client: ClientNumber,
        statement: Statement,
        reply: Answer,
    ) {
        let mut clients = HashSet::from([client]);
        let more = self
            .gather(BATCH, |message| match message {
                // A client that says two things at once waits for itself, not everybody for it.
                Message::Statement {
                    client,
                    statement,
                    reply,
                } if clients.insert(client) => Ok((client, statement, reply)),
                other => Err(other),
            })
            .await;
        let (statements, replies): (Vec<_>, Vec<_>) = std::iter::once((client, statement, reply))
            .chain(more)
            .map(|(client, statement, reply)| ((client, statement), reply))
            .unzip();
        let saved = loop {
            let events: Vec<Event> = {
                let fleet = self.read();
                statements
                    .iter()
                    .flat_map(|(client, statement)| {
                        statement::decide(&fleet, *client, statement.clone())
                    })
                    .collect()
            };
            match self.save(events, clock::now(), Actor::Clients, None).await {
                Err(KeeperError::Append(AppendError::Conflict { .. })) => {
                    if let Err(error) = self.catch_up().await {
                        break Err(error);
                    }
                }
                saved => break saved,
            }
        };
        if let Err(error) = &saved {
            tracing::debug!(%error, "cannot save what clients stated");
        }
        for reply in replies {
            drop(reply.send(match &saved {
                Ok(_) => Ok(()),
                Err(_) => Err(KeeperError::Unsaved),
            }));
        }
    }

    pub(super) async fn orders(&mut self, order: Box<Order>, reply: OrderAnswer) {
        let state = Arc::clone(&self.state);
        // Only what has a number of uses can be used up.
        let limited = |order: &Order| {
            order.challenge().filter(|id| {
                let fleet = state.read().unwrap_or_else(PoisonError::into_inner);
                let held = fleet.issuance().challenge(*id);
                held.is_some_and(|held| held.challenge.uses.is_some())
            })
        };
        let mut transactions = HashSet::from([order.transaction().to_owned()]);
        let mut challenges: HashSet<_> = limited(&order).into_iter().collect();
        let more = self
            .gather(ORDERS, |message| match message {
                // What one of them uses up, the other must find used up.
                Message::Order { order, reply }
                    if !transactions.contains(order.transaction())
                        && limited(&order).is_none_or(|id| !challenges.contains(&id)) =>
                {
                    transactions.insert(order.transaction().to_owned());
                    challenges.extend(limited(&order));
                    Ok((order, reply))
                }
                other => Err(other),
            })
            .await;
        let orders: Vec<_> = std::iter::once((order, reply)).chain(more).collect();
        let (saved, refused) = loop {
            let now = clock::now();
            let mut events = Vec::new();
            let refused: Vec<_> = {
                let fleet = self.read();
                orders
                    .iter()
                    .map(|(order, _)| {
                        issuance::order(&fleet, order.as_ref().clone(), now)
                            .map(|decided| events.extend(decided))
                            .err()
                    })
                    .collect()
            };
            match self.save(events, now, Actor::Stranger, None).await {
                Err(KeeperError::Append(AppendError::Conflict { .. })) => {
                    if let Err(error) = self.catch_up().await {
                        break (Err(error), refused);
                    }
                }
                saved => break (saved, refused),
            }
        };
        if let Err(error) = &saved {
            tracing::debug!(%error, "cannot save certificate orders");
        }
        for ((_, reply), refused) in orders.into_iter().zip(refused) {
            drop(reply.send(match (refused, &saved) {
                (Some(refusal), _) => Err(OrderError::Refused(refusal)),
                (None, Ok(_)) => Ok(()),
                (None, Err(_)) => Err(OrderError::Unsaved),
            }));
        }
    }

    /// Gathers what `take` takes, for a moment, until something that is alone in its entry waits.
    async fn gather<T>(
        &mut self,
        most: usize,
        mut take: impl FnMut(Message) -> Result<T, Message>,
    ) -> Vec<T> {
        let end = Instant::now() + LINGER;
        let mut taken = Vec::new();
        // What was set aside earlier comes first, so that what one client says stays in order.
        let mut aside = mem::take(&mut self.waiting);
        let mut closed = false;
        while !closed && taken.len() + 1 < most {
            let next = match aside.pop_front() {
                Some(message) => message,
                None => match timeout_at(end, self.inbox.recv()).await {
                    Ok(Some(message)) => message,
                    Ok(None) | Err(_) => break,
                },
            };
            match take(next) {
                Ok(one) => taken.push(one),
                Err(other) => {
                    let alone = matches!(
                        other,
                        Message::Command { .. } | Message::Begin { .. } | Message::Look
                    );
                    closed = alone || self.waiting.len() >= BATCH;
                    self.waiting.push_back(other);
                }
            }
        }
        self.waiting.append(&mut aside);
        taken
    }
}
