//! Alerts on their way to a webhook, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use tokio::time::Instant;

use super::*;

/// What came to a webhook.
#[derive(Clone, Debug)]
struct SentRequests {
    at: Instant,
    delivery: String,
    signature: String,
    json: Value,
}

/// A webhook that answers what it is told to, and then 200.
#[derive(Default)]
struct FakeWebhookClient {
    answers: Mutex<VecDeque<FakeReply>>,
    posts: Mutex<Vec<SentRequests>>,
}

#[derive(Clone, Copy)]
enum FakeReply {
    Status(u16),
    Refused,
    Silence,
}

#[async_trait]
impl WebhookClient for FakeWebhookClient {
    async fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<u16, String> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).expect(name).1.clone();
        self.posts.lock().expect("no panic elsewhere").push(SentRequests {
            at: Instant::now(),
            delivery: header("X-Muster-Delivery"),
            signature: header("X-Muster-Signature"),
            json: serde_json::from_str(&body).expect("JSON"),
        });
        let answer = self.answers.lock().expect("no panic elsewhere").pop_front();
        match answer.unwrap_or(FakeReply::Status(200)) {
            FakeReply::Status(status) => Ok(status),
            FakeReply::Refused => Err("connection refused".to_owned()),
            FakeReply::Silence => std::future::pending().await,
        }
    }
}

struct AlertScene {
    alerts: Arc<Alerts>,
    client: Arc<FakeWebhookClient>,
    /// What was told about the webhook: away for a reason, or there.
    health: Arc<Mutex<Vec<Option<String>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for AlertScene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AlertScene {
    fn new(answers: &[FakeReply]) -> Self {
        let client = Arc::new(FakeWebhookClient {
            answers: Mutex::new(answers.iter().copied().collect()),
            ..Default::default()
        });
        let webhook = || Webhook { client: client.clone(), secret: WebhookSecret::new("s3cret".to_owned()) };
        let alerts = Arc::new(Alerts::new(
            &AlertParts { webhook: Some(webhook()), ..AlertParts::default() },
            WallClock::default(),
        ));
        let health = Arc::new(Mutex::new(Vec::new()));
        let heard = health.clone();
        let told = move |away| heard.lock().expect("no panic elsewhere").push(away);
        let task = tokio::spawn(run(alerts.clone(), Some(webhook()), told));
        Self { alerts, client, health, task }
    }

    fn raise(&self, subject: &str) {
        self.alerts.raise(AlertKind::Degraded, None, subject, format!("{subject} is away"));
    }

    fn clear(&self, subject: &str) {
        self.alerts.clear(AlertKind::Degraded, None, subject);
    }

    /// The first `count` that come; time runs as far as it must, up to a day.
    async fn posts(&self, count: usize) -> Vec<SentRequests> {
        let posts = || self.client.posts.lock().expect("no panic elsewhere").clone();
        let came = async {
            while posts().len() < count {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(24 * 60 * 60), came).await.expect("they come");
        posts()
    }

    fn health(&self) -> Vec<Option<String>> {
        self.health.lock().expect("no panic elsewhere").clone()
    }
}

fn events(posts: &[SentRequests]) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    posts.iter().map(|post| (word(&post.json["event"]), word(&post.json["alert"]["subject"]))).collect()
}

fn told(event: &str, subject: &str) -> (String, String) {
    (event.to_owned(), subject.to_owned())
}

#[tokio::test(start_paused = true)]
async fn each_alert_is_told_once_when_it_begins_and_once_when_it_ends() {
    let scene = AlertScene::new(&[]);
    let begun = Instant::now();
    for _ in 0..50 {
        scene.raise("store");
    }
    scene.clear("store");
    scene.raise("store");
    let [first] = scene.posts(1).await.try_into().expect("one");
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(first.signature.starts_with("sha256=") && first.signature.len() == 71, "{}", first.signature);
    scene.clear("store");
    let cleared = Instant::now();
    let posts = scene.posts(2).await;
    assert_eq!(events(&posts), [told("alert.begun", "store"), told("alert.ended", "store")]);
    assert_eq!(posts[0].json["alert"]["id"], posts[1].json["alert"]["id"]);
    assert_eq!(
        (&posts[1].json["alert"]["count"], posts[1].json["alert"]["until"].is_string()),
        (&Value::from(51), true)
    );
    assert_ne!(posts[0].delivery, posts[1].delivery);
    let waited = posts[1].at - cleared;
    assert!((60.0..61.0).contains(&waited.as_secs_f64()), "it may have come back: {waited:?}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(scene.posts(2).await.len(), 2, "nothing is told twice");
    assert_eq!(scene.health(), [None, None]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_arrive_is_sent_again_and_is_the_same_delivery() {
    let scene =
        AlertScene::new(&[FakeReply::Status(500), FakeReply::Refused, FakeReply::Silence, FakeReply::Status(302)]);
    scene.raise("store");
    let posts = scene.posts(5).await;
    assert!(posts.iter().all(|post| post.delivery == posts[0].delivery && post.signature == posts[0].signature));
    let waits: Vec<u64> = posts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4 + 15, 8], "the third was waited for");
    let reasons = ["it answered 500", "connection refused", "it did not answer within 15 s", "it answered 302"];
    let expected: Vec<Option<String>> =
        reasons.into_iter().map(|reason| Some(reason.to_owned())).chain([None]).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.health(), expected);
}

#[tokio::test(start_paused = true)]
async fn one_alert_that_is_refused_does_not_hold_up_another() {
    let scene = AlertScene::new(&[FakeReply::Status(400)]);
    scene.raise("store");
    scene.raise("registry");
    let posts = scene.posts(3).await;
    let expected = [("alert.begun", "store"), ("alert.begun", "registry"), ("alert.begun", "store")];
    assert_eq!(events(&posts), expected.map(|(event, subject)| told(event, subject)));
}

#[tokio::test(start_paused = true)]
async fn without_a_webhook_alerts_are_closed_all_the_same() {
    let alerts = Arc::new(Alerts::new(&AlertParts::default(), WallClock::default()));
    let task = tokio::spawn(run(alerts.clone(), None, |_| panic!("there is no webhook")));
    let pool: PoolName = "coders".parse().expect("a name");
    let raise = || alerts.raise(AlertKind::BreakerOpen, Some(&pool), "", "3 of 20 failed".to_owned());
    raise();
    alerts.clear(AlertKind::BreakerOpen, Some(&pool), "");
    tokio::time::sleep(Duration::from_secs(61)).await;
    raise();
    let listed = alerts.list();
    assert_eq!((listed.len(), listed[0].until, listed[1].until.is_some()), (2, None, true));
    assert!(!task.is_finished(), "a task of the supervisor never ends by itself");
    task.abort();
}
