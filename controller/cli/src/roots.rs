//! `convoy root`. What a root says is never decided here.

use convoy_proto::v1::{self, root_service_client::RootServiceClient};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{
    answers,
    args::{Format, RootCommand},
    connect::Session,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words,
};

/// A root of trust.
#[derive(Debug, Serialize)]
struct Root {
    fleet_id: String,
    version: u64,
    digest: String,
    issued_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    root_keys: Vec<String>,
    policy_keys: Vec<String>,
    off_allowed: bool,
    max_off_seconds: i64,
}

impl TryFrom<v1::FleetRoot> for Root {
    type Error = Unreadable;

    fn try_from(wire: v1::FleetRoot) -> Result<Self, Unreadable> {
        Ok(Self {
            fleet_id: wire.fleet_id,
            version: wire.version,
            digest: wire.digest,
            issued_at: answers::instant(wire.issued_at, "issued_at")?,
            expires_at: answers::instant(wire.expires_at, "expires_at")?,
            root_keys: wire.root_keys,
            policy_keys: wire.policy_keys,
            off_allowed: wire.off_allowed,
            max_off_seconds: wire.max_off_seconds,
        })
    }
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: RootCommand,
) -> Result<(), Failure> {
    let mut service = RootServiceClient::new(session.channel().await?);
    let (root, renewed) = match command {
        RootCommand::Show => {
            let answer = service.get_root(v1::GetRootRequest {}).await;
            let answer = answer.map_err(Failure::asking)?;
            (answer.into_inner().root, false)
        }
        RootCommand::Renew => {
            let request = v1::RenewRootRequest {
                request_id: session.request_id.clone(),
            };
            let answer = service.renew_root(request).await;
            let answer = answer.map_err(|status| session.changing(status))?;
            (answer.into_inner().root, true)
        }
    };
    let root = Root::try_from(answers::required(root, "root")?)?;
    match session.format {
        Format::Json => screen.json(&root),
        Format::Text if renewed => {
            screen.note(&format!(
                "Root version {} is in force until {}. Agents take it when they next open a session; those that are connected are asked to do so now.",
                root.version,
                words::instant(root.expires_at)
            ));
            Ok(())
        }
        Format::Text => screen.line(&shown(&root)),
    }
}

fn shown(root: &Root) -> String {
    let off = if root.off_allowed {
        let longest = SignedDuration::from_secs(root.max_off_seconds);
        format!("allowed, for at most {longest:#} after a document was issued")
    } else {
        "not allowed".to_owned()
    };
    output::facts(&[
        ("Fleet", root.fleet_id.clone()),
        ("Version", root.version.to_string()),
        ("Digest", root.digest.clone()),
        ("Issued", words::instant(root.issued_at)),
        ("Expires", words::instant(root.expires_at)),
        ("Root keys", root.root_keys.join(", ")),
        ("Policy keys", root.policy_keys.join(", ")),
        ("Verification off", off),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_says_how_long_it_lasts_and_what_it_allows() {
        let root = Root::try_from(v1::FleetRoot {
            fleet_id: "f".to_owned(),
            version: 2,
            digest: "00".to_owned(),
            issued_at: None,
            expires_at: None,
            root_keys: vec!["11".to_owned()],
            policy_keys: vec!["22".to_owned()],
            off_allowed: true,
            max_off_seconds: 90 * 86_400,
        })
        .unwrap();
        assert_eq!(
            serde_json::to_string(&root).unwrap(),
            r#"{"fleet_id":"f","version":2,"digest":"00","issued_at":null,"expires_at":null,"root_keys":["11"],"policy_keys":["22"],"off_allowed":true,"max_off_seconds":7776000}"#
        );
        let text = shown(&root);
        assert!(
            text.contains(
                "Verification off  allowed, for at most 2160h after a document was issued"
            ),
            "{text}"
        );
    }
}
