//! All settings that there are, and the file that says them. What is not set is not in it, and neither is any secret.

use std::collections::BTreeMap;

use convoy_shared::settings::ScepPatch;
use toml::Value;

use super::keys::bare;
use crate::scep::{args::Approval, profiles::Profile, values};

/// What may be exported and applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// None: automatic, as from the start.
    pub(crate) approval: Option<Approval>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    /// What is set of each.
    pub(crate) groups: BTreeMap<String, ScepPatch>,
    /// By UUID.
    pub(crate) clients: BTreeMap<String, Member>,
}

/// A client's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Member {
    /// For people: nothing is done with it.
    pub(crate) name: String,
    pub(crate) patch: ScepPatch,
}

pub(crate) const SERVER: &str = "scep_server";

const HEADER: &str = "\
# All settings of a Convoy fleet. `convoy apply -f FILE` makes them so; with --dry-run it only shows what would change.
# Secrets are never in this file: neither challenge passwords, nor NDES's, nor join tokens, nor private keys.
# A setting that does not stand here is reset. Groups and profiles that do not stand here are left alone.
";

/// The word for an approval.
pub(crate) fn word(approval: Approval) -> &'static str {
    match approval {
        Approval::Automatic => "automatic",
        Approval::Manual => "manual",
    }
}

/// The table of a profile.
pub(crate) fn profile(name: &str) -> String {
    format!("{SERVER}.profiles.{}", bare(name))
}

/// The table of a group's settings.
pub(crate) fn group(name: &str) -> String {
    format!("groups.{}.scep", bare(name))
}

/// The table of a client's settings.
pub(crate) fn client(id: &str) -> String {
    format!("clients.{}.scep", bare(id))
}

/// A profile as keys with values.
pub(crate) fn of_profile(profile: &Profile) -> Vec<(&'static str, Value)> {
    let list = |list: &[String]| Value::Array(list.iter().cloned().map(Value::String).collect());
    vec![
        ("lifetime", Value::String(profile.lifetime.to_string())),
        ("extended_key_usages", list(&profile.extended_key_usages)),
        (
            "subject_alt_name_kinds",
            list(&profile.subject_alt_name_kinds),
        ),
        ("subject_alt_names", list(&profile.subject_alt_names)),
    ]
}

/// The file.
pub(crate) fn text(batch: &Batch) -> String {
    let mut text = HEADER.to_owned();
    let mut table = |name: &str, values: Vec<(&'static str, Value)>| {
        text.push_str(&format!("\n[{name}]\n"));
        for (key, value) in values {
            text.push_str(&format!("{key} = {value}\n"));
        }
    };
    if let Some(approval) = batch.approval {
        let approval = Value::String(word(approval).to_owned());
        table(SERVER, vec![("approval", approval)]);
    }
    for (name, its) in &batch.profiles {
        table(&profile(name), of_profile(its));
    }
    for (name, patch) in &batch.groups {
        if patch.is_empty() {
            table(&format!("groups.{}", bare(name)), vec![]);
        } else {
            table(&group(name), values::values(patch));
        }
    }
    for (id, member) in &batch.clients {
        let name = Value::String(member.name.clone());
        table(&format!("clients.{}", bare(id)), vec![("name", name)]);
        if !member.patch.is_empty() {
            table(&client(id), values::values(&member.patch));
        }
    }
    text
}
