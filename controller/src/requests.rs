//! What every request to the API keeps to: how long its body may be and take, how long its answer may take, and how many are worked on at a time. What it
//! asks for is no concern of it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Router,
    body::{Body, Bytes},
    error_handling::HandleErrorLayer,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::{Sleep, sleep, timeout};
use tonic::{Code, Status};
use tower::{
    ServiceBuilder,
    limit::GlobalConcurrencyLimitLayer,
    load_shed::{LoadShedLayer, error::Overloaded},
    timeout::{TimeoutLayer, error::Elapsed},
};

use crate::api::status;

/// A body comes within it.
const BODY: Duration = Duration::from_secs(10);
/// Who is turned away for want of room comes back after so long at the earliest,
const SOON: Duration = Duration::from_secs(1);
/// and is told a time within so long.
const LATER: Duration = Duration::from_secs(4);
/// A client's session: its messages come as long as it lasts, and are bounded one by one.
const SESSION: &str = "/convoy.v1.AgentService/Session";
/// Messages come one by one here too, but few and small ones.
const REFLECTION: &str = "/grpc.reflection.";

/// What requests keep to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest body, in bytes; all of it is there before it is worked on.
    pub body: usize,
    /// So many are worked on at a time; others are told to come back.
    pub at_a_time: usize,
    /// How long an answer may take.
    pub answer: Duration,
}

/// Agents: as long as the longest message with its five bytes of gRPC.
pub const CLIENTS: Bounds = Bounds {
    body: 64 * 1024 + 5,
    at_a_time: 512,
    answer: Duration::from_secs(15),
};
/// Peers that nobody knows yet: they may greet, join, and ask what is served.
pub const STRANGERS: Bounds = Bounds {
    body: 8 * 1024,
    at_a_time: 64,
    answer: Duration::from_secs(15),
};
/// Administrators on the controller's own machine: as long as the longest message that gRPC takes.
pub const LOCAL: Bounds = Bounds {
    body: 4 * 1024 * 1024 + 5,
    at_a_time: 256,
    answer: Duration::from_secs(60),
};

/// The same routes for requests that keep to these bounds.
pub fn bounded(routes: Router, bounds: Bounds) -> Router {
    let most = bounds.body;
    routes.layer(
        ServiceBuilder::new()
            .layer(from_fn(move |request, next| whole(request, next, most)))
            .layer(HandleErrorLayer::new(async |error: BoxError| {
                refused(&error).into_http::<Body>()
            }))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(bounds.at_a_time))
            .layer(TimeoutLayer::new(bounds.answer)),
    )
}

/// Passes a request on when all of it is there: who does not end what he says takes no place of those who do.
async fn whole(request: Request, next: Next, most: usize) -> Response {
    let path = request.uri().path();
    if path == SESSION {
        return next.run(request).await;
    }
    if path.starts_with(REFLECTION) {
        let (parts, body) = request.into_parts();
        let body = Body::new(Short::new(body, most));
        return next.run(Request::from_parts(parts, body)).await;
    }
    let (parts, body) = request.into_parts();
    match timeout(BODY, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => {
            let body = Body::from(body.to_bytes());
            next.run(Request::from_parts(parts, body)).await
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_long(most).into_http(),
        // The connection is gone: nobody hears it.
        Ok(Err(error)) => status::aborted("REQUEST_BROKEN", &error.to_string()).into_http(),
        Err(_) => too_slow().into_http(),
    }
}

fn too_long(most: usize) -> Status {
    status::with_metadata(
        Code::OutOfRange,
        "REQUEST_TOO_LONG",
        &format!("the request is longer than {most} bytes"),
        std::collections::HashMap::new(),
    )
}

fn too_slow() -> Status {
    status::with_metadata(
        Code::DeadlineExceeded,
        "REQUEST_UNFINISHED",
        &format!("the request was not complete within {} s", BODY.as_secs()),
        std::collections::HashMap::new(),
    )
}

/// Why a request was not worked on, or not to its end.
fn refused(error: &BoxError) -> Status {
    if error.is::<Overloaded>() {
        return status::later(
            Code::Unavailable,
            "OVERLOADED",
            "the controller works on as many requests as it can; come back in some seconds",
            SOON + (LATER - SOON).mul_f64(rand::random()),
        );
    }
    if error.is::<Elapsed>() {
        return status::later(
            Code::DeadlineExceeded,
            "TOO_SLOW",
            "the controller did not answer in time; what was asked for may have happened. Ask again",
            SOON + (LATER - SOON).mul_f64(rand::random()),
        );
    }
    status::internal("the request failed")
}

/// A body whose messages come one by one, and that ends after so long, or so many bytes.
struct Short {
    body: Body,
    left: usize,
    until: Pin<Box<Sleep>>,
}

impl Short {
    fn new(body: Body, most: usize) -> Self {
        Self {
            body,
            left: most,
            until: Box::pin(sleep(BODY)),
        }
    }
}

impl http_body::Body for Short {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Box::new(too_slow()))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match self.left.checked_sub(length) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err("too many bytes".into()))),
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
