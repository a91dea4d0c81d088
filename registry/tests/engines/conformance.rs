//! What an engine must do. Each case runs on each engine.

use std::time::Duration;

use muster_domain::{
    Activity, AgentId, AttemptEnd, Cause, CheckOrder, Command, Ending, Envelope, Epoch, Fence, Halt, ObservedState,
    Reach, ReportBody, TaskBegun, TaskHalt, TaskId, TaskOrder, TaskOver, Timestamp, Usage, WIRE_VERSION,
};
use muster_registry::{
    AgentNews, Bus, CommandDelivery, CommandStream, LeaderMirror, Registry, ReportDelivery, ReportStream,
};

use crate::bench::{Bench, InMemory, OnRedis};
use crate::samples::{Worker, gone, idle_agent, news, payload, pool, probe, task};
use crate::{soon, wait_until};

macro_rules! engines {
    ($($case:ident),+ $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&InMemory::start()).await; })+
        }
        mod without_a_fault {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&InMemory::without_a_fault()).await; })+
        }
        mod on_redis {
            use super::*;
            $(#[tokio::test] async fn $case() { super::$case(&OnRedis::start()).await; })+
        }
    };
}

engines! {
    a_beat_is_read_back_with_its_age,
    a_picture_that_is_known_is_left_out,
    the_agents_of_a_beat_are_in_the_registry,
    an_agent_that_was_moved_is_not_taken_back,
    after_a_flush_the_next_beat_restores_everything,
    a_condemned_worker_is_fenced,
    forgetting_leaves_nothing_behind,
    forgetting_spares_an_agent_that_moved,
    a_pool_is_forgotten_with_all_that_is_in_it,
    slots_are_mirrored,
    the_leaders_mirror_fades,
    the_engine_answers,
    commands_are_heard_by_whom_they_are_for,
    a_command_of_another_version_is_unreadable,
    a_subscription_can_be_checked,
    reports_arrive_in_order_with_their_agents,
    what_is_carried_for_others_arrives_as_it_was,
    what_is_not_settled_is_read_again,
    settling_travels_back_with_the_beat,
    a_new_pools_reports_are_read_at_once,
    reports_go_on_after_a_flush,
    a_cancelled_read_loses_nothing,
}

async fn a_beat_is_read_back_with_its_age(bench: &impl Bench) {
    let mut worker = Worker::with_agents("p", 3).known_to(bench.engine());
    worker.agents[1].tasks = vec![task(), task()];
    let beat = worker.beat();
    let answer = bench.engine().beat(&beat, &mut worker.known).await.expect("an answer");
    assert_eq!((answer.settled, answer.fenced, answer.leader_present), (0, false, false));
    let pictures = bench
        .engine()
        .read_heartbeats(&[(worker.id, 0), (Worker::new("p").known_to(bench.engine()).id, 0)])
        .await
        .expect("pictures");
    assert_eq!(pictures.generation, answer.generation);
    assert_eq!(bench.engine().generation().await.expect("a generation"), answer.generation);
    let [seen] = &pictures.seen[..] else { panic!("one of two was seen: {pictures:?}") };
    assert_eq!((seen.process_id, seen.number, seen.beat.as_deref()), (worker.id, 1, Some(&beat)));
    assert!(seen.age < Duration::from_secs(5), "{:?}", seen.age);
    let (engine, id) = (bench.engine(), worker.id);
    wait_until("a silent worker's beat ages", || async move {
        let pictures = engine.read_heartbeats(&[(id, 1)]).await.expect("pictures");
        pictures.seen[0].age >= Duration::from_millis(30)
    })
    .await;
    assert_eq!(bench.engine().present().await.expect("ids"), [worker.id]);
}

