//! The table of orders, halts and ends, and every race of the messages in both orders.

use std::fmt::Write;

use muster_domain::{Progress, Usage};

use super::*;
use crate::notes::Note;

const BEAT: Duration = Duration::from_secs(2);
const EPOCH: Epoch = Epoch(1);

/// A table with its clock stopped, and a short notation for what it answers.
struct AttemptTableTest {
    tasks: AttemptTable,
    now: Instant,
    agents: [AgentId; 2],
    ids: [TaskId; 4],
    seq: u64,
    notes: HashMap<usize, Arc<Notes>>,
}

impl AttemptTableTest {
    fn new() -> Self {
        let (agents, ids) = (std::array::from_fn(|_| AgentId::generate()), std::array::from_fn(|_| TaskId::generate()));
        let now = Instant::now();
        Self { tasks: AttemptTable::new(BEAT, now), now, agents, ids, seq: 0, notes: HashMap::new() }
    }

    /// Task 0 to 3, each an agent's: 0 and 1 of the first, 2 and 3 of the second.
    fn order(&self, task: usize) -> TaskOrder {
        TaskOrder {
            task_id: self.ids[task],
            attempt: 1,
            agent_id: self.agents[task / 2],
            epoch: EPOCH,
            input: Payload::trusted("null"),
            timeout: None,
            sole_tenant: Some("acme".to_owned()),
            check: None,
        }
    }

    fn begin(&mut self, task: usize) -> String {
        self.begin_with(self.order(task), None)
    }

    fn begin_with(&mut self, order: TaskOrder, refusal: Option<&str>) -> String {
        let refusal = refusal.map(str::to_owned);
        let act = self.tasks.on_order(order, |_| refusal, self.now, Timestamp::from_millis(1));
        self.words(act)
    }

    fn halt(&mut self, task: usize, halt: Halt) -> String {
        let order = self.order(task);
        let (agent_id, epoch) = (order.agent_id, order.epoch);
        let act = self.tasks.on_halt(TaskHalt { task_id: order.task_id, attempt: 1, agent_id, epoch, halt });
        self.words(act)
    }

    fn finish(&mut self, task: usize, end: Finished) {
        let id = self.id(task);
        let finish = Finish { id, end, last_output: String::new() };
        self.tasks.on_finish(finish, self.now, Timestamp::from_millis(2));
    }

    fn done(&mut self, task: usize) {
        self.finish(task, Finished::Done(Payload::trusted("7")));
    }

    fn fail(&mut self, task: usize) {
        self.finish(task, Finished::Failed { message: "no".to_owned(), retryable: false });
    }

    fn agent_ends(&mut self, agent: usize, epoch: u64, cause: Cause) {
        let ending = Ending { cause, last_output: "boom".to_owned(), at: Timestamp::from_millis(3) };
        self.tasks.on_agent_ended(self.agents[agent], Epoch(epoch), &ending, self.now);
    }

    /// What the next reports say, in order of the tasks.
    fn news(&mut self) -> String {
        self.all_news().join(", ")
    }

    fn all_news(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(body) = self.tasks.next_report(self.seq + 1) {
            self.seq += 1;
            let ReportBody::Tasks { begun, over } = body else { panic!("{body:?}") };
            all.extend(begun.iter().map(|begun| format!("{} begun", self.name(begun.task_id))));
            all.extend(over.iter().map(|over| {
                let mut word = format!("{} {}", self.name(over.task_id), over.end);
                if let Some(output) = &over.output {
                    let _ = write!(word, " {output}");
                }
                word
            }));
        }
        assert!(!self.tasks.has_news());
        all.sort();
        all
    }

    fn id(&self, task: usize) -> AttemptId {
        AttemptId { task_id: self.ids[task], attempt: 1 }
    }

    fn name(&self, id: TaskId) -> usize {
        self.ids.iter().position(|known| *known == id).expect("a task")
    }

    fn words(&mut self, acts: impl IntoIterator<Item = TaskStep>) -> String {
        let mut words = Vec::new();
        for act in acts {
            words.push(match act {
                TaskStep::Begin(start) => {
                    let task = self.name(start.order.task_id);
                    self.notes.insert(task, start.notes);
                    format!("begin {task}")
                }
                TaskStep::Halt(agent_id, id, _) => {
                    assert_eq!(agent_id, self.agents[self.name(id.task_id) / 2]);
                    format!("halt {}", self.name(id.task_id))
                }
                TaskStep::Resend(seq) => format!("resend {seq}"),
            });
        }
        words.join(", ")
    }

