//! What a program says on stderr, without ever waiting for whoever reads there: lines wait in memory, and those that find no room are counted. What they
//! say is no concern of it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Write},
    panic,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

/// Bytes that may wait to be written.
const ROOM: usize = 4 * 1024 * 1024;
/// A program that ends waits so long for what it has said to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

static STDERR: OnceLock<Lines> = OnceLock::new();
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that were lost since the process began, because nobody read them in time.
#[must_use]
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// From now on what is said is written by a thread of its own, at once. Panics are said in the same way.
///
/// # Errors
/// If there can be no such thread.
pub fn start() -> io::Result<LastWords> {
    if STDERR.get().is_none() {
        let lines = Lines::to(io::stderr(), ROOM)?;
        // Whoever was faster has done the same.
        drop(STDERR.set(lines));
        panic::set_hook(Box::new(|panic| {
            let thread = thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            let mut text = format!("\nthread '{name}' {panic}\n");
            let trace = Backtrace::capture();
            if trace.status() == BacktraceStatus::Captured {
                text += &trace.to_string();
            }
            say(&text);
        }));
    }
    Ok(LastWords(()))
}

/// Says something, whole lines, after all that was said before.
pub fn say(text: &str) {
    // If nobody listens there is nobody to tell.
    drop(writer().write_all(text.as_bytes()));
}

/// For a subscriber: each write is one line.
#[must_use]
pub fn writer() -> impl Write {
    Writer(STDERR.get())
}

/// Gives what was said a moment to be written. It is the last thing that a program drops.
#[must_use = "what was said last may be lost"]
pub struct LastWords(());

impl Drop for LastWords {
    fn drop(&mut self) {
        if let Some(lines) = STDERR.get() {
            lines.written(LAST_WORDS);
        }
    }
}

struct Writer(Option<&'static Lines>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0 {
            Some(lines) => lines.push(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Message {
    Line(Vec<u8>),
    /// All lines before are written: say so.
    Written(mpsc::Sender<()>),
}

/// Lines on their way to one place.
struct Lines {
    queue: mpsc::Sender<Message>,
    waiting: Arc<Waiting>,
}

struct Waiting {
    room: usize,
    bytes: AtomicUsize,
    /// Lines that were lost, and nobody was told.
    untold: AtomicU64,
}

impl Lines {
    fn to(place: impl Write + Send + 'static, room: usize) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel();
        let waiting = Arc::new(Waiting {
            room,
            bytes: AtomicUsize::new(0),
            untold: AtomicU64::new(0),
        });
        let shared = Arc::clone(&waiting);
        thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || write(&messages, place, &shared))?;
        Ok(Self { queue, waiting })
    }

    fn push(&self, line: &[u8]) {
        if !self.waiting.take(line.len()) || self.queue.send(Message::Line(line.to_vec())).is_err()
        {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits, but not for long, until all that was said is written. Says whether it is.
    fn written(&self, patience: Duration) -> bool {
        let (tell, told) = mpsc::channel();
        self.queue.send(Message::Written(tell)).is_ok() && told.recv_timeout(patience).is_ok()
    }
}

impl Waiting {
    /// Takes room for a line. After a loss there is none until half of it is free, so that what is lost is one piece.
    fn take(&self, length: usize) -> bool {
        let room = match self.untold.load(Ordering::Relaxed) {
            0 => self.room,
            _ => self.room / 2,
        };
        let more = |bytes: usize| bytes.checked_add(length).filter(|sum| *sum <= room);
        let taken = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if !taken {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Gives it back; how many lines were lost, if that can be told now.
    fn give_back(&self, length: usize) -> u64 {
        let before = self.bytes.fetch_sub(length, Ordering::Relaxed);
        if before - length <= self.room / 2 {
            self.untold.swap(0, Ordering::Relaxed)
        } else {
            0
        }
    }
}

fn write(messages: &mpsc::Receiver<Message>, mut place: impl Write, waiting: &Waiting) {
    for message in messages {
        match message {
            Message::Line(line) => {
                if place.write_all(&line).is_err() {
                    LOST.fetch_add(1, Ordering::Relaxed);
                }
                let lost = waiting.give_back(line.len());
                if lost > 0 {
                    tracing::warn!(lost, "lines of the log are lost: nobody read them in time");
                }
            }
            // Who has stopped waiting need not know.
            Message::Written(tell) => drop(tell.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(100);

    #[test]
    fn a_full_pipe_keeps_nobody_waiting_and_what_is_lost_is_counted() {
        // Given a pipe that nobody reads, and room for a hundred lines more,
        let (pipe, end) = io::pipe().expect("a pipe");
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let lines = Lines::to(end, 100 * line.len()).expect("a thread");
        // when a thousand lines are said, then nobody waits, and most are lost;
        let before = lost();
        for _ in 0..1000 {
            lines.push(&line);
        }
        let now_lost = usize::try_from(lost() - before).expect("few");
        assert!(now_lost >= 500, "{now_lost}");
        assert!(!lines.written(MOMENT), "a program that ends does not hang");

        // and those that were not are all there when somebody reads.
        let mut pipe = BufReader::new(pipe);
        for _ in 0..1000 - now_lost {
            let mut read = Vec::new();
            pipe.read_until(b'\n', &mut read).expect("read");
            assert!(read == line, "a whole line");
        }
        assert!(lines.written(Duration::from_secs(60)));
        assert_eq!(lines.waiting.bytes.load(Ordering::Relaxed), 0);
        assert_eq!(lines.waiting.untold.load(Ordering::Relaxed), 0);
        // Then there is room again.
        lines.push(&line);
        assert_eq!(usize::try_from(lost() - before), Ok(now_lost));
    }
}
