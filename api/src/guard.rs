//! Who may come in: one pass over each request's headers, before any route sees it.
//!
//! A web page in the operator's browser may send requests to 127.0.0.1, and a spawn starts programs. So the `Host` must
//! be one that the server knows (else a name that an attacker points at 127.0.0.1 would do), and an `Origin`, which
//! browsers add and pages can't change, must be the server itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use muster_domain::Principal;

use crate::principal::principal_of;
use crate::problem::Problem;
use crate::serve::Connection;
use crate::state::ApiState;

/// The only route that answers without a key: what a load balancer asks.
const OPEN_ROUTE: &str = "/health";

/// The only route whose body is not one JSON value.
const LINES_ROUTE: &str = "/api/v1/tasks/bulk";

/// The middleware.
pub(crate) async fn guard(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    match admit(&state, &request) {
        Ok(principal) => {
            if let Some(principal) = principal {
                // One of those that have a key is the last to go where connections run out.
                if !state.config().keys.is_empty()
                    && let Some(connection) = request.extensions().get::<Arc<Connection>>()
                {
                    connection.recognise();
                }
                request.extensions_mut().insert(principal);
            }
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who asks; nobody in particular on the open route.
fn admit(state: &ApiState, request: &Request) -> Result<Option<Principal>, Problem> {
    let config = state.config();
    let host = host_of(request)?;
    if !is_before_hosts(request) && !knows_host(host, config.listen, &config.known_hosts) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "unknown_host",
            format!("this server is not known as {host:?}: add the name to api.hosts in the configuration"),
        ));
    }
    check_origin(request.headers(), host)?;
    let principal = match request.uri().path() {
        OPEN_ROUTE => None,
        _ => Some(principal_of(request.headers(), &config.keys)?),
    };
    check_content_type(request)?;
    Ok(principal)
}

/// The host that the request is for, with its port as it was written.
fn host_of(request: &Request) -> Result<&str, Problem> {
    let invalid = |words: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_host", words.to_owned());
    let mut hosts = request.headers().get_all(HOST).iter();
    match (request.uri().authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Err(invalid("the request has more than one Host header")),
        // The authority of an absolute request target goes before the header (RFC 9112, 3.2.2).
        (Some(authority), ..) => Ok(authority.as_str()),
        (None, Some(host), None) => host.to_str().map_err(|_| invalid("the Host header is no text")),
        (None, None, None) if is_before_hosts(request) => Ok(""),
        (None, None, None) => Err(invalid("the request has no Host header")),
    }
}

/// Whether it is of HTTP/1.0 and names no host, as those of some load balancers are. A browser always names one, so this is
/// no page that somebody lured here; and an `Origin` is foreign to it.
fn is_before_hosts(request: &Request) -> bool {
    let named = request.uri().authority().is_some() || request.headers().contains_key(HOST);
    request.version() == Version::HTTP_10 && !named
}

fn knows_host(host: &str, listen: SocketAddr, known: &[String]) -> bool {
    let Some((name, address)) = name_of(host) else { return false };
    match address {
        // An attacker can point a name at this machine, but not an address: where the server listens on every address,
        // it need not know its own.
        Some(address) => {
            address.is_loopback() || address == listen.ip() || listen.ip().is_unspecified() || listed(name, known)
        }
        None => name.eq_ignore_ascii_case("localhost") || listed(name, known),
    }
}

fn listed(name: &str, known: &[String]) -> bool {
    known.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// The host without its port, and the address that it is, if it is one; `None` where it can't be a host.
fn name_of(host: &str) -> Option<(&str, Option<IpAddr>)> {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(inner) = host.strip_prefix('[') {
        // An IPv6 address, and a port perhaps.
        let (address, rest) = inner.split_once(']')?;
        let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        let address = address.parse::<Ipv6Addr>().ok().filter(|_| is_whole)?;
        return Some((&host[..host.len() - rest.len()], Some(address.into())));
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        // `::1` has colons and no port.
        _ => host,
    };
    Some((name, name.parse().ok()))
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Problem> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let own = origin
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")))
        .is_some_and(|authority| authority.eq_ignore_ascii_case(host));
    if own {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign_origin",
        format!("a page of {origin:?} may not use this server: only pages that it serves itself may"),
    ))
}