    fn work(&self, agent: usize) -> AgentWork {
        self.tasks.work_of(self.agents[agent], EPOCH, self.now)
    }
}

#[test]
fn an_order_is_answered_with_what_became_of_it_each_time_it_comes() {
    let mut table = AttemptTableTest::new();
    assert_eq!(table.begin(0), "begin 0");
    assert_eq!(table.begin(0), "", "an attempt is begun once");
    assert_eq!(table.news(), "0 begun", "and said once in a report");
    assert_eq!(table.begin(0), "");
    assert_eq!(table.news(), "0 begun", "and said again to who asks again");
    table.done(0);
    assert_eq!(table.begin(0), "", "its end waits for the next report");
    assert_eq!(table.news(), "0 succeeded 7");
    assert_eq!(table.begin(0), format!("resend {}", table.seq), "its report is kept");
    table.tasks.settle(table.seq, table.now);
    assert_eq!(table.begin(0), "");
    assert_eq!(table.news(), "0 succeeded", "said anew, though settled");
}

#[test]
fn a_short_task_is_told_by_its_end_alone() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.begin(1);
    table.done(0);
    assert_eq!(table.news(), "0 succeeded 7, 1 begun");
    assert_eq!(table.news(), "");
}

#[test]
fn a_halt_before_its_order_and_behind_it_both_end_it() {
    let mut table = AttemptTableTest::new();
    assert_eq!(table.begin(0), "begin 0");
    assert_eq!(table.halt(0, Halt::Cancelled), "halt 0");
    assert_eq!(table.halt(0, Halt::Cancelled), "", "it was told");
    assert_eq!(table.news(), "0 begun", "it is over when its work has stopped");
    table.finish(0, Finished::Stopped);
    assert_eq!(table.news(), "0 was cancelled");

    assert_eq!(table.halt(1, Halt::Cancelled), "");
    assert_eq!(table.begin(1), "", "the order that comes late begins nothing");
    assert_eq!(table.news(), "1 was cancelled");
    assert_eq!(table.halt(1, Halt::TimedOut), format!("resend {}", table.seq));
}

#[test]
fn a_halt_that_crosses_a_result_changes_nothing() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.halt(0, Halt::Cancelled);
    table.done(0);
    assert_eq!(table.news(), "0 succeeded 7", "it was done before it heard");
    table.begin(1);
    table.done(1);
    assert_eq!(table.halt(1, Halt::Cancelled), "");
    assert_eq!(table.news(), "1 succeeded 7");
    table.finish(1, Finished::Stopped);
    assert_eq!(table.news(), "", "late news are none");
}

#[test]
fn an_error_behind_a_halt_is_its_answer_and_the_first_reason_counts() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.begin(1);
    table.halt(0, Halt::BudgetExceeded);
    assert_eq!(table.halt(0, Halt::Cancelled), "");
    table.fail(0);
    table.fail(1);
    assert_eq!(table.news(), "0 passed a budget, 1 failed: no");
}

#[test]
fn a_refusal_is_final_and_never_given_of_what_was_begun() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.news();
    assert_eq!(table.begin_with(table.order(0), Some("it is draining")), "");
    assert_eq!(table.news(), "0 begun");
    assert_eq!(table.begin_with(table.order(1), Some("it is draining")), "");
    assert_eq!(table.begin(1), "", "the master may have given it to another agent");
    assert_eq!(table.news(), "1 never began: it is draining");
    assert_eq!(table.begin_with(TaskOrder { attempt: 2, ..table.order(1) }, None), "begin 1");
}

#[test]
fn the_end_of_an_agent_ends_its_tasks_by_its_cause() {
    for (cause, other) in [
        (Cause::Exited { code: 3 }, "1 lost its agent, which exited with code 3"),
        (Cause::Signaled { signal: 9 }, "1 lost its agent, which was ended by signal 9"),
        (Cause::Stopped, "1 was interrupted: its agent was stopped"),
        (Cause::TaskHalted, "1 was interrupted: its agent was ended with another task that did not stop"),
    ] {
        let mut table = AttemptTableTest::new();
        for task in 0..3 {
            table.begin(task);
        }
        table.halt(0, Halt::Cancelled);
        table.news();
        table.agent_ends(0, 2, cause.clone());
        assert_eq!(table.news(), "", "news of another run");
        table.agent_ends(0, 1, cause.clone());
        assert_eq!(table.news(), format!("0 was cancelled, {other}"));
        assert_eq!(table.tasks.held.len(), 1, "another agent's task goes on");
        table.done(1);
        assert_eq!(table.news(), "", "it is over");
    }
}

