//! Settings as names with values: as files have them, and what differs between two. Nothing here talks to the controller.

use std::fmt;

use convoy_proto::{scep, v1};
use convoy_shared::settings::{ScepPatch, ScepSettings};
use serde::Serialize;
use toml::Value;

use crate::failure::Unreadable;

/// What is set, by name, in the order of the settings.
pub(crate) fn values(patch: &ScepPatch) -> Vec<(&'static str, Value)> {
    let Ok(Value::Table(mut table)) = Value::try_from(patch) else {
        return vec![];
    };
    patch
        .fields()
        .into_iter()
        .filter_map(|field| Some((field, table.remove(field)?)))
        .collect()
}

/// A setting that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    pub(crate) setting: &'static str,
    /// None: it is not set.
    pub(crate) now: Option<Value>,
    /// None: it is set no more.
    pub(crate) then: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = self.setting;
        match (&self.now, &self.then) {
            (Some(now), Some(then)) => write!(f, "~ {setting} = {now} -> {then}"),
            (None, Some(then)) => write!(f, "+ {setting} = {then}"),
            (Some(now), None) => write!(f, "- {setting} = {now}"),
            (None, None) => f.write_str(setting),
        }
    }
}

/// What differs in effect.
pub(crate) fn between(from: &ScepSettings, to: &ScepSettings) -> Vec<Change> {
    let differs = ScepPatch::between(from, to).fields();
    let mut changes = set(&ScepPatch::all(from), &ScepPatch::all(to));
    changes.retain(|change| differs.contains(&change.setting));
    changes
}

/// What differs in what is set.
pub(crate) fn set(from: &ScepPatch, to: &ScepPatch) -> Vec<Change> {
    let (from, to) = (values(from), values(to));
    let names = ScepPatch::all(&ScepSettings::default()).fields();
    let value = |values: &[(&'static str, Value)], name| {
        values
            .iter()
            .find(|(field, _)| *field == name)
            .map(|(_, value)| value.clone())
    };
    names
        .into_iter()
        .filter_map(|setting| {
            let (now, then) = (value(&from, setting), value(&to, setting));
            (now != then).then_some(Change { setting, now, then })
        })
        .collect()
}

/// All settings of an answer.
pub(crate) fn effective(wire: Option<v1::ScepSettings>) -> Result<ScepSettings, Unreadable> {
    let wire = wire.ok_or_else(|| Unreadable::new("has no effective settings".to_owned()))?;
    scep::read_settings(wire).map_err(|error| {
        Unreadable::new(format!(
            "has settings that this program does not know: {error}"
        ))
    })
}

/// Those settings of an answer that were set.
pub(crate) fn patch(wire: Option<v1::ScepSettings>) -> Result<ScepPatch, Unreadable> {
    scep::read_patch(wire.unwrap_or_default()).map_err(|error| {
        Unreadable::new(format!(
            "has settings that this program does not know: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_settings_order_and_read_back() {
        let patch = ScepPatch {
            max_keys: Some(5),
            server: "built-in".parse().ok(),
            subject_alt_names: Some(vec!["dns:a".to_owned()]),
            timer: Some(false),
            ..ScepPatch::default()
        };
        let text: Vec<String> = values(&patch)
            .iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        assert_eq!(
            text,
            [
                "server = \"built-in\"",
                "timer = false",
                "subject_alt_names = [\"dns:a\"]",
                "max_keys = 5"
            ]
        );
        let read: ScepPatch = toml::from_str(&text.join("\n")).unwrap();
        assert_eq!(read, patch);
    }

    #[test]
    fn changes_say_what_was_and_what_will_be() {
        let read = |text| toml::from_str::<ScepPatch>(text).unwrap();
        let changes = set(
            &read("polls = 1\nrestart = true"),
            &read("polls = 2\nport = 80"),
        );
        let text: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["+ port = 80", "~ polls = 1 -> 2", "- restart = true"]
        );
        assert_eq!(
            serde_json::to_string(&changes[0]).unwrap(),
            r#"{"setting":"port","now":null,"then":80}"#
        );
    }
}
