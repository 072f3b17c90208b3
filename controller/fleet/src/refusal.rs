//! Why a command is refused, in words and as a constant. Which gRPC code that becomes is decided in the API.

use convoy_shared::{
    address::Address,
    id::{ClientId, Epoch, Generation, GroupName, RotationId, TokenId},
    root::BadSuccession,
};
use jiff::Timestamp;

use crate::{issuance::ChallengeId, rotation::Phase};

/// Why a command is refused. `Display` says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The journal is empty.
    #[error("this controller has no fleet yet")]
    NotFounded,
    /// The journal is not empty.
    #[error("this controller has a fleet already")]
    AlreadyFounded,
    /// The root that was made may not follow.
    #[error("the new root cannot follow the one in force, and nothing has changed: {0}; try again")]
    BadRoot(BadSuccession),
    /// No such group.
    #[error(
        "there is no group {0}; `convoy groups list` shows them, and `convoy groups create {0}` creates it"
    )]
    NoSuchGroup(GroupName),
    /// The operator's watch and the host's clock differ.
    #[error(
        "it is {time:.0}, you say, and this host's clock says {clock:.0}: they must agree within 5 minutes. Set the host's clock, then say it again"
    )]
    ClockSaysOtherwise {
        /// What the operator says.
        time: Timestamp,
        /// What the wall clock says.
        clock: Timestamp,
    },
    /// The name is taken.
    #[error("a group {0} exists already")]
    GroupExists(GroupName),
    /// No such token.
    #[error("the controller does not know this join token; create one with `convoy token create`")]
    UnknownToken(TokenId),
    /// Too late.
    #[error("this join token expired at {0}; create another with `convoy token create`")]
    TokenExpired(Timestamp),
    /// Too often.
    #[error(
        "this join token has admitted all {0} clients that it was made for; create another with `convoy token create --uses N`"
    )]
    TokenUsedUp(u32),
    /// Revoked.
    #[error("this join token was revoked; create another with `convoy token create`")]
    TokenRevoked,
    /// The token's lifetime is over before it begins.
    #[error("a join token must expire in the future")]
    TokenBornExpired,
    /// The key belongs to a client that was removed.
    #[error("this identity was decommissioned; join again from a fresh state folder")]
    ClientDecommissioned,
    /// The roster does not have it so.
    #[error(
        "the roster does not know this client, or records another key for it. If the controller was restored from an older copy, bring that in order first; else \
         join from a fresh state folder"
    )]
    NotRecorded,
    /// No such client.
    #[error("there is no such client; `convoy clients list` shows them")]
    NoSuchClient,
    /// Only duplicated and suspect clients can be resolved.
    #[error("the client is neither duplicated nor under suspicion: there is nothing to resolve")]
    NothingToResolve,
    /// No such certificate.
    #[error("there is no certificate of generation {0}; `convoy cert list` shows them")]
    NoSuchGeneration(Generation),
    /// Nothing to rotate to.
    #[error("generation {0} is served already")]
    AlreadyServed(Generation),
    /// Expired since it was imported.
    #[error(
        "the certificate of generation {generation} expired at {not_after}; import another with `convoy cert import`"
    )]
    CertificateExpired {
        /// Which.
        generation: Generation,
        /// When.
        not_after: Timestamp,
    },
    /// Not valid yet.
    #[error("the certificate of generation {generation} is not valid before {not_before}")]
    CertificateNotYetValid {
        /// Which.
        generation: Generation,
        /// From when.
        not_before: Timestamp,
    },
    /// Still needed.
    #[error("generation {0} is served or part of a running rotation, and cannot be retired")]
    CertificateInUse(Generation),
    /// Somebody still needs it.
    #[error(
        "some clients of the roster ({clients}) trust nothing that is served but generation {generation}, and could not connect any more; `convoy clients \
         show` says who is at risk. Bring them back first, or say --force"
    )]
    CutsOff {
        /// The certificate.
        generation: Generation,
        /// How many clients.
        clients: u64,
    },
    /// One at a time.
    #[error(
        "rotation {running} is running (phase {phase}); wait for it, or end it with `convoy rotation abort`"
    )]
    RotationRunning {
        /// Which.
        running: RotationId,
        /// Where it is.
        phase: Phase,
    },
    /// No such address.
    #[error("{0} is not among the controller's addresses; `convoy addresses show` shows them")]
    NoSuchAddress(Address),
    /// Clients would have none.
    #[error(
        "{0} is the only address of the controller: set another before it is removed, with `convoy addresses set`"
    )]
    LastAddress(Address),
    /// Somebody may know no other way.
    #[error(
        "these clients of the roster have held no session over an address that stays: {}. They may not find the controller without {}. Bring them back \
         first, or say --force",
        told(.clients, *.more),
        joined(.going)
    )]
    AddressNeeded {
        /// The addresses that would go.
        going: Vec<Address>,
        /// Names of clients, the first few.
        clients: Vec<String>,
        /// How many more there are.
        more: u64,
    },
    /// None runs.
    #[error(
        "no rotation is running; `convoy rotation status` shows the newest. To go back to an earlier certificate: `convoy rotation start --to GENERATION`"
    )]
    NoRotationRunning,
    /// No such rotation.
    #[error("there is no rotation {0}; `convoy rotation list` shows them")]
    NoSuchRotation(RotationId),
    /// There has been none.
    #[error("there has been no rotation yet; `convoy rotation start --to GENERATION` starts one")]
    NoRotationYet,
    /// It is over.
    #[error("rotation {rotation} is over: {phase}")]
    RotationOver {
        /// Which.
        rotation: RotationId,
        /// How it ended.
        phase: Phase,
    },
    /// From the swap on there is no way back but a rollback, and then another rotation.
    #[error(
        "rotation {rotation} is in phase {phase}, and from Swapping on it cannot be aborted. In Swapping: `convoy rotation rollback`. Later clients may \
         trust the new certificate alone: let it end, then put the old one back with another rotation, `convoy rotation start --to {from}`"
    )]
    TooLateToAbort {
        /// Which.
        rotation: RotationId,
        /// Where it is.
        phase: Phase,
        /// The old generation.
        from: Generation,
    },
    /// Only while the swap is under way.
    #[error(
        "rotation {rotation} is in phase {phase}: only Swapping can be rolled back. Before it: `convoy rotation abort`; after it: let it end, then put \
         the old certificate back with `convoy rotation start --to {from}`"
    )]
    NotSwapping {
        /// Which.
        rotation: RotationId,
        /// Where it is.
        phase: Phase,
        /// The old generation.
        from: Generation,
    },
    /// An empty roster.
    #[error(
        "the roster is empty: no gate would wait for anybody. Say `--allow-empty` if that is what you want"
    )]
    NobodyToWaitFor,
    /// Waivers are for the few.
    #[error(
        "as many clients are waived as may be ({waived} of {cap}: 5 % of the roster, at least 1); wait for a waiver to run out, or decommission clients that are gone for good"
    )]
    WaiverCap {
        /// Unexpired waivers.
        waived: u64,
        /// How many there may be.
        cap: u64,
    },
    /// A waiver without future.
    #[error("a waiver must end in the future")]
    WaiverBornExpired,
    /// The root sets a limit.
    #[error(
        "the lease of `off` may be at most {max_off_seconds} seconds: the fleet's root allows no more"
    )]
    LeaseTooLong {
        /// The root's limit.
        max_off_seconds: i64,
    },
    /// The root forbids it.
    #[error("the fleet's root forbids switching verification off; use the strategy `overlap`")]
    OffForbidden,
    /// The same id with another body.
    #[error(
        "the request_id {0:?} was used with another request within the last 24 hours; use a fresh one"
    )]
    RequestReused(String),
    /// C1.2 of the printers' manual.
    #[error(
        "the auto-request timer of {whose} is on, and these settings cannot be changed meanwhile: {fields}. Turn it off first: `convoy scep timer off`"
    )]
    TimerOn {
        /// A group, or a client's name.
        whose: String,
        /// The settings.
        fields: String,
    },
    /// A setting that cannot be.
    #[error("{0}")]
    BadSetting(String),
    /// No built-in CA.
    #[error(
        "this controller's SCEP CA has not been made yet: start the controller with --scep-addr"
    )]
    NoScepAuthority,
    /// There is a next CA already, or none to activate.
    #[error("{0}")]
    Rollover(&'static str),
    /// No such challenge.
    #[error("there is no challenge {0}; `convoy scep challenge list` shows them")]
    NoSuchChallenge(ChallengeId),
    /// The secret is another challenge's.
    #[error("this secret is in use by challenge {0} already; choose another")]
    ChallengeTaken(ChallengeId),
    /// No such profile.
    #[error("there is no issuing profile {0:?}; `convoy scep profile list` shows them")]
    NoSuchProfile(String),
    /// No such transaction waits.
    #[error(
        "no request with the transaction id {0:?} waits; `convoy scep requests list` shows those that do"
    )]
    NoSuchScepRequest(String),
    /// An old copy of the data folder was put back.
    #[error(
        "this journal is older than the fleet: clients hold documents that it does not know, and until that is mended nothing of this kind is done. \
         `convoy recover show` says what is known, and `convoy recover fast-forward` goes on from here"
    )]
    JournalOlder,
    /// Another copy of this controller went on.
    #[error(
        "another copy of this controller has gone on: its journal is of epoch {epoch}, and this one of epoch {own}. Stop this controller and keep that one. \
         If that one is lost, `convoy recover fast-forward --take-over` goes on from here"
    )]
    Superseded {
        /// Of this journal.
        own: Epoch,
        /// Of the other one.
        epoch: Epoch,
    },
    /// The typed count is another.
    #[error(
        "the roster would have {clients} clients afterwards, and {given} were confirmed: nothing was changed. Look at `convoy recover show` again"
    )]
    ConfirmClients {
        /// As confirmed.
        given: u64,
        /// As it would be.
        clients: u64,
    },
    /// The key of a client that is to be readmitted is another client's.
    #[error(
        "the key of client {0} is another client's in this journal: it cannot be readmitted; let it join again"
    )]
    KeyTaken(ClientId),
    /// Every certificate was retired.
    #[error(
        "no certificate that is held may be served: all were retired. Import one with `convoy cert import` first"
    )]
    NothingToServe,
    /// No such certificate.
    #[error(
        "the SCEP CA has issued no certificate with the serial number {0}; `convoy scep issued list` shows them"
    )]
    NoSuchSerial(String),
}

