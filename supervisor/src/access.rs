//! Who may see and do what: every check of a tenant stands here.
//!
//! A principal without a tenant may do everything. One with a tenant sees its own tenant's tasks, usage and quota, and acts on
//! them; what is another tenant's is for it as if it were not there. All else belongs to no tenant (pools, workers,
//! agents, events, queues, the supervisor itself) and may show what several of them do, so it is refused as a whole.

use muster_domain::budget::Scope;
use muster_domain::{Principal, Role};
use muster_store::TaskRow;

use crate::error::SupervisorError;

/// The only tenant whose things a principal may see; none: it may see everything.
fn bound_to(principal: &Principal) -> Option<&str> {
    match principal.role() {
        Role::Admin => principal.tenant(),
    }
}

/// Lets a principal at what belongs to no tenant.
pub fn to_installation(principal: &Principal) -> Result<(), SupervisorError> {
    match bound_to(principal) {
        None => Ok(()),
        Some(tenant) => Err(SupervisorError::OfAllTenants(tenant.to_owned())),
    }
}

/// The tenant that is meant by one who asks about `asked`; none: all of them.
pub(crate) fn to_tenant(principal: &Principal, asked: Option<String>) -> Result<Option<String>, SupervisorError> {
    match (bound_to(principal), asked) {
        (None, asked) => Ok(asked),
        (Some(own), Some(other)) if own != other => Err(SupervisorError::UnknownTenant(other)),
        (Some(own), _) => Ok(Some(own.to_owned())),
    }
}

/// A task, if it is there for this principal.
pub(crate) fn to_task(principal: &Principal, row: TaskRow) -> Result<TaskRow, SupervisorError> {
    match bound_to(principal) {
        Some(own) if own != row.spec.tenant => Err(SupervisorError::UnknownTask(row.spec.task_id)),
        _ => Ok(row),
    }
}

/// The only account of a scope that a principal may see; none: all of them. Those of agents, projects and pools are nobody's
/// alone.
pub(crate) fn to_accounts(principal: &Principal, scope: Scope) -> Result<Option<&str>, SupervisorError> {
    if scope != Scope::Tenant {
        to_installation(principal)?;
    }
    Ok(bound_to(principal))
}

/// Who did something, for people; a principal without a name is one of an API without keys.
pub(crate) fn by(principal: &Principal) -> String {
    match principal.name() {
        "" => "a person".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_of_a_tenant_means_that_tenant() {
        let (admin, bound) = (Principal::admin("ops"), Principal::admin("ci").of_tenant("acme"));
        let meant = |principal: &Principal, asked: Option<&str>| {
            to_tenant(principal, asked.map(str::to_owned)).map_err(|error| error.to_string())
        };
        let name = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(meant(&admin, None), Ok(None));
        assert_eq!(meant(&admin, Some("other")), name("other"));
        assert_eq!((meant(&bound, None), meant(&bound, Some("acme"))), (name("acme"), name("acme")));
        assert_eq!(meant(&bound, Some("other")), Err("there is no tenant \"other\" for this key".to_owned()));
        assert!(to_installation(&admin).is_ok() && to_installation(&bound).is_err());
    }
}
