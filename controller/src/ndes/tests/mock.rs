//! NDES as far as its challenge page goes: a real HTTP server on loopback, in the clock of the test.

use std::{convert::Infallible, net::SocketAddr, sync::mpsc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, body::Incoming, header::WWW_AUTHENTICATE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::Semaphore};

use super::*;

pub(super) const USER: &str = r"LAB\convoy";
pub(super) const PASSWORD: &str = "Passw0rd: ä";
pub(super) const PATH: &str = "/certsrv/mscep_admin/";
/// Longer than any test lets pass.
pub(super) const NEVER: Duration = Duration::from_secs(1_000_000);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// How it is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Setup {
    /// As installed.
    Normal,
    /// `UseSinglePassword`.
    SinglePassword,
    /// The same page again, as a proxy keeps it.
    Kept,
    /// The user has no permission.
    NoPermission,
    /// This status with these `WWW-Authenticate`.
    Status(u16, Vec<&'static str>),
    /// Another page.
    Page(String),
    /// The connection ends before the page does.
    CutOff,
}

pub(super) struct Mock {
    pub(super) address: SocketAddr,
    state: Mutex<State>,
    /// One permit for each answer.
    answers: Semaphore,
    /// Counts the requests.
    requests: watch::Sender<usize>,
}

struct State {
    setup: Setup,
    cache: usize,
    /// Challenges, and when they expire.
    outstanding: Vec<(String, Instant)>,
    made: usize,
}

impl Mock {
    pub(super) async fn start(setup: Setup) -> Arc<Self> {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let mock = Arc::new(Self {
            address: socket.local_addr().expect("an address"),
            state: Mutex::new(State {
                setup,
                cache: 5,
                outstanding: Vec::new(),
                made: 0,
            }),
            answers: Semaphore::new(1000),
            requests: watch::Sender::new(0),
        });
        let server = Arc::clone(&mock);
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.expect("a connection");
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    let answer = service_fn(|request| server.answer(request));
                    // A client that goes away is no error here.
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                        .ok();
                });
            }
        });
        mock
    }

    pub(super) fn ndes(&self) -> Ndes {
        Ndes {
            url: format!("http://{}{PATH}", self.address),
            user: USER.to_owned(),
            password: Zeroizing::new(PASSWORD.to_owned()),
            cache: 5,
            lifetime: HOUR,
        }
    }

    pub(super) fn source(&self) -> ChallengeSource {
        ChallengeSource::new(&self.ndes()).expect("settings")
    }

    /// A request with this challenge arrives at NDES: whether it is good. Then it is used.
    pub(super) fn enroll(&self, challenge: &str) -> bool {
        let mut state = self.state();
        let before = state.outstanding.len();
        state.outstanding.retain(|(known, _)| known != challenge);
        state.outstanding.len() < before
    }

    /// Somebody else takes the whole cache.
    pub(super) fn fill(&self) {
        let mut state = self.state();
        let expires = Instant::now() + HOUR;
        while state.outstanding.len() < state.cache {
            let other = format!("OTHER{}", state.outstanding.len());
            state.outstanding.push((other, expires));
        }
    }

    pub(super) fn requests(&self) -> usize {
        *self.requests.borrow()
    }

    pub(super) async fn asked(&self, times: usize) {
        let mut requests = self.requests.subscribe();
        let asked = timeout(NEVER, requests.wait_for(|n| *n >= times)).await;
        asked.expect("in time").expect("a mock");
    }

    /// Answers nothing until it is let.
    pub(super) fn hold(&self) {
        assert_eq!(self.answers.forget_permits(1000), 1000);
    }

    pub(super) fn let_go(&self) {
        self.answers.add_permits(1000);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        // NDES makes the challenge first, however slowly its answer travels.
        let response = self.respond(&request);
        self.requests.send_modify(|n| *n += 1);
        let permit = self.answers.acquire().await.expect("open");
        drop(permit);
        Ok(response)
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut state = self.state();
        assert_eq!(request.uri().path(), PATH);
        assert_eq!(request.headers()["host"], self.address.to_string());
        let expected = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
        );
        let (status, schemes) = match &state.setup {
            Setup::Status(status, schemes) => (*status, schemes.clone()),
            _ if request.headers()["authorization"] != expected => {
                (401, vec!["Negotiate", "Basic realm=\"ndes\""])
            }
            _ => (200, Vec::new()),
        };
        let text = if status == 200 {
            state.page()
        } else {
            "<html>no</html>".to_owned()
        };
        let mut page = vec![0xff, 0xfe];
        page.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut response = Response::builder().status(status);
        for scheme in schemes {
            response = response.header(WWW_AUTHENTICATE, scheme);
        }
        if state.setup == Setup::CutOff {
            response = response.header("content-length", page.len() + 1);
        }
        response.body(Full::new(page.into())).expect("a response")
    }
}

impl State {
    fn page(&mut self) -> String {
        let now = Instant::now();
        self.outstanding.retain(|(_, expires)| now < *expires);
        match &self.setup {
            Setup::NoPermission => {
                return "<HTML><Body>You do not have sufficient permission to enroll with SCEP. \
                    </Body></HTML>"
                    .to_owned();
            }
            Setup::Page(page) => return page.clone(),
            Setup::SinglePassword => {
                return page("5A5A5A5A5A5A5A5A", "multiple times and will not expire.");
            }
            Setup::Kept => {
                return page(
                    "5A5A5A5A5A5A5A5A",
                    "only once and will expire within 60 minutes.",
                );
            }
            Setup::Normal | Setup::CutOff | Setup::Status(..) => {}
        }
        if self.outstanding.len() >= self.cache {
            return "<HTML><Body>The password cache is full. </Body></HTML>".to_owned();
        }
        self.made += 1;
        let challenge = format!(
            "{:016X}",
            0x3BB3_F5A8_C2B3_0000_u64 + u64::try_from(self.made).expect("few")
        );
        self.outstanding.push((challenge.clone(), now + HOUR));
        page(&challenge, "only once and will expire within 60 minutes.")
    }
}

fn page(challenge: &str, how: &str) -> String {
    format!(
        "<HTML><Head><Title>Network Device Enrollment Service</Title></Head><Body>\r\n\
        The thumbprint (hash value) for the CA certificate is: <B> 35DB1B2E F5B0A6A1 0A95D5C1 7C4F1A2B </B> <P>\r\n\
        The enrollment challenge password is: <B> {challenge} </B> <P> This password can be used {how} <P>\r\n\
        </Body></HTML>\r\n"
    )
}

/// Time stands still but for `advance`, although the test waits for its sockets: as long as this lives. A test that hangs for a real
/// minute has its time run to the end, and fails.
pub(super) struct Frozen {
    _ends: mpsc::Sender<()>,
}

pub(super) fn freeze() -> Frozen {
    // Tokio's paused clock does not move by itself while something blocks.
    let (ends, ended) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || ended.recv_timeout(Duration::from_secs(60)).ok());
    Frozen { _ends: ends }
}
