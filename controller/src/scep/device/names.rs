//! Which names a device may have certificates for: those that its group's templates make. Nothing is asked of DNS or of the device here.
//!
//! What is verified: the text of a template outside of its placeholders, that `{ip}` stands for an IP address, and that the others stand for what a
//! host name, a domain name or a serial number can look like. What is not: that a device is what it says for a placeholder. Its address may be
//! another behind a translator, and its host name is what it says of itself. Who needs more names every device in settings of its own.

use std::net::IpAddr;

use convoy_proto::v1::ObtainScepChallengeRequest;
use convoy_shared::settings::ScepSettings;

/// The most subject alternative names of a request.
const NAMES: usize = 16;
/// The longest common name, and the longest alternative name, in bytes.
const COMMON: usize = 255;
const ALTERNATIVE: usize = 1024;
/// The longest text of an IP address.
const ADDRESS: usize = 45;

/// The names that a request will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) common_name: String,
    /// "dns:…", "ip:…", "uri:…", in order, each once.
    pub(super) sans: Vec<String>,
}

/// Why a device may not have these names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadClaim {
    /// Not to be read.
    #[error("{0} is too long, or not text in one line")]
    Text(&'static str),
    /// Too many.
    #[error("a request has at most {NAMES} subject alternative names")]
    TooMany,
    /// Another common name than the settings'.
    #[error("the common name {name:?} is not what the settings make: {template:?}")]
    CommonName { name: String, template: String },
    /// A name that no template makes.
    #[error("the subject alternative name {0:?} is none of those that the settings make")]
    Alternative(String),
}

impl Claim {
    /// Reads what a device says.
    pub(super) fn read(request: ObtainScepChallengeRequest) -> Result<Self, BadClaim> {
        let line =
            |text: &str, most: usize| text.len() <= most && !text.chars().any(char::is_control);
        if !line(&request.common_name, COMMON) {
            return Err(BadClaim::Text("common_name"));
        }
        let mut sans = request.subject_alt_names;
        if sans.len() > NAMES {
            return Err(BadClaim::TooMany);
        }
        if !sans.iter().all(|name| line(name, ALTERNATIVE)) {
            return Err(BadClaim::Text("subject_alt_names"));
        }
        sans.sort();
        sans.dedup();
        Ok(Self {
            common_name: request.common_name,
            sans,
        })
    }

    /// Whether these settings make such names. Alternative names may be fewer, and may repeat the common name.
    pub(super) fn check(&self, settings: &ScepSettings) -> Result<(), BadClaim> {
        if !makes(&settings.common_name, &self.common_name) {
            return Err(BadClaim::CommonName {
                name: self.common_name.clone(),
                template: settings.common_name.clone(),
            });
        }
        let fits = |name: &str| {
            let repeats = name
                .split_once(':')
                .is_some_and(|(kind, name)| kind != "uri" && name == self.common_name);
            repeats
                || settings
                    .subject_alt_names
                    .iter()
                    .any(|template| makes(template, name))
        };
        match self.sans.iter().find(|name| !fits(name)) {
            Some(name) => Err(BadClaim::Alternative(name.clone())),
            None => Ok(()),
        }
    }
}

/// A part of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Hostname,
    Domain,
    Address,
    Serial,
}

/// Whether a template could make this text. Without regard to case.
fn makes(template: &str, text: &str) -> bool {
    // Every place at which the next part can begin, all at once: no choice has to be taken back.
    let mut places = vec![false; text.len() + 1];
    mark(&mut places, 0);
    for part in parts(template) {
        places = after(part, text, &places);
    }
    places.last() == Some(&true)
}

fn mark(places: &mut [bool], at: usize) {
    if let Some(place) = places.get_mut(at) {
        *place = true;
    }
}

fn parts(template: &str) -> Vec<Part<'_>> {
    let placeholders = [
        ("{hostname}", Part::Hostname),
        ("{fqdn}", Part::Domain),
        ("{ip}", Part::Address),
        ("{serial}", Part::Serial),
    ];
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let known = placeholders
            .iter()
            .find_map(|(name, part)| Some((*part, rest.strip_prefix(name)?)));
        if let Some((part, tail)) = known {
            parts.push(part);
            rest = tail;
            continue;
        }
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest
            .get(first..)
            .and_then(|tail| tail.find('{'))
            .map_or(rest.len(), |at| first + at);
        let (text, tail) = rest.split_at(end);
        parts.push(Part::Text(text));
        rest = tail;
    }
    parts
}