#[test]
fn what_was_used_is_told_of_a_task_whose_agent_died_and_not_what_that_printed() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.notes[&0].put(Note::Usage(Usage { input_tokens: 5, ..Usage::default() }));
    table.agent_ends(0, 1, Cause::Exited { code: 1 });
    let Some(ReportBody::Tasks { over, .. }) = table.tasks.next_report(1) else { panic!("an end") };
    assert_eq!((over[0].usage.input_tokens, over[0].last_output.as_str()), (5, ""), "it may be about another task");
}

#[test]
fn a_task_that_its_agent_lost_has_its_own_last_words() {
    for (halt, said) in [(None, "exited with code 1"), (Some(Halt::TimedOut), "TimedOut")] {
        let mut table = AttemptTableTest::new();
        table.begin(0);
        if let Some(halt) = halt {
            table.halt(0, halt);
        }
        let end = Finished::Lost(Cause::Exited { code: 1 });
        let finish = Finish { id: table.id(0), end, last_output: "boom".to_owned() };
        table.tasks.on_finish(finish, table.now, Timestamp::from_millis(3));
        let Some(ReportBody::Tasks { over, .. }) = table.tasks.next_report(1) else { panic!("an end") };
        assert!(format!("{:?}", over[0].end).contains(said), "{:?}", over[0]);
        assert_eq!(over[0].last_output, "boom");
    }
}

#[test]
fn a_timeout_halts_once_and_only_what_is_not_over() {
    let mut table = AttemptTableTest::new();
    let second = Duration::from_secs(1);
    for task in 0..3 {
        table.begin_with(TaskOrder { timeout: Some(second * (task as u32 + 1)), ..table.order(task) }, None);
    }
    table.done(0);
    assert_eq!(table.tasks.next_deadline(), Some(table.now + second * 2));
    table.now += second * 2;
    let late = table.tasks.on_time(table.now);
    assert_eq!(table.words(late), "halt 1");
    assert_eq!(table.tasks.on_time(table.now).len(), 0);
    table.finish(1, Finished::Stopped);
    table.halt(2, Halt::Cancelled);
    table.now += second;
    assert_eq!(table.tasks.on_time(table.now).len(), 0, "it is being stopped");
    table.finish(2, Finished::Stopped);
    assert_eq!(table.news(), "0 succeeded 7, 1 took longer than its timeout, 2 was cancelled");
    assert_eq!(table.tasks.next_deadline(), None);
}

#[test]
fn an_agent_with_tasks_is_busy_and_rests_from_the_end_of_its_last_one() {
    let mut table = AttemptTableTest::new();
    assert_eq!(table.tasks.last_busy(&table.agents[0], table.now), None);
    assert_eq!(table.work(0).activity, Activity::Idle);
    table.begin(0);
    table.begin(1);
    let begun = table.now;
    table.now += BEAT;
    table.done(0);
    assert_eq!((table.work(0).activity, table.work(0).tasks.len()), (Activity::Busy, 1));
    assert_eq!(table.work(0).turned_at, Some(Timestamp::from_millis(1)));
    assert_eq!(table.tasks.last_busy(&table.agents[0], table.now), Some(table.now));
    table.done(1);
    assert_eq!((table.work(0).activity, table.work(0).tasks.len()), (Activity::Idle, 0));
    assert_eq!(table.work(0).turned_at, Some(Timestamp::from_millis(2)));
    assert_eq!(table.tasks.last_busy(&table.agents[0], table.now + BEAT), Some(begun + BEAT));
    table.agent_ends(0, 1, Cause::Stopped);
    assert!(table.tasks.loads.is_empty());
}

#[test]
fn a_picture_tells_for_how_long_a_task_is_quiet_while_somebody_could_hear() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    let quiet = |table: &AttemptTableTest| table.work(0).tasks[0].quiet_ms;
    table.now += BEAT;
    assert_eq!(quiet(&table), 2000);
    table.notes[&0].sign(table.now);
    table.now += BEAT / 2;
    assert_eq!(quiet(&table), 1000);
    table.tasks.listen_anew(table.now);
    assert_eq!(quiet(&table), 0, "nobody could hear");
    let progress = Progress { message: "reading".to_owned(), percent: Some(10.0) };
    table.notes[&0].put(Note::Progress(progress.clone()));
    table.notes[&0].put(Note::Usage(Usage { output_tokens: 3, ..Usage::default() }));
    let picture = table.work(0).tasks.remove(0);
    assert_eq!((picture.progress, picture.usage.output_tokens), (Some(progress), 3));
}