async fn a_picture_that_is_known_is_left_out(bench: &impl Bench) {
    // More than one script call takes, so that the parts fit together.
    let mut workers: Vec<Worker> = (0..450).map(|_| Worker::with_agents("p", 1).known_to(bench.engine())).collect();
    for worker in &mut workers {
        let beat = worker.beat();
        bench.engine().beat(&beat, &mut worker.known).await.expect("an answer");
    }
    let asked: Vec<_> = workers.iter().enumerate().map(|(at, worker)| (worker.id, at as u64 % 2)).collect();
    let seen = bench.engine().read_heartbeats(&asked).await.expect("pictures").seen;
    assert_eq!(seen.len(), 450);
    for ((worker, known), seen) in asked.iter().zip(&seen) {
        assert_eq!(seen.process_id, *worker);
        assert_eq!(seen.beat.as_ref().map(|beat| beat.process_id), (*known != 1).then_some(*worker));
    }
    assert!(bench.engine().read_heartbeats(&[]).await.expect("no pictures").seen.is_empty());
}

async fn the_agents_of_a_beat_are_in_the_registry(bench: &impl Bench) {
    let mut worker = Worker::with_agents("p", 2).known_to(bench.engine());
    beat(bench, &mut worker).await;
    let [first, second] = [worker.agents[0].agent_id, worker.agents[1].agent_id];
    assert_eq!(bench.agent(first).await, Some((worker.id, Epoch(1), "idle".to_owned())));
    for (state, word) in [(ObservedState::Running(Activity::Busy), "busy"), (ObservedState::Stopping, "stopping")] {
        worker.agents[0].state = state;
        worker.agents.truncate(1);
        beat(bench, &mut worker).await;
        assert_eq!(bench.agent(first).await, Some((worker.id, Epoch(1), word.to_owned())));
    }
    assert_eq!(bench.agent(second).await, None);
}

async fn an_agent_that_was_moved_is_not_taken_back(bench: &impl Bench) {
    let agent = AgentId::generate();
    let (mut former, mut latter) =
        (Worker::new("p").known_to(bench.engine()), Worker::new("p").known_to(bench.engine()));
    latter.agents = vec![idle_agent(agent, 2)];
    // Both orders: the former worker's late news come behind the move, or before it.
    former.agents = vec![idle_agent(agent, 1)];
    beat(bench, &mut former).await;
    beat(bench, &mut latter).await;
    assert_eq!(bench.agent(agent).await.map(|held| held.0), Some(latter.id));
    former.agents[0].state = ObservedState::Stopping;
    beat(bench, &mut former).await;
    assert_eq!(bench.agent(agent).await, Some((latter.id, Epoch(2), "idle".to_owned())));
    former.agents.clear();
    beat(bench, &mut former).await;
    assert_eq!(bench.agent(agent).await.map(|held| held.0), Some(latter.id));
    let ended = former.report(ended(agent, 1));
    bench.engine().report(&[ended], &gone(agent), &mut former.known).await.expect("reported");
    assert_eq!(bench.agent(agent).await.map(|held| held.0), Some(latter.id));
}

async fn after_a_flush_the_next_beat_restores_everything(bench: &impl Bench) {
    let mut worker = Worker::with_agents("p", 3).known_to(bench.engine());
    let before = beat(bench, &mut worker).await;
    bench.flush().await;
    assert!(bench.engine().present().await.expect("ids").is_empty());
    let after = beat(bench, &mut worker).await;
    assert_ne!(before.generation, after.generation);
    for agent in &worker.agents {
        assert_eq!(bench.agent(agent.agent_id).await.map(|held| held.0), Some(worker.id));
    }
    let seen = bench.engine().read_heartbeats(&[(worker.id, 0)]).await.expect("pictures");
    assert_eq!((seen.generation, seen.seen.len()), (after.generation, 1));
    assert_eq!(beat(bench, &mut worker).await.generation, after.generation);
}

async fn a_condemned_worker_is_fenced(bench: &impl Bench) {
    let (mut worker, mut other) =
        (Worker::new("p").known_to(bench.engine()), Worker::new("p").known_to(bench.engine()));
    assert!(!beat(bench, &mut worker).await.fenced);
    bench.engine().condemn(worker.id).await.expect("condemned");
    assert!(beat(bench, &mut worker).await.fenced);
    assert!(!beat(bench, &mut other).await.fenced);
    let unseen = Worker::new("p").known_to(bench.engine());
    bench.engine().condemn(unseen.id).await.expect("condemned");
    assert!(!bench.engine().present().await.expect("ids").contains(&unseen.id), "it was never seen");
}

