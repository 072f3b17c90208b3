//! Hosts that are structs: how they join, connect and show what their documents are about, as an honest agent does. Nothing is proved here.

use super::*;

/// A host: what is on its disk, and its agent.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) number: ClientNumber,
    pub(super) group: GroupName,
    pub(super) held: Held,
    pub(super) anchors: Vec<AnchorNumber>,
    pub(super) off: bool,
    pub(super) instance: InstanceId,
    pub(super) incarnation: Incarnation,
}

impl Host {
    /// Writes its group's document to its disk.
    pub(super) fn store(&mut self, fleet: &Fleet) {
        let trust = &fleet.group(&self.group).expect("a group").trust;
        self.held = trust.held;
        self.anchors = fleet.anchors_of(trust.held.revision).to_vec();
        self.off = trust.mode != Mode::Verify;
    }

    /// The certificate that it is shown.
    pub(super) fn served(&self, fleet: &Fleet) -> Generation {
        let anchors = (!self.off).then_some(&*self.anchors);
        let choice = fleet.certificate_for(anchors).expect("one is served");
        choice.generation
    }

    pub(super) fn connected(&self, fleet: &Fleet) -> Statement {
        Statement::Connected {
            incarnation: self.incarnation,
            instance: self.instance,
            held: self.held,
            signed: false,
            mode: if self.off {
                ModeInForce::Off
            } else {
                ModeInForce::Verify
            },
            agent_version: "1".to_owned(),
            served: self.served(fleet),
        }
    }
}

impl World {
    pub(super) fn token(&mut self, uses: u32, lifetime: SignedDuration) -> TokenId {
        self.token_for(&GroupName::default_group(), uses, lifetime)
    }

    pub(super) fn token_for(
        &mut self,
        group: &GroupName,
        uses: u32,
        lifetime: SignedDuration,
    ) -> TokenId {
        let token = TokenId::new(self.uuid());
        self.does(Command::CreateToken {
            token,
            group: group.clone(),
            uses,
            expires_at: self.now + lifetime,
            public_key: PublicKey::from_bytes(&[2; 32]).expect("32 bytes"),
        });
        token
    }

    pub(super) fn join(&mut self, token: TokenId, key: &str) -> Command {
        Command::Join {
            token,
            id: ClientId::new(self.uuid()),
            key: Digest::of(key.as_bytes()),
            name: key.to_owned(),
            agent_version: "1".to_owned(),
            identity_expires_at: self.now + DAY * 365,
        }
    }

    /// A new host, which has its group's document and has opened no session yet.
    pub(super) fn joins(&mut self, group: &GroupName) -> Host {
        let token = match self.tokens.get(group) {
            Some(token) => *token,
            None => self.token_for(group, u32::MAX, DAY * 36_500),
        };
        self.tokens.insert(group.clone(), token);
        let number = self.fleet.next_client();
        let join = self.join(token, &format!("host {number}"));
        self.does(join);
        let instance = InstanceId::new(self.uuid());
        let mut host = Host {
            number,
            group: group.clone(),
            held: self.trust(group),
            anchors: vec![],
            off: false,
            instance,
            incarnation: Incarnation(1),
        };
        host.store(&self.fleet);
        host
    }

    /// A new host of the default group that has opened a session.
    pub(super) fn host(&mut self) -> Host {
        let host = self.joins(&GroupName::default_group());
        self.connect(&host);
        host
    }

    pub(super) fn hosts(&mut self, count: usize) -> Vec<Host> {
        (0..count).map(|_| self.host()).collect()
    }

    pub(super) fn connect(&mut self, host: &Host) -> Vec<Event> {
        self.state(host.number, host.connected(&self.fleet))
    }

    /// The agent is started again.
    pub(super) fn reboot(&mut self, host: &mut Host) {
        host.instance = InstanceId::new(self.uuid());
        host.incarnation = host.incarnation.next();
    }

    /// A session of an honest agent: it stores its group's document, comes back with it and shows what it can.
    pub(super) fn visit(&mut self, host: &mut Host) {
        self.connect(host);
        self.fetch(host);
        self.show(host);
    }

    /// It stores its group's document, if it is another one, and comes back with it.
    pub(super) fn fetch(&mut self, host: &mut Host) {
        if host.held != self.trust(&host.group) {
            self.state(host.number, Statement::Received(self.trust(&host.group)));
            host.store(&self.fleet);
            self.state(host.number, Statement::Applied(host.held));
            self.connect(host);
        }
    }

    /// It shows what its document is about, if the controller can see it now.
    pub(super) fn show(&mut self, host: &Host) {
        let Some(rotation) = self.fleet.rotations().last() else {
            return;
        };
        let (to, held) = (rotation.to, host.held);
        let statement = match self.purpose(&host.group) {
            Purpose::Prepare(id) if id == rotation.id && rotation.candidate_held => {
                match rotation.strategy {
                    Strategy::Overlap => Statement::Proved(held, to),
                    Strategy::Toggle => Statement::Relaxed(held),
                }
            }
            Purpose::Enforce(id) if id == rotation.id && host.served(&self.fleet) == to => {
                Statement::Confirmed(held, to)
            }
            Purpose::Prepare(_) | Purpose::Enforce(_) | Purpose::Steady => return,
        };
        self.state(host.number, statement);
    }

    pub(super) fn client(&self, host: &Host) -> &Client {
        self.fleet.client(host.number).expect("a client")
    }

    pub(super) fn standing(&self, host: &Host) -> Standing {
        let last_seen = self.presence.last_seen(host.number);
        self.fleet.standing(self.client(host), last_seen, self.now)
    }

    pub(super) fn cut_off(&self) -> RoaringBitmap {
        let last_seen = |number| self.presence.last_seen(number);
        self.fleet.cut_off(last_seen, self.now)
    }
}
