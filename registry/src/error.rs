//! What can go wrong with the registry.

/// An error of a [`Registry`](crate::Registry) or a [`Bus`](crate::Bus).
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not answer, or not in time. It may answer again.
    #[error("the registry is not available: {0}")]
    Unavailable(String),
    /// It answered with something that this version does not understand.
    #[error("the registry answered with something unexpected: {0}")]
    Unexpected(String),
    /// It answers, and does not do it: why, and what helps.
    #[error("the registry refuses: {0}")]
    Refused(String),
    /// The address is no address.
    #[error("{0}")]
    InvalidAddress(String),
}