async fn forgetting_leaves_nothing_behind(bench: &impl Bench) {
    let mut worker = Worker::with_agents("p", 3).known_to(bench.engine());
    beat(bench, &mut worker).await;
    bench.engine().send(&[(worker.pool.clone(), vec![(worker.id, 7)])], &[]).await.expect("mirrored");
    bench.engine().condemn(worker.id).await.expect("condemned");
    let report = worker.report(ReportBody::Ready);
    bench.engine().report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
    let mut stream = reports(bench, &["p"]).await;
    bench.engine().settle(&next(&mut stream).await, &[(worker.id, 1)]).await.expect("settled");
    assert!(!bench.is_bare().await);
    bench.engine().forget(&worker.pool, worker.id).await.expect("forgotten");
    // A settled number that comes late makes no worker of nothing.
    bench.engine().settle(&[], &[(worker.id, 2)]).await.expect("settled");
    bench.engine().forget_pool(&worker.pool).await.expect("forgotten");
    assert!(bench.is_bare().await);
}

async fn forgetting_spares_an_agent_that_moved(bench: &impl Bench) {
    let mut former = Worker::with_agents("p", 2).known_to(bench.engine());
    beat(bench, &mut former).await;
    let mut latter = Worker::new("p").known_to(bench.engine());
    let [moved, lost] = [former.agents[0].agent_id, former.agents[1].agent_id];
    latter.agents = vec![idle_agent(moved, 2)];
    beat(bench, &mut latter).await;
    bench.engine().forget(&former.pool, former.id).await.expect("forgotten");
    assert_eq!(bench.agent(moved).await.map(|held| held.0), Some(latter.id));
    assert_eq!(bench.agent(lost).await, None);
    assert_eq!(bench.engine().present().await.expect("ids"), [latter.id]);
}

async fn a_pool_is_forgotten_with_all_that_is_in_it(bench: &impl Bench) {
    let mut worker = Worker::with_agents("gone", 2).known_to(bench.engine());
    let mut other = Worker::with_agents("stays", 2).known_to(bench.engine());
    for worker in [&mut worker, &mut other] {
        beat(bench, worker).await;
        bench.engine().send(&[(worker.pool.clone(), vec![(worker.id, 8)])], &[]).await.expect("mirrored");
        let report = worker.report(ReportBody::Ready);
        bench.engine().report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
    }
    assert_eq!(bench.engine().pools().await.expect("names"), [worker.pool.clone(), other.pool.clone()]);
    bench.engine().forget_pool(&worker.pool).await.expect("forgotten");
    assert_eq!(bench.engine().pools().await.expect("names"), std::slice::from_ref(&other.pool));
    assert_eq!(bench.agent(worker.agents[0].agent_id).await, None);
    assert!(bench.slots(&worker.pool).await.is_empty());
    let left = next(&mut reports(bench, &["gone", "stays"]).await).await;
    assert_eq!(left.iter().map(|delivery| &delivery.pool).collect::<Vec<_>>(), [&other.pool]);
    assert!(bench.agent(other.agents[0].agent_id).await.is_some());
    assert_eq!(bench.slots(&other.pool).await, [(other.id, 8)]);
}

async fn slots_are_mirrored(bench: &impl Bench) {
    let (first, second) = (Worker::new("p").known_to(bench.engine()), Worker::new("p").known_to(bench.engine()));
    bench.engine().send(&[(first.pool.clone(), vec![(first.id, 3), (second.id, 5)])], &[]).await.expect("mirrored");
    bench.engine().send(&[(first.pool.clone(), vec![(first.id, 10)])], &[]).await.expect("mirrored");
    bench.engine().send(&[(first.pool.clone(), vec![])], &[]).await.expect("nothing to mirror");
    let mut slots = bench.slots(&first.pool).await;
    slots.sort();
    let mut expected = [(first.id, 10), (second.id, 5)];
    expected.sort();
    assert_eq!(slots, expected);
    bench.engine().forget(&first.pool, first.id).await.expect("forgotten");
    assert_eq!(bench.slots(&first.pool).await, [(second.id, 5)]);
}

