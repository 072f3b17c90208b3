//! Follows the states of requests, over restarts of the controller. Shows what it is told; never asks for a change.

use std::collections::{BTreeMap, HashMap};

use convoy_proto::v1::{self, scep_service_client::ScepServiceClient};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{self, Instant};
use tonic::Streaming;

use super::{record::Status, status};
use crate::{
    answers, args::Format, clock, connect::Session, failure::Failure, output::Screen,
    rotations::watch::Patience, words::plain,
};

/// How many clients fit on a screen: those whose requests changed last.
const SHOWN_LIVE: usize = 30;

/// Opens a stream of states.
pub(crate) async fn open(
    session: &Session,
    group: String,
) -> Result<Streaming<v1::WatchScepStatusResponse>, Failure> {
    let request = v1::WatchScepStatusRequest { group };
    Ok(ScepServiceClient::new(session.channel().await?)
        .watch_scep_status(request)
        .await
        .map_err(Failure::asking)?
        .into_inner())
}

/// The next states of a stream.
pub(crate) async fn next(
    stream: &mut Streaming<v1::WatchScepStatusResponse>,
) -> Result<Vec<Status>, Failure> {
    let message = stream.message().await.map_err(Failure::asking)?;
    let message = message.ok_or(Failure::StreamEnded)?;
    Ok(answers::all(message.statuses)?)
}

/// Follows a group's states (empty: all) until interrupted, or the controller stays away.
pub(crate) async fn watch(
    session: &Session,
    screen: &mut Screen<'_>,
    group: String,
    patience: Patience,
) -> Result<(), Failure> {
    let mut view = View::new(session.format, screen);
    let mut heard = false;
    let mut outage: Option<(Instant, std::time::Duration)> = None;
    loop {
        let failure =
            match follow(session, screen, &group, &mut view, &mut heard, &mut outage).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
        // What never was there cannot come back.
        if !heard || !failure.may_pass() {
            view.clear();
            return Err(failure);
        }
        let (since, pause) = outage.unwrap_or_else(|| {
            let limit = patience.give_up.as_secs();
            let note = format!("lost the controller; connecting again, for {limit} s at most");
            view.beside(screen, &note);
            (Instant::now(), patience.first)
        });
        if since.elapsed() >= patience.give_up {
            view.clear();
            return Err(failure);
        }
        time::sleep(pause).await;
        outage = Some((since, (pause * 2).min(patience.longest)));
    }
}

/// Follows one stream. It ends only by failing.
async fn follow(
    session: &Session,
    screen: &mut Screen<'_>,
    group: &str,
    view: &mut View,
    heard: &mut bool,
    outage: &mut Option<(Instant, std::time::Duration)>,
) -> Result<(), Failure> {
    let mut stream = open(session, group.to_owned()).await?;
    loop {
        let news = next(&mut stream).await?;
        *heard = true;
        if outage.take().is_some() {
            view.beside(screen, "the controller is back");
        }
        view.show(screen, news)?;
    }
}

/// What has been shown, and how.
struct View {
    style: Style,
    /// By client, with the place in the order in which they were told of.
    known: HashMap<String, (usize, Status)>,
}

enum Style {
    /// A JSON document per change.
    Json,
    /// A line per change.
    Lines,
    /// One block on a terminal, redrawn in place.
    Live(ProgressBar),
}

impl View {
    fn new(format: Format, screen: &Screen<'_>) -> Self {
        let style = match (format, screen.terminal) {
            (Format::Json, _) => Style::Json,
            (Format::Text, false) => Style::Lines,
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
            known: HashMap::new(),
        }
    }

    /// Shows states, unless they are shown already: every new stream begins with the present ones.
    fn show(&mut self, screen: &mut Screen<'_>, news: Vec<Status>) -> Result<(), Failure> {
        for status in news {
            let next = self.known.len();
            let (place, before) = match self.known.remove(&status.client) {
                Some((place, before)) => (place, Some(before)),
                None => (next, None),
            };
            if before.as_ref() != Some(&status) {
                match self.style {
                    Style::Json => screen.json_line(&status)?,
                    Style::Lines => {
                        let line = line(&status);
                        if before.is_none_or(|before| self::line(&before) != line) {
                            let now = clock::now().strftime("%Y-%m-%dT%H:%M:%SZ");
                            screen.line(&format!("{now} {line}"))?;
                        }
                    }
                    Style::Live(_) => {}
                }
            }
            self.known.insert(status.client.clone(), (place, status));
        }
        if let Style::Live(block) = &self.style {
            block.set_message(live(self.known.values()));
            block.tick();
        }
        Ok(())
    }

