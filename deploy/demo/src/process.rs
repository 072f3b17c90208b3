//! Processes: started, asked, watched, ended. Which, and why, stands elsewhere.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::patience::Patience;

/// Between two looks at whether a process has ended.
const LOOK: Duration = Duration::from_millis(10);
/// A process that was asked to end is killed after that.
const GRACE: Duration = Duration::from_secs(3);
/// What of a log's end is worth showing.
const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 12;

/// A process that ends, at the latest, when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts it, with all it says going to the end of `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start a process")?;
        Ok(Self(child))
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Asks it to end, as a machine that is switched off in order does.
    pub(crate) fn ask_to_end(&mut self) {
        // It is ours and not waited for yet, so that the id is still its own. If it has ended already, all the better.
        if matches!(self.ended(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(Some(_))) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// Ends processes in order where they do so in time, and in any case.
pub(crate) fn end(mut processes: Vec<Running>) {
    for process in &mut processes {
        process.ask_to_end();
    }
    let until = Instant::now() + GRACE;
    for process in &mut processes {
        while matches!(process.ended(), Ok(None)) && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }
}

/// What a process said by the time it ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Starts a process, gives it `input`, and waits until it ends.
pub(crate) fn ask(
    mut command: Command,
    input: &str,
    patience: &Patience,
) -> anyhow::Result<Answer> {
    // Files, so that nobody has to read while it runs.
    let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let child = command
        .stdin(Stdio::piped())
        .stdout(out.try_clone()?)
        .stderr(err.try_clone()?)
        .spawn()
        .context("cannot start a process")?;
    let mut process = Running(child);
    if let Some(mut stdin) = process.0.stdin.take() {
        // One that does not read says why on stderr.
        drop(stdin.write_all(input.as_bytes()));
    }
    let status = loop {
        if let Some(status) = process.ended()? {
            break status;
        }
        patience.pause(LOOK)?;
    };
    Ok(Answer {
        status,
        out: whole(&mut out)?,
        err: whole(&mut err)?,
    })
}

/// What a process says line by line, while it runs.
#[derive(Debug)]
pub(crate) struct Lines {
    process: Running,
    out: mpsc::Receiver<String>,
    err: File,
}

impl Lines {
    /// Starts a process to listen to.
    pub(crate) fn of(mut command: Command) -> anyhow::Result<Self> {
        let err = tempfile::tempfile()?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(err.try_clone()?)
            .spawn()
            .context("cannot start a process")?;
        let said = child.stdout.take();
        let process = Running(child);
        let (say, out) = mpsc::channel();
        // Ends with the process, which ends with this.
        thread::spawn(move || {
            let lines = said
                .into_iter()
                .flat_map(|said| BufReader::new(said).lines());
            for line in lines.map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, out, err })
    }

    /// The next line, if one comes in time. Fails if the process has ended.
    pub(crate) fn next(&mut self, within: Duration) -> anyhow::Result<Option<String>> {
        match self.out.recv_timeout(within) {
            Ok(line) => Ok(Some(line)),
            Err(mpsc::RecvTimeoutError::Timeout) => Ok(None),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.process.0.wait()?;
                let err = whole(&mut self.err)?;
                anyhow::bail!("it has ended by itself ({status}): {}", err.trim_end())
            }
        }
    }
}

fn whole(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Works on all items, several at once, and hands each result to `done` as it comes; stops at its first error.
pub(crate) fn each<'a, T: Sync, R: Send>(
    items: &'a [T],
    at_once: usize,
    work: impl Fn(&'a T) -> R + Sync,
    done: impl FnMut(R) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (say, hear) = mpsc::channel();
        for _ in 0..at_once.min(items.len()) {
            let (say, next, work) = (say.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if say.send(work(item)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(say);
        hear.into_iter().try_for_each(done)
    })
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => last_lines(&text, TAIL_LINES),
        Err(error) => format!("  (cannot read {}: {error})", log.display()),
    }
}

fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines
        .get(lines.len().saturating_sub(most)..)
        .unwrap_or_default();
    if shown.is_empty() {
        return "  (says nothing)".to_owned();
    }
    shown
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end_of_a_log() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "  b\n  c");
        assert_eq!(last_lines("a", 2), "  a");
        assert_eq!(last_lines("", 2), "  (says nothing)");
    }

    #[test]
    fn each_item_is_worked_on_once_and_the_first_error_ends_it() {
        let items: Vec<u32> = (0..100).collect();
        let mut seen = Vec::new();
        each(
            &items,
            8,
            |item| *item,
            |item| {
                seen.push(item);
                Ok(())
            },
        )
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, items);

        let mut heard = 0;
        let refused = each(
            &items,
            8,
            |item| *item,
            |_| {
                heard += 1;
                anyhow::bail!("enough")
            },
        );
        assert!(refused.is_err());
        assert_eq!(heard, 1);
    }

    #[test]
    fn a_process_is_heard_line_by_line_until_it_ends() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two; echo why >&2; exit 3"]);
        let mut lines = Lines::of(command).unwrap();
        let long = Duration::from_secs(60);
        assert_eq!(lines.next(long).unwrap().as_deref(), Some("one"));
        assert_eq!(lines.next(long).unwrap().as_deref(), Some("two"));
        let ended = lines.next(long).unwrap_err().to_string();
        assert_eq!(ended, "it has ended by itself (exit status: 3): why");

        let mut command = Command::new("sleep");
        command.arg("60");
        let mut silent = Lines::of(command).unwrap();
        assert_eq!(silent.next(Duration::ZERO).unwrap(), None);
    }

    #[test]
    fn a_process_is_given_its_input_and_heard_to_its_end() {
        let patience = Patience::deaf(Duration::from_secs(60));
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo noted >&2; exit 3"]);
        let answer = ask(command, "hello", &patience).unwrap();
        assert_eq!(
            (answer.out.as_str(), answer.err.as_str()),
            ("hello", "noted\n")
        );
        assert_eq!(answer.status.code(), Some(3));
    }
}
