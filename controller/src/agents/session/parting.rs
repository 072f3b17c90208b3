//! How a session ends that the controller ends: its client is asked to come back, at once or later. Whether it must is decided elsewhere.

use std::time::Duration;

use convoy_fleet::{client::ClientState, rotation::closing_window};
use convoy_proto::{
    time::timestamp,
    v1::{self, session_response},
};
use jiff::SignedDuration;
use rand::Rng as _;
use tokio::time::Instant;

use super::{End, Talk};
use crate::{api::status, clock};

/// Copies of one client are told to stay away for so long, so that they do not chase each other.
const COPIES: SignedDuration = SignedDuration::from_secs(30);
/// All sessions have ended so long after the controller was told to stop.
const FAREWELLS: Duration = Duration::from_secs(5);
/// No controller that was stopped serves again sooner.
const START: Duration = Duration::from_millis(500);

impl Talk {
    /// Asks the client to come back, as all clients are asked now: not all at once.
    pub(super) async fn part_soon(
        &mut self,
        reason: &str,
        full_handshake: bool,
    ) -> Result<(), End> {
        let now = Instant::now();
        let at = *self.part_at.get_or_insert_with(|| {
            let window = closing_window(self.agents.keeper.read().roster().len());
            now + window.unsigned_abs().mul_f64(rand::random())
        });
        if now < at {
            return Ok(());
        }
        self.part(reason, full_handshake, SignedDuration::ZERO)
            .await
    }

    /// Draws when to part before the controller stops.
    pub(super) fn stop_soon(&mut self) {
        self.stop_at = Some(Instant::now() + self.farewells().mul_f64(rand::random()));
    }

    /// Parts when that time has come. The client comes back when another controller may serve again, and not all do so at once.
    pub(super) async fn part_before_stop(&mut self) -> Result<(), End> {
        match self.stop_at {
            Some(at) if Instant::now() >= at => {
                let wait = START + self.farewells().mul_f64(rand::random());
                let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::ZERO);
                self.part("the controller is stopping", false, wait).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Over how long the fleet's sessions are ended, and come back.
    fn farewells(&self) -> Duration {
        closing_window(self.agents.keeper.read().roster().len())
            .unsigned_abs()
            .min(FAREWELLS)
    }

    /// Asks the client to come back, and ends.
    pub(super) async fn part(
        &self,
        reason: &str,
        full_handshake: bool,
        wait: SignedDuration,
    ) -> Result<(), End> {
        let not_before = (wait > SignedDuration::ZERO)
            .then(|| clock::now().checked_add(wait).ok())
            .flatten()
            .map(timestamp);
        self.send(session_response::Message::Reconnect(v1::Reconnect {
            reason: reason.to_owned(),
            full_handshake,
            not_before,
        }))
        .await?;
        Err(End::Over)
    }

    pub(super) async fn replaced(&self) -> End {
        let duplicated = self
            .agents
            .keeper
            .read()
            .client(self.identity.client)
            .is_some_and(|record| record.state == ClientState::Duplicated);
        if !duplicated {
            return End::Refused(status::aborted(
                "SESSION_REPLACED",
                "a newer session of this client has taken over",
            ));
        }
        let seconds = rand::rng().random_range(0..COPIES.as_secs());
        let wait = COPIES + SignedDuration::from_secs(seconds);
        match self
            .part("another copy of this client is connected", false, wait)
            .await
        {
            Err(end) => end,
            Ok(()) => End::Over,
        }
    }
}
