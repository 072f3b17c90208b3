//! What an agent says first in a session: what it holds. Nothing is sent here.

use convoy_proto::{agent::PROTOCOL_VERSION, v1};
use convoy_shared::{
    address::Address,
    id::{Digest, FleetId, InstanceId, RootVersion},
    proof::Nonce,
    trust::ModeInForce,
};

use crate::{VERSION, clock::wall, state::State};

/// This start of this agent on this host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Random per start: tells a restart from a copy.
    pub instance: InstanceId,
    /// The kernel's boot id, or empty.
    pub boot_id: String,
    /// The host's machine id, or empty.
    pub machine_id: String,
}

impl Host {
    /// This process, on this host.
    #[must_use]
    pub fn of_process() -> Self {
        let line = |path: &str| {
            std::fs::read_to_string(path)
                .map(|text| text.trim().chars().take(64).collect())
                // A host without one says nothing.
                .unwrap_or_default()
        };
        Self {
            instance: InstanceId::new(uuid::Uuid::new_v4()),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            machine_id: line("/etc/machine-id"),
        }
    }
}

/// Fresh random bytes for a channel proof.
#[must_use]
pub fn nonce() -> Nonce {
    rand::random()
}

/// The hello of a client in this state, with the mode in force, to the address that it dialled. What it says of SCEP is added by the SCEP engine.
#[must_use]
pub fn hello(
    state: &State,
    mode: ModeInForce,
    nonce: &Nonce,
    host: &Host,
    address: &Address,
) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        nonce: nonce.to_vec().into(),
        incarnation: state.incarnation.0,
        instance: host.instance.as_bytes().to_vec().into(),
        boot_id: host.boot_id.clone(),
        machine_id: machine_of(state.fleet_id(), &host.machine_id),
        root_version: state.root.root.version.0,
        trust: Some(state.held().into()),
        mode: v1::VerificationMode::from(mode).into(),
        agent_version: VERSION.to_owned(),
        scep_revision: 0,
        scep_supports: Vec::new(),
        wall_clock_seconds: wall().as_second(),
        epoch: state.trust.document.epoch.0,
        address: address.to_string(),
    }
}

/// What this client trusts, as it was signed, with the roots that a controller which has `root_version` lacks.
#[must_use]
pub fn trust_shown(state: &State, root_version: RootVersion) -> v1::TrustShown {
    v1::TrustShown {
        trust: Some(state.trust.envelope.clone().into()),
        roots: state
            .earlier_roots
            .iter()
            .chain([&state.root])
            .filter(|signed| signed.root.version > root_version)
            .map(|signed| signed.envelope.clone().into())
            .collect(),
        name: state.name.clone(),
    }
}

/// The machine id itself is confidential (machine-id(5)), and a hello is sent to a peer that has not proved itself yet.
fn machine_of(fleet: FleetId, machine_id: &str) -> String {
    if machine_id.is_empty() {
        return String::new();
    }
    let mut keyed = b"convoy machine v1\0".to_vec();
    keyed.extend_from_slice(fleet.as_bytes());
    keyed.extend_from_slice(machine_id.as_bytes());
    Digest::of(&keyed).to_string()
}
