//! Who asks: a request's principal is made here, from the key that it brings, and goes with it to whoever answers it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use muster_domain::Principal;
use muster_supervisor::Caller;
use subtle::ConstantTimeEq;

use crate::config::ApiKey;
use crate::problem::Problem;
use crate::state::ApiState;

/// The principal of a request with these headers. Whoever has a key of the configuration is an admin of all tenants, and so
/// is everybody where there are no keys.
pub(crate) fn principal_of(headers: &HeaderMap, keys: &[ApiKey]) -> Result<Principal, Problem> {
    match keys {
        [] => Ok(Principal::anonymous()),
        keys => authenticate(headers, keys).map(|key| Principal::admin(&key.name)),
    }
}

/// Compares with every key, in a time that does not tell which one was nearly right.
fn authenticate<'a>(headers: &HeaderMap, keys: &'a [ApiKey]) -> Result<&'a ApiKey, Problem> {
    let value = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| refuse("this server needs an API key: send Authorization: Bearer KEY"))?;
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(refuse("the Authorization header is not of the form: Bearer KEY")),
    };
    let hash = ApiKey::hash(token);
    let mut found = None;
    for key in keys {
        if bool::from(key.sha256.ct_eq(&hash)) {
            found = Some(key);
        }
    }
    found.ok_or_else(|| refuse("the API key is not known to this server"))
}

fn refuse(words: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", words)
}

/// The principal that the guard let in. On the open route, where nobody is asked who they are, there is none.
pub(crate) struct Asker(pub(crate) Principal);

impl FromRequestParts<Arc<ApiState>> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Principal>().cloned();
        principal.map(Self).ok_or_else(|| refuse("nobody knows who asks here"))
    }
}

/// The leading supervisor for the principal of the request; where there is none the request is answered with 503 before its
/// body is read.
pub(crate) struct Leader(pub(crate) Caller);

impl FromRequestParts<Arc<ApiState>> for Leader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let Asker(principal) = Asker::from_request_parts(parts, state).await?;
        state.leader().map(|handle| Self(handle.by(principal)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_makes_an_admin_of_its_name() {
        let key = |name: &str, key: &str| ApiKey { name: name.to_owned(), sha256: ApiKey::hash(key) };
        let keys = [key("ci", "first"), key("ops", "second")];
        let of = |value: Option<&str>, keys: &[ApiKey]| {
            let value = value.map(|value| (AUTHORIZATION, value.parse().expect("a value")));
            principal_of(&HeaderMap::from_iter(value), keys).map_err(|problem| problem.code())
        };
        assert_eq!(of(Some("Bearer second"), &keys), Ok(Principal::admin("ops")));
        assert_eq!(of(Some("bearer  first"), &keys), Ok(Principal::admin("ci")));
        for wrong in [None, Some("Bearer third"), Some("Bearer"), Some("Bearer "), Some("Basic first"), Some("first")] {
            assert_eq!(of(wrong, &keys), Err("unauthorized"), "{wrong:?}");
        }
        // Where there are no keys, what is sent as one says nothing.
        assert_eq!(
            (of(None, &[]), of(Some("Bearer first"), &[])),
            (Ok(Principal::anonymous()), Ok(Principal::anonymous()))
        );
    }
}
