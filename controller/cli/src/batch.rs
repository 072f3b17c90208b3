//! `convoy export` and `convoy apply`: all settings in one TOML file. Secrets are never in it, and groups are never deleted.

pub(crate) mod args;
mod carry;
mod difference;
mod file;
pub(crate) mod keys;
mod present;
mod read;
mod steps;

use std::path::Path;

use args::{Apply, Export};
use serde::Serialize;

use crate::{
    args::Format, connect::Session, failure::Failure, files, output::Screen, words::plain,
};

#[derive(Debug, Serialize)]
struct Compared<'a> {
    dry_run: bool,
    differences: &'a [difference::Difference],
}

pub(crate) async fn export(
    session: &Session,
    screen: &mut Screen<'_>,
    export: Export,
) -> Result<(), Failure> {
    if session.format == Format::Json {
        return Err(Failure::Usage(
            "all settings are exported as TOML. Leave -o json out".to_owned(),
        ));
    }
    let present = present::fetch(&session.channel().await?).await?;
    let text = file::text(&present.batch);
    let Some(path) = export.file.filter(|path| path != Path::new("-")) else {
        return screen.line(text.trim_end());
    };
    std::fs::write(&path, text).map_err(|error| {
        Failure::Declined(format!(
            "cannot write {}: {error}. Check the path and that you may write there",
            path.display()
        ))
    })?;
    screen.note(&format!(
        "All settings are in {}. Secrets are not",
        path.display()
    ));
    Ok(())
}

pub(crate) async fn apply(
    session: &Session,
    screen: &mut Screen<'_>,
    apply: Apply,
) -> Result<(), Failure> {
    let text = files::text(&apply.file)?;
    let wanted = read::batch(&text).map_err(|problems| keys::refused(&apply.file, &problems))?;
    let channel = session.channel().await?;
    let present = present::fetch(&channel).await?;
    let problems = steps::problems(&present, &wanted);
    if !problems.is_empty() {
        return Err(keys::refused(&apply.file, &problems));
    }
    let differences = difference::between(&present, &wanted);
    match session.format {
        Format::Json => screen.json(&Compared {
            dry_run: apply.dry_run,
            differences: &differences,
        })?,
        Format::Text => {
            for difference in &differences {
                screen.line(&plain(&difference.to_string()))?;
            }
        }
    }
    let counted = differences
        .iter()
        .filter(|difference| difference.is_one())
        .count();
    if counted == 0 {
        screen.note("Everything is as the file says");
        return Ok(());
    }
    if apply.dry_run {
        screen.note(&format!(
            "{counted} would change; nothing was changed. Without --dry-run it is"
        ));
        return Err(Failure::Drift);
    }
    carry::out(&channel, screen, steps::plan(&present, &wanted)).await?;
    screen.note("Everything is as the file says now");
    Ok(())
}
