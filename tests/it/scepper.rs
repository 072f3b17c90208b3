//! SCEP over a real port, as devices speak it: HTTP by hand, enrolments. What they prove stands in the tests.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
};

use convoy_controller::clock;
use convoy_proto::v1::{
    CreateScepChallengeRequest, IssuedCertificate, ListIssuedCertificatesRequest,
    scep_authority_service_client::ScepAuthorityServiceClient,
};
use convoy_scep::{
    algorithm::Policy,
    certificate::{Certificate, SubjectAltName},
    client::{
        Ca, Enrolment, Failure, FetchCa, Fetched, HttpReply, Issued, Purpose, Settings, Step,
    },
    cms,
    http::{HttpRequest, Method},
    key::RsaKey,
    message::{FailInfo, Message, PkiStatus},
    request::{Challenge, RequestBuilder},
};
use tokio::{net::TcpSocket, runtime::Runtime};
use tonic::{Response, Status, transport::Channel};

use crate::{
    calls,
    fleet::{Fleet, PATIENCE},
    road::runtime,
};

/// What a device is told whose challenge is not good, whatever is wrong with it.
pub(crate) const NOT_ACCEPTED: &str = "the challenge password is not accepted";

/// The API of the built-in CA, over the local socket.
pub(crate) struct Desk {
    runtime: Runtime,
    client: ScepAuthorityServiceClient<Channel>,
}

impl Desk {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let runtime = runtime();
        let client = ScepAuthorityServiceClient::new(runtime.block_on(calls::local(fleet)));
        Self { runtime, client }
    }

    pub(crate) fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(ScepAuthorityServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let answer = self.runtime.block_on(ask(self.client.clone()));
        answer.map(Response::into_inner)
    }

    /// A new challenge's secret.
    #[track_caller]
    pub(crate) fn challenge(&self, asked: CreateScepChallengeRequest) -> String {
        self.ask(async |mut api| api.create_scep_challenge(asked).await)
            .expect("a challenge")
            .secret
    }

    /// A challenge that admits this many requests; 0: any number.
    #[track_caller]
    pub(crate) fn challenge_for(&self, uses: u32) -> String {
        self.challenge(CreateScepChallengeRequest {
            uses: Some(uses),
            ..CreateScepChallengeRequest::default()
        })
    }

    /// What was issued, newest first.
    pub(crate) fn issued(&self) -> Vec<IssuedCertificate> {
        let asked = ListIssuedCertificatesRequest {
            page_size: 1000,
            ..ListIssuedCertificatesRequest::default()
        };
        self.ask(async |mut api| api.list_issued_certificates(asked).await)
            .expect("a list")
            .certificates
    }
}

/// The SCEP port, as somebody reaches it.
#[derive(Clone, Copy)]
pub(crate) struct Door {
    address: SocketAddr,
    path: &'static str,
    from: Option<IpAddr>,
}

impl Door {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        Self {
            address: fleet.scep_addr(),
            path: "/scep",
            from: None,
        }
    }

    pub(crate) fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// From another address of this host.
    pub(crate) fn from(self, address: &str) -> Self {
        let from = Some(address.parse().expect("an address"));
        Self { from, ..self }
    }

    pub(crate) fn connect(self) -> TcpStream {
        let stream = match self.from {
            None => TcpStream::connect(self.address).expect("connected"),
            Some(from) => runtime().block_on(async {
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.bind(SocketAddr::new(from, 0)).expect("an address");
                let stream = socket.connect(self.address).await.expect("connected");
                stream.into_std().expect("a stream")
            }),
        };
        stream.set_nonblocking(false).expect("a stream that waits");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends this, and reads to the end. Who is refused may be cut off while it is still sending.
    pub(crate) fn say(self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        drop(stream.write_all(bytes));
        Reply::read(stream)
    }

    pub(crate) fn get(self, query: &str) -> Reply {
        let (path, address) = (self.path, self.address);
        let request =
            format!("GET {path}?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        self.say(request.as_bytes())
    }

    pub(crate) fn post(self, message: &[u8]) -> Reply {
        let (path, address, length) = (self.path, self.address, message.len());
        let head = format!(
            "POST {path}?operation=PKIOperation HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        self.say(&[head.as_bytes(), message].concat())
    }

    pub(crate) fn send(self, request: &HttpRequest) -> Reply {
        match request.method {
            Method::Get => self.get(&request.query),
            Method::Post => self.post(&request.body),
        }
    }

    /// What a client knows of the server, once it has asked.
    pub(crate) fn known(self) -> Ca {
        let (mut fetch, mut request) = FetchCa::begin(Settings::default());
        loop {
            let reply = self.send(&request).into_http();
            match fetch.receive(&reply, clock::now()).expect("a CA") {
                Fetched::Send(next) => request = next,
                Fetched::Ca(ca) => return ca,
            }
        }
    }

    /// The certificate of the CA in force.
    pub(crate) fn ca(self) -> Certificate {
        let reply = self.get("operation=GetCACert");
        // One certificate, or several with the CA's among them.
        Certificate::from_der(&reply.body).unwrap_or_else(|_| self.known().authority().clone())
    }
}

/// What came back over HTTP.
pub(crate) struct Reply {
    /// 0: nothing.
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // Who is cut off keeps what came before.
        drop(stream.read_to_end(&mut bytes));
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n");
        let (head, body) = match end {
            Some(end) => (&bytes[..end], &bytes[end + 4..]),
            None => (&bytes[..], &[][..]),
        };
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or(0),
            body: body.to_vec(),
            head,
        }
    }

    pub(crate) fn into_http(self) -> HttpReply {
        HttpReply {
            status: self.status,
            content_type: None,
            body: self.body,
        }
    }

    /// The CertRep that it is.
    #[track_caller]
    pub(crate) fn message(&self) -> Message {
        assert_eq!(self.status, 200, "{}", self.head);
        Message::parse(&self.body).expect("a CertRep")
    }

    /// Why it is a refusal.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (Option<FailInfo>, String) {
        let message = self.message();
        assert_eq!(message.status, Some(PkiStatus::Failure));
        let text = message.fail_info_text.unwrap_or_default();
        (message.fail_info, text)
    }

    /// The certificate that it grants to whoever signed the request with this.
    #[track_caller]
    pub(crate) fn granted(&self, certificate: &Certificate, key: &RsaKey) -> Certificate {
        let message = self.message();
        assert_eq!(message.status, Some(PkiStatus::Success), "{message:?}");
        let lenient = Policy { allow_legacy: true };
        let opened = cms::open(message.signed.content(), certificate, key, lenient);
        let bag = cms::read_certs_only(&opened.expect("for us").content).expect("certificates");
        bag.certificates[0].clone()
    }
}