#[test]
fn an_end_is_forgotten_two_heartbeats_after_it_is_settled() {
    let mut table = AttemptTableTest::new();
    table.begin(0);
    table.done(0);
    table.news();
    table.tasks.settle(table.seq, table.now);
    table.now += BEAT;
    table.tasks.settle(table.seq, table.now);
    assert_eq!(table.begin(0), "", "an order that was on its way for long");
    table.news();
    table.now += BEAT;
    table.tasks.settle(table.seq, table.now);
    table.now += BEAT * 2;
    table.tasks.settle(table.seq, table.now);
    assert_eq!(table.begin(0), "begin 0", "nothing is remembered for ever");
}

#[test]
fn beginnings_are_bounded_in_a_report() {
    let mut table = AttemptTableTest::new();
    for attempt in 1..=BEGUN_AT_ONCE as u32 + 1 {
        table.begin_with(TaskOrder { attempt, ..table.order(0) }, None);
    }
    let lengths: Vec<usize> = std::iter::from_fn(|| table.tasks.next_report(1))
        .map(|body| if let ReportBody::Tasks { begun, .. } = body { begun.len() } else { 0 })
        .collect();
    assert_eq!(lengths, [BEGUN_AT_ONCE, 1]);
}

/// What happens to one task.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Happening {
    Order,
    OrderAgain,
    Halt,
    Result,
    AgentDies,
    Report,
    Settlement,
}

#[test]
fn in_whatever_order_things_happen_an_attempt_is_begun_once_and_ends_in_one_way() {
    use Happening::*;
    let mut orders = Vec::new();
    permute(&mut [Order, OrderAgain, Halt, Result, AgentDies, Report, Settlement], 0, &mut orders);
    assert_eq!(orders.len(), 5040);
    for happenings in orders {
        let mut table = AttemptTableTest::new();
        let (mut acts, mut told) = (Vec::new(), Vec::new());
        for happening in &happenings {
            match happening {
                Order | OrderAgain => acts.push(table.begin(0)),
                Halt => acts.push(table.halt(0, super::Halt::Cancelled)),
                Result => table.done(0),
                AgentDies => table.agent_ends(0, 1, Cause::Exited { code: 3 }),
                Report => told.extend(table.all_news()),
                Settlement => table.tasks.settle(table.seq, table.now),
            }
        }
        told.extend(table.all_news());
        assert!(acts.iter().filter(|act| *act == "begin 0").count() <= 1, "{happenings:?}: {acts:?}");
        // An end that is said again after it was settled does without its output.
        let ends = told.iter().filter(|news| *news != "0 begun").map(|news| news.trim_end_matches(" 7"));
        let expected = expected_end(&happenings);
        assert_eq!(ends.collect::<HashSet<_>>(), expected.into_iter().collect(), "{happenings:?}: {told:?}");
        assert_eq!(table.tasks.held.len(), usize::from(expected.is_none()), "{happenings:?}");
    }
}

/// How the attempt ends, if it does.
fn expected_end(happenings: &[Happening]) -> Option<&'static str> {
    let at = |wanted| happenings.iter().position(|happening| *happening == wanted);
    let begins = at(Happening::Order).min(at(Happening::OrderAgain));
    let halted = at(Happening::Halt);
    if halted < begins {
        return Some("0 was cancelled");
    }
    // What comes before its beginning is about nothing.
    let ends = [Happening::Result, Happening::AgentDies].into_iter().filter(|end| at(*end) > begins);
    match ends.min_by_key(|end| at(*end))? {
        Happening::Result => Some("0 succeeded"),
        end if halted < at(end) => Some("0 was cancelled"),
        _ => Some("0 lost its agent, which exited with code 3"),
    }
}

/// All orders of these.
fn permute(items: &mut [Happening], from: usize, orders: &mut Vec<Vec<Happening>>) {
    if from == items.len() {
        orders.push(items.to_vec());
    }
    for at in from..items.len() {
        items.swap(from, at);
        permute(items, from + 1, orders);
        items.swap(from, at);
    }
}