async fn the_leaders_mirror_fades(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let leader = LeaderMirror {
        fence: Fence(4),
        address: "127.0.0.1:8000".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        since: Timestamp::from_millis(0),
    };
    bench.engine().announce_leader(&leader, Duration::from_secs(60)).await.expect("announced");
    assert!(beat(bench, &mut worker).await.leader_present);
    assert_eq!(bench.leader().await, Some(leader.clone()));
    bench.engine().announce_leader(&leader, Duration::from_millis(20)).await.expect("announced");
    wait_until("the mirror is gone", || async { bench.leader().await.is_none() }).await;
    assert!(!beat(bench, &mut worker).await.leader_present);
}

async fn the_engine_answers(bench: &impl Bench) {
    assert!(bench.engine().ping().await.expect("an answer") < Duration::from_secs(1));
}

async fn commands_are_heard_by_whom_they_are_for(bench: &impl Bench) {
    let (first, second, stranger) = (
        Worker::new("p").known_to(bench.engine()),
        Worker::new("p").known_to(bench.engine()),
        Worker::new("other").known_to(bench.engine()),
    );
    let mut heard_first = listen(bench, &first).await;
    let heard_second = listen(bench, &second).await;
    let mut heard_stranger = listen(bench, &stranger).await;
    let mine: Vec<Envelope> = (0..3).map(|_| probe()).collect();
    let mut batch: Vec<_> = mine.iter().map(|envelope| (first.id, envelope.clone())).collect();
    batch.insert(1, (Worker::new("p").known_to(bench.engine()).id, probe()));
    bench.engine().send(&[], &batch).await.expect("sent");
    bench.engine().send(&[], &[]).await.expect("nothing to send");
    let last = probe();
    bench.engine().send(&[], &[(stranger.id, last.clone())]).await.expect("sent");
    for expected in mine {
        assert_eq!(hear(&mut heard_first).await, command(expected));
    }
    assert_eq!(hear(&mut heard_stranger).await, command(last));
    assert!(heard_first.is_empty() && heard_second.is_empty() && heard_stranger.is_empty());
}

async fn a_command_of_another_version_is_unreadable(bench: &impl Bench) {
    let worker = Worker::new("p").known_to(bench.engine());
    let mut heard = listen(bench, &worker).await;
    let newer = Envelope { v: WIRE_VERSION + 1, ..probe() };
    bench.engine().send(&[], &[(worker.id, newer)]).await.expect("sent");
    let CommandDelivery::Unreadable(why) = hear(&mut heard).await else { panic!("it was read") };
    assert!(why.contains("version 2"), "{why}");
}

async fn a_subscription_can_be_checked(bench: &impl Bench) {
    let worker = Worker::new("p").known_to(bench.engine());
    assert!(bench.engine().check_commands(worker.id).await.is_err(), "there is none");
    let heard = listen(bench, &worker).await;
    bench.engine().check_commands(worker.id).await.expect("it stands");
    drop(heard);
    let (engine, id) = (bench.engine(), worker.id);
    wait_until("a dropped one is none", || async move { engine.check_commands(id).await.is_err() }).await;
}

