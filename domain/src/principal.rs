//! Principals: who asks.

use std::sync::Arc;

/// Who asks for something: made once, where a request comes in, and carried by every call that follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    tenant: Option<Arc<str>>,
    role: Role,
}

/// What a principal may do, within its tenant if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
}

impl Principal {
    /// Whoever has the API key of this name: an admin of all tenants.
    pub fn admin(name: &str) -> Self {
        Self { name: name.into(), tenant: None, role: Role::Admin }
    }

    /// Whoever reaches a server that has no keys. They can't be told apart, so all of them are one, without a name.
    pub fn anonymous() -> Self {
        Self::admin("")
    }

    /// The same one, for this tenant alone.
    #[must_use]
    pub fn of_tenant(self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.into()), ..self }
    }

    /// Its name; empty where there are no keys. Idempotency keys count per name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The one tenant that it is for; none: all of them.
    pub fn tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// What it may do.
    pub const fn role(&self) -> Role {
        self.role
    }
}