    /// Says something on stderr without spoiling the block.
    fn beside(&self, screen: &mut Screen<'_>, note: &str) {
        match &self.style {
            Style::Live(block) => block.suspend(|| screen.note(note)),
            Style::Json | Style::Lines => screen.note(note),
        }
    }

    fn clear(&self) {
        if let Style::Live(block) = &self.style {
            block.finish_and_clear();
        }
    }
}

/// One client in one line.
fn line(status: &Status) -> String {
    let number = status
        .record
        .as_ref()
        .map_or_else(String::new, |record| format!(" request {}", record.attempt));
    format!(
        "{} ({}){number} {}",
        plain(&status.name),
        plain(&status.group),
        status.line()
    )
}

/// How many have which status, and as many clients as fit on a screen.
fn live<'a>(known: impl IntoIterator<Item = &'a (usize, Status)>) -> String {
    let mut clients: Vec<&(usize, Status)> = known.into_iter().collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (_, status) in &clients {
        let word = match status.status.as_str() {
            "" => "no request yet",
            word => word,
        };
        *counts.entry(word).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(word, count)| format!("{} {count}", plain(word)))
        .collect();
    // The newest changes first, to choose; then in their order, so that lines keep their places.
    clients.sort_by_key(|(_, status)| {
        std::cmp::Reverse(status.record.as_ref().and_then(|record| record.updated_at))
    });
    let more = match clients.len().saturating_sub(SHOWN_LIVE) {
        0 => String::new(),
        more => format!("\n  … and {more} more, unchanged for longer"),
    };
    clients.truncate(SHOWN_LIVE);
    clients.sort_by_key(|(place, _)| *place);
    format!(
        "{}\n\n{}{more}",
        counts.join(", "),
        status::table(clients.into_iter().map(|(_, status)| status))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, second: i64, state: v1::ScepState) -> Status {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let record = v1::ScepRecord {
            attempt: 1,
            trigger: 1,
            requested_at: at(second),
            updated_at: at(second),
            state: state.into(),
            key_name: "scep".to_owned(),
            ..v1::ScepRecord::default()
        };
        Status::try_from(v1::ScepStatus {
            client: name.to_owned(),
            name: name.to_owned(),
            group: "default".to_owned(),
            status: if state == v1::ScepState::Error {
                "Error".to_owned()
            } else {
                "Processing...".to_owned()
            },
            record: Some(record),
            ..v1::ScepStatus::default()
        })
        .unwrap()
    }

    #[test]
    fn a_screen_shows_the_newest_changes_in_a_steady_order() {
        let known: Vec<(usize, Status)> = (0..40)
            .map(|place| {
                let second = 1_785_578_400 + i64::try_from(place).unwrap();
                let name = format!("pc-{place}");
                (place, status(&name, second, v1::ScepState::Processing))
            })
            .collect();
        let text = live(&known);
        assert!(text.starts_with("Processing... 40\n\nCLIENT"), "{text}");
        assert!(!text.contains("pc-9 "), "{text}");
        let (first, last) = (text.find("pc-10 ").unwrap(), text.find("pc-39 ").unwrap());
        assert!(first < last);
        assert!(
            text.ends_with("… and 10 more, unchanged for longer"),
            "{text}"
        );
    }

    #[test]
    fn a_line_names_the_client_and_its_request() {
        let mut error = status("pc-1", 0, v1::ScepState::Error);
        error.details = "Communication Error (TOP ERROR)".to_owned();
        error.cause = "no connection".to_owned();
        assert_eq!(
            line(&error),
            "pc-1 (default) request 1 Error: Communication Error (TOP ERROR): no connection"
        );
    }
}
