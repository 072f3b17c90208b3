//! In which order a file is applied: settings can only change while their auto-request timers are off, so timers go off
//! first, then the settings change, then timers go on. Nothing is asked or done here.

use std::{collections::BTreeMap, fmt};

use convoy_shared::settings::{ScepPatch, ScepSettings};

use super::{
    difference,
    file::{self, Batch},
    keys,
    present::Present,
};
use crate::scep::{args::Approval, audience::Audience, profiles};

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    CreateGroup(String),
    SetProfile(profiles::Named),
    Approve(Approval),
    Set {
        audience: Audience,
        patch: Box<ScepPatch>,
        /// Forget what was set before.
        reset: bool,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateGroup(name) => write!(f, "create the group {name}"),
            Self::SetProfile(profile) => write!(f, "set the profile {}", profile.name),
            Self::Approve(approval) => write!(f, "set the approval to {}", file::word(*approval)),
            Self::Set {
                audience,
                patch,
                reset: false,
            } if patch.fields() == ["timer"] => {
                let on = if patch.timer == Some(true) {
                    "on"
                } else {
                    "off"
                };
                write!(f, "turn the timer of {} {on}", audience.name())
            }
            Self::Set { audience, .. } => write!(f, "set the settings of {}", audience.name()),
        }
    }
}

/// What cannot be, before anything is asked for.
pub(super) fn problems(present: &Present, wanted: &Batch) -> Vec<String> {
    let mut problems = vec![];
    for id in wanted.clients.keys() {
        if !present.roster.contains_key(id) {
            let problem = "no client of the roster has this id. Take the table out, or look for the client with `convoy clients list -o json`";
            problems.push(keys::at("clients", id, problem));
        }
    }
    let fleet = Fleet::new(present, wanted);
    for (name, patch) in &wanted.groups {
        if let Err(bad) = patch.over(&ScepSettings::default()).check() {
            problems.push(keys::at(&file::group(name), bad.field, &bad.to_string()));
        }
    }
    if problems.is_empty() {
        for client in fleet.clients() {
            let changes = client.before != client.after;
            if let Err(bad) = client.after.check()
                && changes
            {
                problems.push(keys::at(
                    &file::client(&client.id),
                    bad.field,
                    &format!("with its group's settings: {bad}"),
                ));
            }
        }
    }
    problems
}

/// All calls, in order.
pub(super) fn plan(present: &Present, wanted: &Batch) -> Vec<Step> {
    let now = &present.batch;
    let mut steps: Vec<Step> = wanted
        .groups
        .keys()
        .filter(|name| !now.groups.contains_key(*name))
        .cloned()
        .map(Step::CreateGroup)
        .collect();
    for (name, profile) in &wanted.profiles {
        if now.profiles.get(name) != Some(profile) {
            steps.push(Step::SetProfile(profiles::Named {
                name: name.clone(),
                profile: profile.clone(),
            }));
        }
    }
    let approval = |batch: &Batch| batch.approval.unwrap_or(Approval::Automatic);
    if approval(now) != approval(wanted) {
        steps.push(Step::Approve(approval(wanted)));
    }
    let fleet = Fleet::new(present, wanted);
    let mut phases = Phases::default();
    for (name, then) in &wanted.groups {
        phases.group(name, fleet.now(name), then);
    }
    for client in fleet.clients() {
        phases.client(&client);
    }
    steps.extend(phases.off);
    steps.extend(phases.clear);
    steps.extend(phases.settings);
    steps.extend(phases.on);
    steps
}

/// The groups as they are and will be.
struct Fleet<'a> {
    present: &'a Present,
    wanted: &'a Batch,
    none: ScepPatch,
}

/// A client that has, or will have, settings of its own.
struct Client {
    id: String,
    now: ScepPatch,
    then: ScepPatch,
    group_after: ScepSettings,
    before: ScepSettings,
    after: ScepSettings,
}

impl<'a> Fleet<'a> {
    fn new(present: &'a Present, wanted: &'a Batch) -> Self {
        Self {
            present,
            wanted,
            none: ScepPatch::default(),
        }
    }

