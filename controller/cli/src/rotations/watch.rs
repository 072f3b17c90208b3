//! Follows a rotation to its end, over restarts of the controller. Shows what it is told; never asks for a change.

use std::time::Duration;

use convoy_proto::v1::{self, rotation_service_client::RotationServiceClient};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{self, Instant, MissedTickBehavior};

use super::{brief, rotation::Rotation, text};
use crate::{
    answers,
    args::Format,
    clock,
    connect::Session,
    failure::Failure,
    output::{Paint, Screen},
    words::plain,
};

/// How many missing clients are named where the whole block has to fit on a screen.
const NAMED_LIVE: usize = 8;

/// How long to try again after the stream broke.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Before the first attempt; doubled after each.
    pub(crate) first: Duration,
    /// No longer than that between two attempts.
    pub(crate) longest: Duration,
    /// No longer than that without an answer.
    pub(crate) give_up: Duration,
}

impl Patience {
    pub(crate) const OF_PEOPLE: Self = Self {
        first: Duration::from_millis(250),
        longest: Duration::from_secs(5),
        give_up: Duration::from_secs(60),
    };
}

/// Follows the rotation (empty: the newest) until it is over.
pub(crate) async fn watch(
    session: &Session,
    screen: &mut Screen<'_>,
    id: String,
    patience: Patience,
) -> Result<(), Failure> {
    let mut watch = Watch {
        id,
        heard: false,
        outage: None,
        view: View::new(session.format, screen),
    };
    loop {
        let failure = match watch.follow(session, screen).await {
            Ok(rotation) if rotation.is_completed() => return Ok(()),
            Ok(rotation) => return Err(Failure::NotCompleted(brief::ending(&rotation))),
            Err(failure) => failure,
        };
        // What never was there cannot come back.
        if !watch.heard || !failure.may_pass() {
            watch.view.clear();
            return Err(failure);
        }
        let outage = match watch.outage.take() {
            Some(outage) => outage,
            None => {
                let limit = patience.give_up.as_secs();
                let note = format!("lost the controller; connecting again, for {limit} s at most");
                watch.view.beside(screen, &note);
                Outage {
                    since: Instant::now(),
                    pause: patience.first,
                }
            }
        };
        if outage.since.elapsed() >= patience.give_up {
            watch.view.clear();
            screen.note(&format!(
                "the rotation goes on without being watched; watch it again with: convoy rotation status {} --watch",
                plain(&watch.id)
            ));
            return Err(failure);
        }
        time::sleep(outage.pause).await;
        watch.outage = Some(Outage {
            pause: (outage.pause * 2).min(patience.longest),
            ..outage
        });
    }
}

/// One rotation, followed over as many streams as it takes.
struct Watch {
    /// After the first answer it is this one that is followed, whatever is started later.
    id: String,
    /// The controller has answered at least once.
    heard: bool,
    /// The controller is away.
    outage: Option<Outage>,
    view: View,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    /// Before the next attempt.
    pause: Duration,
}

impl Watch {
    /// Follows one stream until the rotation is over.
    async fn follow(
        &mut self,
        session: &Session,
        screen: &mut Screen<'_>,
    ) -> Result<Rotation, Failure> {
        let request = v1::WatchRotationRequest {
            id: self.id.clone(),
        };
        let mut stream = RotationServiceClient::new(session.channel().await?)
            .watch_rotation(request)
            .await
            .map_err(Failure::asking)?
            .into_inner();
        let mut clock = time::interval(Duration::from_secs(1));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let message = tokio::select! {
                message = stream.message() => message.map_err(Failure::asking)?,
                // "3 h ago" grows old by itself.
                _ = clock.tick() => {
                    self.view.redraw();
                    continue;
                }
            };
            let message = message.ok_or(Failure::StreamEnded)?;
            let rotation: Rotation = answers::required(message.rotation, "rotation")?.try_into()?;
            self.heard = true;
            if self.outage.take().is_some() {
                self.view.beside(screen, "the controller is back");
            }
            self.id.clone_from(&rotation.id);
            self.view.show(screen, &rotation)?;
            if rotation.is_over() {
                self.view.finish(screen, &rotation)?;
                return Ok(rotation);
            }
        }
    }
}

/// What has been shown, and how.
struct View {
    style: Style,
    paint: Paint,
    last: Option<Rotation>,
}

enum Style {
    /// A JSON document per change.
    Json,
    /// A line per change; the last line that was printed.
    Lines(String),
    /// One block on a terminal, redrawn in place.
    Live(ProgressBar),
}

impl View {
    fn new(format: Format, screen: &Screen<'_>) -> Self {
        let style = match (format, screen.terminal) {
            (Format::Json, _) => Style::Json,
            (Format::Text, false) => Style::Lines(String::new()),
            (Format::Text, true) => {
                let block = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    block.set_style(style);
                }
                Style::Live(block)
            }
        };
        Self {
            style,
            paint: screen.paint,
            last: None,
        }
    }

    /// Shows a message, unless it says what is shown already: every new stream begins with the present state.
    fn show(&mut self, screen: &mut Screen<'_>, rotation: &Rotation) -> Result<(), Failure> {
        if self.last.as_ref() == Some(rotation) {
            return Ok(());
        }
        self.last = Some(rotation.clone());
        match &mut self.style {
            Style::Json => screen.json_line(rotation),
            Style::Lines(last) => {
                let line = brief::line(rotation);
                if line == *last {
                    return Ok(());
                }
                screen.line(&format!(
                    "{} {line}",
                    clock::now().strftime("%Y-%m-%dT%H:%M:%SZ")
                ))?;
                *last = line;
                Ok(())
            }
            Style::Live(_) => {
                self.redraw();
                Ok(())
            }
        }
    }

    fn redraw(&self) {
        if let (Style::Live(block), Some(rotation)) = (&self.style, &self.last) {
            block.set_message(text::status(rotation, clock::now(), self.paint, NAMED_LIVE));
            block.tick();
        }
    }

    /// Leaves the whole last state on a terminal.
    fn finish(&self, screen: &mut Screen<'_>, rotation: &Rotation) -> Result<(), Failure> {
        self.clear();
        match self.style {
            Style::Live(_) => screen.line(&text::status(
                rotation,
                clock::now(),
                self.paint,
                text::NAMED,
            )),
            Style::Json | Style::Lines(_) => Ok(()),
        }
    }

    /// Says something on stderr without spoiling the block.
    fn beside(&self, screen: &mut Screen<'_>, note: &str) {
        match &self.style {
            Style::Live(block) => block.suspend(|| screen.note(note)),
            Style::Json | Style::Lines(_) => screen.note(note),
        }
    }

    fn clear(&self) {
        if let Style::Live(block) = &self.style {
            block.finish_and_clear();
        }
    }
}
