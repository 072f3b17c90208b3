//! Enrolments against a SCEP server, as many as it answers: messages are made before the clock runs, and every answer is verified after it has
//! stopped. Prints one JSON object. It starts no server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use convoy_scep::{
    client::{Enrolment, Purpose, Settings, Step},
    http::{HttpReply, HttpRequest, Method},
    key::RsaKey,
    request::{Challenge, RequestBuilder},
};
use http::{Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;

/// Load for a SCEP server
#[derive(Parser)]
struct Args {
    /// `http://host:port/path`
    url: String,
    /// The challenge password
    #[arg(long)]
    challenge: String,
    /// How many enrolments, each with a key of its own
    #[arg(long, default_value_t = 400)]
    enrolments: usize,
    /// Connections at a time
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Accept answers in DES
    #[arg(long)]
    allow_legacy: bool,
    /// Where RSA keys of 2048 bits are kept between runs: making them is not what is measured
    #[arg(long, value_name = "FOLDER")]
    keys: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let keys = keys(&args.keys, args.enrolments)?;
    let rest = args.url.strip_prefix("http://").context("an http:// URL")?;
    let (host, path) = rest.split_once('/').context("a URL with a path")?;
    let target = Arc::new((host.to_owned(), format!("/{path}")));

    // What every enrolment would ask first is asked once.
    let mut first = connect(&target.0).await?;
    let mut messages = Vec::with_capacity(keys.len());
    let mut known: Option<(HttpReply, HttpReply)> = None;
    let now = now();
    for (index, key) in keys.into_iter().enumerate() {
        let settings = Settings {
            allow_legacy: args.allow_legacy,
            ..Settings::default()
        };
        let purpose = Purpose::First {
            challenge: Some(Challenge::new(args.challenge.clone())?),
        };
        let builder = RequestBuilder::new(format!("device-{index}"));
        let (mut enrolment, step) = Enrolment::begin(settings, builder, key, purpose);
        let caps_request = sent(step)?;
        let (caps, ca) = match &known {
            Some(known) => known.clone(),
            None => {
                let caps = exchange(&mut first, &target, caps_request).await?;
                let ca_request = sent(enrolment.receive(caps.clone(), now))?;
                let ca = exchange(&mut first, &target, ca_request).await?;
                known = Some((caps, ca.clone()));
                messages.push((sent(enrolment.receive(ca, now))?, enrolment));
                continue;
            }
        };
        sent(enrolment.receive(caps, now))?;
        messages.push((sent(enrolment.receive(ca, now))?, enrolment));
    }

    let next = Arc::new(AtomicUsize::new(0));
    let requests: Arc<Vec<HttpRequest>> = Arc::new(
        messages
            .iter()
            .map(|(request, _)| request.clone())
            .collect(),
    );
    let began = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..args.connections {
        let (next, requests) = (Arc::clone(&next), Arc::clone(&requests));
        let target = Arc::clone(&target);
        workers.push(tokio::spawn(async move {
            let mut connection = connect(&target.0).await?;
            let mut replies = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(index) else {
                    return Ok::<_, anyhow::Error>(replies);
                };
                let asked = Instant::now();
                let reply = exchange(&mut connection, &target, request.clone()).await?;
                replies.push((index, reply, asked.elapsed()));
            }
        }));
    }
    let mut replies = Vec::new();
    for worker in workers {
        replies.extend(worker.await??);
    }
    let took = began.elapsed();

    let mut waited: Vec<Duration> = replies.iter().map(|(_, _, waited)| *waited).collect();
    waited.sort();
    let mut issued = 0_u32;
    for (index, reply, _) in replies {
        let (_, enrolment) = messages.get_mut(index).context("an answer to a message")?;
        match enrolment.receive(reply, now) {
            Step::Issued(_) => issued += 1,
            other => anyhow::bail!("enrolment {index} ended otherwise: {other:?}"),
        }
    }
    let at = |part: usize| {
        waited
            .get(waited.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    println_json(&serde_json::json!({
        "issued": issued,
        "seconds": took.as_secs_f64(),
        "per_second": f64::from(issued) / took.as_secs_f64(),
        "median_ms": at(50).as_secs_f64() * 1000.0,
        "p99_ms": at(99).as_secs_f64() * 1000.0,
    }));
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this program reads the date"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(
    clippy::print_stdout,
    reason = "the result is what this program is for"
)]
fn println_json(value: &serde_json::Value) {
    println!("{value}");
}

fn sent(step: Step) -> anyhow::Result<HttpRequest> {
    match step {
        Step::Send(request) => Ok(request),
        other => anyhow::bail!("nothing to send: {other:?}"),
    }
}

/// So many keys, from the folder, or made and put there.
fn keys(folder: &Path, count: usize) -> anyhow::Result<Vec<RsaKey>> {
    fs::create_dir_all(folder)?;
    let one = |index: usize| -> anyhow::Result<RsaKey> {
        let path = folder.join(format!("{index}.pem"));
        if let Ok(pem) = fs::read_to_string(&path) {
            return Ok(RsaKey::from_pem(&pem)?);
        }
        let key = RsaKey::generate(2048)?;
        fs::write(&path, key.to_pem().as_bytes())?;
        Ok(key)
    };
    std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| scope.spawn(move || (half..count).step_by(2).map(one).collect::<Vec<_>>()))
            .collect();
        halves
            .into_iter()
            .flat_map(|half| half.join().unwrap_or_default())
            .collect()
    })
}

type Connection = SendRequest<Full<Bytes>>;

async fn connect(host: &str) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn exchange(
    connection: &mut Connection,
    target: &(String, String),
    asked: HttpRequest,
) -> anyhow::Result<HttpReply> {
    let method = match asked.method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{}?{}", target.1, asked.query))
        .header(http::header::HOST, &target.0);
    if let Some(kind) = asked.content_type {
        request = request.header(CONTENT_TYPE, kind);
    }
    if connection.ready().await.is_err() {
        *connection = connect(&target.0).await?;
    }
    let reply = connection
        .send_request(request.body(Full::new(Bytes::from(asked.body)))?)
        .await?;
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await?.to_bytes().to_vec();
    Ok(HttpReply {
        status,
        content_type: None,
        body,
    })
}