    /// What is set of a group.
    fn now(&self, group: &str) -> &ScepPatch {
        let groups: &BTreeMap<_, _> = &self.present.batch.groups;
        groups.get(group).unwrap_or(&self.none)
    }

    /// What will be.
    fn then(&self, group: &str) -> &ScepPatch {
        let groups: &BTreeMap<_, _> = &self.wanted.groups;
        groups.get(group).unwrap_or_else(|| self.now(group))
    }

    fn clients(&self) -> impl Iterator<Item = Client> {
        difference::clients(&self.present.batch, self.wanted).filter_map(|id| {
            let host = self.present.roster.get(id)?;
            let of = |batch: &Batch| {
                let member = batch.clients.get(id);
                member
                    .map(|member| member.patch.clone())
                    .unwrap_or_default()
            };
            let (now, then) = (of(&self.present.batch), of(self.wanted));
            let default = ScepSettings::default();
            let group_after = self.then(&host.group).over(&default);
            Some(Client {
                id: id.clone(),
                before: now.over(&self.now(&host.group).over(&default)),
                after: then.over(&group_after),
                now,
                then,
                group_after,
            })
        })
    }
}

#[derive(Default)]
struct Phases {
    off: Vec<Step>,
    /// Own settings that would not go together with their group's new ones.
    clear: Vec<Step>,
    settings: Vec<Step>,
    on: Vec<Step>,
}

impl Phases {
    fn group(&mut self, name: &str, now: &ScepPatch, then: &ScepPatch) {
        if now == then {
            return;
        }
        let audience = Audience::Group(name.to_owned());
        let default = ScepSettings::default();
        let (before, after) = (now.over(&default), then.over(&default));
        let stays = before.timer && after.timer && !differs(&before, &after);
        let (mut at, mut to) = (now.clone(), then.clone());
        if before.timer && !stays {
            at.timer = Some(false);
            self.off.push(timer(&audience, false));
        }
        if !stays && then.timer == Some(true) {
            to.timer = Some(false);
        }
        if at != to {
            self.settings.push(whole(&audience, &to));
        }
        if to != *then {
            self.on.push(timer(&audience, true));
        }
    }

    fn client(&mut self, client: &Client) {
        let audience = Audience::Client(client.id.clone());
        let Client {
            now,
            then,
            before,
            after,
            ..
        } = client;
        // Its own settings stay for a while after its group's have changed.
        let between = now.over(&client.group_after);
        let disturbed = differs(before, after) || differs(before, &between);
        if now == then {
            // Its group cannot change while its own timer is on.
            if now.timer == Some(true) && disturbed {
                self.off.push(timer(&audience, false));
                self.on.push(timer(&audience, true));
            }
            return;
        }
        let stays = before.timer && after.timer && !disturbed;
        let mut at = now.clone();
        if before.timer && !stays {
            at.timer = Some(false);
            self.off.push(timer(&audience, false));
        }
        if *before != between && at.over(&client.group_after).check().is_err() {
            at = off();
            self.clear.push(whole(&audience, &at));
        }
        let mut to = then.clone();
        if !stays && after.timer {
            to.timer = Some(false);
        }
        if at != to {
            self.settings.push(whole(&audience, &to));
        }
        if to != *then {
            self.on.push(if then.timer == Some(true) {
                timer(&audience, true)
            } else {
                whole(&audience, then)
            });
        }
    }
}

/// Whether anything but the timer differs.
fn differs(from: &ScepSettings, to: &ScepSettings) -> bool {
    ScepPatch::between(from, to)
        .fields()
        .iter()
        .any(|field| *field != "timer")
}

fn off() -> ScepPatch {
    ScepPatch {
        timer: Some(false),
        ..ScepPatch::default()
    }
}

fn timer(audience: &Audience, on: bool) -> Step {
    Step::Set {
        audience: audience.clone(),
        patch: Box::new(ScepPatch {
            timer: Some(on),
            ..ScepPatch::default()
        }),
        reset: false,
    }
}

fn whole(audience: &Audience, patch: &ScepPatch) -> Step {
    Step::Set {
        audience: audience.clone(),
        patch: Box::new(patch.clone()),
        reset: true,
    }
}
