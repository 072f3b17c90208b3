//! How a rotation is started and brought to a phase, and what it looks like there. Nothing is proved here.

use super::*;

impl World {
    /// Imports a new certificate and starts a rotation to it.
    pub(super) fn start(&mut self, strategy: Strategy) -> RotationId {
        self.start_with(strategy, RotationOptions::default())
    }

    pub(super) fn start_with(
        &mut self,
        strategy: Strategy,
        options: RotationOptions,
    ) -> RotationId {
        let to = self.import(&format!("certificate {}", self.last_id));
        let command = self.start_command(strategy, to, options);
        self.does(command);
        self.rotation().id
    }

    pub(super) fn start_command(
        &mut self,
        strategy: Strategy,
        to: Generation,
        options: RotationOptions,
    ) -> Command {
        Command::StartRotation {
            rotation: RotationId::new(self.uuid()),
            to,
            strategy,
            options,
            allow_empty: false,
        }
    }

    pub(super) fn import(&mut self, name: &str) -> Generation {
        let certificate = self.certificate(name);
        self.does(Command::ImportCertificate(certificate));
        let (newest, _) = self.fleet.certificates().next_back().expect("one");
        newest
    }

    /// A rotation with so many hosts that has come to this phase by their proofs.
    pub(super) fn at(phase: Phase, strategy: Strategy, hosts: usize) -> (Self, Vec<Host>) {
        let mut world = Self::new();
        let mut hosts = world.hosts(hosts);
        world.start(strategy);
        world.drive(&mut hosts, phase);
        (world, hosts)
    }

    /// Lets these hosts come by until the rotation is in this phase.
    pub(super) fn drive(&mut self, hosts: &mut [Host], phase: Phase) {
        for _ in 0..16 {
            while self.phase() != phase && self.do_duty() {}
            if self.phase() == phase {
                return;
            }
            for host in &mut *hosts {
                self.visit(host);
            }
        }
        panic!("stuck in {}, on the way to {phase}", self.phase());
    }

    pub(super) fn rotation(&self) -> &Rotation {
        self.fleet.rotations().last().expect("a rotation")
    }

    pub(super) fn phase(&self) -> Phase {
        self.rotation().phase
    }

    pub(super) fn missing(&self) -> Vec<ClientNumber> {
        gate::missing(&self.fleet, self.rotation(), self.now)
            .iter()
            .collect()
    }

    pub(super) fn waive(&self, client: ClientNumber, time: SignedDuration) -> Command {
        Command::Waive {
            rotation: None,
            client,
            reason: "in repair".to_owned(),
            until: self.now + time,
        }
    }

    pub(super) fn trust(&self, group: &GroupName) -> Held {
        self.fleet.group(group).expect("a group").trust.held
    }

    pub(super) fn purpose(&self, group: &GroupName) -> Purpose {
        self.fleet.group(group).expect("a group").trust.purpose
    }

    /// Mode and anchors of the default group's document.
    pub(super) fn published(&self) -> (Mode, Vec<u64>) {
        let trust = &self
            .fleet
            .group(&GroupName::default_group())
            .expect("a group")
            .trust;
        let anchors = self.fleet.anchors_of(trust.held.revision);
        (trust.mode, anchors.iter().map(|anchor| anchor.0).collect())
    }

    pub(super) fn serving(&self) -> u64 {
        self.fleet.serving().expect("one is served").0
    }

    /// Received, applied, proved, confirmed.
    pub(super) fn counts(&self) -> [u64; 4] {
        let rotation = self.rotation();
        [
            &rotation.received,
            &rotation.applied,
            &rotation.proved,
            &rotation.confirmed,
        ]
        .map(RoaringBitmap::len)
    }
}
