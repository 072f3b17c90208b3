//! `convoy scep settings` and `convoy scep timer`. Whether a change may be is the controller's to say.

use std::path::Path;

use convoy_proto::{
    scep,
    v1::{self, scep_service_client::ScepServiceClient},
};
use convoy_shared::settings::{ScepPatch, ScepSettings};
use serde::Serialize;
use tonic::transport::Channel;
use zeroize::Zeroizing;

use super::{
    args::{Set, SettingsCommand, TimerCommand},
    audience::Audience,
    values::{self, Change},
};
use crate::{
    args::Format,
    batch::keys,
    connect::Session,
    failure::Failure,
    files,
    output::{self, Screen},
    words::plain,
};

/// The settings of a group or a client.
#[derive(Debug, Serialize)]
pub(crate) struct Settings {
    audience: Audience,
    pub(crate) revision: u64,
    url: String,
    challenge_stored: bool,
    held_revision: u64,
    pub(crate) effective: ScepSettings,
    pub(crate) set: ScepPatch,
}

/// What a change did.
#[derive(Debug, Serialize)]
struct Changed {
    audience: Audience,
    dry_run: bool,
    revision: u64,
    changes: Vec<Change>,
    warnings: Vec<String>,
}

pub(crate) async fn run(
    session: &Session,
    screen: &mut Screen<'_>,
    command: SettingsCommand,
) -> Result<(), Failure> {
    match command {
        SettingsCommand::Show { whose } => {
            let channel = session.channel().await?;
            let audience = whose.find(&channel).await?;
            let settings = fetch(&channel, audience).await?;
            match session.format {
                Format::Json => screen.json(&settings),
                Format::Text if session.toml => screen.line(&file(&settings)),
                Format::Text => screen.line(&shown(&settings)),
            }
        }
        SettingsCommand::Set(command) => set(session, screen, *command).await,
        SettingsCommand::Diff { file, whose } => {
            let patch = read_file(&file)?;
            let channel = session.channel().await?;
            let audience = whose.find(&channel).await?;
            let settings = fetch(&channel, audience).await?;
            let then = patch.over(&settings.effective);
            then.check().map_err(|error| {
                Failure::Declined(format!(
                    "{} does not go together with the settings of {}: {error}",
                    file.display(),
                    settings.audience.name()
                ))
            })?;
            let changes = values::between(&settings.effective, &then);
            match session.format {
                Format::Json => screen.json(&changes),
                Format::Text if changes.is_empty() => {
                    screen.note("Nothing would change");
                    Ok(())
                }
                Format::Text => screen.line(&lines(&changes)),
            }
        }
    }
}

pub(crate) async fn timer(
    session: &Session,
    screen: &mut Screen<'_>,
    command: TimerCommand,
) -> Result<(), Failure> {
    let (whose, patch) = match command {
        TimerCommand::On {
            whose,
            start,
            periodic,
        } => (
            whose,
            ScepPatch {
                timer: Some(true),
                request_start: start,
                periodic,
                ..ScepPatch::default()
            },
        ),
        TimerCommand::Off { whose } => (
            whose,
            ScepPatch {
                timer: Some(false),
                ..ScepPatch::default()
            },
        ),
    };
    let channel = session.channel().await?;
    let audience = whose.find(&channel).await?;
    let changed = change(session, &channel, audience, &patch, false, false).await?;
    say(session, screen, &changed)?;
    if session.format == Format::Text && patch.timer == Some(true) {
        screen.note("See what comes of it with: convoy scep status --watch");
    }
    Ok(())
}

async fn set(session: &Session, screen: &mut Screen<'_>, command: Set) -> Result<(), Failure> {
    let stdin = |path: &Option<_>| path.as_deref() == Some(Path::new("-"));
    if stdin(&command.challenge_file) && stdin(&command.ndes_password_file) {
        return Err(Failure::Usage(
            "standard input cannot be both the challenge password and NDES's. Give one of them in a file"
                .to_owned(),
        ));
    }
    let patch = command.flags.patch()?;
    let mut secrets = vec![];
    for (file, forget, ndes) in [
        (command.challenge_file, command.forget_challenge, false),
        (
            command.ndes_password_file,
            command.forget_ndes_password,
            true,
        ),
    ] {
        if let Some(file) = file {
            secrets.push((files::secret(&file)?, ndes));
        } else if forget {
            secrets.push((Zeroizing::new(String::new()), ndes));
        }
    }
    let changes_settings = command.reset || !patch.is_empty();
    if !changes_settings && secrets.is_empty() {
        return Err(Failure::Usage(
            "nothing is given to set. `convoy scep settings set --help` lists the settings"
                .to_owned(),
        ));
    }
    let channel = session.channel().await?;
    let audience = command.whose.find(&channel).await?;
    // Nothing can become of a secret alone: only settings are tried.
    let changed = if changes_settings {
        change(
            session,
            &channel,
            audience.clone(),
            &patch,
            command.reset,
            command.dry_run,
        )
        .await?
    } else {
        Changed {
            audience: audience.clone(),
            dry_run: command.dry_run,
            revision: fetch(&channel, audience.clone()).await?.revision,
            changes: vec![],
            warnings: vec![],
        }
    };
    if changes_settings && session.format == Format::Text {
        say(session, screen, &changed)?;
    }
    for (secret, ndes) in secrets {
        store(
            session,
            screen,
            &channel,
            &audience,
            &secret,
            ndes,
            command.dry_run,
        )
        .await?;
    }
    if session.format == Format::Json {
        say(session, screen, &changed)?;
    }
    Ok(())
}

