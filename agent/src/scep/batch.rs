//! All settings of the device as one file, out and in (C4.4): `[scep]`, and what the agent's own configuration says. An import is staged as one file first, so that a crash
//! in the middle finishes it or forgets it whole.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use convoy_shared::settings::ScepSettings;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    rules::{Believed, IMPORTED, Rules, url_of},
    socket::{self, Asked, Told},
    store::{Store, replace},
};
use crate::{configuration::Configuration, disk::StateDir, state::State};

/// An import that has been decided on.
const STAGED: &str = "import";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Staged {
    /// Where the configuration is.
    file: PathBuf,
    /// What it says from now on. `None`: as before.
    configuration: Option<String>,
    /// `[scep]`, without its head. `None`: as before.
    scep: Option<String>,
}

/// All settings, as one file.
pub(crate) fn export(dir: &StateDir, configuration: &Path) -> anyhow::Result<String> {
    let rules = match Store::find(dir)? {
        Some(store) => Rules::load(&store, &Believed::of(&State::load(dir)?))?,
        None => Rules::default(),
    };
    let own = match std::fs::read_to_string(configuration) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).context(format!("cannot read {}", configuration.display()));
        }
    };
    // Only what is right goes out.
    Configuration::parse(configuration, &own)?;
    let gap = if own.is_empty() || own.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    Ok(format!("{own}{gap}\n[scep]\n{}", table(&rules.settings)?))
}

/// The settings as lines of TOML. JSON's texts, numbers and lists of texts are TOML's too.
fn table(settings: &ScepSettings) -> anyhow::Result<String> {
    let serde_json::Value::Object(fields) = serde_json::to_value(settings)? else {
        bail!("the settings are no table");
    };
    let mut text = String::new();
    for (name, value) in fields {
        text.push_str(&format!("{name} = {}\n", serde_json::to_string(&value)?));
    }
    Ok(text)
}

/// A file of settings, found right as a whole.
pub(crate) struct Import {
    staged: Staged,
    /// What it would change, for people.
    pub(crate) summary: Vec<String>,
}

/// Reads a file of settings. Nothing is changed.
pub(crate) fn read(dir: &StateDir, configuration: &Path, text: &str) -> anyhow::Result<Import> {
    let mut whole: Table = text.parse().context("the file is no TOML")?;
    let scep = whole.remove("scep");
    let mut summary = Vec::new();
    let rules = match Store::find(dir)? {
        Some(store) => Rules::load(&store, &Believed::of(&State::load(dir)?))?,
        None => Rules::default(),
    };
    let settings = match scep {
        None => None,
        Some(Value::Table(scep)) => {
            let settings = settings(scep, &rules)?;
            summary.push(if settings == rules.settings {
                "[scep]: nothing changes".to_owned()
            } else {
                "[scep]: changes".to_owned()
            });
            (settings != rules.settings).then_some(settings)
        }
        Some(_) => bail!("[scep] is no table"),
    };
    let own = without_scep(text, &whole)?;
    Configuration::parse(configuration, &own)?;
    let known = match std::fs::read_to_string(configuration) {
        Ok(known) => known,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", configuration.display()));
        }
    };
    let changed = own.trim() != known.trim();
    let says = if changed {
        "changes"
    } else {
        "nothing changes"
    };
    summary.push(format!("{}: {says}", configuration.display()));
    let staged = Staged {
        file: configuration.to_owned(),
        configuration: changed.then_some(own),
        scep: settings.as_ref().map(table).transpose()?,
    };
    Ok(Import { staged, summary })
}

fn settings(scep: Table, rules: &Rules) -> anyhow::Result<ScepSettings> {
    let settings: ScepSettings = Value::Table(scep).try_into().context("[scep]")?;
    settings.check().context("[scep]")?;
    if settings == rules.settings {
        return Ok(settings);
    }
    ensure!(
        rules.revision.0 == 0,
        "[scep] is the controller's to set here (revision {}): change it there with `convoy apply`, or leave [scep] out",
        rules.revision.0
    );
    ensure!(
        !(rules.settings.timer && settings.timer),
        "[scep]: the settings cannot be changed while the auto-request timer is on: import `timer = false` first"
    );
    ensure!(
        !settings.timer || url_of(&settings).is_some(),
        "[scep]: server: {:?} has no URL that this device knows by itself: set an http:// URL",
        settings.server.to_string()
    );
    Ok(settings)
}

