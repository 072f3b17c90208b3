//! One request for NDES's challenge page: plain HTTP/1.1 with Basic authentication. What the page says is read elsewhere; nothing is tried twice.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use convoy_host::dial::connect;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1,
    header::{
        ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONNECTION, HOST, HeaderMap, HeaderValue,
        WWW_AUTHENTICATE,
    },
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Ndes, NdesError, page, page::Page};

/// The longest page.
const LIMIT: usize = 64 * 1024;
/// From the connection to the page's end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the page is, and what opens it.
pub(super) struct Target {
    host: String,
    port: u16,
    authority: String,
    path: String,
    user: String,
    /// The header's value.
    authorization: Zeroizing<String>,
}

impl Target {
    /// # Errors
    /// [`NdesError::Settings`] alone.
    pub(super) fn new(ndes: &Ndes) -> Result<Self, NdesError> {
        let no_url = || {
            NdesError::Settings(
                "ndes_url must be like http://host/certsrv/mscep_admin/, without a user in it",
            )
        };
        let uri: Uri = ndes.url.parse().map_err(|_| no_url())?;
        let authority = uri.authority().ok_or_else(no_url)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(no_url());
        }
        // RFC 7617 section 2: the first colon ends the user's name.
        if ndes.user.contains(|c: char| c == ':' || c.is_control()) {
            return Err(NdesError::Settings(
                "ndes_user cannot have a colon or control characters",
            ));
        }
        let credentials = Zeroizing::new(format!("{}:{}", ndes.user, *ndes.password));
        let encoded = Zeroizing::new(BASE64_STANDARD.encode(credentials.as_bytes()));
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            path: uri.path().to_owned(),
            user: ndes.user.clone(),
            authorization: Zeroizing::new(format!("Basic {}", *encoded)),
        })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

/// Fetches the page.
pub(super) async fn get(target: &Target) -> Result<Page, NdesError> {
    timeout(PATIENCE, exchange(target))
        .await
        .unwrap_or(Err(NdesError::Silent(PATIENCE)))
}

async fn exchange(target: &Target) -> Result<Page, NdesError> {
    let (_, stream) =
        connect(&target.host, target.port)
            .await
            .map_err(|source| NdesError::Unreachable {
                authority: target.authority.clone(),
                source,
            })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(interrupted)?;
    // Ends with the sender and the body. What goes wrong shows there.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to NDES ended");
        }
    });
    let response = sender
        .send_request(request(target).map_err(interrupted)?)
        .await
        .map_err(interrupted)?;
    match response.status() {
        StatusCode::OK => Ok(page::read(&body(response).await?)),
        StatusCode::UNAUTHORIZED => Err(unauthorized(target, response.headers())),
        status => Err(NdesError::Status {
            status: status.as_u16(),
        }),
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, http::Error> {
    let mut authorization = HeaderValue::from_str(&target.authorization)?;
    authorization.set_sensitive(true);
    Request::get(&target.path)
        .header(HOST, &target.authority)
        .header(AUTHORIZATION, authorization)
        .header(ACCEPT, "text/html")
        // A page that somebody kept has a challenge that somebody has.
        .header(CACHE_CONTROL, "no-cache, no-store")
        .header(CONNECTION, "close")
        .body(Empty::new())
}

async fn body(response: Response<Incoming>) -> Result<Zeroizing<Vec<u8>>, NdesError> {
    let mut body = response.into_body();
    // Room for all of it, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT));
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(interrupted)?.into_data() {
            if bytes.len() + data.len() > LIMIT {
                return Err(NdesError::TooLong { limit: LIMIT });
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

fn unauthorized(target: &Target, headers: &HeaderMap) -> NdesError {
    let mut offered: Vec<&str> = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|challenge| challenge.split_whitespace().next())
        .collect();
    if offered.iter().any(|s| s.eq_ignore_ascii_case("Basic")) {
        return NdesError::Unauthorized {
            user: target.user.clone(),
        };
    }
    offered.retain(|scheme| {
        ["Negotiate", "NTLM", "Kerberos", "Digest", "Bearer"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
    });
    NdesError::NoBasic {
        offered: if offered.is_empty() {
            "some other".to_owned()
        } else {
            offered.join(" or ")
        },
    }
}

fn interrupted(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> NdesError {
    NdesError::Interrupted(error.into())
}
