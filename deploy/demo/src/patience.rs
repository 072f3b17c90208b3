//! How long the demo waits, and what makes it stop waiting: its limit, Ctrl-C, SIGTERM, a closed terminal. What is waited for
//! stands elsewhere.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

/// A signal is noticed within that.
const NAP: Duration = Duration::from_millis(50);

/// The demo's limit, and its ear for signals.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    began: Instant,
    limit: Duration,
    interrupted: Arc<AtomicBool>,
}

/// Why the demo ends before its story does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Halt {
    /// By a signal.
    #[error("interrupted")]
    Interrupted,
    /// By its limit.
    #[error("not done after {} s", .0.as_secs())]
    OutOfTime(Duration),
}

impl Patience {
    /// Begins to count, and to listen.
    pub(crate) fn begin(limit: Duration) -> io::Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        listen(Arc::clone(&interrupted))?;
        Ok(Self {
            began: Instant::now(),
            limit,
            interrupted,
        })
    }

    /// Since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waits that long, unless there is a reason to stop.
    pub(crate) fn pause(&self, length: Duration) -> Result<(), Halt> {
        let until = Instant::now() + length;
        loop {
            if self.interrupted() {
                return Err(Halt::Interrupted);
            }
            if self.elapsed() >= self.limit {
                return Err(Halt::OutOfTime(self.limit));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(NAP));
        }
    }

    /// Waits a moment, whatever the limit.
    pub(crate) fn nap(&self) {
        thread::sleep(NAP);
    }
}

fn listen(interrupted: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    // Ends with the process.
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        interrupted.store(true, Ordering::Relaxed);
    });
    Ok(())
}

#[cfg(test)]
impl Patience {
    /// Without an ear for signals.
    pub(crate) fn deaf(limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit,
            interrupted: Arc::new(AtomicBool::new(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_at_its_limit_or_by_a_signal() {
        let limit = Duration::from_secs(60);
        let patience = Patience::deaf(limit);
        assert_eq!(patience.pause(Duration::ZERO), Ok(()));
        patience.interrupted.store(true, Ordering::Relaxed);
        assert_eq!(patience.pause(limit), Err(Halt::Interrupted));

        let exhausted = Patience::deaf(Duration::ZERO).pause(limit);
        assert_eq!(exhausted, Err(Halt::OutOfTime(Duration::ZERO)));
        assert_eq!(Halt::OutOfTime(limit).to_string(), "not done after 60 s");
    }
}
