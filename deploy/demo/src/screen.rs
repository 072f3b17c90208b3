//! What people see while the demo runs, and the only place that writes to stdout and stderr. What it means is worded elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    args::Strategy,
    rotation::{Progress, Rotation, Step, StepState},
    scep::standing::Counts,
};

/// A line that only counts further is printed again after that.
const SELDOM: Duration = Duration::from_secs(1);
const COUNTING: &str = "  {msg} [{bar:10}] {pos}/{len}";

/// Text on stdout.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Text on stderr. If nobody listens there is nobody to tell.
pub(crate) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// The demo's progress, on stderr.
pub(crate) enum Screen {
    /// Drawn in place, on a terminal.
    Bars(Bars),
    /// A line per change, for everything else.
    Lines(Lines),
}

impl Screen {
    /// Bars where a person looks at both streams, lines elsewhere.
    pub(crate) fn choose(json: bool) -> Self {
        if !json && io::stdout().is_terminal() && io::stderr().is_terminal() {
            Self::Bars(Bars::default())
        } else {
            Self::Lines(Lines::default())
        }
    }

    /// Something that has happened.
    pub(crate) fn note(&mut self, text: &str) {
        match self {
            Self::Bars(bars) => drop(bars.all.println(format!("  {text}"))),
            Self::Lines(_) => complain(text),
        }
    }

    /// How many of the fleet have got so far.
    pub(crate) fn count(&mut self, what: &str, done: u16, of: u16) {
        match self {
            Self::Bars(bars) => {
                let bar = bars.bar(what, COUNTING);
                bar.set_message(format!("{what:<18}"));
                bar.set_length(of.into());
                bar.set_position(done.into());
            }
            Self::Lines(lines) => lines.print(what, format!("{what}: {done} of {of}"), done == of),
        }
    }

    /// Where the rotation is.
    pub(crate) fn rotation(&mut self, rotation: &Rotation, strategy: Strategy) {
        match self {
            Self::Bars(bars) => bars.rotation(rotation, strategy),
            Self::Lines(lines) => {
                for step in &rotation.steps {
                    if step.state != StepState::Pending {
                        let state = step.line();
                        let news = lines.is_news(&state);
                        lines.print(&state, step_text(rotation, step, strategy), news);
                    }
                }
            }
        }
    }

    /// Where the devices' certificate requests are.
    pub(crate) fn enrolment(&mut self, counts: Counts, waiting: &str) {
        match self {
            Self::Bars(bars) => bars.enrolment(counts, waiting),
            Self::Lines(lines) => {
                let mut text = format!("{ENROLLED}: {counts}");
                if !waiting.is_empty() {
                    text.push_str(&format!("; {waiting}"));
                }
                lines.print(ENROLLED, text, waiting.is_empty());
            }
        }
    }

    /// Leaves what was drawn, and draws no more.
    pub(crate) fn finish(&mut self) {
        if let Self::Bars(bars) = self {
            for (key, bar) in &bars.drawn {
                if key == WAITING {
                    bar.finish_and_clear();
                } else {
                    bar.abandon();
                }
            }
        }
    }
}

/// A step with all that is known of it, on one line.
fn step_text(rotation: &Rotation, step: &Step, strategy: Strategy) -> String {
    let mut text = step.line();
    if let Some(Progress { done, of, what }) = rotation.progress(step, strategy) {
        text.push_str(&format!(": {done} of {of} {what}"));
    }
    let waiting = rotation.waiting();
    if step.state == StepState::Active && !waiting.is_empty() {
        text.push_str(&format!("; {waiting}"));
    }
    text
}

const WAITING: &str = "waiting";
const ENROLLED: &str = "enrolled";

