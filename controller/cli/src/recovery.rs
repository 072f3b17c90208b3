//! `convoy recover` and `convoy audit export`. What an old copy of the journal means, and what follows, is the controller's to say.

mod marks;

use std::path::PathBuf;

use convoy_proto::v1::{self, recovery_service_client::RecoveryServiceClient};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    answers,
    args::{AuditCommand, FastForward, Format, RecoverCommand},
    clock,
    connect::Session,
    failure::{Failure, Unreadable},
    files,
    output::{self, Screen},
    words,
};

/// Messages with a list of clients or of marks may be large.
const LARGEST: usize = 256 << 20;

/// What is known of the journal's age.
#[derive(Debug, Serialize)]
struct Recovery {
    epoch: u64,
    root_version: u64,
    revision: u64,
    older: bool,
    since: Option<Timestamp>,
    words: String,
    ahead: Option<Ahead>,
    superseded_by: Option<u64>,
    unknown: Vec<Unknown>,
    unknown_anchors: Vec<u64>,
}

/// A client that is ahead of the journal.
#[derive(Debug, Serialize)]
struct Ahead {
    id: String,
    name: String,
    root_version: u64,
    epoch: u64,
    revision: u64,
    roots: u32,
}

/// A client that the journal does not know.
#[derive(Debug, Serialize)]
struct Unknown {
    id: String,
    name: String,
    group: String,
    epoch: u64,
    revision: u64,
    agent_version: String,
    last_seen: Option<Timestamp>,
}

/// A client of the roster afterwards.
#[derive(Debug, Serialize)]
struct Listed {
    id: String,
    name: String,
    group: String,
    last_seen: Option<Timestamp>,
    readmitted: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    roster: Vec<Listed>,
    decommissioned: Vec<Listed>,
    serving: u64,
    recovery: Recovery,
}

impl TryFrom<v1::Recovery> for Recovery {
    type Error = Unreadable;

    fn try_from(wire: v1::Recovery) -> Result<Self, Unreadable> {
        Ok(Self {
            epoch: wire.epoch,
            root_version: wire.root_version,
            revision: wire.revision,
            older: wire.older,
            since: answers::instant(wire.since, "since")?,
            words: wire.words,
            ahead: wire.ahead.map(|ahead| Ahead {
                id: ahead.id,
                name: ahead.name,
                root_version: ahead.root_version,
                epoch: ahead.epoch,
                revision: ahead.revision,
                roots: ahead.roots,
            }),
            superseded_by: (wire.superseded_by > 0).then_some(wire.superseded_by),
            unknown: wire
                .unknown
                .into_iter()
                .map(|client| {
                    Ok(Unknown {
                        id: client.id,
                        name: client.name,
                        group: client.group,
                        epoch: client.epoch,
                        revision: client.revision,
                        agent_version: client.agent_version,
                        last_seen: answers::instant(client.last_seen, "last_seen")?,
                    })
                })
                .collect::<Result<_, Unreadable>>()?,
            unknown_anchors: wire.unknown_anchors,
        })
    }
}

impl TryFrom<v1::RosterClient> for Listed {
    type Error = Unreadable;

    fn try_from(wire: v1::RosterClient) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            group: wire.group,
            last_seen: answers::instant(wire.last_seen, "last_seen")?,
            readmitted: wire.readmitted,
        })
    }
}

impl TryFrom<v1::FastForwardResponse> for Done {
    type Error = Failure;

