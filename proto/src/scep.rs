//! SCEP settings, documents and request records: wire to model and back. What they mean is the model's.

use convoy_shared::{
    enrolment::{ErrorDetail, FailInfo, IssuedCertificate, RequestRecord, RequestState, Trigger},
    envelope::{BadEnvelope, Envelope, PayloadType},
    id::{BadId, ClientId, Digest, FleetId, Revision, RootVersion},
    root::Root,
    settings::{BadSetting, ScepDocument, ScepPatch, ScepSettings, Span},
};
use prost::Message as _;

use crate::{
    time::{BadTime, duration, read_length, read_timestamp, timestamp},
    v1,
};

/// Why a message about SCEP cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadScep {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// An identifier.
    #[error(transparent)]
    Id(#[from] BadId),
    /// A time.
    #[error(transparent)]
    Time(#[from] BadTime),
    /// The envelope.
    #[error(transparent)]
    Envelope(#[from] BadEnvelope),
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field cannot be.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// No protobuf.
    #[error("the document is malformed")]
    Malformed,
    /// Of another fleet or device.
    #[error("the document is for another device")]
    Foreign,
}

/// Writes what is set.
#[must_use]
pub fn write_patch(patch: &ScepPatch) -> v1::ScepSettings {
    v1::ScepSettings {
        server: patch.server.as_ref().map(ToString::to_string),
        port: patch.port.map(u32::from),
        timeout: patch.timeout.map(|span| duration(span.0)),
        ca_identifier: patch.ca_identifier.clone(),
        ca_fingerprint: patch.ca_fingerprint.as_ref().map(ToString::to_string),
        allow_legacy: patch.allow_legacy,
        get_only: patch.get_only,
        challenge: patch.challenge.as_ref().map(ToString::to_string),
        ndes_url: patch.ndes_url.clone(),
        ndes_user: patch.ndes_user.clone(),
        ndes_cache: patch.ndes_cache,
        timer: patch.timer,
        request_start: patch.request_start.as_ref().map(ToString::to_string),
        auto_adjust: patch.auto_adjust,
        polls: patch.polls,
        poll_interval: patch.poll_interval.map(|span| duration(span.0)),
        periodic: patch.periodic.as_ref().map(ToString::to_string),
        restart: patch.restart,
        delete_old: patch.delete_old,
        capacity: patch.capacity.as_ref().map(ToString::to_string),
        window: patch.window.map(|span| duration(span.0)),
        key_name: patch.key_name.clone(),
        signature_algorithm: patch.signature_algorithm.as_ref().map(ToString::to_string),
        key_length: patch.key_length.as_ref().map(ToString::to_string),
        organization: patch.organization.clone(),
        common_name: patch.common_name.clone(),
        subject_alt_names: patch.subject_alt_names.as_ref().map(|names| v1::ScepNames {
            names: names.clone(),
        }),
        key_use: patch.key_use.as_ref().map(ToString::to_string),
        ipsec_destination: patch.ipsec_destination.clone(),
        max_keys: patch.max_keys,
    }
}

/// Reads what is to be set.
///
/// # Errors
/// If a value cannot be. Whether the values go together is [`ScepSettings::check`]'s.
pub fn read_patch(wire: v1::ScepSettings) -> Result<ScepPatch, BadScep> {
    fn parsed<T: std::str::FromStr<Err = BadSetting>>(
        text: Option<String>,
    ) -> Result<Option<T>, BadScep> {
        Ok(text.map(|text| text.parse()).transpose()?)
    }
    let span = |wire: Option<prost_types::Duration>, field| {
        wire.map(|wire| read_length(Some(wire), field).map(Span))
            .transpose()
    };
    let port = wire
        .port
        .map(|port| u16::try_from(port).map_err(|_| BadScep::Invalid("port")))
        .transpose()?;
    Ok(ScepPatch {
        server: parsed(wire.server)?,
        port,
        timeout: span(wire.timeout, "timeout")?,
        ca_identifier: wire.ca_identifier,
        ca_fingerprint: parsed(wire.ca_fingerprint)?,
        allow_legacy: wire.allow_legacy,
        get_only: wire.get_only,
        challenge: parsed(wire.challenge)?,
        ndes_url: wire.ndes_url,
        ndes_user: wire.ndes_user,
        ndes_cache: wire.ndes_cache,
        timer: wire.timer,
        request_start: parsed(wire.request_start)?,
        auto_adjust: wire.auto_adjust,
        polls: wire.polls,
        poll_interval: span(wire.poll_interval, "poll_interval")?,
        periodic: parsed(wire.periodic)?,
        restart: wire.restart,
        delete_old: wire.delete_old,
        capacity: parsed(wire.capacity)?,
        window: span(wire.window, "window")?,
        key_name: wire.key_name,
        signature_algorithm: parsed(wire.signature_algorithm)?,
        key_length: parsed(wire.key_length)?,
        organization: wire.organization,
        common_name: wire.common_name,
        subject_alt_names: wire.subject_alt_names.map(|names| names.names),
        key_use: parsed(wire.key_use)?,
        ipsec_destination: wire.ipsec_destination,
        max_keys: wire.max_keys,
    })
}

/// Writes all settings.
#[must_use]
pub fn write_settings(settings: &ScepSettings) -> v1::ScepSettings {
    write_patch(&ScepPatch::all(settings))
}

/// Reads all settings: each must be present, and together they must be possible.
///
/// # Errors
/// If one is missing or cannot be.
pub fn read_settings(wire: v1::ScepSettings) -> Result<ScepSettings, BadScep> {
    let patch = read_patch(wire)?;
    let settings = patch.over(&ScepSettings::default());
    let given = patch.fields();
    let mut fields = ScepPatch::all(&settings).fields().into_iter();
    if let Some(missing) = fields.find(|field| !given.contains(field)) {
        return Err(BadScep::Missing(missing));
    }
    settings.check()?;
    Ok(settings)
}

/// A document's payload.
#[must_use]
pub fn encode_scep(document: &ScepDocument) -> Vec<u8> {
    v1::ScepDocument {
        fleet_id: document.fleet_id.as_bytes().to_vec().into(),
        client_id: document.client.as_bytes().to_vec().into(),
        root_version: document.root_version.0,
        revision: document.revision.0,
        issued_at: Some(timestamp(document.issued_at)),
        settings: Some(write_settings(&document.settings)),
        url: document.url.clone().unwrap_or_default(),
        slot: document.slot.map(duration),
    }
    .encode_to_vec()
}

/// The SCEP document in an envelope, if the root's policy role signed it for this device.
///
/// # Errors
/// If it did not, or the document is malformed.
pub fn open_scep(
    envelope: &Envelope,
    root: &Root,
    client: ClientId,
) -> Result<ScepDocument, BadScep> {
    let payload = envelope.verify(PayloadType::Scep, &root.policy)?;
    let wire = v1::ScepDocument::decode(payload).map_err(|_| BadScep::Malformed)?;
    let document = ScepDocument {
        fleet_id: FleetId::from_bytes(&wire.fleet_id)?,
        client: ClientId::from_bytes(&wire.client_id)?,
        root_version: RootVersion(wire.root_version),
        revision: Revision(wire.revision),
        issued_at: read_timestamp(wire.issued_at, "issued_at")?,
        settings: read_settings(wire.settings.ok_or(BadScep::Missing("settings"))?)?,
        url: Some(wire.url).filter(|url| !url.is_empty()),
        slot: wire
            .slot
            .map(|slot| read_length(Some(slot), "slot"))
            .transpose()?,
    };
    if document.fleet_id == root.fleet_id && document.client == client {
        Ok(document)
    } else {
        Err(BadScep::Foreign)
    }
}

/// The longest text of a record, in characters.
const TEXT: usize = 1000;
/// The most warnings of a record, and their length.
const WARNINGS: (usize, usize) = (8, 300);
/// The longest key name of a record.
const KEY_NAME: usize = 255;
/// The longest subject of a certificate.
const SUBJECT: usize = 2000;
/// The most digits of a serial number: RFC 5280 has 40, authorities are seen with more.
const SERIAL: usize = 128;

/// Text for people that fits, on one line and without anything that a terminal would obey.
fn tidy(text: &str, most: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(most).map(printable).collect()
}

/// Writes a record. Texts that are too long are cut, and control characters become spaces.
#[must_use]
pub fn write_record(record: &RequestRecord) -> v1::ScepRecord {
    let mut wire = v1::ScepRecord {
        attempt: record.attempt,
        requested_at: Some(timestamp(record.requested_at)),
        key_name: tidy(&record.key_name, KEY_NAME),
        key_use: record.key_use.to_string(),
        updated_at: Some(timestamp(record.updated_at)),
        warnings: record
            .warnings
            .iter()
            .take(WARNINGS.0)
            .map(|warning| tidy(warning, WARNINGS.1))
            .collect(),
        ..v1::ScepRecord::default()
    };
    wire.set_trigger(match record.trigger {
        Trigger::Timer => v1::ScepTrigger::Timer,
        Trigger::Manual => v1::ScepTrigger::Manual,
    });
    let detail = match &record.state {
        RequestState::ToBeProcessed => {
            wire.set_state(v1::ScepState::ToBeProcessed);
            None
        }
        RequestState::Processing { polls, waiting } => {
            wire.set_state(v1::ScepState::Processing);
            wire.polls = *polls;
            waiting.as_ref()
        }
        RequestState::Error(detail) => {
            wire.set_state(v1::ScepState::Error);
            Some(detail)
        }
        RequestState::Successful(certificate) => {
            wire.set_state(v1::ScepState::Successful);
            wire.certificate = Some(v1::ScepCertificate {
                issued_at: Some(timestamp(certificate.issued_at)),
                serial: tidy(&certificate.serial, SERIAL),
                subject: tidy(&certificate.subject, SUBJECT),
                fingerprint: certificate.fingerprint.as_bytes().to_vec().into(),
                not_before: Some(timestamp(certificate.not_before)),
                not_after: Some(timestamp(certificate.not_after)),
            });
            None
        }
    };
    let (kind, number, text) = match detail {
        None => (v1::ScepDetail::Unspecified, 0, ""),
        Some(ErrorDetail::Deferred) => (v1::ScepDetail::Deferred, 0, ""),
        Some(ErrorDetail::KeyLimit) => (v1::ScepDetail::KeyLimit, 0, ""),
        Some(ErrorDetail::TopError) => (v1::ScepDetail::TopError, 0, ""),
        Some(ErrorDetail::TopErrorHttp(status)) => {
            (v1::ScepDetail::TopErrorHttp, u32::from(*status), "")
        }
        Some(ErrorDetail::Scep(info)) => (v1::ScepDetail::ScepError, u32::from(info.number()), ""),
        Some(ErrorDetail::FaultyResponse(text)) => {
            (v1::ScepDetail::FaultyResponse, 0, text.as_str())
        }
        Some(ErrorDetail::KeyUseLocation(text)) => {
            (v1::ScepDetail::KeyUseLocation, 0, text.as_str())
        }
        Some(ErrorDetail::Device(text)) => (v1::ScepDetail::Device, 0, text.as_str()),
    };
    wire.set_detail(kind);
    wire.detail_number = number;
    wire.detail_text = tidy(text, TEXT);
    wire
}

/// Reads a record.
///
/// # Errors
/// If anything in it is missing, too long, does not belong to its state, or cannot be.
pub fn read_record(wire: v1::ScepRecord) -> Result<RequestRecord, BadScep> {
    if wire.attempt == 0 {
        return Err(BadScep::Invalid("attempt"));
    }
    let trigger = match wire.trigger() {
        v1::ScepTrigger::Timer => Trigger::Timer,
        v1::ScepTrigger::Manual => Trigger::Manual,
        v1::ScepTrigger::Unspecified => return Err(BadScep::Invalid("trigger")),
    };
    let state = match wire.state() {
        v1::ScepState::Unspecified => return Err(BadScep::Invalid("state")),
        v1::ScepState::ToBeProcessed => RequestState::ToBeProcessed,
        v1::ScepState::Processing => RequestState::Processing {
            polls: wire.polls,
            waiting: read_detail(&wire)?,
        },
        v1::ScepState::Error => {
            RequestState::Error(read_detail(&wire)?.ok_or(BadScep::Missing("detail"))?)
        }
        v1::ScepState::Successful => RequestState::Successful(read_certificate(
            wire.certificate
                .as_ref()
                .ok_or(BadScep::Missing("certificate"))?,
        )?),
    };
    let record = RequestRecord {
        attempt: wire.attempt,
        trigger,
        requested_at: read_timestamp(wire.requested_at, "requested_at")?,
        key_name: wire.key_name.clone(),
        key_use: wire.key_use.parse()?,
        state,
        updated_at: read_timestamp(wire.updated_at, "updated_at")?,
        warnings: wire.warnings.clone(),
    };
    // Whatever could not be written so: so the journal can read what it was given, and gives back what it was given.
    let written = write_record(&record);
    let differs = [
        ("key_name", written.key_name != wire.key_name),
        ("key_use", written.key_use != wire.key_use),
        ("warnings", written.warnings != wire.warnings),
        ("certificate", written.certificate != wire.certificate),
        ("polls", written.polls != wire.polls),
        ("detail", written.detail != wire.detail),
        ("detail_number", written.detail_number != wire.detail_number),
        ("detail_text", written.detail_text != wire.detail_text),
    ];
    match differs.into_iter().find(|(_, differs)| *differs) {
        Some((field, _)) => Err(BadScep::Invalid(field)),
        None => Ok(record),
    }
}

fn read_detail(wire: &v1::ScepRecord) -> Result<Option<ErrorDetail>, BadScep> {
    let number = || BadScep::Invalid("detail_number");
    let text = || wire.detail_text.clone();
    Ok(match wire.detail() {
        v1::ScepDetail::Unspecified => None,
        v1::ScepDetail::Deferred => Some(ErrorDetail::Deferred),
        v1::ScepDetail::KeyLimit => Some(ErrorDetail::KeyLimit),
        v1::ScepDetail::TopError => Some(ErrorDetail::TopError),
        v1::ScepDetail::TopErrorHttp => {
            let status = u16::try_from(wire.detail_number).map_err(|_| number())?;
            Some(ErrorDetail::TopErrorHttp(status))
        }
        v1::ScepDetail::ScepError => {
            let info = u8::try_from(wire.detail_number).map_err(|_| number())?;
            let info = FailInfo::from_number(info).ok_or_else(number)?;
            Some(ErrorDetail::Scep(info))
        }
        v1::ScepDetail::FaultyResponse => Some(ErrorDetail::FaultyResponse(text())),
        v1::ScepDetail::KeyUseLocation => Some(ErrorDetail::KeyUseLocation(text())),
        v1::ScepDetail::Device => Some(ErrorDetail::Device(text())),
    })
}

fn read_certificate(wire: &v1::ScepCertificate) -> Result<IssuedCertificate, BadScep> {
    let digit = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    if wire.serial.is_empty() || !wire.serial.bytes().all(digit) {
        return Err(BadScep::Invalid("serial"));
    }
    Ok(IssuedCertificate {
        issued_at: read_timestamp(wire.issued_at, "issued_at")?,
        serial: wire.serial.clone(),
        subject: wire.subject.clone(),
        fingerprint: Digest::from_bytes(&wire.fingerprint)?,
        not_before: read_timestamp(wire.not_before, "not_before")?,
        not_after: read_timestamp(wire.not_after, "not_after")?,
    })
}

#[cfg(test)]
mod tests;
