//! What each preset writes, and which words it calls its programs with.

use super::*;

#[tokio::test]
async fn nginx_gets_one_full_chain_a_check_and_a_reload() {
    let device = Device::new();
    let new = material();
    let nginx = device.command("nginx", "").with(&["-p", "/srv/web"]);
    let places = tls(location(Preset::Nginx(Nginx {
        certificate: device.path("p.crt"),
        key: device.path("p.key"),
        nginx,
    })));
    install(&device, &places, &new).await.expect("installed");
    assert_eq!(
        device.calls(),
        ["nginx -p /srv/web -t", "nginx -p /srv/web -s reload"]
    );
    let full = format!("{}{}", new.certificate_pem, new.chain_pem);
    assert_eq!(device.read("p.crt"), Some(full));
    assert_eq!(device.mode("p.crt"), 0o644);
    assert_eq!(device.mode("p.key"), 0o600);
}

#[tokio::test]
async fn strongswan_gets_each_authority_in_a_file_of_its_own() {
    let device = Device::new();
    let (new, other) = (material(), material());
    for folder in ["x509", "private", "x509ca"] {
        device.folder(folder);
    }
    let swan = location(Preset::StrongSwan(StrongSwan {
        folder: device.path(""),
        name: "hq".to_owned(),
        ca: true,
        swanctl: device.command("swanctl", ""),
    }));
    let places = Places {
        ipsec: [("headquarters".to_owned(), swan)].into(),
        ..Places::default()
    };
    let place = places
        .place(KeyUse::IpSec, "headquarters")
        .expect("configured");
    let longer = Material {
        chain_pem: format!("{}{}", new.chain_pem, other.chain_pem),
        ca_pem: new.ca_pem.clone(),
        key_pem: new.key_pem.clone(),
        certificate_pem: new.certificate_pem.clone(),
    };
    place
        .install(&device.state, &longer)
        .await
        .expect("installed");
    let der = |name: &str| CertificateDer::from_pem_file(device.path(name)).expect("PEM");
    let of = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    assert_eq!(
        device.read("x509/hq.pem").as_ref(),
        Some(&new.certificate_pem)
    );
    assert_eq!(
        device.read("private/hq.pem").as_deref(),
        Some(new.key_pem.as_str())
    );
    assert_eq!(device.mode("private/hq.pem"), 0o600);
    assert_eq!(der("x509ca/hq.pem"), of(&new.ca_pem));
    assert_eq!(der("x509ca/hq-2.pem"), of(&other.ca_pem));
    assert!(!device.path("x509ca/hq-3.pem").exists());
    assert_eq!(device.calls(), ["swanctl --load-all --noprompt"]);
    // A shorter chain leaves no authority behind.
    place.install(&device.state, &new).await.expect("installed");
    assert!(!device.path("x509ca/hq-2.pem").exists());
    device.is_tidy();
}

#[tokio::test]
async fn strongswan_trusts_no_authority_that_nobody_named() {
    let device = Device::new();
    for folder in ["x509", "private", "x509ca"] {
        device.folder(folder);
    }
    // The device owner's own.
    device.write("x509ca/hq.pem", "the other side's", 0o644);
    let swan = location(Preset::StrongSwan(StrongSwan {
        folder: device.path(""),
        name: "hq".to_owned(),
        ca: false,
        swanctl: device.command("swanctl", ""),
    }));
    let places = Places {
        ipsec: [("hq".to_owned(), swan)].into(),
        ..Places::default()
    };
    let place = places.place(KeyUse::IpSec, "hq").expect("configured");
    let new = material();
    place.install(&device.state, &new).await.expect("installed");
    assert_eq!(
        device.read("x509/hq.pem").as_ref(),
        Some(&new.certificate_pem)
    );
    let authorities = std::fs::read_dir(device.path("x509ca")).expect("listed");
    assert_eq!(authorities.count(), 1);
    assert_eq!(
        device.read("x509ca/hq.pem").as_deref(),
        Some("the other side's")
    );
}

#[tokio::test]
async fn wpa_supplicant_must_say_ok() {
    let device = Device::new();
    let (old, new) = (material(), material());
    device.with_old_pair(&old);
    let places = |script| Places {
        ieee8021x: Some(location(Preset::WpaSupplicant(WpaSupplicant {
            interface: "wlan0".to_owned(),
            certificate: device.path("p.crt"),
            key: device.path("p.key"),
            ca: Some(device.path("ca.pem")),
            wpa_cli: device.command("wpa_cli", script),
        }))),
        ..Places::default()
    };
    // Its exit code is 0 all the same.
    let failing = places("echo FAIL");
    let place = failing.place(KeyUse::Ieee8021X, "").expect("configured");
    let error = place.install(&device.state, &new).await.expect_err("fails");
    assert!(error.to_string().contains("it said: FAIL"), "{error}");
    assert!(device.has(&old));
    let working = places("echo OK");
    let place = working.place(KeyUse::Ieee8021X, "").expect("configured");
    place.install(&device.state, &new).await.expect("installed");
    assert_eq!(device.read("ca.pem").as_ref(), Some(&new.ca_pem));
    assert_eq!(
        device.calls(),
        [
            "wpa_cli -i wlan0 reconfigure",
            "wpa_cli -i wlan0 reconfigure",
            "wpa_cli -i wlan0 reconfigure",
            "wpa_cli -i wlan0 reassociate",
        ]
    );
}