    fn try_from(wire: v1::FastForwardResponse) -> Result<Self, Failure> {
        let listed = |clients: Vec<v1::RosterClient>| {
            clients
                .into_iter()
                .map(Listed::try_from)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            roster: listed(wire.roster)?,
            decommissioned: listed(wire.decommissioned)?,
            serving: wire.serving,
            recovery: answers::required(wire.recovery, "recovery")?.try_into()?,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: RecoverCommand,
) -> Result<(), Failure> {
    match command {
        RecoverCommand::Show => show(session, screen).await,
        RecoverCommand::FastForward(asked) => fast_forward(session, screen, asked).await,
    }
}

async fn show(session: &Session, screen: &mut Screen<'_>) -> Result<(), Failure> {
    let mut service =
        RecoveryServiceClient::new(session.channel().await?).max_decoding_message_size(LARGEST);
    let answer = service
        .get_recovery(v1::GetRecoveryRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    let recovery = Recovery::try_from(answers::required(answer.recovery, "recovery")?)?;
    match session.format {
        Format::Json => screen.json(&recovery),
        Format::Text => screen.line(&shown(&recovery, clock::now())),
    }
}

async fn fast_forward(
    session: &Session,
    screen: &mut Screen<'_>,
    asked: FastForward,
) -> Result<(), Failure> {
    if asked.confirm.is_none() && !screen.interactive {
        return Err(Failure::Usage(
            "this begins a new epoch and voids all join tokens and challenges, and nobody is here to type the count. Look at `convoy recover show` and \
             `convoy clients list`, then give --confirm N: the number of clients that the roster is to have"
                .to_owned(),
        ));
    }
    let marks = match &asked.audit {
        None => vec![],
        Some(path) => marks::read(&files::text(path)?, &path.display().to_string())?,
    };
    let mut service = RecoveryServiceClient::new(session.channel().await?)
        .max_decoding_message_size(LARGEST)
        .max_encoding_message_size(LARGEST);
    let mut request = v1::FastForwardRequest {
        request_id: session.request_id.clone(),
        clients: 0,
        dry_run: true,
        take_over: asked.take_over,
        readmit: asked.readmit,
        marks,
    };
    let plan: Done = service
        .fast_forward(request.clone())
        .await
        .map_err(Failure::asking)?
        .into_inner()
        .try_into()?;
    let now = clock::now();
    if session.format == Format::Text {
        screen.note(&planned(&plan, now));
    }
    request.clients = match asked.confirm {
        Some(count) => count,
        None => typed(screen, &plan)?,
    };
    request.dry_run = false;
    let done: Done = service
        .fast_forward(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner()
        .try_into()?;
    match session.format {
        Format::Json => screen.json(&done),
        Format::Text => {
            screen.note(&format!(
                "The journal goes on: epoch {}, revision {}, certificate {} is served. All join tokens and challenges are void; make new ones.\n\
                 Clients are brought up to date as they connect. If one comes that is further ahead, `convoy recover show` says so: run this again.",
                done.recovery.epoch, done.recovery.revision, done.serving
            ));
            Ok(())
        }
    }
}

fn typed(screen: &mut Screen<'_>, plan: &Done) -> Result<u64, Failure> {
    let count = plan.roster.len();
    let typed = screen.ask(&format!(
        "Type the number of clients in the roster ({count}) to go on: "
    ))?;
    match typed.parse::<usize>() {
        Ok(typed) if typed == count => Ok(u64::try_from(count).unwrap_or(u64::MAX)),
        Ok(_) | Err(_) => Err(Failure::Declined(
            "that is not the number, so nothing was changed".to_owned(),
        )),
    }
}

fn planned(plan: &Done, now: Timestamp) -> String {
    let mut text = format!(
        "The roster afterwards ({} clients). One that was decommissioned after this copy was made stands here again: decommission it first, or give --audit.\n{}",
        plan.roster.len(),
        clients(&plan.roster, now)
    );
    if !plan.decommissioned.is_empty() {
        text += &format!(
            "\n\nDecommissioned by the audit file:\n{}",
            clients(&plan.decommissioned, now)
        );
    }
    if !plan.recovery.unknown.is_empty() {
        text += &format!(
            "\n\nKnown to be outside of this journal, and readmitted only with --readmit:\n{}",
            unknown(&plan.recovery.unknown, now)
        );
    }
    text + "\n\nThis begins a new epoch and voids all join tokens and challenges. Another copy of this controller stops as soon as it hears of it."
}

fn clients(list: &[Listed], now: Timestamp) -> String {
    output::table(
        ["NAME", "ID", "GROUP", "LAST SEEN", ""],
        list.iter().map(|client| {
            [
                client.name.clone(),
                client.id.clone(),
                client.group.clone(),
                words::seen(false, client.last_seen, now),
                if client.readmitted { "readmitted" } else { "" }.to_owned(),
            ]
        }),
    )
}

fn unknown(list: &[Unknown], now: Timestamp) -> String {
    output::table(
        ["NAME", "ID", "GROUP", "EPOCH", "REVISION", "LAST SEEN"],
        list.iter().map(|client| {
            [
                client.name.clone(),
                client.id.clone(),
                client.group.clone(),
                client.epoch.to_string(),
                client.revision.to_string(),
                words::seen(false, client.last_seen, now),
            ]
        }),
    )
}

fn shown(recovery: &Recovery, now: Timestamp) -> String {
    let mut facts = vec![
        ("Epoch", recovery.epoch.to_string()),
        ("Root version", recovery.root_version.to_string()),
        ("Revision", recovery.revision.to_string()),
    ];
    facts.push((
        "Age",
        if recovery.words.is_empty() {
            "nothing shows that this journal is older than the fleet".to_owned()
        } else {
            recovery.words.clone()
        },
    ));
    if let Some(ahead) = &recovery.ahead {
        facts.push((
            "Furthest",
            format!(
                "{} ({}) holds revision {} of epoch {} under root {}, and has shown {} newer roots",
                ahead.name, ahead.id, ahead.revision, ahead.epoch, ahead.root_version, ahead.roots
            ),
        ));
    }
    if !recovery.unknown_anchors.is_empty() {
        let numbers: Vec<_> = recovery
            .unknown_anchors
            .iter()
            .map(ToString::to_string)
            .collect();
        facts.push((
            "Hint",
            format!(
                "connections name anchors that the journal does not know: {}",
                numbers.join(", ")
            ),
        ));
    }
    let mut text = output::facts(&facts);
    if !recovery.unknown.is_empty() {
        text += &format!(
            "\n\nA hint: clients with a certificate of this fleet that the journal does not know\n{}",
            unknown(&recovery.unknown, now)
        );
    }
    text
}

pub(crate) async fn audit(
    session: &Session,
    screen: &mut Screen<'_>,
    command: AuditCommand,
) -> Result<(), Failure> {
    let AuditCommand::Export { out } = command;
    let mut service =
        RecoveryServiceClient::new(session.channel().await?).max_decoding_message_size(LARGEST);
    let answer = service
        .export_audit(v1::ExportAuditRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    let text = marks::written(answer.marks)?;
    match out {
        None => screen.bytes(text.as_bytes()),
        Some(path) => write(&path, &text),
    }
}

/// The old file stays until the new one is whole.
fn write(path: &PathBuf, text: &str) -> Result<(), Failure> {
    let mut new = path.clone().into_os_string();
    new.push(".new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(Failure::Output)
}