/// A body must be declared to be JSON, or lines of it where a route reads those: a web form can't do that without asking
/// first (CORS).
fn check_content_type(request: &Request) -> Result<(), Problem> {
    if request.body().is_end_stream() {
        return Ok(());
    }
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = declared.split(';').next().unwrap_or_default().trim();
    let (expected, code) = match request.uri().path() {
        LINES_ROUTE => ("application/x-ndjson", "not_ndjson"),
        _ => ("application/json", "not_json"),
    };
    if media_type.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        code,
        format!("the body must be declared as Content-Type: {expected}, not {declared:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::header::AUTHORIZATION;
    use axum::http::request::Builder;

    use crate::config::{ApiConfig, ApiKey};

    /// Who asks where there are no keys.
    fn everybody() -> Option<Principal> {
        Some(Principal::anonymous())
    }

    fn listen(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn admitted(config: ApiConfig, request: Builder) -> Result<Option<Principal>, (u16, &'static str)> {
        admitted_with(config, request, Body::empty())
    }

    fn admitted_with(
        config: ApiConfig,
        request: Builder,
        body: Body,
    ) -> Result<Option<Principal>, (u16, &'static str)> {
        let state = ApiState::new(config, None);
        admit(&state, &request.body(body).expect("a request")).map_err(|p| (p.status().as_u16(), p.code()))
    }

    fn config() -> ApiConfig {
        ApiConfig::new(listen("127.0.0.1:8000"), "0")
    }

    fn keyed() -> ApiConfig {
        let key = |name: &str, key: &str| ApiKey { name: name.to_owned(), sha256: ApiKey::hash(key) };
        ApiConfig { keys: vec![key("ci", "first"), key("ops", "second")], ..config() }
    }

    #[test]
    fn loopback_and_its_own_address_are_known() {
        let known = ["Muster.Example".to_owned(), "10.9.9.9".to_owned()];
        let at = |host: &str, address: &str| knows_host(host, listen(address), &known);
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "[::1]", "::1"] {
            assert!(at(host, "127.0.0.1:8000"), "{host}");
        }
        for host in ["muster.example", "muster.example:443", "10.9.9.9:80"] {
            assert!(at(host, "127.0.0.1:8000"), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.7", "muster.example.", "", "[::2]", "localhost:x"]
        {
            assert!(!at(host, "127.0.0.1:8000"), "{host}");
        }
        for host in
            ["[::1", "::1]", "[::1]x", "[::1]:", "[::1]:x", "[[::1]]", "[127.0.0.1]", "[localhost]", "[", "]", "[]"]
        {
            assert!(!at(host, "127.0.0.1:8000"), "{host}");
        }
        assert!(at("10.0.0.7:8000", "10.0.0.7:8000"));
        assert!(!at("10.0.0.8:8000", "10.0.0.7:8000"));
        assert!(at("10.0.0.8:8000", "0.0.0.0:8000"), "every address of this machine");
        assert!(!at("evil.example", "0.0.0.0:8000"), "but no name");
    }

    #[test]
    fn a_request_says_for_which_host_it_is() {
        let get = || Builder::new().uri("/ready");
        assert_eq!(admitted(config(), get()), Err((400, "invalid_host")));
        assert_eq!(
            admitted(config(), get().header(HOST, "localhost").header(HOST, "evil")),
            Err((400, "invalid_host"))
        );
        assert_eq!(admitted(config(), get().header(HOST, "evil.example")), Err((403, "unknown_host")));
        assert_eq!(admitted(config(), get().header(HOST, "localhost:8000")), Ok(everybody()));
        let absolute = Builder::new().uri("http://evil.example/ready").header(HOST, "localhost");
        assert_eq!(admitted(config(), absolute), Err((403, "unknown_host")));
    }

    #[test]
    fn a_request_from_before_there_were_hosts_needs_none() {
        let old = || Builder::new().version(Version::HTTP_10).uri("/health");
        assert_eq!(admitted(config(), old()), Ok(None));
        assert_eq!(admitted(config(), old().header(HOST, "evil.example")), Err((403, "unknown_host")));
        assert_eq!(admitted(config(), old().header(ORIGIN, "http://evil.example")), Err((403, "foreign_origin")));
        assert_eq!(admitted(keyed(), old().uri("/x")), Err((401, "unauthorized")));
        assert_eq!(admitted(config(), Builder::new().uri("/health")), Err((400, "invalid_host")));
    }

    #[test]
    fn only_its_own_pages_may_ask() {
        let from = |origin: &str| {
            admitted(config(), Builder::new().uri("/x").header(HOST, "localhost:8000").header(ORIGIN, origin))
        };
        assert_eq!(from("http://localhost:8000"), Ok(everybody()));
        for foreign in
            ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "localhost:8000", ""]
        {
            assert_eq!(from(foreign), Err((403, "foreign_origin")), "{foreign:?}");
        }
    }

    #[test]
    fn a_key_lets_its_caller_in() {
        let ask = |path: &str, value: Option<&str>| {
            let request = Builder::new().uri(path).header(HOST, "localhost");
            admitted(keyed(), value.into_iter().fold(request, |request, value| request.header(AUTHORIZATION, value)))
        };
        assert_eq!(ask("/x", Some("Bearer second")), Ok(Some(Principal::admin("ops"))));
        assert_eq!(ask("/x", Some("Bearer third")), Err((401, "unauthorized")));
        assert_eq!(ask("/health", None), Ok(None));
        assert_eq!(ask("/healthy", None), Err((401, "unauthorized")));
        assert_eq!(ask("/api/health", None), Err((401, "unauthorized")));
    }

    #[test]
    fn a_body_is_declared_as_json() {
        let send = |content_type: Option<&str>, body: &'static str| {
            let request = Builder::new().method("POST").uri("/x").header(HOST, "localhost");
            let request = content_type.into_iter().fold(request, |request, value| request.header(CONTENT_TYPE, value));
            admitted_with(config(), request, Body::from(body))
        };
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(send(Some(good), "{}"), Ok(everybody()), "{good}");
        }
        for bad in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")] {
            assert_eq!(send(bad, "{}"), Err((415, "not_json")), "{bad:?}");
        }
        assert_eq!(send(None, ""), Ok(everybody()), "no body needs no type");
    }

    #[test]
    fn lines_are_declared_as_lines() {
        let send = |path: &str, content_type: &str| {
            let request = Builder::new().method("POST").uri(path).header(HOST, "localhost");
            admitted_with(config(), request.header(CONTENT_TYPE, content_type), Body::from("{}"))
        };
        assert_eq!(send("/api/v1/tasks/bulk", "application/x-ndjson; charset=utf-8"), Ok(everybody()));
        assert_eq!(send("/api/v1/tasks/bulk", "application/json"), Err((415, "not_ndjson")));
        assert_eq!(send("/api/v1/tasks", "application/x-ndjson"), Err((415, "not_json")));
    }
}
