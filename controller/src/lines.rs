//! How many lines of the log one client, or one address, may cause: so many at once, and then one in so long. It is found by the line's own fields,
//! wherever the line is written. What a line says is no concern of it.

use std::{
    fmt::Debug,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use crate::{listener::addresses::Counting, pace::Pace};

/// Lines about one client or address at once,
const BURST: u32 = 60;
/// and then one in so long.
const EVERY: Duration = Duration::from_secs(1);
/// Fields that name who caused a line: a client, the address that it comes from, a user of this machine.
const WHO: [&str; 4] = ["client", "peer", "address", "uid"];

static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Lines that were left out since the process began, because their cause had caused too many.
#[must_use]
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// Leaves out what is too much.
pub struct Paced {
    addresses: Counting,
    pace: Pace<String>,
}

impl Paced {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(addresses: Counting) -> Self {
        Self {
            addresses,
            pace: Pace::new(BURST, EVERY),
        }
    }

    /// Who is counted: an address without its port. `None`: not counted.
    fn counted(&self, field: &str, who: String) -> Option<String> {
        let address = who
            .parse::<SocketAddr>()
            .map(|socket| socket.ip())
            .or_else(|_| who.parse::<IpAddr>());
        match address {
            Ok(address) => Some(self.addresses.counted(address)?.to_string()),
            Err(_) => Some(format!("{field} {who}")),
        }
    }
}

impl<S: Subscriber> Layer<S> for Paced {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let names = event.metadata().fields();
        if !WHO.iter().any(|name| names.field(name).is_some()) {
            return true;
        }
        let mut found = Found(None);
        event.record(&mut found);
        let counted = found.0.and_then(|(field, who)| self.counted(field, who));
        let may = counted.is_none_or(|who| self.pace.take(&who).is_ok());
        if !may {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        may
    }
}

/// The first field of a line that names who caused it.
struct Found(Option<(&'static str, String)>);

impl Visit for Found {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.0.is_none() && WHO.contains(&field.name()) {
            self.0 = Some((field.name(), format!("{value:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Counts what comes through.
    #[derive(Clone, Default)]
    struct Count(Arc<Mutex<usize>>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().expect("a lock") += 1;
        }
    }

    #[test]
    fn one_client_or_address_writes_so_many_lines_and_others_theirs() {
        let count = Count::default();
        let subscriber = tracing_subscriber::registry()
            .with(Paced::new(Counting::default()))
            .with(count.clone());
        let lines = |write: &dyn Fn(u16)| {
            let before = *count.0.lock().expect("a lock");
            for number in 0..500 {
                write(number);
            }
            *count.0.lock().expect("a lock") - before
        };
        let address = |last, port| SocketAddr::from(([192, 0, 2, last], port));
        tracing::subscriber::with_default(subscriber, || {
            // Whatever the port, and whatever the line says; a second may pass meanwhile.
            let few = 60..70;
            assert!(few.contains(&lines(&|port| {
                tracing::warn!(peer = %address(1, port), "refused");
            })));
            assert!(few.contains(&lines(&|port| {
                tracing::info!(port, peer = %address(2, port), "something else");
            })));
            assert!(few.contains(&lines(&|number| {
                tracing::info!(client = "one", number, "says much");
            })));
            assert!(few.contains(&lines(&|_| {
                tracing::warn!(uid = 7_u32, "refused");
            })));
            // What nobody outside has caused is all said, and so is what happens on this machine.
            assert_eq!(lines(&|number| tracing::info!(number, "own")), 500);
            let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
            assert_eq!(lines(&|port| tracing::info!(peer = %here(port), "x")), 500);
        });
        assert!(left_out() >= 4 * 430);
    }
}
