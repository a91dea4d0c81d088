//! How a fake worker does tasks.

use muster_domain::{
    AgentId, AttemptEnd, Cause, Command, Fence, Halt, ObservedState, Payload, Progress, Report, ReportBody, TaskHalt,
    TaskId, TaskOrder, Usage,
};
use tokio::time::Instant;

use super::habits::{OnHalt, OnTask};
use super::jobs::{Attempt, Todo};
use super::{FakeWorker, Mind};

impl FakeWorker {
    /// A command about tasks came: lost, once or twice, as the habits say.
    pub(super) async fn obey_work(&self, mind: &mut Mind, command: &Command, fence: Fence) {
        if mind.habits.missed_tasks > 0 {
            mind.habits.missed_tasks -= 1;
            return;
        }
        for _ in 0..1 + u32::from(mind.habits.hears_twice) {
            match command {
                Command::RunTasks { tasks } => tasks.iter().for_each(|order| self.on_task(mind, order, fence)),
                Command::HaltTasks { tasks } => tasks.iter().for_each(|halt| self.on_halt(mind, halt)),
                _ => {}
            }
        }
        self.say_work(mind).await;
    }

    fn on_task(&self, mind: &mut Mind, order: &TaskOrder, fence: Fence) {
        let refusal = self.work_refusal(mind, order, fence);
        let (id, agent) = ((order.task_id, order.attempt), order.agent_id);
        let todo = mind.jobs.order(order.clone(), refusal);
        self.heed(mind, todo);
        if todo != Todo::Begun {
            return;
        }
        self.0.ledger.begin_task(self.id(), agent, id);
        match mind.habits.on_task {
            OnTask::Hold => {}
            OnTask::Answer => self.end_attempt(mind, id, AttemptEnd::Succeeded),
            OnTask::Fail { retryable } => self.end_attempt(mind, id, failure(retryable)),
        }
    }

