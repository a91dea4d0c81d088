//! Whether the rule holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use super::row::Row;
use super::site::{Before, Site};
use crate::harness::{Answer, Request, developer, run};

/// Within this time one half of the rule must hold, and within it all must be whole again.
const LIMIT: Duration = Duration::from_secs(15);

/// No half is believed before: longer than it takes to condemn a worker for its silence, and to do so a second time.
const WATCH: Duration = Duration::from_secs(5);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Which half held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Half {
    Runs,
    Says,
}

/// What became of a request that is asked again and again.
#[derive(Clone, Debug, Default)]
enum Asked {
    #[default]
    NoAnswer,
    /// Done, by a request that was made after the watch had begun to count.
    Done,
    /// The last answer, which was another.
    Said(String),
}

impl Asked {
    /// What somebody reads who waits: not the whole answer, in which any word may stand.
    fn told(answer: std::io::Result<Answer>) -> Self {
        let body = match answer {
            Ok(answer) => answer.body,
            Err(error) => return Self::Said(error.to_string()),
        };
        let words = ["/state", "/detail", "/reason", "/last_ending/summary", "/waiting_for/message", "/error/message"];
        let words = words.iter().filter_map(|place| body.pointer(place)?.as_str());
        let latest = body["attempts"].as_array().and_then(|attempts| attempts.last()?["message"].as_str());
        Self::Said(words.chain(latest).collect::<Vec<_>>().join(": "))
    }
}

/// Somebody who wants an agent, and somebody who wants a task to be done, from the moment of the fault.
pub(super) struct Probes {
    over: Arc<AtomicBool>,
    began: Instant,
    spawn: Arc<Mutex<Asked>>,
    task: Arc<Mutex<Asked>>,
    threads: Vec<JoinHandle<()>>,
}

impl Probes {
    pub(super) fn new(site: &Site) -> Self {
        let mut probes = Self {
            over: Arc::default(),
            began: Instant::now(),
            spawn: Arc::default(),
            task: Arc::default(),
            threads: Vec::new(),
        };
        let address = site.muster.address();
        probes.ask(probes.spawn.clone(), {
            let address = address.clone();
            move || spawn(&address)
        });
        let mut task = None;
        probes.ask(probes.task.clone(), move || do_task(&address, &mut task));
        probes
    }

    /// Asks until it is done after the watch, or all is over.
    fn ask(&mut self, told: Arc<Mutex<Asked>>, mut ask: impl FnMut() -> Asked + Send + 'static) {
        let (over, trusted) = (self.over.clone(), self.began + WATCH);
        self.threads.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let late = Instant::now() >= trusted;
                let asked = ask();
                let done = matches!(asked, Asked::Done);
                if late || !done {
                    *told.lock().expect("no panic with the lock") = asked;
                }
                if done && late {
                    return;
                }
                while done && Instant::now() < trusted && !over.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                }
                std::thread::sleep(LOOK);
            }
        }));
    }

    /// Watches until one half of the rule holds.
    pub(super) fn judge(&self, site: &Site, row: &Row, before: &Before) -> Result<Half, String> {
        let mut heard = Heard::default();
        loop {
            heard.listen(site, row);
            if self.began.elapsed() >= WATCH {
                let runs = self.runs(site);
                let says = self.says(&heard, row);
                if says.is_ok() || (runs.is_ok() && !row.is_named) {
                    if row.spares {
                        site.spared(before)?;
                    }
                    return Ok(if runs.is_ok() { Half::Runs } else { Half::Says });
                }
                if let Err(says) = says
                    && self.began.elapsed() > LIMIT
                {
                    let runs = runs.map_or_else(|wrong| wrong, |()| "all runs".to_owned());
                    return Err(format!("{runs}; and {says}"));
                }
            }
            std::thread::sleep(LOOK);
        }
    }

    fn runs(&self, site: &Site) -> Result<(), String> {
        for (what, asked) in [("a new agent", &self.spawn), ("a task", &self.task)] {
            match &*asked.lock().expect("no panic with the lock") {
                Asked::Done => {}
                Asked::NoAnswer => return Err(format!("{what}: no answer")),
                Asked::Said(said) => return Err(format!("{what}: {said}")),
            }
        }
        site.all_run()
    }

    fn says(&self, heard: &Heard, row: &Row) -> Result<(), String> {
        if row.says.is_empty() {
            return Err("no words are enough".to_owned());
        }
        if !health_names(row, &heard.health) {
            return Err(format!("/health does not say {:?} but {:?}", row.says, heard.health));
        }
        for (where_, said) in [("muster status", &heard.status), ("an alert", &heard.alert)] {
            if !names(row, said) {
                return Err(format!("{where_} does not say {:?} but {said:?}", row.says));
            }
        }
        for (who, asked) in [("who wants an agent", &self.spawn), ("who waits for a task", &self.task)] {
            match &*asked.lock().expect("no panic with the lock") {
                Asked::Said(said) if !names(row, said) => {
                    return Err(format!("{who} is not told {:?} but {said:?}", row.says));
                }
                Asked::NoAnswer => return Err(format!("{who} gets no answer")),
                Asked::Said(_) | Asked::Done => {}
            }
        }
        Ok(())
    }

    /// Nobody asks any more.
    pub(super) fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads).into_iter().for_each(|thread| thread.join().expect("no panic in a probe"));
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// What an operator has read; each stays as it was when it named the cause.
#[derive(Default)]
struct Heard {
    health: String,
    status: String,
    alert: String,
}