impl Refusal {
    /// The reason as `google.rpc.ErrorInfo` spells it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFounded => "NOT_FOUNDED",
            Self::AlreadyFounded => "ALREADY_FOUNDED",
            Self::BadRoot(_) => "ROOT_SUCCESSION",
            Self::NoSuchGroup(_) => "GROUP_UNKNOWN",
            Self::ClockSaysOtherwise { .. } => "CLOCK_SAYS_OTHERWISE",
            Self::GroupExists(_) => "GROUP_EXISTS",
            Self::UnknownToken(_) => "TOKEN_UNKNOWN",
            Self::TokenExpired(_) => "TOKEN_EXPIRED",
            Self::TokenUsedUp(_) => "TOKEN_USED_UP",
            Self::TokenRevoked => "TOKEN_REVOKED",
            Self::TokenBornExpired => "TOKEN_LIFETIME",
            Self::ClientDecommissioned => "CLIENT_DECOMMISSIONED",
            Self::NotRecorded => "CLIENT_NOT_RECORDED",
            Self::NoSuchClient => "CLIENT_UNKNOWN",
            Self::NothingToResolve => "NOTHING_TO_RESOLVE",
            Self::NoSuchGeneration(_) => "GENERATION_UNKNOWN",
            Self::AlreadyServed(_) => "GENERATION_SERVED",
            Self::CertificateExpired { .. } => "CERTIFICATE_EXPIRED",
            Self::CertificateNotYetValid { .. } => "CERTIFICATE_NOT_YET_VALID",
            Self::CertificateInUse(_) => "CERTIFICATE_IN_USE",
            Self::CutsOff { .. } => "CUTS_OFF_CLIENTS",
            Self::RotationRunning { .. } => "ROTATION_RUNNING",
            Self::NoSuchAddress(_) => "ADDRESS_UNKNOWN",
            Self::LastAddress(_) => "LAST_ADDRESS",
            Self::AddressNeeded { .. } => "ADDRESS_NEEDED",
            Self::NoRotationRunning => "NO_ROTATION_RUNNING",
            Self::NoSuchRotation(_) => "ROTATION_UNKNOWN",
            Self::NoRotationYet => "NO_ROTATION_YET",
            Self::RotationOver { .. } => "ROTATION_OVER",
            Self::TooLateToAbort { .. } => "TOO_LATE_TO_ABORT",
            Self::NotSwapping { .. } => "NOT_SWAPPING",
            Self::NobodyToWaitFor => "NOBODY_TO_WAIT_FOR",
            Self::WaiverCap { .. } => "WAIVER_CAP",
            Self::WaiverBornExpired => "WAIVER_LIFETIME",
            Self::LeaseTooLong { .. } => "LEASE_TOO_LONG",
            Self::OffForbidden => "OFF_FORBIDDEN",
            Self::RequestReused(_) => "REQUEST_ID_REUSED",
            Self::TimerOn { .. } => "TIMER_ON",
            Self::BadSetting(_) => "BAD_SETTING",
            Self::NoScepAuthority => "SCEP_AUTHORITY_MISSING",
            Self::Rollover(_) => "SCEP_ROLLOVER",
            Self::NoSuchChallenge(_) => "CHALLENGE_UNKNOWN",
            Self::ChallengeTaken(_) => "CHALLENGE_TAKEN",
            Self::NoSuchProfile(_) => "PROFILE_UNKNOWN",
            Self::NoSuchScepRequest(_) => "SCEP_REQUEST_UNKNOWN",
            Self::JournalOlder => "JOURNAL_OLDER",
            Self::Superseded { .. } => "SUPERSEDED",
            Self::ConfirmClients { .. } => "CONFIRM_CLIENTS",
            Self::KeyTaken(_) => "KEY_TAKEN",
            Self::NothingToServe => "NOTHING_TO_SERVE",
            Self::NoSuchSerial(_) => "SERIAL_UNKNOWN",
        }
    }
}

fn told(names: &[String], more: u64) -> String {
    let names = names.join(", ");
    match more {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

fn joined(addresses: &[Address]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