    fn work_refusal(&self, mind: &Mind, order: &TaskOrder, fence: Fence) -> Option<&'static str> {
        if fence < mind.fence {
            return Some("its worker has seen a later leader");
        }
        if mind.departing {
            return Some("its worker is draining");
        }
        match mind.held.get(&order.agent_id).filter(|held| held.epoch == order.epoch).map(|held| held.state) {
            None => Some("its worker does not have that run of its agent"),
            Some(ObservedState::Starting) => Some("its agent is starting"),
            Some(_) => None,
        }
    }

    fn on_halt(&self, mind: &mut Mind, halt: &TaskHalt) {
        let todo = mind.jobs.halt(halt);
        self.heed(mind, todo);
        if todo == Todo::Stop {
            self.stop_attempt(mind, (halt.task_id, halt.attempt));
        }
    }

    fn stop_attempt(&self, mind: &mut Mind, id: Attempt) {
        match mind.habits.on_halt {
            OnHalt::Stop => self.end_attempt(mind, id, AttemptEnd::Interrupted { message: "stopped".to_owned() }),
            OnHalt::Answer => self.end_attempt(mind, id, AttemptEnd::Succeeded),
            OnHalt::Ignore => {}
        }
    }

    /// An answer is sent again, as long as it is kept; else it is said anew.
    fn heed(&self, mind: &mut Mind, todo: Todo) {
        let Todo::Repeat(seq) = todo else { return };
        match mind.reports.iter().find(|kept| kept.seq == seq) {
            Some(kept) => mind.unsent.push(kept.clone()),
            None => mind.jobs.say_again(seq),
        }
    }

    fn end_attempt(&self, mind: &mut Mind, id: Attempt, end: AttemptEnd) {
        let succeeded = end == AttemptEnd::Succeeded;
        if mind.jobs.end(id, end) {
            self.0.ledger.end_task(id, succeeded);
        }
    }

    /// With an agent's end its work has stopped.
    pub(super) fn end_work_of(&self, mind: &mut Mind, agent: AgentId, cause: &Cause) {
        let end = match cause {
            Cause::Stopped => AttemptEnd::Interrupted { message: "its agent was stopped".to_owned() },
            cause => AttemptEnd::AgentDied { message: cause.to_string() },
        };
        for id in mind.jobs.of_agent(agent) {
            self.end_attempt(mind, id, end.clone());
        }
        self.number_work(mind);
    }

    pub(super) fn stop_late_work(&self, mind: &mut Mind) {
        for id in mind.jobs.late(Instant::now()) {
            self.stop_attempt(mind, id);
        }
        self.number_work(mind);
    }

    /// Puts what is new of tasks into a report, which goes out with the next ones.
    fn number_work(&self, mind: &mut Mind) {
        if let Some(body) = mind.jobs.report(mind.seq + 1) {
            let report = self.make_report(mind, body);
            for _ in 0..1 + u32::from(mind.habits.says_twice) {
                mind.unsent.push(report.clone());
            }
        }
    }

    async fn say_work(&self, mind: &mut Mind) {
        self.number_work(mind);
        self.send_reports(mind, &[]).await;
    }

    /// Tasks that it has.
    pub(crate) async fn tasks(&self) -> Vec<TaskId> {
        self.0.mind.lock().await.jobs.held.keys().map(|(id, _)| *id).collect()
    }

    /// An agent is done with a task, as it is told here.
    pub(crate) async fn finish_task(&self, task: TaskId, end: AttemptEnd) {
        let mut mind = self.0.mind.lock().await;
        let id = mind.jobs.current(task).expect("it has the task");
        self.end_attempt(&mut mind, id, end);
        self.say_work(&mut mind).await;
    }

    pub(crate) async fn answer(&self, task: TaskId) {
        self.finish_task(task, AttemptEnd::Succeeded).await;
    }

    pub(crate) async fn fail(&self, task: TaskId, retryable: bool) {
        self.finish_task(task, failure(retryable)).await;
    }

    /// An agent is done with a task, and its worker neither shows nor says it any more.
    pub(crate) async fn forget_task(&self, task: TaskId) {
        let mut mind = self.0.mind.lock().await;
        let id = mind.jobs.current(task).expect("it has the task");
        self.end_attempt(&mut mind, id, AttemptEnd::Succeeded);
        mind.jobs.keep_quiet();
    }

    /// Works on a task that nobody gave it.
    pub(crate) async fn begin_stranger(&self, agent: AgentId) -> TaskId {
        let mut mind = self.0.mind.lock().await;
        let (task_id, epoch) = (TaskId::generate(), mind.held.get(&agent).expect("it is held").epoch);
        let input = Payload::trusted("1");
        let order = TaskOrder {
            task_id,
            attempt: 1,
            agent_id: agent,
            epoch,
            input,
            sole_tenant: Some("acme".to_owned()),
            timeout: None,
            check: None,
        };
        mind.jobs.order(order, None);
        self.0.ledger.begin_task(self.id(), agent, (task_id, 1));
        self.say_work(&mut mind).await;
        task_id
    }

    /// How far a task is, and what it has used.
    pub(crate) async fn progress(&self, task: TaskId, message: &str, usage: Usage) {
        let mut mind = self.0.mind.lock().await;
        let id = mind.jobs.current(task).expect("it has the task");
        let job = mind.jobs.held.get_mut(&id).expect("it has the task");
        job.progress = Some(Progress { message: message.to_owned(), percent: None });
        job.usage = usage;
    }

    /// The reports of tasks that it has made and knows not to be settled.
    pub(crate) async fn work_reports(&self) -> Vec<Report> {
        let mind = self.0.mind.lock().await;
        let is_work = |report: &&Report| matches!(report.body, ReportBody::Tasks { .. });
        mind.reports.iter().filter(is_work).cloned().collect()
    }

    /// Orders to do this task that it was sent.
    pub(crate) async fn orders_of(&self, task: TaskId) -> Vec<TaskOrder> {
        let orders = self.heard().await.into_iter().filter_map(|envelope| match envelope.command {
            Command::RunTasks { tasks } => Some(tasks),
            _ => None,
        });
        orders.flatten().filter(|order| order.task_id == task).collect()
    }

    /// Orders to stop this task that it was sent.
    pub(crate) async fn halts_of(&self, task: TaskId) -> Vec<Halt> {
        let halts = self.heard().await.into_iter().filter_map(|envelope| match envelope.command {
            Command::HaltTasks { tasks } => Some(tasks),
            _ => None,
        });
        halts.flatten().filter(|halt| halt.task_id == task).map(|halt| halt.halt).collect()
    }

    /// What it was last told to work on.
    pub(crate) async fn input_of(&self, task: TaskId) -> Option<Payload> {
        self.orders_of(task).await.pop().map(|order| order.input)
    }
}

fn failure(retryable: bool) -> AttemptEnd {
    AttemptEnd::Failed { message: "it went wrong".to_owned(), retryable }
}