async fn store(
    session: &Session,
    screen: &mut Screen<'_>,
    channel: &Channel,
    audience: &Audience,
    secret: &Zeroizing<String>,
    ndes: bool,
    dry_run: bool,
) -> Result<(), Failure> {
    let what = if ndes {
        "the password of NDES's page"
    } else {
        "the challenge password"
    };
    let forgets = secret.is_empty();
    if !dry_run {
        let request = v1::StoreScepChallengeRequest {
            audience: Some(audience.on_the_wire()),
            secret: secret.to_string(),
            ndes,
        };
        // Again comes to the same.
        ScepServiceClient::new(channel.clone())
            .store_scep_challenge(request)
            .await
            .map_err(Failure::asking)?;
    }
    if session.format == Format::Text {
        let name = audience.name();
        screen.note(&match (dry_run, forgets) {
            (true, true) => format!("{what} of {name} would be forgotten"),
            (true, false) => format!("{what} of {name} would be stored"),
            (false, true) => format!("{what} of {name} is forgotten"),
            (false, false) => format!("{what} of {name} is stored; it is never shown again"),
        });
    }
    Ok(())
}

/// What holds, and what was set.
pub(crate) async fn fetch(channel: &Channel, audience: Audience) -> Result<Settings, Failure> {
    let request = v1::GetScepSettingsRequest {
        audience: Some(audience.on_the_wire()),
    };
    let answer = ScepServiceClient::new(channel.clone())
        .get_scep_settings(request)
        .await
        .map_err(Failure::asking)?
        .into_inner();
    Ok(Settings {
        audience,
        revision: answer.revision,
        url: answer.url,
        challenge_stored: answer.challenge_stored,
        held_revision: answer.held_revision,
        effective: values::effective(answer.effective)?,
        set: values::patch(answer.set)?,
    })
}

async fn change(
    session: &Session,
    channel: &Channel,
    audience: Audience,
    patch: &ScepPatch,
    reset: bool,
    validate_only: bool,
) -> Result<Changed, Failure> {
    let before = fetch(channel, audience.clone()).await?;
    let request = v1::SetScepSettingsRequest {
        request_id: session.request_id.clone(),
        audience: Some(audience.on_the_wire()),
        patch: Some(scep::write_patch(patch)),
        reset,
        validate_only,
    };
    let answer = ScepServiceClient::new(channel.clone())
        .set_scep_settings(request)
        .await
        .map_err(|status| session.changing(status))?
        .into_inner();
    let after = values::effective(answer.effective)?;
    Ok(Changed {
        audience,
        dry_run: validate_only,
        revision: answer.revision,
        changes: values::between(&before.effective, &after),
        warnings: answer.warnings,
    })
}

fn say(session: &Session, screen: &mut Screen<'_>, changed: &Changed) -> Result<(), Failure> {
    if session.format == Format::Json {
        return screen.json(changed);
    }
    let name = changed.audience.name();
    if !changed.changes.is_empty() {
        screen.note(&lines(&changed.changes));
    }
    screen.note(&match (changed.dry_run, changed.changes.is_empty()) {
        (true, true) => format!("No effective setting of {name} would change"),
        (true, false) => format!("So the settings of {name} would change; nothing was changed"),
        (false, _) => format!(
            "The settings of {name} are at revision {}",
            changed.revision
        ),
    });
    for warning in &changed.warnings {
        screen.note(&format!("warning: {}", plain(warning)));
    }
    Ok(())
}

fn lines(changes: &[Change]) -> String {
    let lines: Vec<String> = changes
        .iter()
        .map(|change| plain(&change.to_string()))
        .collect();
    lines.join("\n")
}

fn shown(settings: &Settings) -> String {
    let number = |revision: u64| match revision {
        0 => "-".to_owned(),
        revision => revision.to_string(),
    };
    let or_none = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    let mut facts = vec![
        ("Settings of", settings.audience.name()),
        ("Revision", number(settings.revision)),
        ("SCEP server", or_none(&settings.url)),
        ("Challenge stored", yes(settings.challenge_stored)),
    ];
    if matches!(settings.audience, Audience::Client(_)) {
        facts.push(("Revision on its disk", number(settings.held_revision)));
    }
    let set = settings.set.fields();
    let table = output::table(
        ["SETTING", "VALUE", "SET"],
        values::values(&ScepPatch::all(&settings.effective))
            .into_iter()
            .map(|(setting, value)| {
                let mark = if set.contains(&setting) { "*" } else { "" };
                [setting.to_owned(), value.to_string(), mark.to_owned()]
            }),
    );
    format!("{}\n\n{table}", output::facts(&facts))
}

/// A file that sets what is set, with the rest behind a "#".
fn file(settings: &Settings) -> String {
    let set = settings.set.fields();
    let mut lines = vec![format!(
        "# SCEP settings of {}. What stands behind a \"#\" was not set, and holds all the same. Secrets are not in this file.",
        settings.audience.name()
    )];
    for (setting, value) in values::values(&ScepPatch::all(&settings.effective)) {
        let mark = if set.contains(&setting) { "" } else { "# " };
        lines.push(format!("{mark}{setting} = {value}"));
    }
    lines.join("\n")
}

/// A file of settings, all or nothing.
fn read_file(path: &Path) -> Result<ScepPatch, Failure> {
    let text = files::text(path)?;
    let problems = match text.parse::<toml::Table>() {
        Err(error) => vec![error.to_string().trim_end().to_owned()],
        Ok(table) => {
            let mut problems = vec![];
            let patch = keys::patch("", table, &mut problems);
            if problems.is_empty() {
                return Ok(patch);
            }
            problems
        }
    };
    Err(keys::refused(path, &problems))
}
