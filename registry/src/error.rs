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
    /// A key of ours holds another type than one of us gives it.
    #[error("somebody else wrote to a key of Muster's: {0}")]
    WrongType(String),
    /// The address is no address.
    #[error("{0}")]
    InvalidAddress(String),
}

impl RegistryError {
    /// Whether a key of another type is what is wrong.
    pub(crate) const fn is_of_type(&self) -> bool {
        matches!(self, Self::WrongType(_))
    }
}
