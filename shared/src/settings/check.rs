//! Whether settings can be, and what a template makes of a device's facts. Values that no text can have are refused by their kinds already.

use core::net::{IpAddr, Ipv6Addr};

use jiff::SignedDuration;

use super::{BadSetting, CaPin, ChallengeSource, Periodic, ScepServer, ScepSettings};

/// What a device knows of itself, to fill in templates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its host name, without a domain.
    pub hostname: Option<String>,
    /// Its fully qualified domain name.
    pub fqdn: Option<String>,
    /// The address from which it reaches its servers.
    pub ip: Option<IpAddr>,
    /// Its serial number.
    pub serial: Option<String>,
}

/// A template that a device cannot fill in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the template {template:?} wants {placeholder}, which this device does not know")]
pub struct Unfilled {
    /// The template.
    pub template: String,
    /// The first placeholder without a value.
    pub placeholder: String,
}

/// The placeholders of templates.
const PLACEHOLDERS: [&str; 4] = ["{hostname}", "{fqdn}", "{ip}", "{serial}"];
const TEMPLATE: &str = "text with no other placeholders than {hostname}, {fqdn}, {ip} and {serial}";

impl Facts {
    /// The template with these facts in place of its placeholders.
    ///
    /// # Errors
    /// If it wants one that is not known.
    pub fn fill(&self, template: &str) -> Result<String, Unfilled> {
        let values = [
            self.hostname.clone(),
            // A device without a domain has its host name alone.
            self.fqdn.clone().or_else(|| self.hostname.clone()),
            self.ip.map(|ip| ip.to_string()),
            self.serial.clone(),
        ];
        let mut filled = String::new();
        let mut rest = template;
        // In one pass: what a device calls itself is never taken for a template.
        while let Some(at) = rest.find('{') {
            let (text, tail) = rest.split_at(at);
            filled.push_str(text);
            let known = PLACEHOLDERS.iter().zip(&values);
            match known
                .filter_map(|(name, value)| Some((name, value, tail.strip_prefix(name)?)))
                .next()
            {
                Some((_, Some(value), tail)) => {
                    filled.push_str(value);
                    rest = tail;
                }
                Some((name, None, _)) => {
                    return Err(Unfilled {
                        template: template.to_owned(),
                        placeholder: (*name).to_owned(),
                    });
                }
                None => {
                    let (brace, tail) = tail.split_at(1);
                    filled.push_str(brace);
                    rest = tail;
                }
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

impl ScepSettings {
    /// Whether they can be at all.
    ///
    /// # Errors
    /// Says which setting cannot be, and what would be right.
    pub fn check(&self) -> Result<(), BadSetting> {
        let within = |field, value: SignedDuration, least: i64, most: i64, expected| {
            if (SignedDuration::from_secs(least)..=SignedDuration::from_secs(most)).contains(&value)
            {
                Ok(())
            } else {
                Err(BadSetting::new(field, &format!("{value:#}"), expected))
            }
        };
        within("timeout", self.timeout.0, 1, 600, "between 1s and 10m")?;
        within(
            "poll_interval",
            self.poll_interval.0,
            1,
            86_400,
            "between 1s and 24h",
        )?;
        within(
            "window",
            self.window.0,
            0,
            366 * 86_400,
            "between 0s and 366 days",
        )?;
        if let Periodic::Every(interval) = self.periodic {
            within(
                "periodic",
                interval,
                60,
                3660 * 86_400,
                "off, or between 1m and 3660d",
            )?;
        }
        let number = |field, value: u32, range: std::ops::RangeInclusive<u32>, expected| {
            if range.contains(&value) {
                Ok(())
            } else {
                Err(BadSetting::new(field, &value.to_string(), expected))
            }
        };
        number("polls", self.polls, 0..=1000, "between 0 and 1000")?;
        number("max_keys", self.max_keys, 1..=100, "between 1 and 100")?;
        number(
            "ndes_cache",
            self.ndes_cache,
            1..=10_000,
            "between 1 and 10000",
        )?;
        let text = |field, value: &str, most: usize, expected| {
            if value.chars().count() <= most && !value.chars().any(char::is_control) {
                Ok(())
            } else {
                Err(BadSetting::new(field, value, expected))
            }
        };
        text(
            "organization",
            &self.organization,
            64,
            "at most 64 printable characters",
        )?;
        text(
            "ca_identifier",
            &self.ca_identifier,
            255,
            "at most 255 printable characters",
        )?;
        text(
            "ipsec_destination",
            &self.ipsec_destination,
            64,
            "at most 64 printable characters",
        )?;
        text(
            "ndes_user",
            &self.ndes_user,
            255,
            "at most 255 printable characters",
        )?;
        text(
            "key_name",
            &self.key_name,
            64,
            "1 to 64 printable characters",
        )?;
        text(
            "common_name",
            &self.common_name,
            255,
            "1 to 255 printable characters",
        )?;
        for (field, template) in [
            ("key_name", &self.key_name),
            ("common_name", &self.common_name),
        ] {
            if template.is_empty() {
                return Err(BadSetting::new(
                    field,
                    template,
                    "a text of at least one character",
                ));
            }
            check_template(field, template)?;
        }
        for name in &self.subject_alt_names {
            let kind = name.split_once(':').filter(|(_, value)| !value.is_empty());
            if !matches!(kind, Some(("dns" | "ip" | "uri", _)))
                || name.chars().any(char::is_control)
            {
                return Err(BadSetting::new(
                    "subject_alt_names",
                    name,
                    "dns:NAME, ip:ADDRESS or uri:URI",
                ));
            }
            check_template("subject_alt_names", name)?;
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), BadSetting> {
        if self.challenge == ChallengeSource::BuiltIn && self.server != ScepServer::BuiltIn {
            return Err(BadSetting::new(
                "challenge",
                "built-in",
                "possible for another server than the built-in one: use stored, ndes or none",
            ));
        }
        let secret = matches!(
            self.challenge,
            ChallengeSource::Stored | ChallengeSource::Ndes
        );
        if secret && matches!(self.server, ScepServer::Url(_)) && self.ca_fingerprint == CaPin::None
        {
            return Err(BadSetting::new(
                "ca_fingerprint",
                "none",
                "enough for a challenge password: whoever answers for the server could read it. Give the SHA-256 of the CA certificate, or \
                 \"any\" if you accept that",
            ));
        }
        if self.challenge == ChallengeSource::Ndes && self.ndes_url.is_empty() {
            return Err(BadSetting::new(
                "ndes_url",
                "",
                "the URL of NDES's challenge page, which challenge=ndes wants",
            ));
        }
        if !self.ndes_url.is_empty() && !is_http_url(&self.ndes_url) {
            return Err(BadSetting::new(
                "ndes_url",
                &self.ndes_url,
                "a URL like http://ndes.example/certsrv/mscep_admin/: plain HTTP, without a query",
            ));
        }
        if self.timer && self.server == ScepServer::None {
            return Err(BadSetting::new(
                "server",
                "none",
                "enough for the timer: set built-in or an http:// URL first",
            ));
        }
        Ok(())
    }
}

fn check_template(field: &'static str, template: &str) -> Result<(), BadSetting> {
    let mut rest = template.to_owned();
    for placeholder in PLACEHOLDERS {
        // Not by nothing: "{ser{ip}ial}" would become a placeholder.
        rest = rest.replace(placeholder, " ");
    }
    if rest.contains(['{', '}']) {
        Err(BadSetting::new(field, template, TEMPLATE))
    } else {
        Ok(())
    }
}

/// Whether it is a URL of plain HTTP with a host and perhaps a port, and without user, query or fragment.
pub(super) fn is_http_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host_fits = bracketed.map_or_else(
        || {
            !host.is_empty()
                && host
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        },
        |address| address.parse::<Ipv6Addr>().is_ok(),
    );
    let port_fits = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
    });
    text.len() <= 1024
        && host_fits
        && port_fits
        && rest
            .chars()
            .all(|c| c.is_ascii_graphic() && !"?#@\\".contains(c))
}

/// An `http://` URL with this port in place of its own. 0: its own.
#[must_use]
pub fn with_port(url: &str, port: u16) -> String {
    if port == 0 {
        return url.to_owned();
    }
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    // An IPv6 address stands in brackets.
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        Some(_) | None => authority,
    };
    format!("http://{host}:{port}{path}")
}
