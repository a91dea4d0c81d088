//! What needs a person.

use axum::Json;
use muster_supervisor::Alert;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(list))
}

/// Lists the alerts that last, and those that are over, the newest first
///
/// At most 1,000 are kept, in memory: a new supervisor begins with what it sees.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "watching", responses(
    (status = 200, description = "The alerts", body = Vec<Alert>),
))]
async fn list(Leader(caller): Leader) -> Result<Json<Vec<Alert>>, Problem> {
    Ok(Json(caller.system()?.alerts()))
}

#[cfg(test)]
mod tests {
    use muster_supervisor::Alert;
    use serde_json::json;

    use crate::routes::tests::alert;

    #[test]
    fn an_alert_says_all() {
        let alert = Alert { pool: Some("coders".parse().expect("a name")), ..alert("ownership", None) };
        let expected = json!({
            "id": alert.id, "kind": "degraded", "pool_name": "coders", "subject": "ownership",
            "message": "best effort", "since": "1970-01-01T00:00:00.000Z", "until": null, "count": 3,
        });
        assert_eq!(serde_json::to_value(alert).expect("an object"), expected);
    }
}
