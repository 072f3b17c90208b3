//! NDES's challenge page over real HTTP in the test's own process: Basic authentication, UTF-16, a cache that can be full.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::Full;
use tokio::{runtime::Runtime, sync::watch};

use crate::scep_peer::serve;

pub(crate) const USER: &str = r"LAB\convoy";
pub(crate) const PASSWORD: &str = "Passw0rd: rotten-apples";
const PATH: &str = "/certsrv/mscep_admin/";

/// NDES, as far as the page goes. It ends with its value.
pub(crate) struct Ndes {
    pub(crate) url: String,
    pub(crate) page: Page,
    _runtime: Runtime,
}

/// The page.
#[derive(Clone)]
pub(crate) struct Page(Arc<Mutex<Cache>>, watch::Sender<bool>);

#[derive(Default)]
struct Cache {
    size: usize,
    outstanding: Vec<String>,
    made: u64,
    refused: usize,
}

impl Ndes {
    /// With a cache of this size.
    pub(crate) fn start(size: usize) -> Self {
        let cache = Cache {
            size,
            ..Cache::default()
        };
        let page = Page(Arc::new(Mutex::new(cache)), watch::Sender::new(false));
        let serving = page.clone();
        let (address, runtime) = serve(move |request| {
            let answer = serving.answer(&request);
            let mut held = serving.1.subscribe();
            async move {
                if held.wait_for(|held| !held).await.is_err() {
                    return Err(io::Error::other("the page is gone"));
                }
                answer
            }
        });
        Self {
            url: format!("http://{address}{PATH}"),
            page,
            _runtime: runtime,
        }
    }
}

impl Page {
    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().expect("unpoisoned")
    }

    /// A request with this challenge arrives at NDES: whether it is good. Then it is used.
    pub(crate) fn enrol(&self, challenge: &str) -> bool {
        let mut cache = self.lock();
        let before = cache.outstanding.len();
        cache.outstanding.retain(|known| known != challenge);
        cache.outstanding.len() < before
    }

    /// Somebody else takes the whole cache.
    pub(crate) fn fill(&self) {
        let mut cache = self.lock();
        while cache.outstanding.len() < cache.size {
            let other = format!("OTHER{}", cache.outstanding.len());
            cache.outstanding.push(other);
        }
    }

    /// Somebody else has used theirs, and refusals are counted anew.
    pub(crate) fn empty(&self) {
        let mut cache = self.lock();
        cache
            .outstanding
            .retain(|known| !known.starts_with("OTHER"));
        cache.refused = 0;
    }

    /// Holds its answers back, or gives them.
    pub(crate) fn hold(&self, held: bool) {
        self.1.send_replace(held);
    }

    /// How many challenges it has shown.
    pub(crate) fn made(&self) -> u64 {
        self.lock().made
    }

    /// How often its cache was full.
    pub(crate) fn refused(&self) -> usize {
        self.lock().refused
    }

    fn answer(&self, request: &Request<Bytes>) -> io::Result<Response<Full<Bytes>>> {
        let expected = format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"))
        );
        let given = request.headers().get(header::AUTHORIZATION);
        let response = Response::builder();
        let (response, text) = if request.uri().path() != PATH {
            (response.status(404), "<html>no</html>".to_owned())
        } else if given.is_none_or(|given| *given != expected) {
            let wanted = response.header(header::WWW_AUTHENTICATE, "Basic realm=\"ndes\"");
            (wanted.status(401), "<html>no</html>".to_owned())
        } else {
            (response, self.lock().show())
        };
        let mut page = vec![0xff, 0xfe];
        page.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        response
            .body(Full::new(page.into()))
            .map_err(io::Error::other)
    }
}

impl Cache {
    fn show(&mut self) -> String {
        if self.outstanding.len() >= self.size {
            self.refused += 1;
            return "<HTML><Body>The password cache is full. </Body></HTML>".to_owned();
        }
        self.made += 1;
        let challenge = format!("{:016X}", 0x3BB3_F5A8_C2B3_0000 + self.made);
        self.outstanding.push(challenge.clone());
        format!(
            "<HTML><Head><Title>Network Device Enrollment Service</Title></Head><Body>\r\n\
            The thumbprint (hash value) for the CA certificate is: <B> 35DB1B2E F5B0A6A1 0A95D5C1 7C4F1A2B </B> <P>\r\n\
            The enrollment challenge password is: <B> {challenge} </B> <P> This password can be used only once and will expire within 60 minutes. <P>\r\n\
            </Body></HTML>\r\n"
        )
    }
}
