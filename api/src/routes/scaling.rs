//! Why a pool has as many workers as it has, and what its policies would decide.

use axum::Json;
use muster_domain::DecisionId;
use muster_supervisor::{PoolScalingView, WhatIf, WhatIfView};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{MAX_PAGE, PoolPath, StrictQuery, page_limit};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(decisions)).routes(routes!(what_if))
}

/// Which decisions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DecisionsQuery {
    /// At most this many, 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Only those before this one: the id of the last one of the page before.
    #[param(format = Uuid)]
    before: Option<String>,
}

/// Figures that might be others than they are.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct WhatIfQuery {
    /// Tasks that a free slot would start now.
    queue: Option<u32>,
    /// Tasks that run.
    running: Option<u32>,
    /// What the pool's processes use of the host's processors, in percent.
    #[param(minimum = 0)]
    cpu: Option<f64>,
    /// What they use of its memory, in percent.
    #[param(minimum = 0)]
    memory: Option<f64>,
    /// Slots whose agent has work.
    busy: Option<u32>,
    /// Workers that are to be there.
    workers: Option<u32>,
}

impl WhatIfQuery {
    fn figures(self) -> Result<WhatIf, Problem> {
        let Self { queue, running, cpu, memory, busy, workers } = self;
        for (name, percent) in [("cpu", cpu), ("memory", memory)] {
            if percent.is_some_and(|percent| !percent.is_finite() || percent < 0.0) {
                return Err(Problem::invalid_parameter(name, format!("{name} is a number of percent from 0")));
            }
        }
        Ok(WhatIf { queue, running, cpu, memory, busy, workers })
    }
}

/// Shows what was decided about how many workers a pool is to have, and why, the newest first
///
/// Each decision has its inputs, the vote of each policy, and what came of it. One that holds is listed where why it does is another reason
/// than before. They are kept for `clocks.retention`.
#[utoipa::path(get, path = "/api/v1/agents/pools/{pool_name}/scaling", tag = "pools", params(PoolPath, DecisionsQuery),
    responses(
        (status = 200, description = "The decisions", body = PoolScalingView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn decisions(
    Leader(caller): Leader,
    pool: PoolPath,
    StrictQuery(query): StrictQuery<DecisionsQuery>,
) -> Result<Json<PoolScalingView>, Problem> {
    let limit = page_limit(query.limit, MAX_PAGE)?;
    let before = query.before.map(|text| {
        text.parse::<DecisionId>()
            .map_err(|_| Problem::invalid_parameter("before", format!("before is the id of a decision, not {text:?}")))
    });
    Ok(Json(caller.scaling()?.of_pool(&pool.id()?, before.transpose()?, limit).await?))
}

/// Tells what the policies of a pool would decide now, or would if its figures were others
///
/// Nothing follows from it. Figures that are left out are as they are; what the pool's processes use is as it was measured last.
#[utoipa::path(get, path = "/api/v1/agents/pools/{pool_name}/scaling/what-if", tag = "pools", params(PoolPath, WhatIfQuery),
    responses(
        (status = 200, description = "What they would decide, and why", body = WhatIfView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn what_if(
    Leader(caller): Leader,
    pool: PoolPath,
    StrictQuery(query): StrictQuery<WhatIfQuery>,
) -> Result<Json<WhatIfView>, Problem> {
    Ok(Json(caller.scaling()?.what_if(&pool.id()?, query.figures()?).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_a_number_that_can_be() {
        let asked = |cpu| WhatIfQuery { queue: Some(15), cpu, ..WhatIfQuery::default() }.figures();
        assert_eq!(asked(Some(85.0)).ok(), Some(WhatIf { queue: Some(15), cpu: Some(85.0), ..WhatIf::default() }));
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(asked(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