async fn reports_arrive_in_order_with_their_agents(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let mut stream = reports(bench, &["other", "p"]).await;
    let agents: Vec<_> = (0..5).map(|_| idle_agent(AgentId::generate(), 1)).collect();
    let sent: Vec<_> = agents.iter().map(|agent| worker.started(agent)).collect();
    bench.engine().report(&sent[..2], &news(&agents[..2]), &mut worker.known).await.expect("reported");
    bench.engine().report(&sent[2..], &news(&agents[2..]), &mut worker.known).await.expect("reported");
    let mut received = Vec::new();
    while received.len() < 5 {
        received.extend(next(&mut stream).await);
    }
    let bodies: Vec<_> = received.iter().map(|delivery| delivery.report.clone().expect("a report")).collect();
    assert_eq!(bodies, sent);
    assert!(received.iter().all(|delivery| delivery.pool == worker.pool));
    for agent in &agents {
        assert!(bench.agent(agent.agent_id).await.is_some(), "an agent is there when its start is known");
    }
    let end = worker.report(ended(agents[0].agent_id, 1));
    bench.engine().report(&[end], &gone(agents[0].agent_id), &mut worker.known).await.expect("reported");
    next(&mut stream).await;
    assert_eq!(bench.agent(agents[0].agent_id).await, None);
}

async fn what_is_carried_for_others_arrives_as_it_was(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let mut heard = listen(bench, &worker).await;
    let mut stream = reports(bench, &["p"]).await;
    let dependency = "amqp://guest:s3cret@rabbit/v".parse().expect("a URL");
    let check = CheckOrder {
        store: Reach::new(Duration::from_millis(3), Err("it is away".to_owned())),
        dependencies: [("broker".to_owned(), dependency)].into(),
    };
    for length in [80, 1024 * 1024] {
        let carried = payload(length);
        assert!(carried.len() >= length);
        let order = TaskOrder {
            task_id: TaskId::generate(),
            attempt: 3,
            agent_id: AgentId::generate(),
            epoch: Epoch(1),
            input: carried.clone(),
            timeout: Some(Duration::from_millis(1500)),
            check: Some(Box::new(check.clone())),
            sole_tenant: Some("acme".to_owned()),
        };
        let (task_id, agent_id) = (order.task_id, order.agent_id);
        let halt = TaskHalt { task_id, attempt: 3, agent_id, epoch: Epoch(1), halt: Halt::TimedOut };
        for body in [Command::RunTasks { tasks: vec![order] }, Command::HaltTasks { tasks: vec![halt] }] {
            let envelope = Envelope::new(Fence(1), body);
            bench.engine().send(&[], &[(worker.id, envelope.clone())]).await.expect("sent");
            assert_eq!(hear(&mut heard).await, command(envelope));
        }
        let end = AttemptEnd::Failed { message: "a \"quote\"\n".to_owned(), retryable: false };
        let (last_output, usage) = ("\u{fffd}\u{0}".to_owned(), Usage { input_tokens: 1, ..Usage::default() });
        let over = TaskOver { task_id, attempt: 3, end, output: Some(carried), last_output, usage };
        let report =
            worker.report(ReportBody::Tasks { begun: vec![TaskBegun { task_id, attempt: 3 }], over: vec![over] });
        bench
            .engine()
            .report(std::slice::from_ref(&report), &AgentNews::default(), &mut worker.known)
            .await
            .expect("reported");
        assert_eq!(next(&mut stream).await[0].report.as_ref(), Some(&report));
    }
}

async fn what_is_not_settled_is_read_again(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let report = worker.report(ReportBody::Ready);
    for _ in 0..2 {
        // A doubled report arrives doubled: who reads them knows their numbers.
        bench
            .engine()
            .report(std::slice::from_ref(&report), &AgentNews::default(), &mut worker.known)
            .await
            .expect("reported");
    }
    let first = next(&mut reports(bench, &["p"]).await).await;
    assert_eq!(first.len(), 2);
    let mut again = reports(bench, &["p"]).await;
    assert_eq!(next(&mut again).await, first);
    bench.engine().settle(&first[..1], &[]).await.expect("settled");
    assert_eq!(next(&mut reports(bench, &["p"]).await).await, first[1..]);
    bench.engine().settle(&first, &[]).await.expect("settling twice is no error");
    let other = worker.report(ReportBody::Ready);
    bench.engine().report(&[other], &AgentNews::default(), &mut worker.known).await.expect("reported");
    assert_eq!(next(&mut again).await.len(), 1);
}

