//! SCEP settings of groups and clients, and what became of the clients' requests. Documents never touch a gate: nothing of a rotation is here.

mod decide;
mod plan;
mod state;

use convoy_shared::{
    enrolment::RequestRecord,
    id::{GroupName, Revision},
    settings::ScepPatch,
};

use crate::client::ClientNumber;

pub(crate) use decide::{decide, report};
pub use plan::{Load, Plan, STEPS, Step, plan};
pub use state::{Enrolment, Requests};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A group's.
    Group(GroupName),
    /// One client's, where they differ from its group's.
    Client(ClientNumber),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrolmentEvent {
    /// Settings were changed.
    SettingsSet {
        /// Whose.
        audience: Audience,
        /// Counts changes, fleet-wide, from 1.
        revision: Revision,
        /// All that is set for it from now on: for a group over the defaults, for a client over its group's.
        patch: Box<ScepPatch>,
    },
    /// The controller was given a secret, or told to forget it. The secret itself lies in a file of its own.
    SecretStored {
        /// Whose settings it goes with.
        audience: Audience,
        /// It is NDES's password, and no challenge.
        ndes: bool,
        /// There is one now.
        present: bool,
    },
    /// A client reported what became of a request.
    Reported {
        /// Whose.
        client: ClientNumber,
        /// Replaces what is known of the same attempt.
        record: RequestRecord,
    },
    /// A client stated what is on its disk and what it can do.
    Stated {
        /// Whose.
        client: ClientNumber,
        /// Revision of its SCEP document. 0: none.
        held: Revision,
        /// What it supports of SCEP.
        supports: Vec<String>,
    },
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum EnrolmentCommand {
    /// Change settings.
    SetSettings {
        /// Whose.
        audience: Audience,
        /// What is to change.
        patch: Box<ScepPatch>,
        /// Forget what was set before.
        reset: bool,
    },
    /// Note that a secret was stored or forgotten: it is on disk, or gone, already.
    NoteSecret {
        /// Whose settings it goes with.
        audience: Audience,
        /// It is NDES's password.
        ndes: bool,
        /// There is one now.
        present: bool,
    },
}

/// What a client states of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnrolmentStatement {
    /// What became of requests.
    Reported(Vec<RequestRecord>),
    /// What is on its disk, and what it can do.
    Stated {
        /// Revision of its SCEP document. 0: none.
        held: Revision,
        /// What it supports of SCEP.
        supports: Vec<String>,
    },
}

/// The requests of a client that are remembered: more than a device does.
pub const HISTORY: usize = 100;
