//! The device's own administrator at the running agent: one Unix socket in the state folder, so that who may enter there is who may ask. One request a connection, in lines of
//! JSON. What is asked for is decided elsewhere.

use std::{fs::Permissions, io, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use convoy_scep::request::Challenge;
use convoy_shared::{
    enrolment::{RequestRecord, RequestState},
    settings::ScepPatch,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedReadHalf},
    task::JoinHandle,
    time::sleep,
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Scep, engine::Wish, show::Row};
use crate::disk::{StateDir, is_full};

/// The socket, in the state folder.
const FILE: &str = "agent.sock";
/// After a failed `accept`, for example for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// After the disk had no room for the socket.
const BIND_AGAIN: Duration = Duration::from_secs(60);
/// The longest request, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What an administrator asks for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Asked {
    /// A manual request.
    Request {
        patch: Box<ScepPatch>,
        /// Empty: to be obtained as the settings say.
        challenge: String,
        restart: bool,
    },
    /// To obey settings that lie staged.
    Imported,
}

/// What the agent answers, line by line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Told {
    /// It was not done; why, for people.
    Refused(String),
    /// It has become a request.
    Attempt { attempt: u64, warnings: Vec<String> },
    /// What the request is now.
    Status {
        status: String,
        details: String,
        cause: Option<String>,
        warnings: Vec<String>,
    },
    /// It is done: well, or not.
    Done { ok: bool },
}

/// Ends with its owner, and takes the socket away.
#[derive(Debug)]
pub(crate) struct Socket {
    task: JoinHandle<()>,
    path: std::path::PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        // The next start takes away what is left.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Listens, if it can, and on a full disk as soon as it can: an agent whose administrator cannot talk to it is still an agent. The state folder
/// must be held.
pub(crate) fn listen(dir: &StateDir, scep: &Scep) -> Option<Socket> {
    let path = dir.file(FILE);
    let mut bound = bind(&path);
    if let Err(error) = &bound {
        tracing::warn!(%error, path = %path.display(), "no socket for the administrator");
        if !is_full(error) {
            return None;
        }
    }
    let (scep, at) = (scep.clone(), path.clone());
    let task = tokio::spawn(async move {
        let listener = loop {
            match bound {
                Ok(listener) => break listener,
                Err(_) => sleep(BIND_AGAIN).await,
            }
            bound = bind(&at);
        };
        accept(&listener, &scep).await;
    });
    Some(Socket { task, path })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: &UnixListener, scep: &Scep) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if is_own(&stream) => {
                tokio::spawn(serve(stream, scep.clone()));
            }
            Ok((mut stream, _)) => {
                let why = "only root and the agent's own user may ask it".to_owned();
                drop(say(&mut stream, &Told::Refused(why)).await);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection of the administrator");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Whether root or the agent's own user is at the other end, wherever the socket has come to lie.
fn is_own(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw() => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused on the administrator's socket");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a user who cannot be known is refused on the administrator's socket");
            false
        }
    }
}

async fn serve(stream: UnixStream, scep: Scep) {
    let (read, mut write) = stream.into_split();
    let asked = hear(read).await;
    let served = async {
        match asked {
            None => {
                say(
                    &mut write,
                    &Told::Refused("the request is malformed".to_owned()),
                )
                .await
            }
            Some(Asked::Imported) => match scep.imported().await {
                Ok(()) => say(&mut write, &Told::Done { ok: true }).await,
                Err(why) => say(&mut write, &Told::Refused(why)).await,
            },
            Some(Asked::Request {
                patch,
                challenge,
                restart,
            }) => {
                let challenge = match read_challenge(challenge) {
                    Ok(challenge) => challenge,
                    Err(why) => return say(&mut write, &Told::Refused(why)).await,
                };
                let wish = Wish {
                    patch: *patch,
                    challenge,
                    restart,
                };
                let mut follow = follow(&scep, wish).await;
                while let Some(told) = follow.next().await {
                    say(&mut write, &told).await?;
                }
                Ok(())
            }
        }
    };
    if let Err(error) = served.await {
        tracing::debug!(%error, "the administrator has gone");
    }
}

/// A challenge that was typed, or none.
pub(crate) fn read_challenge(text: String) -> Result<Option<Challenge>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    Challenge::new(text)
        .map(Some)
        .map_err(|error| error.to_string())
}

async fn hear(read: OwnedReadHalf) -> Option<Asked> {
    let mut line = Zeroizing::new(Vec::with_capacity(4096));
    BufReader::new(read.take(LONGEST))
        .read_until(b'\n', &mut line)
        .await
        .ok()?;
    serde_json::from_slice(&line).ok()
}

async fn say(write: &mut (impl tokio::io::AsyncWrite + Unpin), told: &Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(told)?;
    line.push(b'\n');
    write.write_all(&line).await
}

/// A manual request, from its beginning to its end.
pub(crate) struct Follow {
    scep: Scep,
    first: Option<Told>,
    attempt: Option<u64>,
    last: Option<RequestRecord>,
}

/// Makes a manual request.
pub(crate) async fn follow(scep: &Scep, wish: Wish) -> Follow {
    let (first, attempt) = match scep.wish(wish).await {
        Err(why) => (Told::Refused(why), None),
        Ok(taken) => (
            Told::Attempt {
                attempt: taken.attempt,
                warnings: taken.warnings,
            },
            Some(taken.attempt),
        ),
    };
    Follow {
        scep: scep.clone(),
        first: Some(first),
        attempt,
        last: None,
    }
}

impl Follow {
    /// What is to be told next; `None`: that was all.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let attempt = self.attempt?;
        if let Some(last) = &self.last
            && last.state.is_final()
        {
            self.attempt = None;
            let ok = matches!(last.state, RequestState::Successful(_));
            return Some(Told::Done { ok });
        }
        let mut news = self.scep.news.clone();
        loop {
            let now = {
                let news = news.borrow_and_update();
                news.records
                    .iter()
                    .find(|record| record.attempt == attempt)
                    .cloned()
            };
            if let Some(record) = now
                && self.last.as_ref() != Some(&record)
            {
                let row = Row::from(&record);
                self.last = Some(record);
                return Some(Told::Status {
                    status: row.status.to_owned(),
                    details: row.details,
                    cause: row.cause,
                    warnings: row.warnings,
                });
            }
            news.changed().await.ok()?;
        }
    }
}

/// Asks the running agent.
pub(crate) async fn ask(dir: &StateDir, mut asked: Asked) -> io::Result<Answers> {
    let (read, mut write) = UnixStream::connect(dir.file(FILE)).await?.into_split();
    // Of one piece from the start, so that growing leaves no copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    serde_json::to_writer(&mut *line, &asked)?;
    if let Asked::Request { challenge, .. } = &mut asked {
        challenge.zeroize();
    }
    line.push(b'\n');
    match write.write_all(&line).await {
        // Who is refused has been answered already, and that can be read.
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Err(error);
        }
        Ok(()) | Err(_) => {}
    }
    Ok(Answers {
        lines: BufReader::new(read).lines(),
        _write: write,
    })
}

/// What the running agent answers.
pub(crate) struct Answers {
    lines: tokio::io::Lines<BufReader<OwnedReadHalf>>,
    _write: tokio::net::unix::OwnedWriteHalf,
}

impl Answers {
    pub(crate) async fn next(&mut self) -> io::Result<Option<Told>> {
        match self.lines.next_line().await? {
            None => Ok(None),
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
        }
    }
}