/// Notes what it is told, as NetworkManager's profile does; `con up` fails where the file `down` is.
const NMCLI: &str = r#"case "$*" in
*"-g 802-1x.client-cert "*) echo file:///old/c.pem ;;
*"-g 802-1x.private-key "*) echo file:///old/k.pem ;;
*"-g 802-1x.private-key-password-flags "*) echo "0 (none)" ;;
*"-g 802-1x.ca-cert "*) echo file:///old/ca.pem ;;
*"con up"*) test ! -e down ;;
esac"#;

fn network_manager(device: &Device, ca: Option<PathBuf>) -> Places {
    Places {
        ieee8021x: Some(location(Preset::NetworkManager(NetworkManager {
            connection: "Wired 1".to_owned(),
            certificate: device.path("p.crt"),
            key: device.path("p.key"),
            ca,
            nmcli: device.command("nmcli", NMCLI),
        }))),
        ..Places::default()
    }
}

/// What was said to nmcli, without its questions.
fn told(device: &Device) -> Vec<String> {
    let folder = format!("{}/", device.path("").display()).replace("//", "/");
    device
        .calls()
        .iter()
        .filter(|call| !call.contains("con show"))
        .map(|call| call.replace(&folder, ""))
        .collect()
}

#[tokio::test]
async fn network_manager_is_told_the_paths_and_connects_anew() {
    let device = Device::new();
    let places = network_manager(&device, Some(device.path("ca.pem")));
    let place = places.place(KeyUse::Ieee8021X, "").expect("configured");
    place
        .install(&device.state, &material())
        .await
        .expect("installed");
    assert_eq!(
        told(&device),
        [
            "nmcli con mod Wired 1 802-1x.client-cert p.crt 802-1x.ca-cert ca.pem 802-1x.private-key p.key 802-1x.private-key-password-flags 4",
            "nmcli con up Wired 1",
        ]
    );
}

#[tokio::test]
async fn network_manager_is_told_the_old_paths_again() {
    let device = Device::new();
    device.write("down", "", 0o600);
    let places = network_manager(&device, None);
    let place = places.place(KeyUse::Ieee8021X, "").expect("configured");
    let error = place.install(&device.state, &material()).await;
    let Err(PlaceError::Failed { step, put_back, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(step, Step::Activate);
    assert!(matches!(*put_back, PutBack::Inactive(_)));
    assert_eq!(
        told(&device),
        [
            "nmcli con mod Wired 1 802-1x.client-cert p.crt 802-1x.private-key p.key 802-1x.private-key-password-flags 4",
            "nmcli con up Wired 1",
            "nmcli con mod Wired 1 802-1x.client-cert file:///old/c.pem 802-1x.private-key file:///old/k.pem 802-1x.private-key-password-flags 0",
            "nmcli con up Wired 1",
        ]
    );
    assert_eq!(device.read("p.key"), None);
}

#[tokio::test]
async fn a_connection_that_is_off_is_assigned_and_not_brought_up() {
    let device = Device::new();
    let mut places = network_manager(&device, None);
    if let Some(location) = &mut places.ieee8021x {
        location.enabled = Enabled::Fixed(false);
    }
    let place = places.place(KeyUse::Ieee8021X, "").expect("configured");
    let installed = place
        .install(&device.state, &material())
        .await
        .expect("assigned");
    assert!(!installed.was_enabled);
    let told = told(&device);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("con mod"), "{told:?}");
}

#[tokio::test]
async fn own_files_get_what_they_are_for() {
    let device = Device::new();
    let new = material();
    let mut files = device.files();
    files.chain = Some(device.path("chain.pem"));
    files.ca = Some(device.path("ca.pem"));
    files.full_chain = true;
    let places = tls(location(Preset::Files(files)));
    install(&device, &places, &new).await.expect("installed");
    let full = format!("{}{}", new.certificate_pem, new.chain_pem);
    assert_eq!(device.read("p.crt"), Some(full));
    assert_eq!(device.read("chain.pem").as_ref(), Some(&new.chain_pem));
    assert_eq!(device.read("ca.pem").as_ref(), Some(&new.ca_pem));
    // A file for what the SCEP server does not send.
    let bare = Material {
        chain_pem: String::new(),
        ..new
    };
    let error = install(&device, &places, &bare).await.expect_err("refused");
    assert!(matches!(
        error,
        PlaceError::Material(BadMaterial::Lacks("the issuers"))
    ));
    assert_eq!(device.read("chain.pem").as_ref(), Some(&bare.ca_pem));
}
