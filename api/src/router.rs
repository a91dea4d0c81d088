//! The router: the routes, and what stands before all of them.

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::guard::guard;
use crate::problem::Problem;
use crate::routes;
use crate::state::ApiState;

/// The whole API over this state.
pub fn router(state: Arc<ApiState>) -> Router {
    routes::all()
        .split_for_parts()
        .0
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(Arc::clone(&state), guard))
        .layer(CatchPanicLayer::custom(internal))
        .with_state(state)
}

async fn unknown_path(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_path",
        format!("there is no {path}; GET /api/docs lists what there is"),
    )
}

/// axum adds `Allow`.
async fn wrong_method(method: Method) -> Problem {
    let detail = format!("this path does not take {method}; the header Allow says what it takes");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
}

/// A panic is a fault of ours: it is told in the log, and the caller learns only that.
fn internal(panic: Box<dyn Any + Send>) -> Response {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    tracing::error!(panic = words, "a request ended in a panic");
    let detail = "the server failed while it answered; its log says how, and the request may have had its effect";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE};
    use axum::http::request::Builder;
    use axum::routing::get;
    use serde_json::Value;
    use std::time::Duration;
    use tower::ServiceExt;

    use crate::config::{ApiConfig, ApiKey};
    use crate::query::PathText;
    use crate::state::ApiStage;

    fn config() -> ApiConfig {
        ApiConfig::new("127.0.0.1:8000".parse().expect("an address"), "1.2.3")
    }

    fn standby() -> Arc<ApiState> {
        let state = ApiState::new(config(), None);
        state.set(ApiStage::Standby { leader: "10.0.0.7:8000".to_owned() });
        state
    }

    fn ask(method: &str, path: &str) -> Builder {
        Request::builder().method(method).uri(path).header(HOST, "127.0.0.1:8000")
    }

    async fn answer(state: &Arc<ApiState>, request: Builder, body: &'static str) -> (Response<()>, Value) {
        let request = request.body(Body::from(body)).expect("a request");
        let response = router(Arc::clone(state)).oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 22).await.expect("a body");
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (Response::from_parts(parts, ()), json)
    }

    /// Every route of the document, with something in place of its parameters.
    fn every_route() -> Vec<(String, String)> {
        let document: Value = serde_json::from_str(&crate::openapi::DOCUMENT.json).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let of_path = |(path, item): (&String, &Value)| {
            let path = path.replace("{pool_name}", "p").replace("{agent_id}", "a").replace("{project_id}", "x");
            let path = path.replace("{task_id}", "t");
            let methods = item.as_object().expect("operations").keys();
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }

    const OPEN: [&str; 5] = ["/health", "/api/health", "/metrics", "/api/docs", "/api/openapi.json"];

    #[tokio::test]
    async fn a_standby_sends_every_request_to_the_leader() {
        let state = standby();
        for (method, path) in every_route() {
            let (response, json) = answer(&state, ask(&method, &path), "").await;
            if OPEN.contains(&path.as_str()) {
                assert_eq!(response.status(), 200, "{method} {path}");
                continue;
            }
            if path == "/api/v1/system/stop" {
                // That is for the one that was asked, whoever leads.
                assert_eq!(response.status(), 202);
                assert!(state.stop_requested().is_cancelled());
                continue;
            }
            assert_eq!(response.status(), 503, "{method} {path}");
            if path == "/api/health-docker" {
                let words = json["checks"][0]["error"].as_str().expect("a failed check");
                assert!(words.contains("http://10.0.0.7:8000"), "{words}");
                continue;
            }
            assert_eq!((&json["code"], &json["leader"]), (&"not_leader".into(), &"10.0.0.7:8000".into()));
            assert_eq!(response.headers()[RETRY_AFTER], "1");
        }
    }

    #[tokio::test]
    async fn the_health_of_a_standby_names_the_leader() {
        let (_, json) = answer(&standby(), ask("GET", "/health"), "").await;
        assert_eq!((&json["state"], &json["leader"]), (&"standby".into(), &"10.0.0.7:8000".into()));
    }

    #[tokio::test]
    async fn a_waiting_server_says_for_what() {
        let state = ApiState::new(config(), None);
        let (response, json) = answer(&state, ask("GET", "/api/v1/agents/pools"), "").await;
        assert_eq!((response.status().as_u16(), &json["code"]), (503, &"starting".into()));
        // Nobody may stop what may be about to lead, and take agents along that are to be kept.
        let (response, _) = answer(&state, ask("POST", "/api/v1/system/stop"), "").await;
        assert_eq!((response.status().as_u16(), state.stop_requested().is_cancelled()), (503, false));
        state.set(ApiStage::Waiting {
            code: "registry_away",
            reason: "redis at 10.0.0.1 does not answer".to_owned(),
            retry_after: Duration::from_secs(2),
        });
        let (response, json) = answer(&state, ask("GET", "/ready"), "").await;
        assert_eq!((response.status().as_u16(), &json["code"]), (503, &"registry_away".into()));
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let (response, json) = answer(&state, ask("GET", "/health"), "").await;
        assert_eq!(response.status(), 200);
        assert_eq!((&json["status"], &json["state"]), (&"degraded".into(), &"waiting".into()));
        assert_eq!(json["degraded"][0], "redis at 10.0.0.1 does not answer");
        assert_eq!((&json["version"], &json["mode"]), (&"1.2.3".into(), &Value::Null));
    }

    #[tokio::test]
    async fn a_path_or_method_that_is_not_there_is_a_problem() {
        let state = standby();
        for path in ["/", "/api/v1/nothing", "/api/v1/agents/pools/p/shrink", "/api/v1/approvals"] {
            let (response, json) = answer(&state, ask("GET", path), "").await;
            assert_eq!((response.status().as_u16(), &json["code"]), (404, &"unknown_path".into()), "{path}");
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        }
        for path in [
            "/api/v1/agents/spawn",
            "/api/v1/agents/terminate",
            "/api/v1/agents/bulk/spawn",
            "/api/v1/tasks/bulk",
            "/api/v1/tasks/dead/redrive",
        ] {
            let (response, json) = answer(&state, ask("GET", path), "").await;
            assert_eq!((response.status().as_u16(), &json["code"]), (405, &"wrong_method".into()), "{path}");
            assert_eq!(response.headers()[ALLOW], "POST");
        }
        let (response, _) = answer(&state, ask("PUT", "/api/v1/agents/pools"), "").await;
        let allowed = response.headers()[ALLOW].to_str().expect("text");
        assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    }

    #[tokio::test]
    async fn the_guard_stands_before_every_path() {
        let state = standby();
        for path in ["/health", "/nowhere", "/api/v1/agents"] {
            let stranger = Request::builder().uri(path).header(HOST, "evil.example");
            assert_eq!(answer(&state, stranger, "").await.1["code"], "unknown_host", "{path}");
        }
        let form = ask("POST", "/api/v1/agents/spawn").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (response, json) = answer(&state, form, "a=b").await;
        assert_eq!((response.status().as_u16(), &json["code"]), (415, &"not_json".into()));
    }

    #[tokio::test]
    async fn with_keys_only_health_is_open() {
        let key = ApiKey { name: "ci".to_owned(), sha256: ApiKey::hash("secret") };
        let state = ApiState::new(ApiConfig { keys: vec![key], ..config() }, None);
        state.set(ApiStage::Standby { leader: "10.0.0.7:8000".to_owned() });
        for (method, path) in every_route().into_iter().chain([("GET".to_owned(), "/nowhere".to_owned())]) {
            let (response, json) = answer(&state, ask(&method, &path), "").await;
            if path == "/health" {
                assert_eq!(response.status(), 200);
                continue;
            }
            assert_eq!((response.status().as_u16(), &json["code"]), (401, &"unauthorized".into()), "{path}");
            assert!(response.headers()[WWW_AUTHENTICATE].to_str().expect("text").starts_with("Bearer"));
            let with_key = ask(&method, &path).header(AUTHORIZATION, "Bearer secret");
            assert_ne!(answer(&state, with_key, "").await.0.status(), 401, "{path}");
        }
    }

    #[tokio::test]
    async fn a_path_that_is_no_text_is_a_problem() {
        let request = ask("GET", "/api/v1/agents/%ff").body(Body::empty()).expect("a request");
        let routed = Router::new().route("/api/v1/agents/{agent_id}", get(async |PathText(text): PathText| text));
        let response = routed.with_state(standby()).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }

    #[tokio::test]
    async fn a_head_is_answered_as_a_get_without_its_body() {
        let request = ask("HEAD", "/api/docs").body(Body::empty()).expect("a request");
        let response = router(standby()).oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(
            response.headers()["content-security-policy"].to_str().expect("text").starts_with("default-src 'none'")
        );
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        assert!(body.is_empty());
    }

    #[tokio::test]
    async fn the_metrics_say_who_leads() {
        let request = ask("GET", "/metrics").body(Body::empty()).expect("a request");
        let response = router(standby()).oneshot(request).await.expect("an answer");
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        assert!(std::str::from_utf8(&body).expect("text").contains("\nmuster_leading 0\n"));
    }

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        async fn fail() -> &'static str {
            panic!("on purpose")
        }
        let router = Router::new().route("/", get(fail)).layer(CatchPanicLayer::custom(internal));
        let response = router.oneshot(Request::new(Body::empty())).await.expect("an answer");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
