//! The road to a host with several addresses: each is tried with a limit of its own, one a little after the other (RFC 8305). What is said on a
//! connection, and whether its other end is the right one, is decided by whoever asks for the next.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// For the name.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// For the TCP connection to one address.
pub const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// Between the beginnings of two attempts (RFC 8305, section 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// So many addresses of one name are tried.
pub const MOST_ADDRESSES: usize = 16;

/// The addresses of one name, on the way to a connection. Attempts that are under way end with it.
#[derive(Debug)]
pub struct Road {
    untried: VecDeque<SocketAddr>,
    under_way: JoinSet<(SocketAddr, Result<TcpStream, NoAnswer>)>,
    /// When the next attempt begins, although those before it have not ended.
    next_at: Instant,
    failed: Vec<(SocketAddr, NoAnswer)>,
}

impl Road {
    /// Resolves a name, or takes an IP address as it is. `works` is the address that led to the right host before: it is tried first, if the name
    /// still has it.
    ///
    /// # Errors
    /// If the name has no address, or none is told within [`RESOLVE_TIMEOUT`].
    pub async fn to(host: &str, port: u16, works: Option<SocketAddr>) -> Result<Self, Unresolved> {
        let found: Vec<_> = match timeout(RESOLVE_TIMEOUT, lookup_host((host, port))).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(error)) => return Err(Unresolved::Failed(error)),
            Err(_) => return Err(Unresolved::Slow),
        };
        if found.is_empty() {
            return Err(Unresolved::Nothing);
        }
        Ok(Self::over(found, works))
    }

    /// The road over addresses that are known.
    #[must_use]
    pub fn over(addresses: Vec<SocketAddr>, works: Option<SocketAddr>) -> Self {
        Self {
            untried: in_order(addresses, works),
            under_way: JoinSet::new(),
            next_at: Instant::now(),
            failed: Vec::new(),
        }
    }

    /// The next connection. To ask again is to say that the one before did not lead to the right host. `None`: every address has been tried, and
    /// [`Road::failed`] says what became of those that did not answer.
    pub async fn next(&mut self) -> Option<(SocketAddr, TcpStream)> {
        loop {
            if self.under_way.is_empty() {
                self.begin()?;
            }
            let may_begin = !self.untried.is_empty();
            tokio::select! {
                Some(ended) = self.under_way.join_next() => match ended {
                    Ok((address, Ok(stream))) => return Some((address, stream)),
                    Ok((address, Err(error))) => {
                        self.failed.push((address, error));
                        // Nothing is to be waited for: the next one begins.
                        self.begin();
                    }
                    Err(error) => {
                        let address = SocketAddr::from(([0, 0, 0, 0], 0));
                        self.failed.push((address, NoAnswer::Failed(io::Error::other(error))));
                    }
                },
                () = sleep_until(self.next_at), if may_begin => {
                    self.begin();
                }
            }
        }
    }

    /// The addresses that did not answer so far.
    #[must_use]
    pub fn failed(self) -> Vec<(SocketAddr, NoAnswer)> {
        self.failed
    }

    fn begin(&mut self) -> Option<()> {
        let address = self.untried.pop_front()?;
        self.next_at = Instant::now() + ATTEMPT_DELAY;
        self.under_way.spawn(async move {
            let tried = match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => stream.set_nodelay(true).map(|()| stream),
                Ok(Err(error)) => Err(error),
                Err(_) => return (address, Err(NoAnswer::Slow)),
            };
            (address, tried.map_err(NoAnswer::Failed))
        });
        Some(())
    }
}

/// The first address of a name that answers.
///
/// # Errors
/// If the name has no address, or none of them answers.
pub async fn connect(host: &str, port: u16) -> io::Result<(SocketAddr, TcpStream)> {
    let mut road = Road::to(host, port, None)
        .await
        .map_err(|error| match error {
            Unresolved::Failed(error) => error,
            Unresolved::Slow => io::Error::new(io::ErrorKind::TimedOut, Unresolved::Slow),
            Unresolved::Nothing => io::Error::new(io::ErrorKind::NotFound, Unresolved::Nothing),
        })?;
    if let Some(connected) = road.next().await {
        return Ok(connected);
    }
    Err(match road.failed().pop() {
        Some((_, NoAnswer::Failed(error))) => error,
        Some((_, NoAnswer::Slow)) | None => io::Error::new(io::ErrorKind::TimedOut, NoAnswer::Slow),
    })
}

