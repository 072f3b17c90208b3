//! What a request asks for: templates filled in with what the device knows of itself. Nothing is looked up here.

use std::net::IpAddr;

use convoy_scep::{
    algorithm::Hash,
    certificate::SubjectAltName,
    request::{RequestBuilder, SubjectPart},
};
use convoy_shared::settings::{Facts, KeyUse, ScepSettings, SignatureHash, Unfilled};

use super::ledger::Names;

/// Fills in the names, and says what is left out.
pub(crate) fn fill(
    settings: &ScepSettings,
    facts: &Facts,
) -> Result<(Names, Vec<String>), Unfilled> {
    let common_name = facts.fill(&settings.common_name)?;
    let mut warnings = Vec::new();
    warnings.extend(not_an_address(settings.key_use, &common_name));
    let mut sans = Vec::new();
    for template in &settings.subject_alt_names {
        match facts.fill(template) {
            Ok(name) if read(&name).is_some() => {
                if !sans.contains(&name) {
                    sans.push(name);
                }
            }
            Ok(name) => warnings.push(format!(
                "the alternative name {name:?} is left out: it cannot be one"
            )),
            Err(unfilled) => warnings.push(format!("an alternative name is left out: {unfilled}")),
        }
    }
    Ok((Names { common_name, sans }, warnings))
}

/// C2.7: IPPS printing from Windows wants an address.
pub(crate) fn not_an_address(key_use: KeyUse, common_name: &str) -> Option<String> {
    let unlike =
        key_use == KeyUse::Tls && common_name != "{ip}" && common_name.parse::<IpAddr>().is_err();
    unlike.then(|| {
        format!("the common name {common_name:?} is no IP address: IPPS printing from Windows wants the device's")
    })
}

/// The key's name in the list.
pub(crate) fn key_name(settings: &ScepSettings, facts: &Facts) -> String {
    let name = facts
        .fill(&settings.key_name)
        .unwrap_or_else(|_| settings.key_name.clone());
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The request, without its challenge.
pub(crate) fn request(settings: &ScepSettings, names: &Names) -> RequestBuilder {
    let mut request = RequestBuilder::new(names.common_name.clone());
    if !settings.organization.is_empty() {
        request.subject.insert(
            0,
            (SubjectPart::Organization, settings.organization.clone()),
        );
    }
    request.sans = names.sans.iter().filter_map(|name| read(name)).collect();
    request.hash = hash(settings.signature_algorithm);
    request
}

/// The hash that requests are signed with.
pub(crate) const fn hash(wanted: SignatureHash) -> Hash {
    match wanted {
        SignatureHash::Sha256 => Hash::Sha256,
        SignatureHash::Sha384 => Hash::Sha384,
        SignatureHash::Sha512 => Hash::Sha512,
    }
}

/// The names, to be compared with those of another request: a renewal may ask for none that the old certificate lacks.
pub(crate) fn asked(settings: &ScepSettings, names: &Names) -> String {
    let mut sans = names.sans.clone();
    sans.sort();
    let sans = sans.join(",");
    format!(
        "O={},CN={},SAN={sans}",
        settings.organization, names.common_name
    )
}

/// A name that can stand in a certificate as it is.
fn read(name: &str) -> Option<SubjectAltName> {
    let name = name.parse().ok()?;
    let plain = match &name {
        SubjectAltName::Dns(value) | SubjectAltName::Uri(value) => {
            !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic())
        }
        SubjectAltName::Ip(_) => true,
    };
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_does_not_know_is_left_out_and_told() {
        let facts = Facts {
            hostname: Some("p1".to_owned()),
            fqdn: Some("p1.example".to_owned()),
            ip: None,
            serial: None,
        };
        let mut settings = ScepSettings {
            key_use: KeyUse::Tls,
            subject_alt_names: ["dns:{fqdn}", "ip:{ip}", "ip:{hostname}", "dns:{fqdn}"]
                .map(str::to_owned)
                .to_vec(),
            ..ScepSettings::default()
        };
        let (names, warnings) = fill(&settings, &facts).expect("filled");
        assert_eq!(names.common_name, "p1.example");
        assert_eq!(names.sans, ["dns:p1.example"]);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("IPPS"), "{warnings:?}");
        settings.common_name = "{serial}".to_owned();
        assert!(fill(&settings, &facts).is_err());
    }

    #[test]
    fn another_address_makes_other_names_and_another_order_does_not() {
        let settings = ScepSettings::default();
        let names = |sans: [&str; 2]| Names {
            common_name: "p1".to_owned(),
            sans: sans.map(str::to_owned).to_vec(),
        };
        let one = asked(&settings, &names(["dns:p1", "ip:192.0.2.1"]));
        assert_eq!(one, asked(&settings, &names(["ip:192.0.2.1", "dns:p1"])));
        assert_ne!(one, asked(&settings, &names(["dns:p1", "ip:192.0.2.2"])));
    }
}
