//! `convoy scep profile`: what certificates of the built-in server are like. Limits are the controller's to know.

use convoy_proto::{
    time,
    v1::{self, scep_authority_service_client::ScepAuthorityServiceClient},
};
use convoy_shared::settings::Span;
use serde::{Deserialize, Serialize};
use tonic::{Status, transport::Channel};

use super::args::{ProfileCommand, SetProfile};
use crate::{
    answers,
    args::Format,
    connect::Session,
    durations,
    failure::{Failure, Unreadable},
    output::{self, Screen},
    words::plain,
};

/// The profile that is always there.
const DEFAULT: &str = "default";

/// An issuing profile but for its name, as files have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) lifetime: Span,
    pub(crate) extended_key_usages: Vec<String>,
    pub(crate) subject_alt_name_kinds: Vec<String>,
    pub(crate) subject_alt_names: Vec<String>,
}

/// With its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) profile: Profile,
}

impl TryFrom<v1::ScepProfile> for Named {
    type Error = Unreadable;

    fn try_from(wire: v1::ScepProfile) -> Result<Self, Unreadable> {
        let lifetime = time::read_duration(wire.lifetime, "lifetime")
            .map_err(|_| Unreadable::new("has a profile without a lifetime".to_owned()))?;
        Ok(Self {
            name: wire.name,
            profile: Profile {
                lifetime: Span(lifetime),
                extended_key_usages: wire.extended_key_usages,
                subject_alt_name_kinds: wire.subject_alt_name_kinds,
                subject_alt_names: wire.subject_alt_names,
            },
        })
    }
}

/// All profiles, by name.
pub(crate) async fn fetch(channel: &Channel) -> Result<Vec<Named>, Failure> {
    let answer = ScepAuthorityServiceClient::new(channel.clone())
        .list_scep_profiles(v1::ListScepProfilesRequest {})
        .await
        .map_err(Failure::asking)?
        .into_inner();
    Ok(answers::all(answer.profiles)?)
}

/// Creates or changes a whole profile.
pub(crate) async fn set(
    channel: &Channel,
    profile: Named,
    request_id: String,
    failed: impl FnOnce(Status) -> Failure,
) -> Result<Named, Failure> {
    let Named { name, profile } = profile;
    let request = v1::SetScepProfileRequest {
        request_id,
        profile: Some(v1::ScepProfile {
            name,
            lifetime: Some(durations::on_the_wire(profile.lifetime.0)),
            extended_key_usages: profile.extended_key_usages,
            subject_alt_name_kinds: profile.subject_alt_name_kinds,
            subject_alt_names: profile.subject_alt_names,
        }),
    };
    let answer = ScepAuthorityServiceClient::new(channel.clone())
        .set_scep_profile(request)
        .await
        .map_err(failed)?
        .into_inner();
    Ok(answers::required(answer.profile, "profile")?.try_into()?)
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: ProfileCommand,
) -> Result<(), Failure> {
    let channel = session.channel().await?;
    let profiles = fetch(&channel).await?;
    match command {
        ProfileCommand::List => match session.format {
            Format::Json => screen.json(&profiles),
            Format::Text => screen.line(&listed(profiles)),
        },
        ProfileCommand::Set(command) => {
            let profile = changed(&profiles, command)?;
            let set = set(&channel, profile, session.request_id.clone(), |status| {
                session.changing(status)
            })
            .await?;
            match session.format {
                Format::Json => screen.json(&set),
                Format::Text => {
                    let name = plain(&set.name);
                    screen.note(&format!(
                        "Profile {name} is set; certificates that were issued stay as they are. Challenges use it with: convoy scep challenge create --profile {name}"
                    ));
                    Ok(())
                }
            }
        }
    }
}

/// The profile with what is given; a new one begins as the default one is.
fn changed(profiles: &[Named], command: SetProfile) -> Result<Named, Failure> {
    let known = |name: &str| profiles.iter().find(|profile| profile.name == name);
    let before = known(&command.name)
        .or_else(|| known(DEFAULT))
        .ok_or_else(|| Unreadable::new(format!("has no profile {DEFAULT}")))?;
    let mut profile = before.profile.clone();
    if let Some(lifetime) = command.lifetime {
        profile.lifetime = Span(lifetime);
    }
    let replace = |list: &mut Vec<String>, given: Vec<String>, none: bool| {
        if none || !given.is_empty() {
            *list = given;
        }
    };
    replace(
        &mut profile.extended_key_usages,
        command.ekus,
        command.no_eku,
    );
    replace(
        &mut profile.subject_alt_name_kinds,
        command.san_kinds,
        command.no_san_kind,
    );
    replace(&mut profile.subject_alt_names, command.sans, command.no_san);
    Ok(Named {
        name: command.name,
        profile,
    })
}

fn listed(profiles: Vec<Named>) -> String {
    let several = |list: &[String]| {
        if list.is_empty() {
            "-".to_owned()
        } else {
            list.join(", ")
        }
    };
    output::table(
        [
            "NAME",
            "LIFETIME",
            "EXTENDED KEY USAGES",
            "NAMES TAKEN",
            "NAMES ADDED",
        ],
        profiles.into_iter().map(|Named { name, profile }| {
            [
                name,
                profile.lifetime.to_string(),
                several(&profile.extended_key_usages),
                several(&profile.subject_alt_name_kinds),
                several(&profile.subject_alt_names),
            ]
        }),
    )
}