/// Where a part that begins at one of these places can end.
fn after(part: Part<'_>, text: &str, places: &[bool]) -> Vec<bool> {
    let mut ends = vec![false; places.len()];
    let begins = |at: usize| places.get(at) == Some(&true);
    let allowed: fn(char) -> bool = match part {
        Part::Text(literal) => {
            let fits = |at: &usize| {
                text.get(*at..at + literal.len())
                    .is_some_and(|found| found.eq_ignore_ascii_case(literal))
            };
            for at in (0..places.len()).filter(|at| begins(*at)).filter(fits) {
                mark(&mut ends, at + literal.len());
            }
            return ends;
        }
        Part::Address => {
            for at in (0..places.len()).filter(|at| begins(*at)) {
                for end in at + 1..=(at + ADDRESS).min(text.len()) {
                    let address = text.get(at..end).map(str::parse::<IpAddr>);
                    if matches!(address, Some(Ok(_))) {
                        mark(&mut ends, end);
                    }
                }
            }
            return ends;
        }
        Part::Hostname => |c| c.is_ascii_alphanumeric() || "-_".contains(c),
        Part::Domain => |c| c.is_ascii_alphanumeric() || "-_.".contains(c),
        Part::Serial => |c| !c.is_control(),
    };
    // One that has begun goes on as long as it may, and can end after each character.
    let mut begun = false;
    for (at, c) in text.char_indices() {
        begun = (begun || begins(at)) && allowed(c);
        if begun {
            mark(&mut ends, at + c.len_utf8());
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_makes_what_its_text_and_its_placeholders_allow() {
        for (template, text) in [
            ("printer.example", "Printer.Example"),
            ("{fqdn}", "a.example"),
            ("{fqdn}", "a"),
            ("{hostname}.example", "a-1.example"),
            ("{ip}", "192.0.2.1"),
            ("ip:{ip}", "ip:2001:db8::1"),
            ("uri:urn:printer:{serial}", "uri:urn:printer:AB 12/3"),
            ("{hostname}{serial}-{fqdn}", "abc-d.example"),
            ("ä{ip}ö", "ä192.0.2.1ö"),
        ] {
            assert!(makes(template, text), "{template} {text}");
        }
        for (template, text) in [
            ("printer.example", "other.example"),
            ("printer.example", "printer.example.org"),
            ("{hostname}.example", "a.b.example"),
            ("{hostname}.example", ".example"),
            ("{ip}", "host"),
            ("{ip}", "192.0.2.256"),
            ("ip:{ip}", "dns:192.0.2.1"),
            ("dns:{fqdn}", "dns:a b"),
            ("dns:{fqdn}", "dns:"),
        ] {
            assert!(!makes(template, text), "{template} {text}");
        }
    }

    #[test]
    fn many_placeholders_take_no_time() {
        for placeholder in ["{serial}", "{ip}", "{fqdn}"] {
            let template = placeholder.repeat(31);
            let text = "1".repeat(ALTERNATIVE);
            assert_eq!(makes(&template, &text), placeholder != "{ip}");
            assert!(!makes(&format!("{template}!"), &text));
        }
    }

    #[test]
    fn a_device_may_have_the_names_of_its_templates_alone() {
        let settings = ScepSettings {
            common_name: "{hostname}.example".to_owned(),
            subject_alt_names: vec!["dns:{fqdn}".to_owned(), "ip:192.0.2.1".to_owned()],
            ..ScepSettings::default()
        };
        let claim = |common_name: &str, sans: &[&str]| {
            Claim::read(ObtainScepChallengeRequest {
                revision: 1,
                common_name: common_name.to_owned(),
                subject_alt_names: sans.iter().map(|name| (*name).to_owned()).collect(),
            })
            .and_then(|claim| claim.check(&settings))
        };
        assert_eq!(claim("a.example", &[]), Ok(()));
        assert_eq!(claim("a.example", &["ip:192.0.2.1", "dns:b"]), Ok(()));
        assert!(matches!(
            claim("a.example.org", &[]),
            Err(BadClaim::CommonName { .. })
        ));
        for foreign in ["ip:192.0.2.2", "uri:urn:x", "uri:a.example", "x"] {
            assert_eq!(
                claim("a.example", &[foreign]),
                Err(BadClaim::Alternative(foreign.to_owned()))
            );
        }
        assert_eq!(
            claim("a.example", &["dns:a"; NAMES + 1]),
            Err(BadClaim::TooMany)
        );
        assert_eq!(claim("a\n", &[]), Err(BadClaim::Text("common_name")));
    }
}