/// IPv6 and IPv4 in turns, beginning with the family that the resolver named first (RFC 8305, section 4); the one that works before all.
fn in_order(addresses: Vec<SocketAddr>, works: Option<SocketAddr>) -> VecDeque<SocketAddr> {
    let mut ordered: VecDeque<SocketAddr> = VecDeque::new();
    if let Some(works) = works.filter(|works| addresses.contains(works)) {
        ordered.push_back(works);
    }
    let first_is_v6 = addresses.first().is_some_and(|it| is_v6(it.ip()));
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| is_v6(address.ip()) == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            ordered.truncate(MOST_ADDRESSES);
            return ordered;
        }
        for address in pair.into_iter().flatten() {
            if !ordered.contains(&address) {
                ordered.push_back(address);
            }
        }
    }
}

const fn is_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(_))
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// The resolver said no.
    #[error("the name cannot be resolved")]
    Failed(#[source] io::Error),
    /// It said nothing.
    #[error("the resolver did not answer within {} s", RESOLVE_TIMEOUT.as_secs())]
    Slow,
    /// It knows no address.
    #[error("the name has no address")]
    Nothing,
}

/// Why an address does not answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// No TCP connection.
    #[error("no connection")]
    Failed(#[source] io::Error),
    /// Nothing comes back.
    #[error("no answer within {} s", ADDRESS_TIMEOUT.as_secs())]
    Slow,
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream as Blocking};

    use super::*;

    /// A port that answers nobody: its queue is full, so that the kernel drops whoever else comes.
    struct Dead {
        address: SocketAddr,
        _queued: Vec<Blocking>,
        _listener: TcpListener,
    }

    impl Dead {
        fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
            // Again, with room for one.
            rustix::net::listen(&listener, 0).expect("listening");
            let address = listener.local_addr().expect("an address");
            let soon = Duration::from_millis(300);
            let queued: Vec<_> =
                std::iter::from_fn(|| Blocking::connect_timeout(&address, soon).ok()).collect();
            Self {
                address,
                _queued: queued,
                _listener: listener,
            }
        }
    }

    fn living() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    #[tokio::test]
    async fn a_dead_address_holds_up_nobody() {
        let dead = Dead::new();
        let (_listener, alive) = living();
        let mut road = Road::over(vec![dead.address, alive], None);
        let began = Instant::now();
        let (address, _stream) = road.next().await.expect("a connection");
        assert_eq!(address, alive);
        // Long before the dead one's time is over.
        assert!(began.elapsed() < ADDRESS_TIMEOUT, "{:?}", began.elapsed());
        // Whoever asks again is told what became of the dead one.
        assert!(road.next().await.is_none());
        assert!(
            matches!(road.failed()[..], [(address, NoAnswer::Slow)] if address == dead.address)
        );
    }

    #[tokio::test]
    async fn one_that_refuses_is_followed_by_the_next_at_once() {
        let (listener, closed) = living();
        drop(listener);
        let (_one, first) = living();
        let (_two, second) = living();
        let mut road = Road::over(vec![closed, first, second], None);
        // The first that answers need not be the right one.
        assert_eq!(road.next().await.map(|it| it.0), Some(first));
        assert_eq!(road.next().await.map(|it| it.0), Some(second));
        assert!(road.next().await.is_none());
        assert!(matches!(road.failed()[..], [(address, NoAnswer::Failed(_))] if address == closed));
    }

    #[tokio::test]
    async fn a_name_is_resolved_and_one_that_is_none_is_not() {
        let (_listener, alive) = living();
        let mut road = Road::to("127.0.0.1", alive.port(), None)
            .await
            .expect("an address");
        assert_eq!(road.next().await.map(|it| it.0), Some(alive));
        assert!(Road::to("no such name", 1, None).await.is_err());
    }

    #[test]
    fn families_take_turns_and_what_works_is_first() {
        let v4 = |last| SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 1));
        let v6 = |last| SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last), 1));
        let found = vec![v6(1), v6(2), v6(3), v4(1), v4(2), v6(1)];
        assert_eq!(
            in_order(found.clone(), None),
            [v6(1), v4(1), v6(2), v4(2), v6(3)]
        );
        assert_eq!(
            in_order(found.clone(), Some(v4(2))),
            [v4(2), v6(1), v4(1), v6(2), v6(3)]
        );
        // What the name no longer has is not tried.
        assert_eq!(in_order(found, Some(v4(9)))[0], v6(1));
        let many = (0..40).map(v4).collect();
        assert_eq!(in_order(many, None).len(), MOST_ADDRESSES);
    }
}