impl Heard {
    fn listen(&mut self, site: &Site, row: &Row) {
        let get = |path: &str| site.muster.ask("GET", path).try_send().map_or_else(|error| error.to_string(), read);
        if !health_names(row, &self.health) {
            self.health = get("/health");
        }
        if !names(row, &self.alert) {
            self.alert = get("/api/v1/alerts");
        }
        // A process each time: only once the rest is known.
        if health_names(row, &self.health) && !names(row, &self.status) {
            let url = format!("http://{}", site.muster.address());
            let shown = run(site.muster.folder(), &["status", "--url", &url], &[]);
            self.status = shown.stdout + &shown.stderr;
        }
    }
}

fn read(answer: Answer) -> String {
    // Of alerts only those that last.
    let lasts = |alert: &&serde_json::Value| alert["until"].is_null();
    match answer.body.as_array() {
        Some(alerts) => json!(alerts.iter().filter(lasts).collect::<Vec<_>>()).to_string(),
        None => json!([answer.body["degraded"], answer.body["alerts"]]).to_string(),
    }
}

fn names(row: &Row, said: &str) -> bool {
    let said = said.to_lowercase();
    row.says.iter().any(|word| said.contains(&word.to_lowercase()))
}

fn health_names(row: &Row, said: &str) -> bool {
    names(row, said) || row.alert.is_some_and(|kind| said.contains(&format!("{{\"kind\":\"{kind}\"")))
}

fn spawn(address: &str) -> Asked {
    let request = Request::new(address, "POST", "/api/v1/agents/spawn?wait=2").json(&developer("p"));
    match request.try_send() {
        Ok(answer) if answer.status == 201 => Asked::Done,
        told => Asked::told(told),
    }
}

/// Submits a task unless there is one, and looks what became of it.
fn do_task(address: &str, task: &mut Option<String>) -> Asked {
    let Some(id) = task else {
        let request = Request::new(address, "POST", "/api/v1/tasks").json(&json!({"pool_name": "p", "input": 1}));
        return match request.try_send() {
            Ok(answer) if answer.status == 202 => {
                *task = Some(answer.text("task_id").to_owned());
                do_task(address, task)
            }
            told => Asked::told(told),
        };
    };
    match Request::new(address, "GET", &format!("/api/v1/tasks/{id}?wait=1")).try_send() {
        Ok(answer) if answer.text("state") == "succeeded" => {
            *task = None;
            Asked::Done
        }
        told => Asked::told(told),
    }
}

/// Waits until all agents run, a new one too, a task is done, and health is as it was.
pub(super) fn await_whole(site: &Site, row: &Row, before: &Before) {
    let until = Instant::now() + LIMIT;
    let address = site.muster.address();
    let (mut agent, mut task, mut submitted) = (Asked::NoAnswer, Asked::NoAnswer, None);
    loop {
        if !matches!(agent, Asked::Done) {
            agent = spawn(&address);
        }
        if !matches!(task, Asked::Done) {
            task = do_task(&address, &mut submitted);
        }
        let whole =
            site.all_run().and_then(|()| site.health_is_back(row, before)).and_then(|()| match (&agent, &task) {
                (Asked::Done, Asked::Done) => Ok(()),
                _ => Err(format!("a new agent: {agent:?}, a task: {task:?}")),
            });
        match whole {
            Ok(()) => break,
            Err(wrong) => assert!(Instant::now() < until, "{}: not whole again after {LIMIT:?}: {wrong}", row.name),
        }
        std::thread::sleep(LOOK);
    }
    if row.spares {
        site.spared(before).unwrap_or_else(|wrong| panic!("{}: after it was mended: {wrong}", row.name));
    }
}
