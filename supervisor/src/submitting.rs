//! The way of new tasks to the keeper of their pool: checked, counted against their tenant's limits, and answered when they
//! are stored.

use std::collections::BTreeMap;

use muster_domain::lengths::{MAX_PROJECT_ID, check_length};
use muster_domain::tenant::check_tenant_name;
use muster_domain::{DEFAULT_TENANT, PoolConfig, PoolName, Priority, TaskId, TaskSpec, schema};

use crate::access;
use crate::accounts::Payers;
use crate::clock;
use crate::directory::{Mailbox, ask};
use crate::error::SupervisorError;
use crate::keeper::tasks::TaskAsk;
use crate::keeper::tasks::{SubmitAsk, TaskAnswer, TaskDraft};
use crate::request::{NotBefore, TaskRequest};
use crate::tasks::Tasks;
use crate::view::Submitted;

/// Tasks that one message to a keeper carries, at the most.
const TASKS_PER_ASK: usize = 250;
type SubmitResult = Result<Submitted, SupervisorError>;

impl Tasks {
    /// Takes in a task; it is stored when this returns.
    ///
    /// # Errors
    /// Before it is stored: unknown pool or agent, bad values, a bound (429), or something away. Then nothing was changed.
    pub async fn submit(&self, request: TaskRequest) -> SubmitResult {
        let keeper = self.context.directory.keeper(&request.pool_name)?;
        let draft = self.prepare(request).await?;
        let payer = payer_of(&draft);
        let asked = ask(&keeper, |reply| TaskAsk::Submit(SubmitAsk { tasks: vec![draft], reply }).into()).await;
        let answer = asked.and_then(|answers| answers.into_iter().next().unwrap_or(Err(SupervisorError::Stopping)));
        self.submitted(payer, answer).await
    }

    /// Takes in many tasks; each answers for itself, in order. Those of one pool are stored in few commits.
    pub async fn submit_all(&self, requests: Vec<TaskRequest>) -> Vec<SubmitResult> {
        let mut answers: Vec<SubmitResult> = Vec::with_capacity(requests.len());
        let mut drafts: BTreeMap<PoolName, Vec<(usize, TaskDraft)>> = BTreeMap::new();
        for (place, request) in requests.into_iter().enumerate() {
            let pool = request.pool_name.clone();
            // Overwritten by what becomes of it.
            answers.push(Err(SupervisorError::Stopping));
            match self.prepare(request).await {
                Ok(draft) => drafts.entry(pool).or_default().push((place, draft)),
                Err(error) => answers[place] = Err(error),
            }
        }
        let pools = drafts.into_iter().map(|(pool, drafts)| self.submit_to(pool, drafts));
        for (place, payer, answer) in futures_util::future::join_all(pools).await.into_iter().flatten() {
            answers[place] = self.submitted(payer, answer).await;
        }
        answers
    }

    /// Everything about a task that needs no keeper. One with an idempotency key goes to it even where it is refused: it may
    /// be there already, and the first answer stands.
    async fn prepare(&self, request: TaskRequest) -> Result<TaskDraft, SupervisorError> {
        let mut draft = self.draft(request)?;
        match self.admit(&draft.spec).await {
            Err(refusal) if draft.key.is_some() => draft.refused = Some(refusal),
            admitted => admitted?,
        }
        Ok(draft)
    }

    async fn submit_to(
        &self,
        pool: PoolName,
        drafts: Vec<(usize, TaskDraft)>,
    ) -> Vec<(usize, Option<String>, Result<TaskAnswer, SupervisorError>)> {
        let places: Vec<(usize, Option<String>)> =
            drafts.iter().map(|(place, draft)| (*place, payer_of(draft))).collect();
        let mut drafts: Vec<TaskDraft> = drafts.into_iter().map(|(_, draft)| draft).collect();
        let keeper = self.context.directory.keeper(&pool);
        let mut waiting = Vec::new();
        while !drafts.is_empty() {
            let rest = drafts.split_off(drafts.len().min(TASKS_PER_ASK));
            waiting.push(submit_some(&keeper, std::mem::replace(&mut drafts, rest)));
        }
        let answers = futures_util::future::join_all(waiting).await.into_iter().flatten();
        places.into_iter().zip(answers).map(|((place, payer), answer)| (place, payer, answer)).collect()
    }

