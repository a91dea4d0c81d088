//! The driver with a third protocol, which has what the two that there are do without: it greets, it answers what the program asks,
//! and it has a way beside the pipes.

use std::future::pending;
use std::sync::Arc;

use muster_domain::{
    AgentId, AgentSpec, Epoch, ExecProfile, Payload, ProcessId, Progress, SpawnOrder, TaskId, TaskOrder, Timestamp,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::log::LogStream;
use crate::notes::{Note, Notes};
use crate::runtime::RunNews;
use crate::runtime::exec::host::{Framing, Printed, Stdin};
use crate::runtime::exec::protocol::{Message, MessageBody, Says, TaskMessage};
use crate::runtime::exec::{Common, LastActive};
use crate::tasks::{AttemptStart, Finished};

struct Asking {
    task: Option<TaskId>,
    beside: UnboundedReceiver<Note>,
}

impl AgentProtocol for Asking {
    const LIFE: ProgramLife = ProgramLife::Agent;
    const STDOUT: Framing = Framing::Log;

    fn open(&mut self, stdin: &mut Stdin) {
        stdin.push(b"hello\n".to_vec(), None).expect("an open pipe");
    }

    fn give(&mut self, order: &TaskOrder, _at: Timestamp, stdin: &mut Stdin) -> Result<u64, &'static str> {
        self.task = Some(order.task_id);
        stdin.push(b"work\n".to_vec(), Some(order.task_id))
    }

    fn hear(&mut self, _stream: LogStream, line: Printed<'_>, stdin: &mut Stdin, says: Says<'_>) -> bool {
        match (line.text, self.task) {
            (b"welcome", _) => says(Message::Ready),
            (b"may I?", _) => stdin.push(b"yes\n".to_vec(), None).is_ok(),
            (b"done", Some(task_id)) => {
                let body = MessageBody::End(Finished::Done(Payload::trusted("7")));
                says(Message::Task(TaskMessage { task_id, attempt: None, body }))
            }
            _ => false,
        }
    }

    async fn message(&mut self) -> Message {
        match (self.task, self.beside.recv().await) {
            (Some(task_id), Some(note)) => {
                Message::Task(TaskMessage { task_id, attempt: Some(1), body: MessageBody::Note(note) })
            }
            _ => pending().await,
        }
    }
}

fn run(script: &str, data_dir: &std::path::Path) -> (Arc<RunContext>, UnboundedReceiver<RunNews>) {
    let profile: ExecProfile =
        serde_json::from_value(serde_json::json!({"command": ["sh", "-c", script]})).expect("a profile");
    let (news, heard) = unbounded_channel();
    let common = Common {
        profile,
        process_id: ProcessId::generate(),
        pool_name: "p".parse().expect("a name"),
        data_dir: data_dir.to_owned(),
        news,
        worker_deadline: Duration::from_secs(10),
        since: Instant::now(),
    };
    let agent = AgentSpec {
        agent_id: AgentId::generate(),
        pool_name: "p".parse().expect("a name"),
        role_type: "developer".into(),
        project_id: "shop".into(),
        human_name: "Ada Brook".into(),
        heartbeat_interval: Duration::from_secs(30),
        max_idle_time: Duration::from_secs(300),
        on_demand: false,
    };
    let order = SpawnOrder { agent, epoch: Epoch(1) };
    (Arc::new(RunContext { common: Arc::new(common), order, activity: LastActive::default() }), heard)
}

fn start(run: &RunContext) -> AttemptStart {
    let order = TaskOrder {
        task_id: TaskId::generate(),
        attempt: 1,
        agent_id: run.agent_id(),
        epoch: run.order.epoch,
        input: Payload::trusted("null"),
        timeout: None,
        sole_tenant: None,
        check: None,
    };
    AttemptStart { order, notes: Arc::new(Notes::new(Instant::now())) }
}

#[tokio::test]
async fn a_protocol_may_greet_answer_and_hear_by_a_way_beside_the_pipes() {
    let data = tempfile::tempdir().expect("a folder");
    let script = r#"read hello; echo "told $hello"; echo welcome; read work; echo "may I?"; read yes; echo "told $yes"
        while [ ! -e go ]; do sleep 0.01; done; echo done; read more"#;
    let (run, mut news) = run(script, data.path());
    let (tell, beside) = unbounded_channel();
    let mut protocol = Asking { task: None, beside };
    let mut records = Records::new(Journal::new(data.path(), run.agent_id()));
    let host = Host::start(Arc::clone(&run), None, Asking::STDOUT).await.expect("a program");
    let (orders, mut ordered) = unbounded_channel();
    let start = start(&run);
    let (id, notes) = (start.id(), Arc::clone(&start.notes));
    let master = async {
        assert!(matches!(news.recv().await.expect("news").what, RunChange::Started { pid: Some(_) }));
        orders.send(AgentOrder::Begin(Box::new(start))).expect("a driver");
        let progress = Progress { message: "asking".into(), percent: None };
        // Not heard before the task is there.
        while notes.said().progress.is_none() {
            tell.send(Note::Progress(progress.clone())).expect("a protocol");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::fs::write(data.path().join("agents").join(run.agent_id().to_string()).join("go"), "").expect("a file");
        let RunChange::Finished(finish) = news.recv().await.expect("news").what else { panic!("an end") };
        assert_eq!((finish.id, finish.end), (id, Finished::Done(Payload::trusted("7"))));
        orders.send(AgentOrder::Stop(StopMode::Ask)).expect("a driver");
    };
    let driver = Driver::new(&run, &mut protocol, &mut records, host);
    let (end, ()) = tokio::join!(driver.drive(&mut ordered), master);
    assert_eq!((end.cause, end.ordered), (Cause::Stopped, true));
    assert_eq!(records.tail.text(), "told hello\ntold yes", "messages are no log output");
}

#[test]
fn the_signal_waits_for_a_tenth_of_the_deadline_and_a_second_at_the_most() {
    let millis = |deadline| pause(Duration::from_millis(deadline)).as_millis();
    assert_eq!([0, 300, 10_000, 60_000].map(millis), [0, 30, 1_000, 1_000]);
    assert_eq!(pause(Duration::MAX), MAX_PAUSE);
}