/// Bars on a terminal, by what they show.
#[derive(Default)]
pub(crate) struct Bars {
    all: MultiProgress,
    drawn: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn bar(&mut self, key: &str, template: &str) -> &ProgressBar {
        self.drawn.entry(key.to_owned()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        })
    }

    fn rotation(&mut self, rotation: &Rotation, strategy: Strategy) {
        for step in &rotation.steps {
            let key = format!("step {}", step.number);
            // The swap counts only while it lasts; what comes and goes is no bar.
            let progress = rotation.progress(step, strategy);
            match progress.filter(|_| step.number != 4) {
                Some(Progress { done, of, .. }) => {
                    let bar = self.bar(&key, COUNTING);
                    bar.set_message(step.line());
                    bar.set_length(of.into());
                    bar.set_position(done.into());
                }
                None => {
                    let back = progress
                        .map(|Progress { done, of, what }| format!(" ({done} of {of} {what})"));
                    let bar = self.bar(&key, "  {wide_msg}");
                    bar.set_message(step.line() + &back.unwrap_or_default());
                }
            }
        }
        self.bar(WAITING, "      {wide_msg}")
            .set_message(rotation.waiting());
    }

    fn enrolment(&mut self, counts: Counts, waiting: &str) {
        // The rotation's line moves below the new bar.
        if !self.drawn.contains_key(ENROLLED)
            && let Some(line) = self.drawn.remove(WAITING)
        {
            line.finish_and_clear();
        }
        let bar = self.bar(ENROLLED, COUNTING);
        bar.set_message(format!("{ENROLLED:<18}"));
        bar.set_length(counts.of.into());
        bar.set_position(counts.successful.into());
        let text = match waiting {
            "" => counts.to_string(),
            waiting => format!("{counts}; {waiting}"),
        };
        self.bar(WAITING, "      {wide_msg}").set_message(text);
    }
}

/// Lines that were printed, by what they are about.
#[derive(Default)]
pub(crate) struct Lines {
    printed: BTreeMap<String, (String, Instant)>,
}

impl Lines {
    fn is_news(&self, key: &str) -> bool {
        !self.printed.contains_key(key)
    }

    /// Prints a line unless it says nothing new; unless it is urgent, not often.
    fn print(&mut self, key: &str, text: String, urgent: bool) {
        let due = match self.printed.get(key) {
            Some((last, when)) => *last != text && (urgent || when.elapsed() >= SELDOM),
            None => true,
        };
        if due {
            complain(&text);
            self.printed.insert(key.to_owned(), (text, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::examples;

    #[test]
    fn a_line_says_what_a_step_waits_for() {
        let rotation = examples::preparing();
        let text = |index: usize| step_text(&rotation, &rotation.steps[index], Strategy::Overlap);
        assert_eq!(text(1), "[x] 2 Disable server certificate verification");
        assert_eq!(
            text(2),
            "[>] 3 Wait for all clients to receive the updated policy: 2 of 4 proved; waiting for agent-003, agent-004"
        );
    }

    #[test]
    fn bars_follow_an_enrolment() {
        let mut bars = Bars::default();
        bars.all
            .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.rotation(&examples::preparing(), Strategy::Overlap);
        let counts = Counts {
            of: 4,
            to_be_processed: 0,
            processing: 2,
            error: 1,
            successful: 1,
        };
        bars.enrolment(counts, "waiting for agent-003, agent-004");
        let bar = &bars.drawn[ENROLLED];
        assert_eq!((bar.position(), bar.length()), (1, Some(4)));
        assert_eq!(
            bars.drawn[WAITING].message(),
            "2 Processing..., 1 Successful, 1 Error, of 4; waiting for agent-003, agent-004"
        );
    }

    #[test]
    fn every_template_is_one() {
        for template in [COUNTING, "  {wide_msg}", "      {wide_msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn bars_follow_a_rotation() {
        let mut bars = Bars::default();
        bars.all
            .set_draw_target(indicatif::ProgressDrawTarget::hidden());
        bars.rotation(&examples::preparing(), Strategy::Overlap);
        let wait = &bars.drawn["step 3"];
        assert_eq!((wait.position(), wait.length()), (2, Some(4)));
        assert_eq!(
            wait.message(),
            "[>] 3 Wait for all clients to receive the updated policy"
        );
        assert_eq!(
            bars.drawn[WAITING].message(),
            "waiting for agent-003, agent-004"
        );
    }
}