async fn settling_travels_back_with_the_beat(bench: &impl Bench) {
    let mut worker = Worker::new("p");
    assert_eq!(beat(bench, &mut worker).await.settled, 0);
    bench.engine().settle(&[], &[(worker.id, 12), (Worker::new("p").id, 3)]).await.expect("settled");
    assert_eq!(beat(bench, &mut worker).await.settled, 12);
    bench.engine().settle(&[], &[(worker.id, 9)]).await.expect("settled");
    assert_eq!(beat(bench, &mut worker).await.settled, 12, "it never falls");
    assert_eq!(bench.engine().present().await.expect("ids"), [worker.id]);
}

async fn a_new_pools_reports_are_read_at_once(bench: &impl Bench) {
    let mut stream = reports(bench, &[]).await;
    let mut watched = Vec::new();
    for name in ["a", "b", "c"] {
        let nothing = tokio::time::timeout(Duration::from_millis(20), stream.next()).await;
        assert!(nothing.is_err(), "nothing was reported: {nothing:?}");
        watched.push(pool(name));
        stream.watch(watched.clone());
        let mut worker = Worker::new(name).known_to(bench.engine());
        let report = worker.report(ReportBody::Ready);
        let started = std::time::Instant::now();
        bench.engine().report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
        assert_eq!(next(&mut stream).await[0].pool, worker.pool);
        assert!(started.elapsed() < Duration::from_millis(500), "not at the end of a blocking read");
    }
}

async fn reports_go_on_after_a_flush(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let mut stream = reports(bench, &["p"]).await;
    for _ in 0..2 {
        let report = worker.report(ReportBody::Ready);
        bench
            .engine()
            .report(std::slice::from_ref(&report), &AgentNews::default(), &mut worker.known)
            .await
            .expect("reported");
        assert_eq!(next(&mut stream).await[0].report.as_ref(), Some(&report));
        bench.flush().await;
    }
}

async fn a_cancelled_read_loses_nothing(bench: &impl Bench) {
    let mut worker = Worker::new("p").known_to(bench.engine());
    let mut stream = reports(bench, &["p"]).await;
    let mut received = Vec::new();
    for seq in 1..=50 {
        let report = worker.report(ReportBody::Ready);
        bench.engine().report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
        // Sometimes before the read is sent, sometimes while it is under way, sometimes when its answer is there.
        let patience = Duration::from_micros(seq % 7 * 60);
        if let Ok(deliveries) = tokio::time::timeout(patience, stream.next()).await {
            received.extend(deliveries.expect("reports"));
        }
    }
    while received.len() < 50 {
        received.extend(next(&mut stream).await);
    }
    let numbers: Vec<u64> = received.iter().map(|delivery| delivery.report.as_ref().expect("a report").seq).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
}

async fn beat(bench: &impl Bench, worker: &mut Worker) -> muster_domain::HeartbeatReply {
    let beat = worker.beat();
    bench.engine().beat(&beat, &mut worker.known).await.expect("an answer")
}

async fn reports(bench: &impl Bench, pools: &[&str]) -> Box<dyn ReportStream> {
    bench.engine().reports(pools.iter().map(|name| pool(name)).collect()).await.expect("a stream")
}

async fn next(stream: &mut Box<dyn ReportStream>) -> Vec<ReportDelivery> {
    soon("reports", stream.next()).await.expect("reports")
}

async fn listen(bench: &impl Bench, worker: &Worker) -> CommandStream {
    bench.engine().commands(worker.id).await.expect("a subscription")
}

async fn hear(stream: &mut CommandStream) -> CommandDelivery {
    soon("a command", stream.recv()).await.expect("the subscription stands")
}

fn command(envelope: Envelope) -> CommandDelivery {
    CommandDelivery::Command(Box::new(envelope))
}

fn ended(agent_id: AgentId, epoch: u64) -> ReportBody {
    let ending = Ending::new(Cause::Exited { code: 0 }, Timestamp::from_millis(0));
    ReportBody::Ended { agent_id, epoch: Epoch(epoch), ready: true, ending }
}
