//! What a file would add, change, reset and leave alone. Decides nothing about how.

use std::fmt;

use convoy_shared::settings::ScepPatch;
use serde::Serialize;
use toml::Value;

use super::{
    file::{self, Batch, SERVER},
    present::Present,
};
use crate::scep::{
    args::Approval,
    values::{self, Change},
};

/// One difference, with the table in which it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Difference {
    /// A group or a profile that is not there yet.
    New { table: String },
    /// A setting.
    Setting {
        table: String,
        /// The client's name, for people.
        #[serde(skip_serializing_if = "String::is_empty")]
        name: String,
        #[serde(flatten)]
        change: Change,
    },
    /// It is there, and not in the file.
    LeftAlone { table: String },
}

impl Difference {
    /// Whether anything is done about it.
    pub(super) fn is_one(&self) -> bool {
        !matches!(self, Self::LeftAlone { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { table } => write!(f, "+ [{table}]"),
            Self::LeftAlone { table } => write!(f, "  [{table}] left alone: it is not in the file"),
            Self::Setting {
                table,
                name,
                change,
            } => {
                let text = change.to_string();
                let (sign, rest) = text.split_at(2);
                let name = match name.as_str() {
                    "" => String::new(),
                    name => format!(" ({name})"),
                };
                write!(f, "{sign}[{table}]{name} {rest}")
            }
        }
    }
}

/// Everything, in the order of the file.
pub(super) fn between(present: &Present, wanted: &Batch) -> Vec<Difference> {
    let now = &present.batch;
    let mut differences = vec![];
    let mut add = |table: &str, name: &str, changes: Vec<Change>| {
        differences.extend(changes.into_iter().map(|change| Difference::Setting {
            table: table.to_owned(),
            name: name.to_owned(),
            change,
        }));
    };
    add(SERVER, "", approval(now.approval, wanted.approval));
    for (name, profile) in &wanted.profiles {
        let before = now.profiles.get(name).map(file::of_profile);
        add(
            &file::profile(name),
            "",
            keyed(before.unwrap_or_default(), file::of_profile(profile)),
        );
    }
    let none = ScepPatch::default();
    for (name, patch) in &wanted.groups {
        let before = now.groups.get(name).unwrap_or(&none);
        add(&file::group(name), "", values::set(before, patch));
    }
    for id in clients(now, wanted) {
        let of = |batch: &Batch| batch.clients.get(id).map(|member| member.patch.clone());
        let changes = values::set(
            &of(now).unwrap_or_default(),
            &of(wanted).unwrap_or_default(),
        );
        let name = present.roster.get(id).map_or("", |host| host.name.as_str());
        add(&file::client(id), name, changes);
    }
    let missing = |names: Vec<&String>, table: fn(&str) -> String, there: &dyn Fn(&str) -> bool| {
        names
            .into_iter()
            .filter(|name| !there(name))
            .map(|name| table(name))
            .collect::<Vec<_>>()
    };
    let group = |name: &str| format!("groups.{}", super::keys::bare(name));
    let new = missing(wanted.groups.keys().collect(), group, &|name| {
        now.groups.contains_key(name)
    });
    let mut all: Vec<Difference> = new
        .into_iter()
        .map(|table| Difference::New { table })
        .collect();
    all.append(&mut differences);
    let left = [
        missing(now.profiles.keys().collect(), file::profile, &|name| {
            wanted.profiles.contains_key(name)
        }),
        missing(now.groups.keys().collect(), group, &|name| {
            wanted.groups.contains_key(name)
        }),
    ];
    all.extend(
        left.into_iter()
            .flatten()
            .map(|table| Difference::LeftAlone { table }),
    );
    all
}

/// Clients that have settings of their own, now or then.
pub(super) fn clients<'a>(
    now: &'a Batch,
    wanted: &'a Batch,
) -> impl Iterator<Item = &'a String> + use<'a> {
    let gone = now
        .clients
        .keys()
        .filter(|id| !wanted.clients.contains_key(*id));
    wanted.clients.keys().chain(gone)
}

/// Nobody wants to see that what is so from the start is written down, or not.
fn approval(now: Option<Approval>, then: Option<Approval>) -> Vec<Change> {
    let word = |approval| Value::String(file::word(approval).to_owned());
    let from_the_start = Approval::Automatic;
    let (was, will) = (
        now.unwrap_or(from_the_start),
        then.unwrap_or(from_the_start),
    );
    if was == will {
        return vec![];
    }
    vec![Change {
        setting: "approval",
        now: Some(word(was)),
        then: then.map(word),
    }]
}

fn keyed(now: Vec<(&'static str, Value)>, then: Vec<(&'static str, Value)>) -> Vec<Change> {
    then.into_iter()
        .filter_map(|(setting, then)| {
            let now = now
                .iter()
                .find(|(key, _)| *key == setting)
                .map(|(_, value)| value.clone());
            let then = Some(then);
            (now != then).then_some(Change { setting, now, then })
        })
        .collect()
}
