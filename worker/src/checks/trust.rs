//! Whom checks believe over TLS: the public roots, or the certificates of `SSL_CERT_FILE` instead, as other programs do.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::tls::{Certificate, RootCerts};

/// The variable that names a file of certificates.
const VARIABLE: &str = "SSL_CERT_FILE";

/// Whom the checks of a worker believe. The file is read for the first one that asks: it has hundreds of certificates, and most
/// workers never check anything.
#[derive(Debug, Default)]
pub(crate) struct Trust(OnceLock<TlsRoots>);

impl Trust {
    /// As the environment says. A file is read on the caller's thread.
    pub(super) fn roots(&self) -> &TlsRoots {
        self.0.get_or_init(TlsRoots::of_environment)
    }
}

#[cfg(test)]
impl From<TlsRoots> for Trust {
    fn from(roots: TlsRoots) -> Self {
        Self(roots.into())
    }
}

/// Whom they believe.
#[derive(Clone, Debug)]
pub(crate) enum TlsRoots {
    /// The roots that browsers believe too, which are built in.
    Public,
    /// These alone.
    Own(Own),
    /// Nobody, for this reason: who names a file does not mean the public roots.
    Nobody(String),
}

/// Certificates of a file.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pem: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

impl TlsRoots {
    /// As the environment says.
    fn of_environment() -> Self {
        match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Self::of_file(Path::new(&path)),
            None => Self::Public,
        }
    }

    /// The certificates of a PEM file.
    pub(super) fn of_file(path: &Path) -> Self {
        let nobody = |why: String| Self::Nobody(format!("{VARIABLE} {}: {why}", path.display()));
        let pem = match std::fs::read(path) {
            Ok(pem) => pem,
            Err(error) => return nobody(error.to_string()),
        };
        match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if certificates.is_empty() => nobody("it has no certificate".to_owned()),
            Ok(certificates) => Self::Own(Own { pem, certificates }),
            Err(error) => nobody(error.to_string()),
        }
    }

    /// For a connection by rustls.
    pub(super) fn store(&self) -> Result<RootCertStore, String> {
        match self {
            Self::Public => Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() }),
            Self::Own(own) => {
                let mut store = RootCertStore::empty();
                let (added, _) = store.add_parsable_certificates(own.certificates.iter().cloned());
                if added == 0 { Err(format!("{VARIABLE} has no certificate that can be used")) } else { Ok(store) }
            }
            Self::Nobody(why) => Err(why.clone()),
        }
    }

    /// For an HTTP client.
    pub(super) fn of_http(&self) -> Result<RootCerts, String> {
        match self {
            Self::Public => Ok(RootCerts::WebPki),
            Self::Own(own) => {
                let certificates = own.certificates.iter().map(|der| Certificate::from_der(der).to_owned());
                Ok(RootCerts::Specific(Arc::new(certificates.collect())))
            }
            Self::Nobody(why) => Err(why.clone()),
        }
    }

    /// For a Redis client: PEM, where it is not to believe the public roots.
    pub(super) fn of_redis(&self) -> Result<Option<Vec<u8>>, String> {
        match self {
            Self::Public => Ok(None),
            Self::Own(own) => Ok(Some(own.pem.clone())),
            Self::Nobody(why) => Err(why.clone()),
        }
    }
}
