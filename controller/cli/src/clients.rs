//! `convoy clients`. Whether a client counts is the controller's to say; this only shows it.

use convoy_proto::v1::{self, client_service_client::ClientServiceClient};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tonic::transport::Channel;

use crate::{
    answers,
    args::{ClientsCommand, Format, WhichClient},
    clock,
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::{self, Known},
};

/// A managed host.
#[derive(Debug, Serialize)]
struct Client {
    id: String,
    name: String,
    group: String,
    state: Known<v1::ClientState>,
    joined_at: Option<Timestamp>,
    last_seen: Option<Timestamp>,
    connected: bool,
    trust_revision: u64,
    verification_mode: Known<v1::VerificationMode>,
    evidence: Known<v1::Evidence>,
    agent_version: String,
    anchors: Vec<u64>,
    identity_expires_at: Option<Timestamp>,
    identity_expiry: Known<v1::Expiry>,
    suspicion: String,
    at_risk: bool,
    served_generation: u64,
    address: String,
    missing_reason: Option<Reason>,
    clock_ahead_seconds: i64,
    rejoined_at: Option<Timestamp>,
    rejoined_with: String,
}

/// Why a client is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    pub(crate) code: Known<v1::ReasonCode>,
    pub(crate) text: String,
}

impl TryFrom<v1::Reason> for Reason {
    type Error = Unreadable;

    fn try_from(wire: v1::Reason) -> Result<Self, Unreadable> {
        Ok(Self {
            code: Known::read(wire.code)?,
            text: wire.text,
        })
    }
}

impl TryFrom<v1::Client> for Client {
    type Error = Unreadable;

    fn try_from(wire: v1::Client) -> Result<Self, Unreadable> {
        Ok(Self {
            id: wire.id,
            name: wire.name,
            group: wire.group,
            state: Known::read(wire.state)?,
            joined_at: answers::instant(wire.joined_at, "joined_at")?,
            last_seen: answers::instant(wire.last_seen, "last_seen")?,
            connected: wire.connected,
            trust_revision: wire.trust_revision,
            verification_mode: Known::read(wire.verification_mode)?,
            evidence: Known::read(wire.evidence)?,
            agent_version: wire.agent_version,
            anchors: wire.anchors,
            identity_expires_at: answers::instant(wire.identity_expires_at, "identity_expires_at")?,
            identity_expiry: Known::read(wire.identity_expiry)?,
            suspicion: wire.suspicion,
            at_risk: wire.at_risk,
            served_generation: wire.served_generation,
            address: wire.address,
            missing_reason: wire.missing_reason.map(Reason::try_from).transpose()?,
            clock_ahead_seconds: wire.clock_ahead_seconds,
            rejoined_at: answers::instant(wire.rejoined_at, "rejoined_at")?,
            rejoined_with: wire.rejoined_with,
        })
    }
}

/// What a client is known by.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) group: String,
}

/// The client that was typed: by its UUID, the beginning of it, or its name.
pub(crate) async fn find(channel: Channel, client: String) -> Result<Named, Failure> {
    let found = look_up(&mut ClientServiceClient::new(channel), client).await?;
    Ok(Named {
        id: found.id,
        name: found.name,
        group: found.group,
    })
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: ClientsCommand,
) -> Result<(), Failure> {
    match command {
        ClientsCommand::List { group, all } => {
            list(session, screen, group.unwrap_or_default(), all).await
        }
        ClientsCommand::Show { which } => {
            let mut service = ClientServiceClient::new(session.channel().await?);
            let client = look_up(&mut service, which.client).await?;
            match session.format {
                Format::Json => screen.json(&client),
                Format::Text => screen.line(&shown(&client, clock::now())),
            }
        }
        ClientsCommand::Resolve { which } => resolve(session, screen, which).await,
        ClientsCommand::Decommission { which, yes } => {
            decommission(session, screen, which, yes).await
        }
    }
}

