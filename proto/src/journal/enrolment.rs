//! Events about SCEP settings and requests: bytes to events and back. What they mean is the fleet's.

use convoy_fleet::enrolment::{Audience, EnrolmentEvent};
use convoy_shared::id::Revision;

use super::{
    BadEntry,
    wire::{self, audience, enrolment_event::Kind},
};
use crate::scep::{read_patch, read_record, write_patch, write_record};

pub(super) fn write_enrolment(event: &EnrolmentEvent) -> wire::EnrolmentEvent {
    let kind = match event {
        EnrolmentEvent::SettingsSet {
            audience,
            revision,
            patch,
        } => Kind::SettingsSet(wire::SettingsSet {
            audience: Some(audience.into()),
            revision: revision.0,
            patch: Some(write_patch(patch)),
        }),
        EnrolmentEvent::SecretStored {
            audience,
            ndes,
            present,
        } => Kind::SecretStored(wire::SecretStored {
            audience: Some(audience.into()),
            ndes: *ndes,
            present: *present,
        }),
        EnrolmentEvent::Reported { client, record } => Kind::Reported(wire::Reported {
            client: *client,
            record: Some(write_record(record)),
        }),
        EnrolmentEvent::Stated {
            client,
            held,
            supports,
        } => Kind::Stated(wire::Stated {
            client: *client,
            held: held.0,
            supports: supports.clone(),
        }),
    };
    wire::EnrolmentEvent { kind: Some(kind) }
}

pub(super) fn read_enrolment(wire: wire::EnrolmentEvent) -> Result<EnrolmentEvent, BadEntry> {
    Ok(match wire.kind.ok_or(BadEntry::Missing("enrolment"))? {
        Kind::SettingsSet(wire) => EnrolmentEvent::SettingsSet {
            audience: read_audience(wire.audience)?,
            revision: Revision(wire.revision),
            patch: Box::new(read_patch(wire.patch.ok_or(BadEntry::Missing("patch"))?)?),
        },
        Kind::SecretStored(wire) => EnrolmentEvent::SecretStored {
            audience: read_audience(wire.audience)?,
            ndes: wire.ndes,
            present: wire.present,
        },
        Kind::Reported(wire) => EnrolmentEvent::Reported {
            client: wire.client,
            record: read_record(wire.record.ok_or(BadEntry::Missing("record"))?)?,
        },
        Kind::Stated(wire) => EnrolmentEvent::Stated {
            client: wire.client,
            held: Revision(wire.held),
            supports: wire.supports,
        },
    })
}

impl From<&Audience> for wire::Audience {
    fn from(audience: &Audience) -> Self {
        Self {
            kind: Some(match audience {
                Audience::Group(group) => audience::Kind::Group(group.to_string()),
                Audience::Client(client) => audience::Kind::Client(*client),
            }),
        }
    }
}

fn read_audience(wire: Option<wire::Audience>) -> Result<Audience, BadEntry> {
    let kind = wire.and_then(|wire| wire.kind);
    Ok(match kind.ok_or(BadEntry::Missing("audience"))? {
        audience::Kind::Group(group) => Audience::Group(group.parse()?),
        audience::Kind::Client(client) => Audience::Client(client),
    })
}