    /// A repeated request is answered as the first was, with the state now. What was not taken in costs its tenant nothing.
    async fn submitted(&self, payer: Option<String>, answer: Result<TaskAnswer, SupervisorError>) -> SubmitResult {
        if let Some(tenant) = payer.filter(|_| !matches!(answer, Ok(TaskAnswer::Stored(_)))) {
            self.context.limits.quotas.give_back(&tenant, 1, clock::now(), self.context.settings.wall.now());
        }
        match answer? {
            TaskAnswer::Stored(submitted) => Ok(submitted),
            TaskAnswer::Replayed(task_id) => {
                let row = self.row(task_id).await?;
                Ok(Submitted { task_id, state: row.status.state(), created_at: row.created_at })
            }
        }
    }

    /// Counts a task against its tenant's limits, unless nothing is left for it.
    async fn admit(&self, spec: &TaskSpec) -> Result<(), SupervisorError> {
        // The keeper would say the same, as soon as it has done with what it waits for.
        self.context.reporting.health.may_store()?;
        let (tenant, project) = (spec.tenant.as_str(), spec.project_id.as_deref());
        let payers = Payers { agent: spec.agent_id, project, tenant, pool: &spec.pool_name };
        if let Some(spent) = self.context.limits.accounts.exhausted(None, payers) {
            return Err(SupervisorError::BudgetExceeded(spent.reason));
        }
        self.know_tenant(tenant).await?;
        let taken = self.context.limits.quotas.take(tenant, 1, clock::now(), self.context.settings.wall.now());
        taken.map(drop).map_err(|refusal| SupervisorError::QuotaExceeded {
            tenant: tenant.to_owned(),
            limit: refusal.what.as_str(),
            retry_after: refusal.retry_after,
        })
    }

    fn check_moments(&self, request: &TaskRequest) -> Result<(), SupervisorError> {
        let (now, until) = (self.context.settings.wall.now(), request.expires_at);
        if let (Some(from), Some(until)) = (request.not_before, until)
            && until <= from.from(now)
        {
            let word = if from.delay().is_some() { "the end of delay" } else { "not_before" };
            return Err(SupervisorError::Invalid(format!("expires_at must be after {word}")));
        }
        if until.is_some_and(|at| at <= now) {
            return Err(SupervisorError::Invalid("expires_at has passed already".to_owned()));
        }
        Ok(())
    }

    fn draft(&self, request: TaskRequest) -> Result<TaskDraft, SupervisorError> {
        let pool = self.context.directory.spec(&request.pool_name)?;
        self.check_moments(&request)?;
        let tenant = access::to_tenant(&self.principal, request.tenant)?;
        let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
        check_tenant_name(&tenant).map_err(SupervisorError::Invalid)?;
        if let Some(project) = &request.project_id {
            check_length("project_id", project, MAX_PROJECT_ID).map_err(SupervisorError::Invalid)?;
        }
        let max_attempts = request.max_attempts.unwrap_or(pool.config.max_attempts);
        let check = |key: &str, name: &str, value: serde_json::Value| {
            schema::check_one::<PoolConfig>(key, name, &value).map_err(SupervisorError::Invalid)
        };
        check("max_attempts", "max_attempts", max_attempts.into())?;
        if let Some(timeout) = request.timeout {
            check("task_timeout", "timeout", timeout.as_secs_f64().into())?;
        }
        let skip_phrase = pool.config.skip_phrase.as_deref().or(self.context.settings.skip_phrase.as_deref());
        let spec = TaskSpec {
            task_id: TaskId::generate(),
            pool_name: request.pool_name,
            tenant,
            project_id: request.project_id,
            agent_id: request.agent_id,
            check: request.check || skip_phrase.is_some_and(|phrase| request.input.mentions(phrase)),
            priority: request.priority.unwrap_or(Priority::NORMAL),
            max_attempts,
            timeout: request.timeout.or(pool.config.task_timeout),
            not_before: request.not_before.and_then(NotBefore::moment),
            expires_at: request.expires_at,
        };
        let key = request.key.map(|key| key.of(&self.principal));
        let delay = request.not_before.and_then(NotBefore::delay);
        Ok(TaskDraft { spec, delay, input: request.input, key, refused: None })
    }
}

/// Against whose limits a task was counted, if it was.
fn payer_of(draft: &TaskDraft) -> Option<String> {
    draft.refused.is_none().then(|| draft.spec.tenant.clone())
}

async fn submit_some(
    keeper: &Result<Mailbox, SupervisorError>,
    tasks: Vec<TaskDraft>,
) -> Vec<Result<TaskAnswer, SupervisorError>> {
    let count = tasks.len();
    let answers = match keeper {
        Ok(keeper) => ask(keeper, |reply| TaskAsk::Submit(SubmitAsk { tasks, reply }).into()).await,
        Err(error) => Err(error.clone()),
    };
    answers.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
}
