//! Alerts: listed, and told to a webhook that others can trust.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{Muster, Options, run, wait_until};

const BOUND: Duration = Duration::from_secs(20);

const SECRET: &str = "s3cret-key";

/// One call of the webhook.
#[derive(Clone, Debug)]
struct Call {
    signature: String,
    delivery: String,
    body: String,
}

impl Call {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// What happened, and to what.
    fn news(&self) -> (String, String) {
        let (json, word) = (self.json(), |value: &Value| value.as_str().expect("a text").to_owned());
        (word(&json["event"]), word(&json["alert"]["subject"]))
    }

    fn is_signed(&self) -> bool {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
        mac.update(self.body.as_bytes());
        let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        self.signature == format!("sha256={digits}")
    }
}

/// A webhook that answers 500 to its first call and 200 to all others. Its thread ends with the test's process.
struct Hook {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                answer(stream, if number == 0 { 500 } else { 200 }, &seen);
            }
        });
        Self { address, calls }
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no panic in the server").clone()
    }

    fn await_news(&self, event: &str, subject: &str) {
        let news = (event.to_owned(), subject.to_owned());
        wait_until(&format!("{news:?} comes"), BOUND, || self.calls().iter().any(|call| call.news() == news));
    }
}

fn answer(mut stream: TcpStream, status: u16, seen: &Mutex<Vec<Call>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut head = String::new();
    while reader.read_line(&mut head).expect("a line") > 2 {}
    let header = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.and_then(|line| line.split_once(": ")).unwrap_or_else(|| panic!("no {name}: {head}")).1.to_owned()
    };
    let mut body = vec![0; header("content-length").parse().expect("a number")];
    reader.read_exact(&mut body).expect("the body");
    let body = String::from_utf8(body).expect("text");
    let call = Call { signature: header("x-muster-signature"), delivery: header("x-muster-delivery"), body };
    seen.lock().expect("no panic elsewhere").push(call);
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").expect("an answer");
}

fn alert(muster: &Muster, subject: &str) -> Value {
    let alerts = muster.get("/api/v1/alerts").body;
    let alerts = alerts.as_array().unwrap_or_else(|| panic!("no list: {alerts}"));
    alerts.iter().find(|alert| alert["subject"] == subject).cloned().unwrap_or_default()
}

#[test]
fn alerts_are_listed_and_told_to_a_webhook() {
    let hook = Hook::start();
    let url = format!("http://{}/hook/s3cret-path", hook.address);
    let config = format!("[alerts]\nwebhook = '{url}'\nsecret_env = 'HOOK_KEY'\nmin_interval = 0\n");
    let options = Options::config(config).env("HOOK_KEY", SECRET).env("MUSTER_OWNERSHIP", "best-effort");
    let muster = Muster::start(options);
    hook.await_news("alert.begun", "ownership");
    wait_until("it is sent again", BOUND, || {
        let calls = hook.calls();
        calls.iter().filter(|call| call.delivery == calls[0].delivery).count() == 2
    });
    let ownership = alert(&muster, "ownership");
    assert_eq!((&ownership["kind"], &ownership["until"]), (&json!("degraded"), &Value::Null), "{ownership}");
    let recent = &muster.get("/api/v1/agents/monitor/system").body["recent_alerts"];
    assert!(recent.as_array().expect("a list").contains(&ownership), "{recent}");
    // That the webhook was away is an alert like any other, and it is told once it is there.
    hook.await_news("alert.ended", "webhook");
    assert!(alert(&muster, "webhook")["until"].is_string());

    let calls = hook.calls();
    assert!(calls.iter().all(Call::is_signed), "{calls:#?}");
    // The first message was sent twice, and every other one once: a beginning, then perhaps an end.
    for alert in muster.get("/api/v1/alerts").body.as_array().expect("a list") {
        let mut told: Vec<Call> = hook.calls();
        told.retain(|call| call.json()["alert"]["id"] == alert["id"]);
        told.dedup_by(|a, b| a.delivery == b.delivery);
        let events: Vec<String> = told.iter().map(|call| call.news().0).collect();
        assert!(["alert.begun", "alert.ended"].map(str::to_owned).starts_with(&events), "{events:?}");
    }
    let path = muster.folder().join("muster.toml").display().to_string();
    let shown = run(muster.folder(), &["config", "--config", &path], &[("HOOK_KEY", SECRET)]).expect(0).stdout;
    assert!(shown.contains(&format!("http://{}/***", hook.address)), "{shown}");
    assert!(!shown.contains("s3cret") && !muster.log().contains("s3cret"), "{shown}{}", muster.log());
}
