//! Several libraries speak TLS and none chooses who encrypts; the first choice of the process stands.

/// Chooses.
pub(crate) fn choose() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("somebody chose before");
    }
}
