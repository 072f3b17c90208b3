//! Manual requests: what is asked for, and whether it can be. Nothing of one is stored but its result (C2.6).

use convoy_proto::{
    scep::{BadScep, read_settings},
    v1,
};
use convoy_scep::request::Challenge;
use convoy_shared::{
    enrolment::Trigger,
    settings::{CaPin, ScepPatch, ScepServer, ScepSettings},
};
use zeroize::Zeroizing;

use super::Engine;
use crate::{
    link::told,
    scep::{attempt::Ended, challenge::Given, ledger::Terms, names},
};

/// A manual request. Nothing of it is stored but its result.
pub(crate) struct Order {
    pub(crate) settings: ScepSettings,
    pub(crate) url: String,
    /// `None`: to be obtained as the settings say.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) restart: bool,
}

/// A manual request by the device's administrator: what differs from the settings that are obeyed.
pub(crate) struct Wish {
    pub(crate) patch: ScepPatch,
    /// `None`: to be obtained as the settings say.
    pub(crate) challenge: Option<Challenge>,
    pub(crate) restart: bool,
}

impl Order {
    /// Reads an order.
    ///
    /// # Errors
    /// If the settings cannot be, for people.
    pub(crate) fn read(wire: v1::ScepOrder) -> Result<Self, String> {
        let challenge = Zeroizing::new(wire.challenge);
        let settings = wire.settings.ok_or(BadScep::Missing("settings"));
        let settings = settings
            .and_then(read_settings)
            .map_err(|error| told(&error))?;
        let challenge = Some(challenge).filter(|text| !text.is_empty());
        Ok(Self {
            settings,
            url: wire.url,
            challenge: challenge
                .map(|mut text| Challenge::new(std::mem::take(&mut *text)))
                .transpose()
                .map_err(|error| error.to_string())?,
            restart: wire.restart,
        })
    }
}

/// An order that has become a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) attempt: u64,
    pub(crate) warnings: Vec<String>,
}

impl Engine {
    /// Begins a manual request, or says why not.
    pub(super) fn order(&mut self, order: Order) -> Result<Taken, String> {
        if self.rules.settings.timer {
            return Err("the auto-request timer is on: turn it off first".to_owned());
        }
        let busy = self.bench.book.read(|ledger| {
            let mut records = ledger.records.iter();
            let open = records.find(|record| !record.state.is_final());
            open.map(|record| record.attempt)
        });
        if let Some(attempt) = busy {
            return Err(format!(
                "request {attempt} is being processed: wait for its end"
            ));
        }
        order.settings.check().map_err(|error| error.to_string())?;
        if order.url.is_empty() {
            return Err("no SCEP server is set".to_owned());
        }
        if order.challenge.is_some()
            && matches!(order.settings.server, ScepServer::Url(_))
            && order.settings.ca_fingerprint == CaPin::None
        {
            return Err("ca_fingerprint is not set: who stands between the device and the SCEP server could read the challenge password. Give the SHA-256 of the CA's certificate (--ca-fingerprint), or \"any\" to take whatever CA answers".to_owned());
        }
        let configuration = self.bench.configuration().map_err(|ended| match ended {
            Ended::Failed(why) | Ended::Abandoned(why) => why.cause(),
            Ended::Left => "the agent ends".to_owned(),
        })?;
        let (key_use, destination) = (order.settings.key_use, &order.settings.ipsec_destination);
        configuration
            .places
            .place(key_use, destination)
            .map_err(|error| told(&error))?;
        let mut warnings = Vec::new();
        warnings.extend(names::not_an_address(key_use, &order.settings.common_name));
        if order.restart && configuration.restart.is_none() {
            warnings.push(
                "the device will not be restarted: how to is not configured on it".to_owned(),
            );
        }
        let terms = Terms {
            settings: order.settings,
            url: order.url,
            revision: self.rules.revision,
        };
        let given = order.challenge.map(|challenge| Given {
            challenge: Some(challenge),
            expires_at: None,
            storable: false,
        });
        let attempt = self.begin(terms, Trigger::Manual, given, order.restart, None);
        Ok(Taken { attempt, warnings })
    }
}