/// The text without its table `[scep]`, as it was written, comments and all.
fn without_scep(text: &str, whole: &Table) -> anyhow::Result<String> {
    let mut own = String::new();
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let head = line.split('#').next().unwrap_or_default().trim();
        if head.starts_with('[') && head.ends_with(']') {
            inside = head == "[scep]";
            // The empty line that `export` writes before it.
            if inside && (own == "\n" || own.ends_with("\n\n")) {
                own.pop();
            }
        }
        if !inside {
            own.push_str(line);
        }
    }
    let left: Table = own.parse().unwrap_or_default();
    ensure!(
        left == *whole,
        "[scep] must be a table of its own, which begins with a line [scep]"
    );
    Ok(own)
}

impl Import {
    /// Decides on it, durably: from now on it is finished, be it by the next start.
    pub(crate) fn stage(&self, store: &Store) -> anyhow::Result<()> {
        store.write(STAGED, &serde_json::to_vec(&self.staged)?)?;
        Ok(())
    }
}

/// Carries out an import: by the running agent, or here where none runs.
pub(crate) async fn apply(dir: &StateDir, import: &Import) -> anyhow::Result<()> {
    // Whatever another user wrote there, root's too, the agent could not read.
    let owner = std::fs::metadata(dir.path())
        .with_context(|| format!("cannot look at {}", dir.path().display()))?
        .uid();
    must_be(owner, rustix::process::geteuid().as_raw(), dir.path())?;
    let store = Store::open(dir)?;
    if !dir.is_held() {
        let _lock = dir.lock()?;
        import.stage(&store)?;
        finish(&store)?;
        return Ok(());
    }
    import.stage(&store)?;
    let mut answers = socket::ask(dir, Asked::Imported).await.context(
        "the agent runs, and cannot be talked to; the import is finished when it starts again",
    )?;
    match answers.next().await? {
        Some(Told::Done { ok: true }) => Ok(()),
        Some(Told::Refused(why)) => bail!(why),
        // A restart in the middle: it is finished by the next start.
        None => Ok(()),
        Some(_) => bail!("the agent did not say that it is done"),
    }
}

fn must_be(owner: u32, user: u32, folder: &Path) -> anyhow::Result<()> {
    ensure!(
        owner == user,
        "{} belongs to the user {owner}, and this command runs as {user}, whose files the agent could not read; nothing was changed: run it as that user, like `sudo -u '#{owner}' convoy-agent …`",
        folder.display()
    );
    Ok(())
}

/// Writes a file that was exported, at once or not at all.
pub(crate) fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    Ok(replace(file, text.as_bytes())?)
}

/// Finishes an import that has been decided on. Whether there was one.
pub(crate) fn finish(store: &Store) -> anyhow::Result<bool> {
    let Some(bytes) = store.read(STAGED)? else {
        return Ok(false);
    };
    let staged: Staged = serde_json::from_slice(&bytes).context("the staged import is damaged")?;
    if let Some(text) = &staged.configuration {
        replace(&staged.file, text.as_bytes())?;
    }
    if let Some(text) = &staged.scep {
        store.write(IMPORTED, text.as_bytes())?;
    }
    store.remove(STAGED)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_own_the_state_folder_is_told_who_does() {
        let folder = Path::new("/var/lib/convoy");
        must_be(990, 990, folder).expect("its owner");
        for user in [0, 1000] {
            let refused = must_be(990, user, folder).expect_err("another").to_string();
            assert!(
                refused.contains("/var/lib/convoy") && refused.contains("sudo -u '#990'"),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn an_import_into_anothers_state_folder_changes_nothing() {
        if !rustix::process::geteuid().is_root() {
            // Nobody else can make such a folder.
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let dir = StateDir::create(&folder.path().join("state")).expect("made");
        std::os::unix::fs::chown(dir.path(), Some(4343), Some(4343)).expect("given");
        let import = Import {
            staged: Staged {
                file: dir.file("agent.toml"),
                configuration: Some("[device]\n".to_owned()),
                scep: None,
            },
            summary: Vec::new(),
        };
        let refused = apply(&dir, &import).await.expect_err("refused");
        assert!(refused.to_string().contains("4343"), "{refused}");
        let left = std::fs::read_dir(dir.path()).expect("listed").count();
        assert_eq!(left, 0);
        // Its owner may.
        std::os::unix::fs::chown(dir.path(), Some(0), Some(0)).expect("given back");
        apply(&dir, &import).await.expect("imported");
        assert!(dir.file("agent.toml").exists());
    }
}
