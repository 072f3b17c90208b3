//! What may be set, and what a report changes. Repetition is success without events.

use std::collections::{BTreeMap, VecDeque};

use convoy_shared::{
    enrolment::RequestRecord,
    id::Revision,
    settings::{ScepPatch, ScepSettings},
};

use super::{Audience, EnrolmentCommand, EnrolmentEvent, EnrolmentStatement, HISTORY};
use crate::{
    client::{ClientNumber, ClientState},
    event::Event,
    refusal::Refusal,
    state::Fleet,
};

/// Decides a command.
pub(crate) fn decide(fleet: &Fleet, command: EnrolmentCommand) -> Result<Vec<Event>, Refusal> {
    match &command {
        EnrolmentCommand::SetSettings { audience, .. } => exists(fleet, audience, false)?,
        EnrolmentCommand::NoteSecret {
            audience, present, ..
        } => exists(fleet, audience, !present)?,
    }
    let enrolment = fleet.enrolment();
    match command {
        EnrolmentCommand::SetSettings {
            audience,
            patch,
            reset,
        } => {
            let before = enrolment.set(&audience);
            let after = if reset { *patch } else { patch.after(&before) };
            if after == before {
                return Ok(vec![]);
            }
            check(fleet, &audience, &after)?;
            Ok(vec![Event::Enrolment(EnrolmentEvent::SettingsSet {
                audience,
                revision: enrolment.revision().next(),
                patch: Box::new(after),
            })])
        }
        EnrolmentCommand::NoteSecret {
            audience,
            ndes,
            present,
        } => {
            if !present && !enrolment.is_stored(&audience, ndes) {
                return Ok(vec![]);
            }
            Ok(vec![Event::Enrolment(EnrolmentEvent::SecretStored {
                audience,
                ndes,
                present,
            })])
        }
    }
}

/// Decommissioned ones get nothing any more; but their secrets can be forgotten.
fn exists(fleet: &Fleet, audience: &Audience, forgets: bool) -> Result<(), Refusal> {
    match audience {
        Audience::Group(group) if fleet.group(group).is_none() => {
            Err(Refusal::NoSuchGroup(group.clone()))
        }
        Audience::Group(_) => Ok(()),
        Audience::Client(client) => match fleet.client(*client) {
            None => Err(Refusal::NoSuchClient),
            Some(known) if known.state == ClientState::Decommissioned && !forgets => {
                Err(Refusal::ClientDecommissioned)
            }
            Some(_) => Ok(()),
        },
    }
}

/// Every device that the change concerns must be able to follow it, and none may have its timer on before and after it (C1.2 of the printers' manual).
fn check(fleet: &Fleet, audience: &Audience, after: &ScepPatch) -> Result<(), Refusal> {
    let enrolment = fleet.enrolment();
    match audience {
        Audience::Group(group) => {
            let from = enrolment.group(group);
            let to = after.over(&ScepSettings::default());
            one(&from, &to, group.as_str())?;
            for (number, patch) in enrolment.differing() {
                let Some(client) = fleet.client(number).filter(|client| {
                    client.group == *group && client.state != ClientState::Decommissioned
                }) else {
                    continue;
                };
                let name = &client.name;
                one(&patch.over(&from), &patch.over(&to), name).map_err(
                    |refusal| match refusal {
                        Refusal::BadSetting(bad) => Refusal::BadSetting(format!(
                            "{name}, whose own settings differ from its group's: {bad}"
                        )),
                        other => other,
                    },
                )?;
            }
            Ok(())
        }
        Audience::Client(number) => {
            let client = fleet.client(*number).ok_or(Refusal::NoSuchClient)?;
            let group = enrolment.group(&client.group);
            let from = enrolment.client(*number, &client.group);
            one(&from, &after.over(&group), &client.name)
        }
    }
}

fn one(from: &ScepSettings, to: &ScepSettings, whose: &str) -> Result<(), Refusal> {
    let fields = ScepPatch::between(from, to).fields();
    let others: Vec<_> = fields
        .iter()
        .copied()
        .filter(|field| *field != "timer")
        .collect();
    if from.timer && to.timer && !others.is_empty() {
        return Err(Refusal::TimerOn {
            whose: whose.to_owned(),
            fields: others.join(", "),
        });
    }
    // What does not change needs no leave, and the timer alone can always be turned off, also of settings that an earlier version allowed.
    if fields.is_empty() || (others.is_empty() && !to.timer) {
        return Ok(());
    }
    to.check()
        .map_err(|bad| Refusal::BadSetting(bad.to_string()))
}

/// Decides what a client states.
pub(crate) fn report(
    fleet: &Fleet,
    client: ClientNumber,
    statement: EnrolmentStatement,
) -> Vec<Event> {
    let known = fleet.enrolment().requests(client);
    match statement {
        EnrolmentStatement::Reported(records) => {
            let none = VecDeque::new();
            news(known.map_or(&none, |known| &known.records), records)
                .into_iter()
                .map(|record| Event::Enrolment(EnrolmentEvent::Reported { client, record }))
                .collect()
        }
        EnrolmentStatement::Stated { held, supports } => {
            let supports: Vec<String> = supports
                .into_iter()
                .filter(|word| {
                    (1..=WORD).contains(&word.chars().count())
                        && !word.chars().any(char::is_control)
                })
                .take(WORDS)
                .collect();
            let same = known.map_or(held == Revision(0) && supports.is_empty(), |known| {
                known.held == held && known.supports == supports
            });
            if same {
                vec![]
            } else {
                vec![Event::Enrolment(EnrolmentEvent::Stated {
                    client,
                    held,
                    supports,
                })]
            }
        }
    }
}

/// What is kept of what a client says it supports: so many words, of so many characters.
const WORDS: usize = 64;
const WORD: usize = 64;

/// Of each attempt the last that is news, oldest first: one report may say several things of one attempt, in any order.
fn news(known: &VecDeque<RequestRecord>, records: Vec<RequestRecord>) -> Vec<RequestRecord> {
    let newest = known.back().map_or(0, |record| record.attempt);
    let mut news = BTreeMap::<u64, RequestRecord>::new();
    for record in records {
        let before = news.get(&record.attempt).or_else(|| {
            known
                .iter()
                .rev()
                .find(|known| known.attempt == record.attempt)
        });
        let is_news = match before {
            Some(before) => follows(before, &record),
            None => record.attempt > newest,
        };
        if is_news {
            news.insert(record.attempt, record);
        }
    }
    // More would push each other out.
    let surplus = news.len().saturating_sub(HISTORY);
    news.into_values().skip(surplus).collect()
}

/// Whether a record replaces what is known of the same attempt. What has ended stays so, and an end always counts: a device's clock may have been set back.
fn follows(before: &RequestRecord, record: &RequestRecord) -> bool {
    !before.state.is_final()
        && before != record
        && (record.state.is_final() || record.updated_at >= before.updated_at)
}