async fn list(
    session: &Session,
    screen: &mut Screen<'_>,
    group: String,
    all: bool,
) -> Result<(), Failure> {
    let mut service = ClientServiceClient::new(session.channel().await?);
    let clients: Vec<Client> = answers::every_page(async |page_token| {
        let request = v1::ListClientsRequest {
            page_size: 1_000,
            page_token,
            group: group.clone(),
            include_decommissioned: all,
        };
        let answer = service.list_clients(request).await?.into_inner();
        Ok((answer.clients, answer.next_page_token))
    })
    .await?;
    match session.format {
        Format::Json => screen.json(&clients),
        Format::Text => {
            screen.line(&listed(&clients, clock::now()))?;
            if clients.is_empty() {
                screen.note("No clients. Hosts join with a token from `convoy token create`");
            }
            Ok(())
        }
    }
}

async fn look_up(
    service: &mut ClientServiceClient<Channel>,
    client: String,
) -> Result<Client, Failure> {
    let request = v1::GetClientRequest { client };
    let answer = service
        .get_client(request)
        .await
        .map_err(Failure::asking)?
        .into_inner();
    Ok(answers::required(answer.client, "client")?.try_into()?)
}

async fn resolve(
    session: &Session,
    screen: &mut Screen<'_>,
    which: WhichClient,
) -> Result<(), Failure> {
    let mut service = ClientServiceClient::new(session.channel().await?);
    let request = v1::ResolveClientRequest {
        request_id: session.request_id.clone(),
        client: which.client,
    };
    let answer = service
        .resolve_client(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let client = Client::try_from(answers::required(answer.client, "client")?)?;
    match session.format {
        Format::Json => screen.json(&client),
        Format::Text => {
            screen.note(&format!(
                "{} ({}) is {} again; what it shows from now on counts",
                words::plain(&client.name),
                words::plain(&client.id),
                client.state,
            ));
            Ok(())
        }
    }
}

async fn decommission(
    session: &Session,
    screen: &mut Screen<'_>,
    which: WhichClient,
    yes: bool,
) -> Result<(), Failure> {
    if !yes && !screen.interactive {
        return Err(Failure::Usage(format!(
            "decommissioning {} cannot be undone, and nobody is here to ask. Give --yes if you mean it",
            words::plain(&which.client)
        )));
    }
    let mut service = ClientServiceClient::new(session.channel().await?);
    let mut name = which.client;
    if !yes {
        let client = look_up(&mut service, name).await?;
        confirm(screen, &client)?;
        // The name that was typed need not be unique; the id is.
        name = client.id;
    }
    let request = v1::DecommissionClientRequest {
        request_id: session.request_id.clone(),
        client: name,
    };
    let answer = service
        .decommission_client(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let client = Client::try_from(answers::required(answer.client, "client")?)?;
    match session.format {
        Format::Json => screen.json(&client),
        Format::Text => {
            screen.note(&format!(
                "{} ({}) is decommissioned: no rotation waits for it, and its identity is refused",
                words::plain(&client.name),
                words::plain(&client.id),
            ));
            Ok(())
        }
    }
}

fn confirm(screen: &mut Screen<'_>, client: &Client) -> Result<(), Failure> {
    screen.note(&shown(client, clock::now()));
    screen.note("\nThis removes it from the roster for good. To come back it has to join anew, with a new token.");
    let typed = screen.ask(&format!(
        "Type its name ({}) to go on: ",
        words::plain(&client.name)
    ))?;
    if typed == client.name {
        Ok(())
    } else {
        Err(Failure::Declined(
            "that is not its name, so nothing was changed. Run the command again and type the name as shown".to_owned(),
        ))
    }
}

fn listed(clients: &[Client], now: Timestamp) -> String {
    output::table(
        [
            "NAME",
            "GROUP",
            "STATE",
            "REVISION",
            "EVIDENCE",
            "MODE",
            "CONNECTED/LAST SEEN",
            "VERSION",
            "ANCHORS",
            "IDENTITY",
        ],
        clients.iter().map(|client| {
            [
                client.name.clone(),
                client.group.clone(),
                state(client),
                counted_from_one(client.trust_revision),
                client.evidence.to_string(),
                client.verification_mode.to_string(),
                words::seen(client.connected, client.last_seen, now),
                client.agent_version.clone(),
                anchors(client),
                identity(client).to_owned(),
            ]
        }),
    )
}

fn shown(client: &Client, now: Timestamp) -> String {
    let mut facts = vec![
        ("Id", client.id.clone()),
        ("Name", client.name.clone()),
        ("Group", client.group.clone()),
        ("State", state(client)),
        ("Joined", words::instant(client.joined_at)),
        (
            "Last seen",
            words::seen(client.connected, client.last_seen, now),
        ),
        ("Address", or_dash(&client.address)),
        ("Trust revision", counted_from_one(client.trust_revision)),
        ("Anchors", anchors(client)),
        ("Verification", client.verification_mode.to_string()),
        ("Evidence", client.evidence.to_string()),
        (
            "Served generation",
            counted_from_one(client.served_generation),
        ),
        ("Agent version", client.agent_version.clone()),
        (
            "Identity expires",
            match client.identity_expiry.value() {
                v1::Expiry::Soon => format!(
                    "{} (renewal is overdue)",
                    words::instant(client.identity_expires_at)
                ),
                v1::Expiry::Unspecified | v1::Expiry::Fresh | v1::Expiry::Expired => {
                    words::until(client.identity_expires_at, client.identity_expiry)
                }
            },
        ),
    ];
    if let Some(reason) = &client.missing_reason {
        facts.push(("Missing", format!("{}: {}", reason.code, reason.text)));
    }
    if client.clock_ahead_seconds != 0 {
        let side = if client.clock_ahead_seconds < 0 {
            "behind"
        } else {
            "ahead of"
        };
        let length = SignedDuration::from_secs(client.clock_ahead_seconds).abs();
        facts.push(("Clock", format!("{length:#} {side} the controller's")));
    }
    if !client.suspicion.is_empty() {
        facts.push(("Suspicion", client.suspicion.clone()));
    }
    if client.at_risk {
        facts.push((
            "At risk",
            "what it trusts does not vouch for the certificate that is served; the bridge serves it".to_owned(),
        ));
    }
    if client.rejoined_at.is_some() {
        facts.push((
            "Joined again",
            format!(
                "{}, in place, with the token {}",
                words::instant(client.rejoined_at),
                client.rejoined_with
            ),
        ));
    }
    if client.state.value() == v1::ClientState::CutOff {
        facts.push(("Cut off", words::CUT_OFF.to_owned()));
    }
    output::facts(&facts)
}

/// Where its identity certificate stands, in a word.
fn identity(client: &Client) -> &'static str {
    match client.identity_expiry.value() {
        v1::Expiry::Unspecified | v1::Expiry::Fresh => "valid",
        v1::Expiry::Soon => "overdue",
        v1::Expiry::Expired => "expired",
    }
}

/// The state, and what an operator should look into.
fn state(client: &Client) -> String {
    let mut state = client.state.to_string();
    if client.at_risk {
        state.push_str(", at risk");
    }
    if !client.suspicion.is_empty() {
        state.push_str(", suspect");
    }
    state
}

/// Numbers that begin with 1: 0 says that there is none yet.
fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn counted_from_one(number: u64) -> String {
    match number {
        0 => "-".to_owned(),
        number => number.to_string(),
    }
}

fn anchors(client: &Client) -> String {
    if client.anchors.is_empty() {
        return "-".to_owned();
    }
    let numbers: Vec<String> = client.anchors.iter().map(u64::to_string).collect();
    numbers.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::try_from(v1::Client {
            id: "8c5a3f52-0000-4000-8000-000000000001".to_owned(),
            name: "pc-1".to_owned(),
            group: "default".to_owned(),
            state: 1,
            joined_at: Some(prost_types::Timestamp {
                seconds: 1_785_578_400,
                nanos: 0,
            }),
            last_seen: Some(prost_types::Timestamp {
                seconds: 1_785_578_400,
                nanos: 0,
            }),
            connected: false,
            trust_revision: 3,
            verification_mode: 1,
            evidence: 3,
            agent_version: "0.1.0".to_owned(),
            anchors: vec![1, 2],
            identity_expires_at: None,
            identity_expiry: v1::Expiry::Soon.into(),
            suspicion: String::new(),
            at_risk: true,
            served_generation: 0,
            address: String::new(),
            missing_reason: Some(v1::Reason {
                code: 1,
                text: "off or out of reach since 2026-08-01T10:00:00Z".to_owned(),
            }),
            clock_ahead_seconds: 0,
            rejoined_at: None,
            rejoined_with: String::new(),
        })
        .unwrap()
    }

    fn now() -> Timestamp {
        "2026-08-01T13:05:00Z".parse().unwrap()
    }

    #[test]
    fn a_list_has_a_row_per_client() {
        assert_eq!(
            listed(&[client()], now()),
            "\
NAME  GROUP    STATE            REVISION  EVIDENCE  MODE    CONNECTED/LAST SEEN  VERSION  ANCHORS  IDENTITY
pc-1  default  active, at risk  3         proved    verify  3 h ago              0.1.0    1,2      overdue"
        );
    }

    #[test]
    fn one_client_is_shown_with_all_that_is_known() {
        let text = shown(&client(), now());
        assert!(text.contains("Served generation  -\n"), "{text}");
        assert!(
            text.contains("\nIdentity expires   - (renewal is overdue)\n"),
            "{text}"
        );
        assert!(
            text.contains("\nMissing            off: off or out of reach since 2026"),
            "{text}"
        );
        assert!(text.ends_with("the bridge serves it"), "{text}");
    }

    #[test]
    fn a_client_that_is_cut_off_is_told_how_to_come_back_and_never_of_the_bridge() {
        let mut cut_off = client();
        cut_off.state = Known::read(4).unwrap();
        cut_off.at_risk = false;
        cut_off.rejoined_at = cut_off.last_seen;
        cut_off.rejoined_with = "0198c2f0-0000-7000-8000-00000000000a".to_owned();
        let text = shown(&cut_off, now());
        assert!(text.contains("State              cut off\n"), "{text}");
        assert!(text.contains("convoy-agent join TOKEN"), "{text}");
        assert!(!text.contains("bridge"), "{text}");
        assert!(
            text.contains(
                "\nJoined again       2026-08-01 10:00:00 UTC, in place, with the token 0198"
            ),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_names_of_the_api() {
        assert_eq!(
            serde_json::to_string(&client()).unwrap(),
            "{\"id\":\"8c5a3f52-0000-4000-8000-000000000001\",\"name\":\"pc-1\",\"group\":\"default\",\"state\":\"active\",\
             \"joined_at\":\"2026-08-01T10:00:00Z\",\"last_seen\":\"2026-08-01T10:00:00Z\",\"connected\":false,\
             \"trust_revision\":3,\"verification_mode\":\"verify\",\"evidence\":\"proved\",\"agent_version\":\"0.1.0\",\
             \"anchors\":[1,2],\"identity_expires_at\":null,\"identity_expiry\":\"soon\",\"suspicion\":\"\",\"at_risk\":true,\"served_generation\":0,\"address\":\"\",\
             \"missing_reason\":{\"code\":\"off\",\"text\":\"off or out of reach since 2026-08-01T10:00:00Z\"},\
             \"clock_ahead_seconds\":0,\"rejoined_at\":null,\"rejoined_with\":\"\"}"
        );
    }
}
