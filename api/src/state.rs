//! The state of the API: what the API serves at the moment. The composition root moves it from one [`ApiStage`] to the next, while
//! the server goes on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use muster_supervisor::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::budget::BodyMemory;
use crate::config::ApiConfig;
use crate::problem::Problem;
use crate::serve::{ConnectionLimits, Connections};

/// What the API serves at the moment.
#[derive(Clone)]
pub enum ApiStage {
    /// Nobody yet: something is being waited for (503).
    Waiting {
        /// What, as a stable word: `starting`, `registry_away`, `store_away`.
        code: &'static str,
        /// What, in words that say what to do.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// Another supervisor leads (503).
    Standby {
        /// Its HTTP address, as `host:port`.
        leader: String,
    },
    /// This supervisor leads.
    Leading(Handle),
}

muster_domain::words! {
    /// An [`ApiStage`] in one word, as `/health` shows it.
    pub(crate) enum StageName {
        /// This server leads.
        Leading = "leading",
        /// Another one does.
        Standby = "standby",
        /// It waits for something.
        Waiting = "waiting",
    }
}

impl ApiStage {
    pub(crate) const fn name(&self) -> StageName {
        match self {
            Self::Waiting { .. } => StageName::Waiting,
            Self::Standby { .. } => StageName::Standby,
            Self::Leading(_) => StageName::Leading,
        }
    }

    /// The leading supervisor, or why there is none.
    pub(crate) fn leader(&self) -> Result<Handle, Problem> {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match self {
            Self::Leading(handle) => Ok(handle.clone()),
            Self::Waiting { code, reason, retry_after } => {
                Err(Problem::new(unavailable, code, reason.clone()).retry_after(*retry_after))
            }
            Self::Standby { leader } => {
                let detail = format!("another supervisor leads: ask http://{leader}");
                Err(Problem::new(unavailable, "not_leader", detail)
                    .leader(leader.clone())
                    .retry_after(Duration::from_secs(1)))
            }
        }
    }
}

/// The state of the whole API.
pub struct ApiState {
    config: ApiConfig,
    metrics: Option<PrometheusHandle>,
    started: SystemTime,
    stage: watch::Sender<ApiStage>,
    stop_requested: CancellationToken,
    connections: Arc<Connections>,
    budget: BodyMemory,
}

impl ApiState {
    /// An API without a supervisor yet: it waits with code `starting`. `metrics` is what `/metrics` shows of the
    /// process's counters, from [`install_metrics`](crate::install_metrics).
    pub fn new(config: ApiConfig, metrics: Option<PrometheusHandle>) -> Arc<Self> {
        let stage = ApiStage::Waiting {
            code: "starting",
            reason: "the supervisor is starting: ask again in a moment".to_owned(),
            retry_after: Duration::from_secs(1),
        };
        let stop_requested = CancellationToken::new();
        let connections =
            Connections::new(ConnectionLimits { most: config.connections, head: config.head, idle: config.idle });
        Arc::new(Self {
            config,
            metrics,
            started: SystemTime::now(),
            stage: watch::Sender::new(stage),
            stop_requested,
            connections,
            budget: BodyMemory::default(),
        })
    }

    /// Makes it serve something else. Requests that are being answered keep what they have.
    pub fn set(&self, stage: ApiStage) {
        self.stage.send_replace(stage);
    }

    /// What it serves now.
    pub fn stage(&self) -> ApiStage {
        self.stage.borrow().clone()
    }

    /// The leading supervisor, or why there is none.
    pub(crate) fn leader(&self) -> Result<Handle, Problem> {
        self.stage.borrow().leader()
    }

    /// Cancelled when somebody asks a standby to stop. A supervisor that leads is asked by its handle.
    pub fn stop_requested(&self) -> CancellationToken {
        self.stop_requested.clone()
    }

    /// Asks it to stop if it stands by; says whether it does. The stage can't change in between, so one that
    /// takes over is never stopped by what was meant for a standby.
    pub(crate) fn stop_standby(&self) -> bool {
        let mut stands_by = false;
        self.stage.send_if_modified(|stage| {
            stands_by = matches!(stage, ApiStage::Standby { .. });
            if stands_by {
                self.stop_requested.cancel();
            }
            false
        });
        stands_by
    }

    pub(crate) const fn config(&self) -> &ApiConfig {
        &self.config
    }

    /// The memory for bodies.
    pub(crate) const fn budget(&self) -> &BodyMemory {
        &self.budget
    }

    /// The connections.
    pub(crate) const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// When it was made, with its process.
    pub(crate) const fn started(&self) -> SystemTime {
        self.started
    }

    pub(crate) const fn metrics(&self) -> Option<&PrometheusHandle> {
        self.metrics.as_ref()
    }
}