/// A device with a name, a key and a way to the server.
pub(crate) struct Device {
    pub(crate) door: Door,
    pub(crate) request: RequestBuilder,
    pub(crate) key: RsaKey,
    pub(crate) settings: Settings,
}

impl Device {
    pub(crate) fn new(door: Door, name: &str) -> Self {
        Self {
            door,
            request: RequestBuilder::new(name),
            key: key(),
            settings: Settings::default(),
        }
    }

    /// Asks for these alternative names.
    pub(crate) fn with(mut self, sans: &[&str]) -> Self {
        self.request.sans = sans.iter().map(|name| san(name)).collect();
        self
    }

    /// Begins a first enrolment.
    pub(crate) fn begin(&self, challenge: Option<&str>) -> Applicant {
        let challenge = challenge.map(|secret| Challenge::new(secret).expect("a challenge"));
        self.begin_for(copy(&self.key), Purpose::First { challenge })
    }

    pub(crate) fn begin_for(&self, key: RsaKey, purpose: Purpose) -> Applicant {
        let pinned = Settings {
            ca_fingerprint: Some(self.door.ca().fingerprint()),
            ..self.settings.clone()
        };
        let (enrolment, step) = Enrolment::begin(pinned, self.request.clone(), key, purpose);
        let mut applicant = Applicant {
            door: self.door,
            enrolment,
            step,
        };
        applicant.go_on();
        applicant
    }

    pub(crate) fn enrol(&self, challenge: &str) -> Result<Issued, Failure> {
        self.begin(Some(challenge)).end()
    }

    /// Renews a certificate of the device's key; the next one is of this key.
    pub(crate) fn renew(&self, old: &Certificate, next: &RsaKey) -> Result<Issued, Failure> {
        let purpose = Purpose::Renewal {
            certificate: old.clone(),
            key: copy(&self.key),
            challenge: None,
        };
        self.begin_for(copy(next), purpose).end()
    }
}

/// An enrolment under way.
pub(crate) struct Applicant {
    door: Door,
    pub(crate) enrolment: Enrolment,
    pub(crate) step: Step,
}

impl Applicant {
    /// Sends what is to be sent.
    fn go_on(&mut self) {
        while let Step::Send(request) = &self.step {
            let reply = self.door.send(request);
            self.step = self.enrolment.receive(reply.into_http(), clock::now());
        }
    }

    /// Asks again.
    pub(crate) fn poll(&mut self) {
        self.step = self.enrolment.wake(clock::now());
        self.go_on();
    }

    #[track_caller]
    pub(crate) fn end(self) -> Result<Issued, Failure> {
        match self.step {
            Step::Issued(issued) => Ok(issued),
            Step::Failed(failure) => Err(failure),
            other => panic!("{other:?} is no end"),
        }
    }
}

/// The server's failInfo and its words.
#[track_caller]
pub(crate) fn refused(result: Result<Issued, Failure>) -> (Option<FailInfo>, String) {
    match result {
        Err(Failure::FailInfo { info, text }) => (info, text.unwrap_or_default()),
        other => panic!("not refused: {other:?}"),
    }
}

/// The words of a refusal by failInfo badRequest.
#[track_caller]
pub(crate) fn words(result: Result<Issued, Failure>) -> String {
    let (info, words) = refused(result);
    assert_eq!(info, Some(FailInfo::BadRequest), "{words}");
    words
}

/// A challenge for any number of requests, for an hour.
pub(crate) fn many() -> CreateScepChallengeRequest {
    CreateScepChallengeRequest {
        uses: Some(0),
        ..CreateScepChallengeRequest::default()
    }
}

pub(crate) fn key() -> RsaKey {
    RsaKey::generate(2048).expect("a key")
}

pub(crate) fn copy(key: &RsaKey) -> RsaKey {
    RsaKey::from_pkcs8(&key.to_pkcs8()).expect("a key")
}

/// "dns:…", "ip:…" or "uri:…".
pub(crate) fn san(text: &str) -> SubjectAltName {
    let (kind, name) = text.split_once(':').expect("a name");
    match kind {
        "dns" => SubjectAltName::Dns(name.to_owned()),
        "ip" => SubjectAltName::Ip(name.parse().expect("an address")),
        _ => SubjectAltName::Uri(name.to_owned()),
    }
}
