//! A Redis over TLS that an authority of one's own vouches for.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::faults::RedisServer;
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// Certificates of a throw-away authority, in a folder.
struct Papers {
    folder: tempfile::TempDir,
}

impl Papers {
    fn issue() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = parameters.self_signed(&authority).expect("a certificate").pem();
        let issuer = rcgen::Issuer::new(parameters, authority);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let own = names.signed_by(&key, &issuer).expect("a certificate").pem();
        let papers = Self { folder };
        for (name, text) in [("ca.pem", root), ("key.pem", key.serialize_pem()), ("cert.pem", own)] {
            std::fs::write(papers.path(name), text).expect("a file");
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_redis_of_a_private_authority_is_believed_where_its_certificate_is_named() {
    let papers = Papers::issue();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let (cert, key, ca) = (text(&papers.path("cert.pem")), text(&papers.path("key.pem")), text(&papers.path("ca.pem")));
    let tls =
        ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let redis = RedisServer::start_with(&tls);
    let options = || Options::default().env("MUSTER_REDIS_URL", format!("rediss://localhost:{port}"));
    // A variable of the machine that runs the tests must not help.
    let strange = Muster::launch(options().env("SSL_CERT_FILE", ""));
    let is_told = || strange.get("/ready").body.to_string().to_lowercase().contains("certificate");
    wait_until("the certificate is named", BOUND, is_told);
    drop(strange);
    let named = Muster::start(options().env("MUSTER_REDIS_CA_FILE", &ca));
    named.spawn_many("developer_pool", 1);
    named.command(&["check"]).expect(0);
    drop(named);
    let by_variable = Muster::start(options().env("SSL_CERT_FILE", &ca));
    by_variable.spawn_many("developer_pool", 1);
    drop(by_variable);
    drop(redis);
}
